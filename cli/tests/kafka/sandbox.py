"""A project in a directory of its own: configuration, inbox, private PostgreSQL, and bekk's processes."""

import csv
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid

from cluster import free_ports

HEADER = "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time".split(",")


class Sandbox:
    """A directory with a configuration, an inbox, a private PostgreSQL, and processes that work there."""

    def __init__(self, bekk, directory, hosts, kafka=None):
        self.bekk, self.directory, self.url = bekk, directory, f"kafka://{hosts}"
        self.ids, self.processes, self.ports, self.ended = set(), {}, {}, []
        # Added to the environment of every command.
        self.environment = {}
        os.makedirs(os.path.join(directory, "data"))
        self.call("init")
        if kafka:
            path = os.path.join(directory, "bekk.toml")
            with open(path, "a") as file:
                file.write("\n[log.kafka]\n" + "".join(f'"{key}" = "{value}"\n' for key, value in kafka.items()))
        # A kill of the process that made the private server would take that down.
        self.keeper = subprocess.Popen([bekk, "psql", "-c", "select pg_sleep(3600)"], cwd=directory,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def call(self, *arguments, timeout=120):
        return subprocess.run([self.bekk, *arguments], cwd=self.directory, capture_output=True, text=True,
                              timeout=timeout, env={**os.environ, **self.environment})

    def run(self, *arguments):
        """What a command that must succeed prints."""
        done = self.call(*arguments)
        if done.returncode != 0:
            raise SystemExit(f"{arguments} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def refused(self, expected, *arguments):
        """Runs a command that must fail, and say that."""
        done = self.call(*arguments, "--log", self.url, timeout=60)
        said = done.stdout + done.stderr
        assert done.returncode != 0 and re.search(expected, said), f"{arguments}: no {expected!r} in: {said}"
        print("  " + said.strip().splitlines()[-1])

    def start(self, name, role):
        self.ports.setdefault(name, free_ports(1)[0])
        said = open(os.path.join(self.directory, f"{name}.log"), "ab")
        command = [self.bekk, role, "--log", self.url, "--http", f"127.0.0.1:{self.ports[name]}"]
        self.processes[name] = subprocess.Popen(command, cwd=self.directory, stdout=said, stderr=said,
                                                env={**os.environ, **self.environment})

    def watch(self):
        """Starts again what has ended, and keeps what it said."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                with open(os.path.join(self.directory, f"{name}.log")) as said:
                    self.ended.append((name, process.returncode, said.read().strip().splitlines()[-1]))
                self.start(name, process.args[1])

    def said(self, name):
        with open(os.path.join(self.directory, f"{name}.log")) as said:
            return said.read()

    def await_said(self, name, expected, seconds):
        """Waits until a process that runs has said something."""
        deadline = time.monotonic() + seconds
        while expected not in self.said(name):
            assert time.monotonic() < deadline, f"no {expected!r} in: {self.said(name)}"
            time.sleep(0.2)

    def await_end(self, name, expected, seconds):
        """Waits until a process ends and has said something; returns all that it said."""
        try:
            self.processes[name].wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"{name} does not end; it said: {self.said(name)}") from None
        self.processes.pop(name)
        said = self.said(name)
        assert expected in said, f"no {expected!r} in: {said}"
        return said

    def configure(self, old, new):
        path = os.path.join(self.directory, "bekk.toml")
        with open(path) as file:
            text = file.read()
        assert old in text, text
        with open(path, "w") as file:
            file.write(text.replace(old, new))

    def kill(self, name):
        process = self.processes[name]
        process.kill()
        process.wait()
        self.start(name, process.args[1])

    def write(self, count, bad=0):
        """A file of so many events, renamed into the inbox when it is complete."""
        name = f"{uuid.uuid4()}.csv"
        beside = os.path.join(self.directory, "data", f".{name}")
        with open(beside, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(HEADER)
            for number in range(count):
                event = str(uuid.uuid4())
                user = "no number" if number < bad else number
                if number >= bad:
                    self.ids.add(event)
                rows.writerow([event, "view", user, 2, 'a "quoted", word', "1.50", 1, uuid.uuid4(),
                               "2026-01-01T00:00:00Z"])
        os.rename(beside, os.path.join(self.directory, "data", name))

    def table(self):
        done = self.call("psql", "-At", "-c", "select event_id from events")
        return set(done.stdout.split()) if done.returncode == 0 else set()

    def await_table(self, seconds):
        deadline = time.monotonic() + seconds
        while (table := self.table()) != self.ids:
            self.watch()
            if time.monotonic() > deadline:
                raise SystemExit(f"waited in vain: {len(table)} rows of {len(self.ids)}; ended: {self.ended}")
            time.sleep(0.5)

    def keys(self):
        """The keys of the rows in the topic."""
        out = self.run("log", "read", "--format", "json", "--log", self.url)
        records = [json.loads(line) for line in out.splitlines()]
        return [record["key"] for record in records if record.get("file") and record.get("key")]

    def await_topic(self, seconds):
        deadline = time.monotonic() + seconds
        while set(keys := self.keys()) != self.ids:
            assert time.monotonic() < deadline, f"{len(keys)} rows in the topic of {len(self.ids)}"
            time.sleep(0.5)

    def begin(self):
        """Starts ingest and a sink, and waits until the first rows are in the table."""
        for role in ("ingest", "sink"):
            self.start(role, role)
        self.write(1_000)
        self.await_table(60)

    def check(self):
        """Each row is in the topic once, and the table holds the same: `audit --deep` compares files, log and table."""
        table = self.table()
        print(f"  {len(self.ids)} rows in files, {len(table)} in the table")
        assert table == self.ids, "files and table hold the same"
        self.audit()

    def audit(self, *arguments):
        """All that `audit --deep` compares must be the same."""
        done = self.call("audit", "--deep", *arguments, "--log", self.url)
        said = done.stdout + done.stderr
        assert done.returncode == 0 and "nothing differs" in said, said
        print("  audit --deep: " + done.stdout.strip().splitlines()[-1])

    def ready(self, name):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/readyz", timeout=5).read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def stop(self):
        """Ends what runs; it must end well."""
        for name, process in self.processes.items():
            process.send_signal(signal.SIGTERM)
        for name, process in self.processes.items():
            assert process.wait(timeout=60) == 0, f"{name} did not end well"

    def close(self):
        for process in [*self.processes.values(), self.keeper]:
            process.kill()
            process.wait()
