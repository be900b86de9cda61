"""The client that is written in Python."""

import kafka
from kafka.admin import ConfigResource as PyConfigResource
from kafka.admin import KafkaAdminClient

from server import CODECS


def test_kafka_python(server):
    server.create("t", 2)
    expected = [[], []]
    for idempotent in [False, True]:
        for codec in [None, *CODECS[1:]]:
            producer = kafka.KafkaProducer(
                bootstrap_servers=server.address, compression_type=codec, acks="all",
                enable_idempotence=idempotent,
            )
            for i in range(1000):
                value = b"%d %r %r" % (i, codec, idempotent)
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
    assert list(consumer.end_offsets(partitions).values()) == [5000, 5000]
    consumer.seek(partitions[0], 1234)
    message = next(message for message in consumer if message.partition == 0)
    assert (message.offset, message.value) == (1234, expected[0][1234])
    consumer.close()


def test_kafka_python_administers(server):
    admin = KafkaAdminClient(bootstrap_servers=server.address)
    admin.create_topics({"t": {"num_partitions": 2, "replication_factor": 1, "configs": {"retention.bytes": "1000000"}}})
    resource = lambda configs=None: PyConfigResource("TOPIC", "t", configs)
    told = lambda: {name: one["value"] for name, one in
                    admin.describe_configs([resource()], config_filter="all")["topic"]["t"].items()}
    assert told()["retention.bytes"] == "1000000", told()
    admin.alter_configs([resource({"retention.ms": "60000"})])
    assert (told()["retention.ms"], told()["retention.bytes"]) == ("60000", "1000000"), told()

    producer = kafka.KafkaProducer(bootstrap_servers=server.address)
    first = kafka.TopicPartition("t", 0)
    for i in range(10):
        producer.send("t", value=b"x", partition=0, timestamp_ms=1_700_000_000_000 + 1000 * i).get(10)
    producer.close()
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=server.address, group_id="g", enable_auto_commit=False, consumer_timeout_ms=5000
    )
    consumer.assign([first])
    at = consumer.offsets_for_times({first: 1_700_000_003_500})[first]
    assert (at.offset, at.timestamp) == (4, 1_700_000_004_000), at
    consumer.commit({first: kafka.OffsetAndMetadata(7, "a note", -1)})
    consumer.close()
    server.kill()
    server.start()
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=server.address, group_id="g", enable_auto_commit=False, consumer_timeout_ms=5000
    )
    consumer.assign([first])
    assert next(consumer).offset == 7, "a consumer goes on where the group was"
    consumer.close()

    assert admin.delete_records({first: 6})[first]["low_watermark"] == 6
    assert admin.list_partition_offsets({first: -2})[first].offset == 6
    assert [group["group_id"] for group in admin.list_groups()] == ["g"]
    assert admin.describe_groups(["g"])["g"]["group_state"] == "Empty"
    assert admin.list_group_offsets(["g"])["g"][first].offset == 7
    admin.delete_group_offsets("g", [first])
    assert admin.list_groups() == []
    admin.delete_topics(["t"])
    assert list(admin.list_topics()) == []
    admin.close()
