"""The served log against real clients: what they write is what they read, offsets are dense.

usage: matrix.py PATH-OF-BEKK

Each function named test_* gets a server of its own. It exits with 1 if one of them fails.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import confluent_kafka
import kafka
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Server:
    """`bekk log serve` on a port that stays the same over restarts."""

    def __init__(self, bekk):
        self.bekk = bekk
        self.dir = tempfile.TemporaryDirectory(prefix="bekk-clients-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.said = os.path.join(self.dir.name, "said")
        self.start()

    def start(self):
        with open(self.said, "ab") as said:
            command = [self.bekk, "log", "serve", "--listen", self.address]
            self.process = subprocess.Popen(command, cwd=self.dir.name, stdout=said, stderr=said)
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


def test_kcat(server):
    server.create("t", 2)
    assert b'topic "t" with 2 partitions' in kcat("-b", server.address, "-L")
    lines = [b"line %d" % i for i in range(500)]
    for codec in CODECS:
        produced = b"\n".join(lines) + b"\n"
        kcat("-b", server.address, "-P", "-t", "t", "-p", "1", "-z", codec, stdin=produced)
    out = kcat("-b", server.address, "-C", "-t", "t", "-p", "1", "-o", "beginning", "-e", "-q", "-f", "%o %s\n")
    expected = [b"%d %s" % (i, line) for i, line in enumerate(lines * len(CODECS))]
    assert out.splitlines() == expected
    out = kcat("-b", server.address, "-C", "-t", "t", "-p", "1", "-o", "-3", "-e", "-q", "-f", "%o\n")
    assert out.split() == [b"2497", b"2498", b"2499"]
    assert b"offset 2500" in kcat("-b", server.address, "-Q", "-t", "t:1:-1")
    assert b"offset 0" in kcat("-b", server.address, "-Q", "-t", "t:1:-2")
    out = kcat("-b", server.address, "-C", "-t", "t", "-p", "1", "-o", "s@1000", "-c", "1", "-q", "-f", "%o\n")
    assert out.split() == [b"0"]


def test_confluent_produces_and_consumes(server):
    server.create("t", 3)
    expected = [[], [], []]
    for codec in CODECS:
        for idempotent in [False, True]:
            producer = Producer(
                {"bootstrap.servers": server.address, "compression.type": codec, "linger.ms": 5,
                 "enable.idempotence": idempotent}
            )
            failures = []
            for i in range(3000):
                value = b"%s %r %d" % (codec.encode(), idempotent, i) * 3
                report = lambda error, _: failures.append(error) if error else None
                producer.produce("t", value=value, partition=i % 3, on_delivery=report)
                expected[i % 3].append(value)
            assert producer.flush(30) == 0 and not failures, failures
    assert consume(server.address, "t", [10_000] * 3) == expected
    large = Producer({"bootstrap.servers": server.address, "message.max.bytes": 8_000_000})
    large.produce("t", value=b"x" * 5_000_000, partition=0)
    assert large.flush(30) == 0
    assert len(consume(server.address, "t", [10_001, 10_000, 10_000])[0][-1]) == 5_000_000


def test_confluent_offsets(server):
    server.create("t", 2)
    producer = Producer({"bootstrap.servers": server.address})
    for i in range(10):
        producer.produce("t", value=b"x", partition=0, timestamp=1_700_000_000_000 + 1000 * i)
        producer.flush(10)
    config = {"bootstrap.servers": server.address, "group.id": "g", "enable.auto.commit": False}
    consumer = Consumer(config)
    assert consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=10) == (0, 10)
    at = lambda ms: consumer.offsets_for_times([TopicPartition("t", 0, ms)], timeout=10)[0].offset
    assert [at(0 + 1), at(1_700_000_003_500), at(1_700_000_009_000), at(1_800_000_000_000)] == [0, 4, 9, -1]
    consumer.commit(offsets=[TopicPartition("t", 0, 7, "a note")], asynchronous=False)
    consumer.close()
    server.stop()
    server.start()
    consumer = Consumer(config)
    found = consumer.committed([TopicPartition("t", 0), TopicPartition("t", 1)], timeout=10)
    assert [(one.offset, one.metadata) for one in found] == [(7, "a note"), (-1001, None)], found
    consumer.assign([TopicPartition("t", 0)])
    assert consumer.poll(10).offset() == 7, "a consumer goes on where the group was"
    consumer.seek(TopicPartition("t", 0, 2))
    assert consumer.poll(10).offset() == 2
    consumer.close()


def test_confluent_admin(server):
    admin = AdminClient({"bootstrap.servers": server.address})
    create = lambda *arguments, **more: admin.create_topics([NewTopic(*arguments, **more)])[arguments[0]].result(10)
    create("t", 4, 1, config={"retention.ms": "1000"})
    topics = admin.list_topics(timeout=10).topics
    assert {name: len(topic.partitions) for name, topic in topics.items()} == {"t": 4}
    refused = {
        "TOPIC_ALREADY_EXISTS": ("t", 4, 1),
        "INVALID_PARTITIONS": ("u", 5000, 1),
        "INVALID_REPLICATION_FACTOR": ("u", 1, 3),
        "TOPIC_EXCEPTION": ("a/b", 1, 1),
    }
    for name, arguments in refused.items():
        try:
            create(*arguments)
            raise AssertionError(f"{arguments} were taken")
        except confluent_kafka.KafkaException as error:
            assert name in error.args[0].name(), error
    try:
        create("u", 1, 1, config={"cleanup.policy": "compact"})
        raise AssertionError("compaction was promised")
    except confluent_kafka.KafkaException as error:
        assert error.args[0].name() == "INVALID_CONFIG", error


def test_kafka_python(server):
    server.create("t", 2)
    expected = [[], []]
    for idempotent in [False, True]:
        for codec in [None, "gzip"]:
            producer = kafka.KafkaProducer(
                bootstrap_servers=server.address, compression_type=codec, acks="all",
                enable_idempotence=idempotent,
            )
            for i in range(1000):
                value = b"%d %r" % (i, codec)
                producer.send("t", value=value, partition=i % 2)
                expected[i % 2].append(value)
            producer.flush(30)
            producer.close()
    partitions = [kafka.TopicPartition("t", i) for i in range(2)]
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=server.address, group_id=None, enable_auto_commit=False, consumer_timeout_ms=2000
    )
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    found = [[], []]
    for message in consumer:
        assert message.offset == len(found[message.partition])
        found[message.partition].append(message.value)
    assert found == expected
    assert list(consumer.end_offsets(partitions).values()) == [2000, 2000]
    consumer.close()


def test_fetch_waits_and_is_fast(server):
    server.create("t")
    producer = Producer({"bootstrap.servers": server.address, "linger.ms": 0})
    consumer = Consumer({"bootstrap.servers": server.address, "group.id": "g", "fetch.wait.max.ms": 5000})
    consumer.assign([TopicPartition("t", 0, 0)])
    waits = []
    for i in range(20):
        time.sleep(0.05)
        begun = time.time()
        producer.produce("t", value=b"%d" % i)
        producer.poll(0)
        assert consumer.poll(5).value() == b"%d" % i
        waits.append(time.time() - begun)
    assert sorted(waits)[10] < 0.5, waits
    producer.flush(10)
    consumer.close()


def test_kill_under_an_idempotent_producer(server):
    """The server is killed again and again while a producer writes: each record is there once, in order."""
    server.create("t", 2)
    producer = Producer(
        {"bootstrap.servers": server.address, "enable.idempotence": True, "linger.ms": 1,
         "batch.num.messages": 50, "message.timeout.ms": 0, "reconnect.backoff.ms": 10,
         "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20, "socket.timeout.ms": 5000, "log_level": 2,
         "queue.buffering.max.messages": 20000}
    )
    stop = threading.Event()
    failures, counts, delivered = [], [0, 0], [0]

    def report(error, _):
        if error:
            failures.append(error)
        else:
            delivered[0] += 1

    def write():
        while not stop.is_set():
            for partition in range(2):
                try:
                    producer.produce("t", value=b"%d" % counts[partition], partition=partition, on_delivery=report)
                    counts[partition] += 1
                except BufferError:
                    pass
            producer.poll(0.0002)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(8):
        # The client takes its time to come back; a kill that hits no append shows nothing.
        before, deadline = delivered[0], time.time() + 30
        while delivered[0] == before:
            assert time.time() < deadline, "the producer does not come back"
            time.sleep(0.01)
        time.sleep(random.uniform(0.05, 0.4))
        server.kill()
        server.start()
    stop.set()
    writer.join()
    assert producer.flush(60) == 0 and not failures, failures[:3]
    found = consume(server.address, "t", counts)
    for partition, count in enumerate(counts):
        assert found[partition] == [b"%d" % i for i in range(count)], "lost, doubled or out of order"
    print(f"    {sum(counts)} records over 8 kills", flush=True)
    server.stop()
    server.verify()
    server.start()


def main():
    bekk = os.path.abspath(sys.argv[1])
    print(f"confluent-kafka {confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]}), "
          f"kafka-python {kafka.__version__}, {kcat('-V').splitlines()[3].decode()}")
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
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
