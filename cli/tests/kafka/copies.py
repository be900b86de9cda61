"""The scenario of a log that moves to a cluster."""

import signal
import subprocess
import time

from cluster import free_ports


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
    said = ""
    for seconds in (0.5, 1.5, 2.5, 3.5):
        killed = subprocess.Popen([sandbox.bekk, *copy], cwd=sandbox.directory, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        time.sleep(seconds)
        killed.kill()
        # A fast one may have ended before.
        said += killed.communicate()[0]
    said += sandbox.run(*copy)
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
