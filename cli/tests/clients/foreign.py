"""Ingest and sink on a broker that nobody here wrote: Tansu, which is not librdkafka's either.

usage: foreign.py BEKK TANSU

Files grow while ingest and sink are killed with -9 again and again; afterwards the topic holds each record
once and the table equals the files. Then the checkpoint is removed, and nothing comes twice.
"""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

KILLS = 10
ROWS_PER_ROUND = 3_000
HEADER = "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time".split(",")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sandbox:
    def __init__(self, bekk, directory, url):
        self.bekk, self.directory, self.url = bekk, directory, url
        self.said = open(os.path.join(directory, "said.log"), "ab")
        os.mkdir(os.path.join(directory, "data"))

    def start(self, *arguments):
        command = [self.bekk, *arguments, "--log", self.url]
        return subprocess.Popen(command, cwd=self.directory, stdout=self.said, stderr=self.said)

    def run(self, *arguments):
        done = subprocess.run([self.bekk, *arguments], cwd=self.directory, capture_output=True, text=True)
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

    def show(self):
        with open(self.said.name) as said:
            print("".join(said.readlines()[-40:]))

    def records(self):
        out = self.run("log", "read", "--format", "json", "--log", self.url)
        return [json.loads(line) for line in out.splitlines()]

    def table(self):
        return set(self.run("psql", "-At", "-c", "select event_id from events").split())


def main():
    bekk, tansu = (os.path.abspath(path) for path in sys.argv[1:3])
    random.seed(seed := int(os.environ.get("BEKK_SEED", random.randrange(1 << 30))))
    print(f"BEKK_SEED={seed}")
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="bekk-foreign-") as directory:
        listener = f"tcp://{address}"
        broker = subprocess.Popen(
            [tansu, "broker", "--listener-url", listener, "--advertised-listener-url", listener,
             "--storage-engine", "memory://tansu/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            exact(Sandbox(bekk, directory, f"kafka://{address}"))
        finally:
            broker.kill()


def exact(sandbox):
    ids = set()
    services = {"ingest": None, "sink": None}
    arguments = {"ingest": ["ingest", "--http", "off"], "sink": ["sink", "--http", "off"]}
    for name in services:
        services[name] = sandbox.start(*arguments[name])
    # The first sink makes the private server, which a kill would take down with it.
    keeper = subprocess.Popen([sandbox.bekk, "psql", "-c", "select pg_sleep(3600)"], cwd=sandbox.directory,
                              stdout=sandbox.said, stderr=sandbox.said)
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


def check(sandbox, ids, when):
    records = sandbox.records()
    places = {(record["file"], record["line"]) for record in records}
    keys = {record["key"] for record in records}
    table = sandbox.table()
    print(f"{when}: {len(ids)} rows in files, {len(records)} records in the topic at {len(places)} places, "
          f"{len(table)} rows in the table")
    assert len(records) == len(places) == len(ids), "each record is in the topic once"
    assert keys == ids == table, "files, topic and table hold the same"


main()
