"""The served log, and what every client of the tests needs."""

import os
import signal
import socket
import subprocess
import tempfile
import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Server:
    """`bekk log serve` on a port that stays the same over restarts."""

    def __init__(self, bekk):
        self.bekk = bekk
        self.dir = tempfile.TemporaryDirectory(prefix="bekk-clients-")
        # Root's private server runs as another user, and its data would be elsewhere, and stay.
        os.chmod(self.dir.name, 0o711)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.options = []
        self.said = os.path.join(self.dir.name, "said")
        self.start()

    def start(self):
        with open(self.said, "ab") as said:
            command = [self.bekk, "log", "serve", "--listen", self.address, *self.options]
            environment = dict(os.environ)
            if "--sasl-user" in self.options:
                environment["BEKK_SASL_PASSWORD"] = "brook"
            self.process = subprocess.Popen(
                command, cwd=self.dir.name, stdout=said, stderr=said, env=environment
            )
        deadline = time.time() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.time() > deadline or self.process.poll() is not None:
                    raise RuntimeError(open(self.said).read())
                time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self, *options):
        self.stop()
        self.options = options
        self.start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        said = open(self.said).read()
        assert code == 0 and "stopped cleanly" in said, (code, said)

    def verify(self):
        command = [self.bekk, "log", "verify"]
        done = subprocess.run(command, cwd=self.dir.name, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def create(self, topic, partitions=1):
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)


def consume(address, topic, counts, timeout=60):
    """Reads partitions from the beginning: the values of each, whose offsets must be dense."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "reader", "enable.auto.commit": False,
         "auto.offset.reset": "error"}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(len(counts))])
    values = [[] for _ in counts]
    deadline = time.time() + timeout
    while sum(map(len, values)) < sum(counts):
        message = consumer.poll(1)
        if message is None:
            assert time.time() < deadline, [len(of_one) for of_one in values]
            continue
        assert not message.error(), message.error()
        assert message.offset() == len(values[message.partition()]), "offsets are not dense"
        values[message.partition()].append(message.value())
    assert consumer.poll(0.3) is None, "more records than were written"
    consumer.close()
    return values


def kcat(*arguments, stdin=b""):
    done = subprocess.run(["kcat", *arguments], input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refuses(act):
    try:
        act()
    except Exception as error:  # each client has its own
        return type(error).__name__ + str(error)
    raise AssertionError("it was let in")
