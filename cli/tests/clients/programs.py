"""Other programs with the pipeline: their objects become rows, and the documented consumer reads rows."""

import json
import os
import subprocess
import sys

import kafka
from confluent_kafka import Producer


def test_json_of_other_producers(server):
    """Objects that librdkafka and kafka-python write become rows, the rest dead letters, which can be retried."""
    directory = os.path.join(server.dir.name, "sink")
    os.mkdir(directory)
    with open(os.path.join(directory, "bekk.toml"), "w") as file:
        file.write("""
[streams.items]
accept = "json"
partitions = 3
key = ["id"]
columns = [
    { name = "id", type = "int8" },
    { name = "name", type = "text", nullable = true },
    { name = "amount", type = "numeric", header = "Amount" },
]
""")

    def bekk(*arguments, code=0):
        done = subprocess.run([server.bekk, *arguments], cwd=directory, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def query(text):
        return bekk("psql", "-At", "-c", text).split("\n")[0]

    log = ["--log", f"kafka://{server.address}"]
    server.create("items", 3)
    producer = Producer({"bootstrap.servers": server.address, "compression.type": "zstd"})
    for i in range(3_000):
        value = f'{{"id": {i % 1_000}, "name": "n \\"{i}\\"", "Amount": {i}.000000000000000001, "other": [1, 2]}}'
        producer.produce("items", value.encode(), key=str(i % 1_000).encode())
    producer.produce("items", b"no object", key=b"x")
    producer.produce("items", b'{"id": "a word", "Amount": 1}', key=b"y")
    producer.produce("items", None, key=b"7")
    assert producer.flush(30) == 0
    python = kafka.KafkaProducer(bootstrap_servers=server.address)
    python.send("items", b'{"Amount": "12.50", "id": 5000}', key=b"5000").get(10)
    python.close()

    bekk("sink", "--once", "--http", "off", *log)
    assert query("SELECT count(*), sum(amount) FROM items") == "1001|2499512.500000000000001000"
    assert query("SELECT name FROM items WHERE id = 17") == 'n "2017"'
    letters = "SELECT string_agg(reason || ' ' || coalesce(convert_from(raw, 'UTF8'), ''), '; ' ORDER BY reason, raw) "
    expected = 'bad_value {"id": "a word", "Amount": 1}; not_json ; not_json no object'
    assert query(letters + "FROM bekk.dead_letters") == expected
    # A second run has nothing to do, and what the table holds is what the log says.
    before = query("SELECT max(xmin::text::bigint) FROM items")
    bekk("sink", "--once", "--http", "off", *log)
    assert query("SELECT max(xmin::text::bigint) FROM items") == before
    assert "3,004 records of the log, 1,001 rows of the table: 0 missing, 0 changed, 0 extra" in bekk("audit", "--deep", *log)
    said = bekk("trace", "--stream", "items", "--key", "17", *log)
    assert said.count("no file   superseded") == 2 and said.count("no file   is the row") == 1, said
    # Nothing to ingest is no mistake of the patterns.
    assert "nothing to ingest" in bekk("ingest", "--once", "--http", "off", *log)


def program(page):
    """The Python program of a page of the documentation."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
    with open(os.path.join(root, "docs", page)) as file:
        return file.read().split("```python\n")[1].split("```")[0]


def test_documented_consumer(server):
    """The consumer of the guide prints the rows of the files as JSON, and the rejects."""
    directory = os.path.join(server.dir.name, "ingest")
    os.mkdir(directory)
    for name, page in (("bekk_format.py", "format.md"), ("rows.py", "guide/kafka.md")):
        with open(os.path.join(directory, name), "w") as file:
            file.write(program(page))
    with open(os.path.join(directory, "bekk.toml"), "w") as file:
        file.write("""
[streams.sales]
files = ["*.csv"]
key = ["id"]
columns = [
    { name = "id", type = "int8" },
    { name = "name", type = "text", nullable = true },
    { name = "price", type = "decimal(12,3)" },
    { name = "day", type = "date" },
    { name = "at", type = "timestamptz" },
]
""")
    with open(os.path.join(directory, "sales.csv"), "w") as file:
        file.write("id,name,price,day,at\n")
        for i in range(500):
            file.write(f'{i},"n ""{i}""",{i}.250,1969-12-31,2026-01-01T00:00:00.000001+02:00\n')
        file.write("x,wrong,1,2026-01-01,2026-01-01T00:00:00Z\n7000,,-0.001,2026-02-28,2026-01-01T00:00:00Z\n")
    log = f"kafka://{server.address}"
    command = [server.bekk, "ingest", "--once", "--http", "off", "--log", log]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "rows.py", server.address, "sales"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda row: row["id"])
    assert len(rows) == 501, len(rows)
    expected = {"id": 7, "name": 'n "7"', "price": "7.250", "day": "1969-12-31", "at": "2025-12-31T22:00:00.000001+00:00"}
    assert rows[7] == expected, rows[7]
    assert rows[500]["name"] is None and rows[500]["price"] == "-0.001", rows[500]
    assert "reject: b'x,wrong,1" in done.stderr, done.stderr
