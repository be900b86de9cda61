"""Clients of librdkafka: kcat and confluent-kafka."""

import os
import random
import subprocess
import threading
import time

import confluent_kafka
import kafka
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec
from kafka.admin import KafkaAdminClient

from server import CODECS, consume, kcat, refuses


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


def test_confluent_administers(server):
    server.create("t", 2)
    admin = AdminClient({"bootstrap.servers": server.address})
    only = lambda futures: next(iter(futures.values())).result(10)
    resource = lambda **more: ConfigResource(ConfigResource.Type.TOPIC, "t", **more)
    told = lambda: {name: one.value for name, one in only(admin.describe_configs([resource()])).items()}
    assert told()["retention.ms"] == "-1" and told()["cleanup.policy"] == "delete", told()
    only(admin.alter_configs([resource(set_config={"retention.ms": "60000"})]))
    assert told()["retention.ms"] == "60000", told()
    broker = only(admin.describe_configs([ConfigResource(ConfigResource.Type.BROKER, "0")]))
    assert broker["bekk.durability"].value == "sync", broker

    producer = Producer({"bootstrap.servers": server.address, "linger.ms": 0})
    for i in range(10):
        producer.produce("t", value=b"%d" % i, partition=0)
        producer.flush(10)
    assert only(admin.delete_records([TopicPartition("t", 0, 6)])).low_watermark == 6
    earliest = admin.list_offsets({TopicPartition("t", 0): OffsetSpec.earliest()})
    assert only(earliest).offset == 6

    consumer = Consumer({"bootstrap.servers": server.address, "group.id": "g", "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("t", 0, 7), TopicPartition("t", 1, 0)], asynchronous=False)
    assert [group.group_id for group in admin.list_consumer_groups().result(10).valid] == ["g"]
    described = only(admin.describe_consumer_groups(["g"]))
    assert described.state.name == "EMPTY" and not described.members, described
    offsets = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("g")]))
    assert sorted(one.offset for one in offsets.topic_partitions) == [0, 7], offsets
    only(admin.delete_consumer_groups(["g"]))
    assert admin.list_consumer_groups().result(10).valid == []
    consumer.close()

    only(admin.delete_topics(["t"]))
    assert admin.list_topics(timeout=10).topics == {}
    # Offsets are given once: a topic that is made again goes on where the deleted one ended.
    server.create("t", 2)
    reported = []
    producer = Producer({"bootstrap.servers": server.address})
    producer.produce("t", value=b"new", partition=0, on_delivery=lambda _, one: reported.append(one.offset()))
    producer.flush(10)
    assert reported == [10], reported


def test_passwords(server):
    server.create("t", 1)
    server.restart("--sasl-user", "bekk")
    security = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "bekk"}
    producer = Producer({"bootstrap.servers": server.address, **security, "sasl.password": "brook"})
    producer.produce("t", value=b"confluent", partition=0)
    assert producer.flush(10) == 0
    wrong = AdminClient({"bootstrap.servers": server.address, **security, "sasl.password": "creek", "log_level": 2})
    refuses(lambda: wrong.list_topics(timeout=1))
    without = AdminClient({"bootstrap.servers": server.address, "log_level": 2})
    refuses(lambda: without.list_topics(timeout=1))

    options = [f"-X{name}={value}" for name, value in security.items()]
    target = ["-b", server.address, "-t", "t", "-p", "0", *options]
    kcat("-P", *target, "-X", "sasl.password=brook", stdin=b"kcat\n")
    plain = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "bekk"}
    python = kafka.KafkaProducer(bootstrap_servers=server.address, **plain, sasl_plain_password="brook")
    python.send("t", value=b"python", partition=0).get(10)
    python.close()
    refused = lambda: KafkaAdminClient(
        bootstrap_servers=server.address, **plain, sasl_plain_password="creek", request_timeout_ms=2000,
        bootstrap_timeout_ms=1000,
    ).list_topics()
    refuses(refused)
    out = kcat("-C", *target, "-X", "sasl.password=brook", "-o", "beginning", "-e", "-q")
    assert out.split() == [b"confluent", b"kcat", b"python"], out

    # The password itself is not sent: each proves to the other that it knows it.
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        scram = {"bootstrap.servers": server.address, **security, "sasl.mechanism": mechanism}
        assert "t" in AdminClient({**scram, "sasl.password": "brook"}).list_topics(timeout=10).topics
        wrong = AdminClient({**scram, "sasl.password": "creek", "log_level": 2})
        refuses(lambda: wrong.list_topics(timeout=1))
        out = kcat("-C", *target, "-X", f"sasl.mechanism={mechanism}", "-X", "sasl.password=brook", "-o", "beginning", "-e", "-q")
        assert out.split() == [b"confluent", b"kcat", b"python"], out
        login = {**plain, "sasl_mechanism": mechanism}
        python = kafka.KafkaProducer(bootstrap_servers=server.address, **login, sasl_plain_password="brook")
        assert python.partitions_for("t") == {0}
        python.close()


def test_encryption(server):
    server.create("t", 1)
    directory = server.dir.name
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-days", "2",
            "-subj", "/CN=bekk", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(made, cwd=directory, check=True, capture_output=True)
    server.restart("--tls-cert", "cert", "--tls-key", "key", "--sasl-user", "bekk")
    authority = os.path.join(directory, "cert")
    security = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "bekk",
                "sasl.password": "brook", "ssl.ca.location": authority}
    large = os.urandom(3_000_000)
    producer = Producer({"bootstrap.servers": server.address, **security, "message.max.bytes": 8_000_000})
    for value in [b"small", large]:
        producer.produce("t", value=value, partition=0)
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": server.address, **security, "group.id": "g"})
    consumer.assign([TopicPartition("t", 0, 0)])
    assert [consumer.poll(10).value() for _ in range(2)] == [b"small", large]
    consumer.close()
    options = [f"-X{name}={value}" for name, value in security.items()]
    out = kcat("-C", "-b", server.address, "-t", "t", "-p", "0", *options, "-o", "beginning", "-c", "1", "-q")
    assert out == b"small\n"
    python = KafkaAdminClient(
        bootstrap_servers=server.address, security_protocol="SASL_SSL", sasl_mechanism="PLAIN",
        sasl_plain_username="bekk", sasl_plain_password="brook", ssl_cafile=authority,
    )
    assert list(python.list_topics()) == ["t"]
    python.close()
    unverified = AdminClient({"bootstrap.servers": server.address, "security.protocol": "SSL", "log_level": 2})
    refuses(lambda: unverified.list_topics(timeout=1))


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
