"""The served log against real clients: what they write is what they read, offsets are dense.

usage: matrix.py PATH-OF-BEKK

Each function named test_* of the modules beside this gets a server of its own. It exits with 1 if one of them fails.
"""

import os
import sys
import time
import traceback

import confluent_kafka
import kafka

import librdkafka
import programs
import python_client
from server import Server, kcat

PARTS = [librdkafka, python_client, programs]


def main():
    bekk = os.path.abspath(sys.argv[1])
    print(f"confluent-kafka {confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]}), "
          f"kafka-python {kafka.__version__}, {kcat('-V').splitlines()[3].decode()}")
    tests = {name: test for part in PARTS for name, test in vars(part).items() if name.startswith("test_")}
    failed = 0
    for name, test in tests.items():
        begun = time.time()
        server = Server(bekk)
        try:
            test(server)
            server.stop()
            print(f"ok      {name} ({time.time() - begun:.1f} s)", flush=True)
        except BaseException:
            failed += 1
            print(f"FAILED  {name}", flush=True)
            traceback.print_exc()
            print(open(server.said).read())
        finally:
            server.kill()
    sys.exit(1 if failed else 0)


main()
