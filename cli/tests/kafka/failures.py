"""Scenarios in which brokers die, stop or lose records."""

import random
import re
import signal
import time


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
    sandbox.begin()
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
    sandbox.begin()
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
