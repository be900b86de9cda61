"""Scenarios of topics: made again, grown, emptied from the front, or shared with other programs."""

import json
import os
import random
import re
import time
import urllib.request

from cluster import TOPICS


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
