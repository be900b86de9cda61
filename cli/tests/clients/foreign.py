"""Ingest and sink on a broker that nobody here wrote: Tansu, which is not librdkafka's either.

usage: foreign.py BEKK TANSU

Files grow while ingest and sink are killed with -9 again and again; afterwards the topic holds each record
once and the table equals the files. Then the checkpoint is removed, and nothing comes twice. Then an ingest is
stopped in the middle of an append and another with a copy of its state goes on: when the first wakes, the
cluster's fence keeps out what it had under way. Last, another producer has a transaction open, which keeps back from
readers all that is committed behind it.
"""

import csv
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition

KILLS = 10
ROWS_PER_ROUND = 3_000
STARTED = []
HEADER = "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time".split(",")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sandbox:
    def __init__(self, bekk, directory, url):
        self.bekk, self.directory, self.url = bekk, directory, url
        os.mkdir(directory)
        self.said = open(os.path.join(directory, "said.log"), "ab")
        os.mkdir(os.path.join(directory, "data"))

    def start(self, *arguments):
        return self.spawn(*arguments, "--log", self.url)

    def spawn(self, *command):
        process = subprocess.Popen([self.bekk, *command], cwd=self.directory, stdout=self.said, stderr=self.said)
        STARTED.append(process)
        return process

    def run(self, *arguments):
        done = subprocess.run([self.bekk, *arguments], cwd=self.directory, capture_output=True, text=True)
        # Topic and table are there once the services have made them.
        if "does not exist" in done.stderr:
            return ""
        if done.returncode != 0:
            raise SystemExit(f"{arguments} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def append_rows(self, name, count, ids):
        path = os.path.join(self.directory, "data", name)
        is_new = not os.path.exists(path)
        with open(path, "a", newline="") as file:
            rows = csv.writer(file)
            if is_new:
                rows.writerow(HEADER)
            for _ in range(count):
                event = str(uuid.uuid4())
                ids.add(event)
                rows.writerow([event, "view", 1, 2, 'a "quoted", word', "1.50", 1, uuid.uuid4(), "2026-01-01T00:00:00Z"])
                if random.random() < 0.01:
                    file.flush()
                    time.sleep(0.005)

    def configure(self, topic):
        """The sample stream, in a topic of its own."""
        self.run("init")
        path = os.path.join(self.directory, "bekk.toml")
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace("[streams.events]", f"[streams.{topic}]"))

    def show(self):
        with open(self.said.name) as said:
            print("".join(said.readlines()[-40:]))

    def records(self):
        out = self.run("log", "read", "--format", "json", "--log", self.url)
        records = [json.loads(line) for line in out.splitlines()]
        return [record for record in records if record.get("file")]

    def table(self):
        return set(self.run("psql", "-At", "-c", "select event_id from events").split())


def main():
    bekk, tansu = (os.path.abspath(path) for path in sys.argv[1:3])
    random.seed(seed := int(os.environ.get("BEKK_SEED", random.randrange(1 << 30))))
    print(f"BEKK_SEED={seed}")
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="bekk-foreign-") as directory:
        # Root's private server runs as another user, and its data would be elsewhere, and stay.
        os.chmod(directory, 0o711)
        listener = f"tcp://{address}"
        broker = subprocess.Popen(
            [tansu, "broker", "--listener-url", listener, "--advertised-listener-url", listener,
             "--storage-engine", "memory://tansu/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            url = f"kafka://{address}"
            exact(Sandbox(bekk, os.path.join(directory, "exact"), url))
            fenced(bekk, directory, url)
            kept_back(Sandbox(bekk, os.path.join(directory, "kept"), url), address)
        finally:
            # Nothing outlives a run that fails.
            for process in [*STARTED, broker]:
                process.kill()
                process.wait()


def exact(sandbox):
    ids = set()
    services = {"ingest": None, "sink": None}
    arguments = {"ingest": ["ingest", "--http", "off"], "sink": ["sink", "--http", "off"]}
    for name in services:
        services[name] = sandbox.start(*arguments[name])
    # The first sink makes the private server, which a kill would take down with it.
    keeper = sandbox.spawn("psql", "-c", "select pg_sleep(3600)")
    for kill in range(KILLS):
        sandbox.append_rows(f"round-{kill // 2}.csv", ROWS_PER_ROUND, ids)
        time.sleep(random.uniform(0, 1.5))
        for name in random.choice([["ingest"], ["sink"], ["ingest", "sink"]]):
            services[name].kill()
            services[name].wait()
            services[name] = sandbox.start(*arguments[name])
    deadline = time.monotonic() + 120
    while len(sandbox.table()) < len(ids):
        if time.monotonic() > deadline:
            sandbox.show()
            raise SystemExit(f"waited in vain: {len(sandbox.table())} of {len(ids)} rows")
        time.sleep(0.5)
    for process in services.values():
        process.send_signal(signal.SIGTERM)
        if process.wait(timeout=60) != 0:
            raise SystemExit("a service did not end cleanly")
    check(sandbox, ids, "after the kills")
    os.remove(os.path.join(sandbox.directory, ".bekk/ingest/checkpoint"))
    sandbox.run("ingest", "--once", "--log", sandbox.url)
    sandbox.run("sink", "--once", "--log", sandbox.url)
    check(sandbox, ids, "without the checkpoint")
    keeper.kill()


def fenced(bekk, directory, url):
    """A machine stands still while ingest appends; its disk is taken to another, which goes on; it wakes."""
    first = Sandbox(bekk, os.path.join(directory, "first"), url)
    first.configure("fenced")
    ids = set()
    first.append_rows("some.csv", 1_000, ids)
    sleeper = first.start("ingest", "--http", "off")
    await_records(first, 1)
    first.append_rows("some.csv", 100_000, ids)
    sleeper.send_signal(signal.SIGSTOP)
    taken = os.path.join(directory, "second")
    shutil.copytree(first.directory, taken, ignore=shutil.ignore_patterns("data"))
    # The same files, in another directory: who has a directory is asked of the kernel, which is one for both.
    shutil.copytree(os.path.join(first.directory, "data"), os.path.join(taken, "data"), copy_function=os.link)
    go_on = [bekk, "ingest", "--once", "--log", url]
    subprocess.run(go_on, cwd=taken, check=True, stdout=first.said, stderr=first.said)
    first.append_rows("some.csv", 1_000, ids)
    sleeper.send_signal(signal.SIGCONT)
    # It learns from a refused append that it is not the newest. Where the cluster drops the connection instead of
    # refusing, it asks the log after half a minute and goes on as the newest.
    deadline = time.monotonic() + 90
    while sleeper.poll() is None and len(first.records()) < len(ids):
        if time.monotonic() > deadline:
            first.show()
            raise SystemExit("the ingest that woke neither ends nor goes on")
        time.sleep(1)
    if sleeper.poll() is None:
        outcome = "asked and went on"
        sleeper.kill()
    else:
        outcome = "was refused"
        with open(first.said.name) as said:
            assert "a later ingest has taken over" in said.read(), "it says why it ends"
        subprocess.run(go_on, cwd=taken, check=True, stdout=first.said, stderr=first.said)
    records = first.records()
    places = {(record["file"], record["line"]) for record in records}
    print(f"the one that woke {outcome}: {len(ids)} rows in files, {len(records)} records in the topic at "
          f"{len(places)} places")
    assert len(records) == len(places) == len(ids), "each record is in the topic once"
    assert {record["key"] for record in records} == ids, "files and topic hold the same"


def kept_back(sandbox, address):
    """Another producer has a transaction open: what ingest commits behind it cannot be read. An ingest and a sink that
    start now must not take it for missing, nor their own offsets for those of another log."""
    sandbox.configure("kept")
    ids = set()
    sandbox.append_rows("a.csv", 1_000, ids)
    ingest = sandbox.start("ingest", "--http", "off")
    await_records(sandbox, 1_000)
    sandbox.run("sink", "--once", "--log", sandbox.url)
    other = transaction(address)
    for partition in range(4):
        other.produce("kept", b"not mine", partition=partition)
    assert other.flush(30) == 0
    before, written = 0, written_ends(address, "kept")
    sandbox.append_rows("a.csv", 1_000, ids)
    deadline = time.monotonic() + 60
    # Until all of it is there, of which one cannot be told how much it is: transactions leave marks.
    while (now := written_ends(address, "kept")) < written + 1_004 or now > before:
        if time.monotonic() > deadline:
            sandbox.show()
            raise SystemExit("ingest waits for a transaction that is none of its own")
        before = now
        time.sleep(1)
    ingest.kill()
    ingest.wait()
    # Written just before the kill, it would cover all that was appended, and there were nothing to wait for.
    os.remove(os.path.join(sandbox.directory, ".bekk/ingest/checkpoint"))
    ingest = sandbox.start("ingest", "--http", "off")
    sink = sandbox.start("sink", "--once", "--http", "off")
    stay(sandbox, ingest, sink, until=[
        "open transaction hides records of topic `kept`; ingest continues",
        "open transaction: it hides records that existed",
    ])
    other.commit_transaction(30)
    end(sandbox, sink)
    sandbox.append_rows("a.csv", 1_000, ids)
    await_records(sandbox, len(ids))
    ingest.send_signal(signal.SIGTERM)
    end(sandbox, ingest)

    # A record whose schema is in a transaction that is open.
    row = first(address, "kept", lambda value: value != b"not mine")
    schema, another = row[1:9], os.urandom(8)
    other = transaction(address)
    told = first(address, "bekk.meta", lambda value: schema in value)
    other.produce("bekk.meta", told.replace(schema, another), partition=0)
    assert other.flush(30) == 0
    plain = Producer(QUIET | {"bootstrap.servers": address})
    plain.produce("kept", row.replace(schema, another), partition=0)
    assert plain.flush(30) == 0
    # While the batch before that record is being written, its partition is nobody else's to take.
    sandbox.run("psql", "-q", "-c", """
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
        CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow()""")
    sink = sandbox.start("sink", "--once", "--http", "off")
    stay(sandbox, sink)
    other.commit_transaction(30)
    end(sandbox, sink)
    records = {(record["file"], record["line"]) for record in sandbox.records()}
    table = sandbox.table()
    dead = sandbox.run("psql", "-At", "-c", "select convert_from(raw, 'UTF8') from bekk.dead_letters")
    print(f"behind open transactions: {len(ids)} rows in files, {len(records)} places in the topic, {len(table)} rows")
    assert len(sandbox.records()) == len(ids) + 1 and len(records) == len(ids), "each record is in the topic once"
    assert table == ids, "files and table hold the same"
    assert dead.splitlines() == ["not mine"] * 4, f"dead letters: {dead}"


QUIET = {"log_level": 2}


def transaction(address):
    """A producer with a transaction begun."""
    producer = Producer(QUIET | {"bootstrap.servers": address, "transactional.id": str(uuid.uuid4())})
    producer.init_transactions(30)
    producer.begin_transaction()
    return producer


def reader(address):
    return Consumer(QUIET | {"bootstrap.servers": address, "group.id": "asker", "isolation.level": "read_uncommitted"})


def written_ends(address, topic):
    """The sum of the partitions' high watermarks."""
    asker = reader(address)
    ends = [asker.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1] for partition in range(4)]
    asker.close()
    return sum(ends)


def first(address, topic, is_sought):
    """The first value of partition 0 for which that holds."""
    consumer = reader(address)
    consumer.assign([TopicPartition(topic, 0, 0)])
    while True:
        message = consumer.poll(10)
        assert message is not None, f"{topic} has no such record"
        if message.value() is not None and is_sought(message.value()):
            consumer.close()
            return message.value()


def stay(sandbox, *processes, until=()):
    """What waits goes on waiting, and says so."""
    time.sleep(3)
    deadline = time.monotonic() + 30
    while unsaid := [text for text in until if text not in open(sandbox.said.name).read()]:
        if time.monotonic() > deadline:
            sandbox.show()
            raise SystemExit(f"not said: {unsaid}")
        time.sleep(0.5)
    if any(process.poll() is not None for process in processes):
        sandbox.show()
        raise SystemExit(f"{[process.args[1] for process in processes]} did not wait")


def end(sandbox, process):
    if process.wait(timeout=60) != 0:
        sandbox.show()
        raise SystemExit(f"{process.args} failed")


def await_records(sandbox, count):
    deadline = time.monotonic() + 60
    while len(sandbox.records()) < count:
        if time.monotonic() > deadline:
            sandbox.show()
            raise SystemExit("waited in vain for records")
        time.sleep(0.2)


def check(sandbox, ids, when):
    table = sandbox.table()
    print(f"{when}: {len(ids)} rows in files, {len(table)} rows in the table")
    assert ids == table, "files and table hold the same"
    # The topic holds each record once.
    found = sandbox.run("audit", "--deep", "--log", sandbox.url)
    assert "nothing differs" in found, found


main()
