"""The comparison with Kafka's own producer."""

import os
import re
import shutil
import statistics
import subprocess
import time

from cluster import TOPICS


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
