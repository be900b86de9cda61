"""Ingest and sinks on Apache Kafka itself.

usage: kafka.py BEKK JARS [SCENARIO]...

Each scenario has brokers of its own. The random ones print their seed, and BEKK_SEED sets it.
"""

import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import guide
from cluster import ACLS, CONFIGS, GROUPS, TOPICS, Cluster, free_ports
from sandbox import Sandbox
from secured import recipe

# How long a broker may take to learn of an ACL.
SETTLE_S = 1


class Run:
    def __init__(self, bekk, kafka, directory):
        self.bekk, self.kafka, self.directory = bekk, kafka, directory
        self.opened = []

    def cluster(self, brokers, **how):
        directory = os.path.join(self.directory, f"cluster{len(self.opened)}")
        cluster = Cluster(self.kafka, directory, brokers, **how)
        self.opened.insert(0, cluster.stop)
        return cluster.up()

    def sandbox(self, hosts, **kafka):
        directory = os.path.join(self.directory, f"sandbox{len(self.opened)}")
        sandbox = Sandbox(self.bekk, directory, hosts, {key.replace("_", "."): value for key, value in kafka.items()})
        self.opened.insert(0, sandbox.close)
        return sandbox

    def close(self):
        while self.opened:
            self.opened.pop(0)()


def storm(run):
    """Brokers, ingest and three sinks are killed in turn while files come, also the controller. All arrives once, and
    no process ends by itself."""
    cluster = run.cluster(3)
    sandbox = run.sandbox(cluster.bootstrap)
    sandbox.start("ingest", "ingest")
    for name in ("sink1", "sink2", "sink3"):
        sandbox.start(name, "sink")
    kills, away = [], None
    for step in range(36):
        sandbox.write(2_000, bad=1)
        time.sleep(random.uniform(0.2, 1.2))
        sandbox.watch()
        if step % 3 != 1:
            continue
        kills.append(random.choice(["ingest", "sink1", "sink2", "sink3", "broker", "broker"]))
        if kills[-1] != "broker":
            sandbox.kill(kills[-1])
            continue
        if away:
            cluster.start(away)
            time.sleep(6)
        away = random.choice(cluster.all())
        cluster.kill(away, random.choice([signal.SIGKILL, signal.SIGTERM]))
    if away:
        cluster.start(away)
    sandbox.await_table(240)
    print(f"  killed: {' '.join(kills)}")
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    sandbox.stop()
    sandbox.check()


def quorum(run):
    """Two of three brokers are away for a while: nothing can be appended. It is said, nothing ends, all arrives."""
    cluster = run.cluster(3)
    sandbox = run.sandbox(cluster.bootstrap)
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    sandbox.write(1_000)
    sandbox.await_table(60)
    cluster.kill(2)
    cluster.kill(3)
    sandbox.write(1_000)
    deadline = time.monotonic() + 30
    # Ingest looks at its last records in the topic before it appends more.
    while not re.search("cannot (append to|find the ends of) topic", said := sandbox.ready("ingest")):
        assert time.monotonic() < deadline, f"ingest does not say what it waits for: {said}"
        time.sleep(0.5)
    time.sleep(40)
    cluster.start(2)
    cluster.start(3)
    sandbox.await_table(120)
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    deadline = time.monotonic() + 30
    while '"ready": true' not in (said := sandbox.ready("ingest")):
        assert time.monotonic() < deadline, f"ingest is not ready again: {said}"
        time.sleep(0.5)
    sandbox.stop()
    sandbox.check()


def remade(run):
    """The topic is deleted and made again while ingest and sink run, also with another number of partitions. Ingest
    appends again what its files have, the sink refuses, and the command that it prints brings all into the table."""
    cluster = run.cluster(1)
    for partitions in (4, 2, 8):
        sandbox = run.sandbox(cluster.bootstrap)
        for role in ("ingest", "sink"):
            sandbox.start(role, role)
        sandbox.write(2_000)
        sandbox.await_table(60)
        cluster.tool(TOPICS, "--delete", "--topic", "events")
        cluster.create_topic("events", partitions)
        sandbox.write(3_000)
        said = sandbox.await_end("sink", "is refused at events/", 60)
        replay = re.search(r"apply this log from its beginning: bekk (.*)", said).group(1)
        sandbox.run(*replay.split(), "--log", sandbox.url)
        sandbox.start("sink", "sink")
        sandbox.await_table(60)
        # The table had those rows before.
        sandbox.await_said("ingest", "ingest appends again", 60)
        sandbox.await_topic(60)
        assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
        sandbox.stop()
        sandbox.check()
        for topic in ("events", "bekk.meta"):
            cluster.tool(TOPICS, "--delete", "--topic", topic)


def unclean(run):
    """A leader dies with records that the replica elected after it does not have (unclean leader election). Ingest appends
    them again, the sink refuses, and the command that it prints brings all into the table."""
    cluster = run.cluster(3)
    cluster.create_topic("events", 4, replica_assignment="1:2,1:2,1:2,1:2", min_insync_replicas=1,
                         unclean_leader_election_enable="true")
    sandbox = run.sandbox(cluster.bootstrap)
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    sandbox.write(2_000)
    sandbox.await_table(60)
    cluster.kill(2)
    time.sleep(8)
    sandbox.write(3_000)
    sandbox.await_table(60)
    cluster.kill(1)
    cluster.start(2)
    sandbox.write(1_000)
    said = sandbox.await_end("sink", "is refused at events/", 120)
    cluster.start(1)
    replay = re.search(r"apply this log from its beginning: bekk (.*)", said).group(1)
    sandbox.run(*replay.split(), "--log", sandbox.url)
    sandbox.start("sink", "sink")
    sandbox.await_table(60)
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    sandbox.stop()
    sandbox.check()


def paused(run):
    """One broker after the other is stopped (SIGSTOP) for longer than the others wait for it, on a topic that gives
    records its own times. Nothing ends, all arrives once."""
    cluster = run.cluster(3)
    cluster.create_topic("events", 4, message_timestamp_type="LogAppendTime")
    sandbox = run.sandbox(cluster.bootstrap)
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    sandbox.write(1_000)
    sandbox.await_table(60)
    for broker in cluster.all():
        cluster.processes[broker].send_signal(signal.SIGSTOP)
        for _ in range(5):
            sandbox.write(1_000)
            time.sleep(2)
        cluster.processes[broker].send_signal(signal.SIGCONT)
        sandbox.await_table(120)
    sandbox.kill("ingest")
    sandbox.kill("sink")
    sandbox.write(1_000)
    sandbox.await_table(60)
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    sandbox.stop()
    sandbox.check()


def grown(run):
    """A topic gets more partitions while ingest and sink run. Rows arrive exactly, those of a key in order: in the
    partitions that they were in until bekk.toml says otherwise."""
    cluster = run.cluster(1)
    sandbox = run.sandbox(cluster.bootstrap)
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    sandbox.write(2_000)
    sandbox.await_table(60)
    cluster.tool(TOPICS, "--alter", "--topic", "events", "--partitions", "8")
    sandbox.write(2_000)
    sandbox.await_table(60)
    for _ in range(2):
        sandbox.kill("ingest")
        sandbox.write(1_000)
        sandbox.await_table(60)
    assert "the topic has 8 partitions now, and had 4" in sandbox.said("ingest"), sandbox.said("ingest")
    assert used(sandbox) == 4, "keys stay where they were"
    sandbox.configure("partitions = 4", "partitions = 8")
    sandbox.kill("ingest")
    sandbox.write(2_000)
    sandbox.await_table(60)
    assert used(sandbox) == 8, "all are used when that is asked for"
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    sandbox.stop()
    sandbox.check()


def used(sandbox):
    """How many partitions have records."""
    out = sandbox.run("log", "read", "--format", "json", "--log", sandbox.url)
    return len({json.loads(line)["partition"] for line in out.splitlines()})


def passed(run):
    """Records are removed that a group has not applied: the sink refuses, and the command that it prints continues at
    those that are left. Where the group has applied what was removed, it just continues."""
    cluster = run.cluster(1)
    sandbox = run.sandbox(cluster.bootstrap)
    sandbox.write(2_000)
    sandbox.run("ingest", "--once", "--log", sandbox.url)
    sandbox.run("sink", "--once", "--log", sandbox.url)
    cluster.delete_records({("events", partition): -1 for partition in range(4)})
    sandbox.write(1_000)
    sandbox.run("ingest", "--once", "--log", sandbox.url)
    sandbox.run("sink", "--once", "--log", sandbox.url)
    assert sandbox.table() == sandbox.ids, "what was applied may be removed"
    sandbox.write(1_000)
    sandbox.run("ingest", "--once", "--log", sandbox.url)
    cluster.delete_records({("events", 0): -1})
    sandbox.write(1_000)
    sandbox.run("ingest", "--once", "--log", sandbox.url)
    done = sandbox.call("sink", "--once", "--log", sandbox.url)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "the log begins at offset" in said, said
    reset = re.search(r"to continue at the oldest record that is left: bekk (.*)", said).group(1)
    sandbox.run(*reset.split(), "--log", sandbox.url)
    sandbox.run("sink", "--once", "--log", sandbox.url)
    missing = len(sandbox.ids - sandbox.table())
    assert 0 < missing < 1_000 and sandbox.table() < sandbox.ids, f"{missing} rows are missing"


def copied(run):
    """A log of one machine moves to the cluster: a group that is behind, dead letters, other programs' records with
    headers and null. The copy is killed and continued; then ingest and sink continue where they were."""
    cluster = run.cluster(1)
    # Smaller than the producer's batches
    cluster.create_topic("events", 4, max_message_bytes=100_000)
    sandbox = run.sandbox(cluster.bootstrap)
    sandbox.write(30_000, bad=1)
    sandbox.run("ingest", "--once")
    sandbox.run("sink", "--once")
    port = free_ports(1)[0]
    served = subprocess.Popen([sandbox.bekk, "log", "serve", "--listen", f"127.0.0.1:{port}", "--http", "off"],
                              cwd=sandbox.directory, stderr=subprocess.DEVNULL)
    cluster.produce("events", "source:elsewhere\tkey\t{}", f"127.0.0.1:{port}")
    cluster.produce("events", "source:elsewhere\tkey\tNULL", f"127.0.0.1:{port}")
    served.send_signal(signal.SIGTERM)
    served.wait()
    sandbox.write(30_000)
    sandbox.run("ingest", "--once")
    before = sandbox.run("log", "read", "--format", "json")
    copy = ["log", "copy", "--to", sandbox.url]
    for seconds in (0.5, 1.5, 2.5, 3.5):
        killed = subprocess.Popen([sandbox.bekk, *copy], cwd=sandbox.directory, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        killed.kill()
        killed.wait()
    said = sandbox.run(*copy)
    assert "group `bekk` continues there" in said and "with its checkpoint" in said, said
    print("  " + said.strip().splitlines()[0])
    assert sandbox.run("log", "read", "--format", "json", "--log", sandbox.url) == before, "the same records"
    found = cluster.consume("events")
    assert found.count("source:elsewhere\tkey\t{}") == 1 and found.count("source:elsewhere\tkey\tNULL") == 1, found
    out = sandbox.run("ingest", "--once", "--log", sandbox.url)
    sandbox.run("sink", "--once", "--log", sandbox.url)
    sandbox.write(1_000)
    sandbox.run("ingest", "--once", "--log", sandbox.url)
    sandbox.run("sink", "--once", "--log", sandbox.url)
    assert sandbox.table() == sandbox.ids, f"{len(sandbox.table())} rows of {len(sandbox.ids)}; {out}"
    sandbox.audit()
    letters = sandbox.run("psql", "-At", "-c", "select count(*) from bekk.dead_letters")
    assert letters.strip() == "3", letters
    done = sandbox.call(*copy)
    assert done.returncode != 0 and "has other records than here" in done.stderr, done.stderr


ITEMS = """
[streams.items]
accept = "json"
deletes = true
key = ["id"]
columns = [
    { name = "id", type = "int8" },
    { name = "name", type = "text", nullable = true },
]
"""


def objects(run):
    """Another program's JSON in a compacted topic: objects, records without a value that delete rows, and some that are
    neither. The sink is killed while they come; the table is what the last record of each key says, also for a group
    that begins after the topic was compacted."""
    cluster = run.cluster(1)
    cluster.create_topic("items", 3, cleanup_policy="compact", segment_ms=1000, min_cleanable_dirty_ratio=0.01,
                         max_compaction_lag_ms=2000, delete_retention_ms=30000)
    sandbox = run.sandbox(cluster.bootstrap)
    with open(os.path.join(sandbox.directory, "bekk.toml"), "w") as file:
        file.write(ITEMS)
    sandbox.start("sink", "sink")
    expected, bad = {}, 0
    for step in range(6):
        lines = []
        for number in range(500):
            key, name = random.randrange(200), f"{step}-{number}"
            # One form for each key: another would be another key to the cluster, in another partition.
            own = key if key % 2 else json.dumps({"id": key})
            kind = random.random()
            if kind < 0.3:
                expected.pop(key, None)
                lines.append(f"no:0\t{own}\tNULL")
            elif kind < 0.31:
                bad += 1
                lines.append(f"no:0\tbad-{name}\tNULL")
            else:
                expected[key] = name
                lines.append("no:0\t{}\t{}".format(own, json.dumps({"id": key, "name": name, "more": [step]})))
        cluster.produce("items", "\n".join(lines), cluster.bootstrap)
        if step % 2:
            sandbox.kill("sink")
    def rows(table):
        out = sandbox.run("psql", "-At", "-c", f"select id, name from {table}")
        return {int(line.split("|")[0]): line.split("|")[1] for line in out.splitlines()}

    deadline = time.monotonic() + 60
    while rows("items") != expected:
        assert time.monotonic() < deadline, "the table is what the last records say"
        time.sleep(0.5)
    letters = sandbox.run("psql", "-At", "-c", "select reason, count(*) from bekk.dead_letters group by 1").split()
    assert letters == [f"bad_value|{bad}"], letters
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    sandbox.stop()
    sandbox.processes.clear()
    sandbox.audit()
    # Until the cleaner has removed what later records replace.
    count = lambda: len(sandbox.run("log", "read", "--topic", "items", "--log", sandbox.url).splitlines())
    before, deadline = count(), time.monotonic() + 90
    while count() > before / 2 and time.monotonic() < deadline:
        cluster.produce("items", "no:0\t1000\tNULL\nno:0\t1001\tNULL\nno:0\t1002\tNULL", cluster.bootstrap)
        time.sleep(2)
    print(f"  {before} records before compaction, {count()} after it")
    assert count() < before / 2
    sandbox.configure("deletes", 'table = "later"\ndeletes')
    sandbox.run("sink", "--once", "--group", "later", "--log", sandbox.url)
    assert rows("later") == expected, "the compacted topic says the same"
    sandbox.run("sink", "--once", "--group", "later", "--log", sandbox.url)
    sandbox.audit("--group", "later")


def others(run):
    """Another program's topic has no leader. Everything that looks at the cluster answers."""
    cluster = run.cluster(3)
    sandbox = run.sandbox(cluster.bootstrap)
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    cluster.create_topic("others", 2, replica_assignment="3,3", min_insync_replicas=1)
    sandbox.write(1_000)
    sandbox.await_table(60)
    cluster.kill(3)
    time.sleep(8)
    for command in (["status"], ["health"], ["log", "topics"]):
        assert "others" not in sandbox.run(*command, "--log", sandbox.url), "of no concern"
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{sandbox.ports['sink']}/metrics", timeout=10).read().decode()
    assert 'bekk_log_end_offset{topic="events"' in metrics, metrics
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"


def addresses(run):
    """The broker gives clients an address that does not exist, or where nobody listens. Commands end soon, ingest and sink
    wait, and each names the broker, the address and the setting."""
    for advertised in ("kafka.invalid", "127.9.9.9"):
        cluster = run.cluster(1, advertised=advertised)
        sandbox = run.sandbox(cluster.bootstrap)
        sandbox.write(1_000, bad=1)
        sandbox.run("ingest", "--once", "--log", sandbox.url)
        sandbox.run("sink", "--once", "--log", sandbox.url)
        sandbox.url = f"kafka://{cluster.outer_bootstrap}"
        expected = f"broker 1 gives its address as {advertised}:{cluster.outer_ports[0]} .advertised.listeners"
        for command in (["log", "topics"], ["log", "read"], ["status"], ["health"], ["audit"],
                        ["offsets", "list"]):
            begun = time.monotonic()
            done = sandbox.call(*command, "--log", sandbox.url)
            took, said = time.monotonic() - begun, done.stdout + done.stderr
            assert re.search(expected, said) and took < 12, f"{command}, {took:.1f} s: {said}"
            assert done.returncode == 1, f"{command} ends with {done.returncode}: {said}"
        sandbox.write(1_000)
        for role in ("ingest", "sink"):
            sandbox.start(role, role)
            sandbox.await_said(role, expected.replace(".advertised", "(advertised"), 30)
        assert not any(process.poll() for process in sandbox.processes.values()), "both wait"


def meddled(run):
    """Administrators and other programs act while ingest and a sink run: a consumer in the sink's group, the
    group's offsets set back and deleted, a quota, an ingest with a copy of the state, the topic deleted. Rows arrive once,
    and what is in the way is said."""
    cluster = run.cluster(1)
    sandbox = run.sandbox(cluster.bootstrap)
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    sandbox.write(1_000)
    sandbox.await_table(60)
    with cluster.consumer("events", "bekk"):
        await_ready(sandbox, "sink", "a consumer of another program is in group `bekk`", write=100)
    await_ready(sandbox, "sink", '"ready": true')
    for change in (["--reset-offsets", "--to-earliest", "--all-topics", "--execute"], ["--delete"]):
        cluster.tool(GROUPS, *change, "--group", "bekk")
        sandbox.write(100)
        sandbox.await_table(60)
    quota = ["--alter", "--entity-type", "clients", "--entity-default"]
    cluster.tool(CONFIGS, *quota, "--add-config", "producer_byte_rate=40000,consumer_byte_rate=40000")
    await_ready(sandbox, "sink", "because of a quota", write=3_000)
    cluster.tool(CONFIGS, *quota, "--delete-config", "producer_byte_rate,consumer_byte_rate")
    sandbox.await_table(120)
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    copy = run.sandbox(cluster.bootstrap)
    state = os.path.join(".bekk", "ingest")
    shutil.copytree(os.path.join(sandbox.directory, state), os.path.join(copy.directory, state))
    copy.write(100)
    copy.run("ingest", "--once", "--log", copy.url)
    sandbox.write(100)
    sandbox.await_end("ingest", "a later ingest has taken over", 60)
    sandbox.start("ingest", "ingest")
    sandbox.ids |= copy.ids
    sandbox.await_table(60)
    sandbox.stop()
    sandbox.processes.clear()
    cluster.tool(TOPICS, "--delete", "--topic", "events")
    done = sandbox.call("audit", "--log", sandbox.url)
    assert done.returncode == 1 and "the log ends at 0" in done.stdout, done.stdout + done.stderr


def await_ready(sandbox, role, expected, write=0):
    """Waits until /readyz says something, while `write` rows come every three seconds."""
    begun, written = time.monotonic(), 0
    while expected not in (said := sandbox.ready(role)):
        waited = time.monotonic() - begun
        assert waited < 60, f"no {expected!r} in: {said}"
        if write and waited >= written:
            sandbox.write(write)
            written += 3
        time.sleep(0.5)


def swapped(run):
    """Another cluster takes the address. Ingest and sink end with the ids of both, and continue on the first cluster."""
    cluster = run.cluster(1)
    sandbox = run.sandbox(cluster.bootstrap)
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    sandbox.write(1_000)
    sandbox.await_table(60)
    cluster.stop()
    other = cluster.twin(os.path.join(run.directory, "other"))
    run.opened.insert(0, other.stop)
    other.up()
    sandbox.write(1_000)
    sandbox.await_said("ingest", "another cluster answers there now", 60)
    sandbox.await_end("ingest", "but the log in use is", 90)
    sandbox.await_end("sink", "serves log", 90)
    assert "events" not in other.tool(TOPICS, "--list").stdout, "nothing is written to it"
    other.stop()
    cluster.up()
    for role in ("ingest", "sink"):
        sandbox.start(role, role)
    sandbox.await_table(60)
    sandbox.stop()
    sandbox.check()


def settings(run):
    """Topics and brokers whose settings do not fit: adapted to, or refused by name when ingest starts."""
    short = run.cluster(1, more="transaction.max.timeout.ms=30000")
    run.sandbox(short.bootstrap).refused("transaction.timeout.ms. under .log.kafka.", "ingest", "--once")
    short.stop()
    cluster = run.cluster(1)
    small = run.sandbox(cluster.bootstrap)
    cluster.create_topic("events", 4, max_message_bytes=50_000)
    small.write(20_000)
    small.run("ingest", "--once", "--log", small.url)
    small.run("sink", "--once", "--log", small.url)
    small.check()
    alter = ["--alter", "--entity-type", "topics", "--entity-name", "events", "--add-config"]
    for bad, good in (("cleanup.policy=compact", "cleanup.policy=delete"), ("retention.ms=1000", "retention.ms=-1"),
                      ("min.insync.replicas=2", "min.insync.replicas=1")):
        cluster.tool(CONFIGS, *alter, bad)
        small.refused(f"topic `events` .* has {bad}", "ingest", "--once")
        cluster.tool(CONFIGS, *alter, good)
    small.run("ingest", "--once", "--log", small.url)
    small.start("ingest", "ingest")
    cluster.tool(CONFIGS, *alter, "max.message.bytes=5000")
    small.write(2_000)
    small.await_topic(60)
    assert not small.processes["ingest"].poll(), small.said("ingest")


def rights(run):
    """With the ACLs of the guide ingest and sink work; without one of them the missing right is named. One that is taken
    away while both run is named too, also at /readyz, and when it is given back they continue. A wrong password and a
    listener spoken to without a login are named."""
    names = {"ingest": "bekk-ingest", "sink": "bekk-sink"}
    cluster = run.cluster(1, users={name: "secret" for name in names.values()})
    cluster.create_topic("events", 4)
    cluster.create_topic("bekk.meta", 1)
    acls = guide.acls()
    for acl in acls:
        cluster.tool(ACLS, *acl)
    time.sleep(SETTLE_S)
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_password": "secret"}
    ingest = run.sandbox(cluster.user_bootstrap, **login, sasl_username="bekk-ingest")
    sink = run.sandbox(cluster.user_bootstrap, **login, sasl_username="bekk-sink")
    ingest.write(1_000)
    ingest.run("ingest", "--once", "--log", ingest.url)
    sink.run("sink", "--once", "--log", sink.url)
    assert sink.table() == ingest.ids, "with the guide's rights all arrives"
    for acl in acls:
        right = acl[acl.index("--operation") + 1]
        kind = next(part for part in acl if part in ("--topic", "--group", "--transactional-id"))
        cluster.tool(ACLS, "--remove", "--force", *acl[1:])
        time.sleep(SETTLE_S)
        role = "ingest" if "User:bekk-ingest" in acl else "sink"
        ingest.write(10)
        sandbox = ingest if role == "ingest" else sink
        expected = f"not authorized .* the right (?:{right}|Describe) on {kind[2:].replace('-', ' ')} "
        sandbox.refused(expected, role, "--once")
        cluster.tool(ACLS, *acl)
        time.sleep(SETTLE_S)
    taken(cluster, ingest, sink)
    for expected, changed in (
        ("authentication failed", {**login, "sasl_password": "wrong"}),
        ("security.protocol", {"security_protocol": "PLAINTEXT"}),
    ):
        stranger = run.sandbox(cluster.user_bootstrap, **changed, sasl_username="bekk-ingest")
        stranger.start("ingest", "ingest")
        deadline = time.monotonic() + 20
        path = os.path.join(stranger.directory, "ingest.log")
        while expected not in (said := open(path).read()):
            assert time.monotonic() < deadline, f"no {expected!r} in: {said}"
            time.sleep(0.5)
        print("  " + next(line for line in said.splitlines() if expected in line))


def taken(cluster, ingest, sink):
    """Takes rights away while ingest and sink run, and gives them back. Neither ends."""
    ingest.start("ingest", "ingest")
    sink.start("sink", "sink")
    sink.ids = ingest.ids
    ingest.write(10)
    sink.await_table(60)
    # A service that ends within moments of its start has never had the right.
    time.sleep(6)
    prefixed = ("--resource-pattern-type", "prefixed")
    for sandbox, role, right, *resource in (
        (sink, "sink", "Read", "--group", "bekk"),
        (sink, "sink", "Read", "--topic", "events"),
        (ingest, "ingest", "Write", "--topic", "events"),
        (ingest, "ingest", "Write", "--transactional-id", "bekk-ingest/", *prefixed),
    ):
        acl = ["--allow-principal", f"User:bekk-{role}", "--operation", right, *resource]
        cluster.tool(ACLS, "--remove", "--force", *acl)
        ingest.write(10)
        expected = f"the right {right} on {resource[0][2:].replace('-', ' ')} `{resource[1]}"
        deadline = time.monotonic() + 20
        while expected not in (said := sandbox.ready(role)):
            assert time.monotonic() < deadline, f"no {expected!r} in: {said}"
            time.sleep(0.2)
        assert expected in sandbox.said(role), sandbox.said(role)
        cluster.tool(ACLS, "--add", *acl)
        deadline = time.monotonic() + 30
        while '"ready": true' not in (said := sandbox.ready(role)):
            assert time.monotonic() < deadline, f"{role} is not ready again: {said}"
            time.sleep(0.2)
        sink.await_table(30)
        print(f"  {expected}` was missed, and came back")
    assert not ingest.ended and not sink.ended, f"ended by themselves: {ingest.ended} {sink.ended}"
    for sandbox in (ingest, sink):
        sandbox.stop()
        sandbox.processes.clear()


def speed(run):
    """Ingest beside Kafka's own kafka-producer-perf-test, in turn: as many records of the same size, acks=all, into
    four partitions of one broker. Only by name, and meant for a release build (PROFILE=release) on a quiet machine."""
    rows, rounds = int(os.environ.get("BEKK_ROWS", 1_000_000)), 5
    cluster = run.cluster(1)
    sandbox = run.sandbox(cluster.bootstrap)
    for _ in range(8):
        sandbox.write(rows // 8)
    ratios, size = [], 0
    for number in range(rounds):
        if number:
            for topic in ("events", "bekk.meta"):
                cluster.tool(TOPICS, "--delete", "--topic", topic)
            shutil.rmtree(os.path.join(sandbox.directory, ".bekk", "ingest"))
        cluster.create_topic("events", 4)
        cluster.create_topic("bekk.meta", 1, retention_ms=-1)
        begun = time.monotonic()
        sandbox.run("ingest", "--once", "--log", sandbox.url)
        own = rows / (time.monotonic() - begun)
        if not size:
            keys = 36
            raw = subprocess.run([sandbox.bekk, "log", "read", "--format", "raw", "--limit", "10000", "--log",
                                  sandbox.url], cwd=sandbox.directory, capture_output=True, check=True).stdout
            size = len(raw) // 10_000 - 1 + keys
        cluster.create_topic(f"perf{number}", 4)
        done = cluster.java("org.apache.kafka.tools.ProducerPerformance", "--topic", f"perf{number}", "--num-records",
                            str(rows), "--record-size", str(size), "--throughput", "-1", "--producer-props",
                            f"bootstrap.servers={cluster.bootstrap}", "acks=all",
                            *os.environ.get("PERF_PROPS", "").split(), check=True)
        cluster.tool(TOPICS, "--delete", "--topic", f"perf{number}")
        other = float(re.search(r"([\d.]+) records/sec", done.stdout.strip().splitlines()[-1]).group(1))
        ratios.append(own / other)
        print(f"  {size} bytes a record; ingest {own:,.0f} records/s, perf-test {other:,.0f}; {own / other:.2f}",
              flush=True)
    print(f"  ratio: median {statistics.median(ratios):.2f}, least {min(ratios):.2f}, greatest {max(ratios):.2f}; "
          f"load {os.getloadavg()[0]:.1f}")


SCENARIOS = [settings, addresses, meddled, swapped, rights, recipe, others, objects, remade, unclean, paused, grown, passed, copied, quorum, storm]


def main():
    bekk, kafka = (os.path.abspath(path) for path in sys.argv[1:3])
    random.seed(seed := int(os.environ.get("BEKK_SEED", random.randrange(1 << 30))))
    print(f"BEKK_SEED={seed}")
    chosen = [scenario for scenario in [*SCENARIOS, speed] if scenario.__name__ in sys.argv[3:]]
    for scenario in chosen if sys.argv[3:] else SCENARIOS:
        begun = time.monotonic()
        print(f"{scenario.__name__}: {' '.join(scenario.__doc__.split())}")
        with tempfile.TemporaryDirectory(prefix="bekk-kafka-") as directory:
            run = Run(bekk, kafka, directory)
            try:
                scenario(run)
            finally:
                # Nothing outlives a run that fails.
                run.close()
        print(f"  {time.monotonic() - begun:.0f} s")


main()
