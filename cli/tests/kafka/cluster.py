"""Brokers of Apache Kafka on this machine, to be killed and started again."""

import contextlib
import copy
import json
import os
import signal
import socket
import subprocess
import time

TOPICS = "org.apache.kafka.tools.TopicCommand"
ACLS = "org.apache.kafka.tools.AclCommand"
CONFIGS = "kafka.admin.ConfigCommand"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
# The scripts of Kafka's distribution, which Maven Central does not have.
SCRIPTS = {"kafka-acls.sh": ACLS, "kafka-configs.sh": CONFIGS, "kafka-topics.sh": TOPICS}
PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
DELETE_RECORDS = "org.apache.kafka.tools.DeleteRecordsCommand"
# One cluster's brokers must agree on it; any 16 bytes in base64 will do.
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
OTHER_CLUSTER_ID = "QmVra3MgdGVzdHMgb25seQ"
HEAP = "384m"
JAVA = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1"]


def free_ports(count):
    """Ports that nobody had a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """`users` opens a second listener, where each of these names logs in with its password, or one with SCRAM; they have
    the rights that ACLs give them. With `keystore`, a file, that listener has TLS. The first listener is the
    administrator's. `advertised` opens a listener whose address is given to clients as that host. `more` is added to the
    brokers' properties."""

    def __init__(self, kafka, directory, brokers, users=None, keystore=None, advertised=None, more=""):
        self.classpath, self.directory, self.count = f"{kafka}/*", directory, brokers
        os.mkdir(directory)
        self.ports, self.voters = free_ports(brokers), free_ports(brokers)
        self.user_ports = free_ports(brokers) if users is not None else []
        self.outer_ports = free_ports(brokers) if advertised else []
        self.users, self.keystore, self.advertised, self.more, self.processes = users, keystore, advertised, more, {}
        self.format(CLUSTER_ID)

    def format(self, cluster_id):
        """Makes the brokers' directories."""
        for broker in self.all():
            with open(self.file(broker, "properties"), "w") as file:
                file.write(self.properties(broker))
            self.java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", file.name, check=True)

    def twin(self, directory):
        """Another cluster with the same addresses, not started."""
        other = copy.copy(self)
        other.directory, other.processes = directory, {}
        os.mkdir(directory)
        other.format(OTHER_CLUSTER_ID)
        return other

    def all(self):
        return range(1, self.count + 1)

    def file(self, broker, suffix):
        return os.path.join(self.directory, f"{broker}.{suffix}")

    def properties(self, broker):
        voters = ",".join(f"{other}@127.0.0.1:{self.voters[other - 1]}" for other in self.all())
        listeners = f"PLAINTEXT://127.0.0.1:{self.ports[broker - 1]}"
        more, protocol = self.more, "SASL_SSL" if self.keystore else "SASL_PLAINTEXT"
        told = listeners
        if self.advertised:
            port = self.outer_ports[broker - 1]
            listeners += f",OUTER://127.0.0.1:{port}"
            told += f",OUTER://{self.advertised}:{port}"
        if self.users is not None:
            login = f",SASL://127.0.0.1:{self.user_ports[broker - 1]}"
            listeners, told = listeners + login, told + login
            users = " ".join(f'user_{name}="{password}"' for name, password in self.users.items())
            logins = "org.apache.kafka.common.security"
            more += f"""
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config={logins}.plain.PlainLoginModule required {users};
listener.name.sasl.scram-sha-512.sasl.jaas.config={logins}.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
        if self.keystore:
            more += f"""
listener.name.sasl.ssl.keystore.type=PEM
listener.name.sasl.ssl.keystore.location={self.keystore}
"""
        return f"""
process.roles=broker,controller
node.id={broker}
controller.quorum.voters={voters}
listeners={listeners},CONTROLLER://127.0.0.1:{self.voters[broker - 1]}
advertised.listeners={told}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OUTER:PLAINTEXT,SASL:{protocol}
log.dirs={self.directory}/log{broker}
num.partitions=4
default.replication.factor={self.count}
min.insync.replicas={min(self.count, 2)}
offsets.topic.replication.factor={self.count}
offsets.topic.num.partitions=8
transaction.state.log.replication.factor={self.count}
transaction.state.log.num.partitions=8
transaction.state.log.min.isr={min(self.count, 2)}
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=4000
replica.lag.time.max.ms=5000
{more}"""

    def start(self, broker):
        said = open(self.file(broker, "log"), "ab")
        self.processes[broker] = subprocess.Popen(
            ["java", f"-Xmx{HEAP}", f"-Xms{HEAP}", "-XX:TieredStopAtLevel=1", "-cp", self.classpath, "kafka.Kafka",
             self.file(broker, "properties")],
            stdout=said, stderr=said,
        )

    def kill(self, broker, how=signal.SIGKILL):
        self.processes[broker].send_signal(how)
        self.processes[broker].wait()

    def up(self):
        """Starts all brokers and waits until they answer."""
        for broker in self.all():
            self.start(broker)
        deadline = time.monotonic() + 120
        while self.tool(TOPICS, "--list", check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise SystemExit(f"the cluster does not come up; see {self.directory}")
            time.sleep(1)
        return self

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    @property
    def bootstrap(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    @property
    def user_bootstrap(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.user_ports)

    @property
    def outer_bootstrap(self):
        return ",".join(f"127.0.0.1:{port}" for port in self.outer_ports)

    def java(self, *arguments, check, stdin=None):
        command = [*JAVA, "-cp", self.classpath, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=check,
                              errors="replace")

    def scripts(self):
        """A directory with the scripts of Kafka's distribution."""
        directory = os.path.join(self.directory, "bin")
        os.mkdir(directory)
        for name, main in SCRIPTS.items():
            path = os.path.join(directory, name)
            with open(path, "w") as file:
                file.write(f"#!/bin/sh\nexec {' '.join(JAVA)} -cp '{self.classpath}' {main} \"$@\"\n")
            os.chmod(path, 0o755)
        return directory

    def tool(self, name, *arguments, check=True):
        """One of Kafka's own tools, as its administrator."""
        done = self.java(name, "--bootstrap-server", self.bootstrap, *arguments, check=False)
        if check and done.returncode != 0:
            raise SystemExit(f"{name} {arguments} failed: {done.stdout}{done.stderr}")
        return done

    def delete_records(self, offsets):
        """Removes what lies below an offset, by topic and partition; -1 is the end."""
        places = [{"topic": topic, "partition": partition, "offset": offset} for (topic, partition), offset in offsets.items()]
        path = os.path.join(self.directory, "delete.json")
        with open(path, "w") as file:
            json.dump({"version": 1, "partitions": places}, file)
        self.tool(DELETE_RECORDS, "--offset-json-file", path)

    def produce(self, topic, line, bootstrap):
        """Writes a record: headers, key and value, between tabs; NULL is null."""
        properties = [item for name in ("parse.key=true", "parse.headers=true", "null.marker=NULL")
                      for item in ("--reader-property", name)]
        done = self.java(PRODUCER, "--bootstrap-server", bootstrap, "--topic", topic, *properties, check=True,
                         stdin=line + "\n")
        assert "ERROR" not in done.stdout + done.stderr, done.stdout + done.stderr

    def consume(self, topic):
        """All records: headers, key and value, between tabs."""
        properties = [item for name in ("print.key=true", "print.headers=true", "null.literal=NULL")
                      for item in ("--formatter-property", name)]
        return self.tool(CONSUMER, "--topic", topic, "--from-beginning", "--timeout-ms", "5000", *properties,
                         check=False).stdout

    @contextlib.contextmanager
    def consumer(self, topic, group):
        """A consumer of another program, which is a member of a group as long as this lasts."""
        command = [*JAVA, "-cp", self.classpath, CONSUMER, "--bootstrap-server", self.bootstrap, "--topic", topic, "--group",
                   group, "--consumer-property", "enable.auto.commit=false"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            # So it leaves the group.
            process.send_signal(signal.SIGTERM)
            process.wait()

    def create_topic(self, name, partitions, **settings):
        """`replica_assignment` or settings of the topic."""
        where = settings.pop("replica_assignment", None)
        places = ["--replica-assignment", where] if where else ["--partitions", str(partitions)]
        config = [item for key, value in settings.items() for item in ("--config", f"{key.replace('_', '.')}={value}")]
        self.tool(TOPICS, "--create", "--topic", name, *places, *config)
