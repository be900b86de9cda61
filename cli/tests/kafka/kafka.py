"""Ingest and sinks on Apache Kafka itself.

usage: kafka.py BEKK JARS [SCENARIO]...

Each scenario has brokers of its own. The random ones print their seed, and BEKK_SEED sets it.
"""

import os
import random
import sys
import tempfile
import time

from administration import addresses, meddled, rights, settings, swapped
from cluster import Cluster
from copies import copied
from failures import paused, quorum, storm, unclean
from sandbox import Sandbox
from secured import recipe
from speed import speed
from topics import grown, objects, others, passed, remade


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


SCENARIOS = [
    settings, addresses, meddled, swapped, rights, recipe, others, objects, remade, unclean, paused, grown, passed, copied, quorum,
    storm,
]


def main():
    bekk, kafka = (os.path.abspath(path) for path in sys.argv[1:3])
    random.seed(seed := int(os.environ.get("BEKK_SEED", random.randrange(1 << 30))))
    print(f"BEKK_SEED={seed}")
    chosen = [scenario for scenario in [*SCENARIOS, speed] if scenario.__name__ in sys.argv[3:]]
    for scenario in chosen if sys.argv[3:] else SCENARIOS:
        begun = time.monotonic()
        print(f"{scenario.__name__}: {' '.join(scenario.__doc__.split())}")
        with tempfile.TemporaryDirectory(prefix="bekk-kafka-") as directory:
            # Root's private server runs as another user, and its data would be elsewhere, and stay.
            os.chmod(directory, 0o711)
            run = Run(bekk, kafka, directory)
            try:
                scenario(run)
            finally:
                # Nothing outlives a run that fails.
                run.close()
        print(f"  {time.monotonic() - begun:.0f} s")


main()
