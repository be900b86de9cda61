"""Scenarios of what administrators set, grant and take away."""

import os
import re
import shutil
import time

import guide
from cluster import ACLS, CONFIGS, GROUPS, TOPICS

# How long a broker may take to learn of an ACL.
SETTLE_S = 1


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
    sandbox.begin()
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
    sandbox.begin()
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
