"""A cluster that wants TLS, a login with SCRAM, and rights."""

import os
import re
import shlex
import signal
import subprocess
import time

import certificates
import guide
from cluster import free_ports

LOGIN = {"KAFKA_USER": "bekk-ingest", "KAFKA_PASSWORD": "ingest-secret"}


def recipe(run):
    """The guide's way onto a cluster, command by command as it is written, with TLS, SCRAM, ACLs and topics made by an
    administrator: users, rights, topics, configuration, copy, start. Then brokers restart with another certificate, and
    each wrong setting is named: password, mechanism, authority, file, protocol."""
    secrets = os.path.join(run.directory, "secrets")
    os.mkdir(secrets)
    for name in ("authority", "stranger"):
        certificates.authority(secrets, name)
    cluster = run.cluster(3, users={}, keystore=certificates.broker(secrets, "broker", "authority"))
    sandbox = run.sandbox(cluster.user_bootstrap)
    with open(os.path.join(secrets, "authority.pem")) as authority, \
            open(os.path.join(sandbox.directory, "ca.pem"), "w") as file:
        file.write(authority.read())
    sandbox.write(2_000, bad=1)
    sandbox.run("ingest", "--once")
    sandbox.run("sink", "--once")
    sandbox.write(1_000)
    sandbox.run("ingest", "--once")
    sandbox.environment = LOGIN
    typed(sandbox, cluster)
    sandbox.await_table(60)
    for broker in cluster.all():
        certificates.broker(secrets, "broker", "authority")
        cluster.kill(broker, signal.SIGTERM)
        cluster.start(broker)
        sandbox.write(1_000)
        sandbox.await_table(120)
    assert not sandbox.ended, f"ended by themselves: {sandbox.ended}"
    sandbox.stop()
    sandbox.processes.clear()
    letters = sandbox.run("psql", "-At", "-c", "select count(*) from bekk.dead_letters")
    assert letters.strip() == "1", letters
    faults(sandbox, secrets)
    expired(sandbox, cluster, secrets)


def typed(sandbox, cluster):
    """Types the recipe; ingest and sink keep running."""
    scripts = cluster.scripts()
    os.symlink(sandbox.bekk, os.path.join(scripts, "bekk"))
    path = f"{scripts}:{os.environ['PATH']}"
    for step in guide.recipe():
        if isinstance(step, tuple):
            with open(os.path.join(sandbox.directory, "bekk.toml"), "a") as file:
                file.write(f"\n{step[1]}")
            continue
        command = step.replace(guide.USERS, cluster.user_bootstrap).replace(guide.ADMINISTRATOR, cluster.bootstrap)
        role = re.search(r"bekk (ingest|sink)$", command)
        if role:
            start(sandbox, role.group(1), command, path)
            continue
        done = subprocess.run(["sh", "-c", command], cwd=sandbox.directory, env={**os.environ, "PATH": path},
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        # The user may not read the topics' settings.
        assert "WARN topic" not in done.stderr, done.stderr
        url = re.search(r"now set (url = \S+) in \[log\]", done.stdout)
        if url:
            assert "group `bekk` continues there" in done.stdout and "with its checkpoint" in done.stdout, done.stdout
            sandbox.configure('dir = ".bekk/log"', url.group(1))


def start(sandbox, role, command, path):
    """Starts a service with the recipe's command; only the address of its page is another one."""
    words = shlex.split(command)
    set_here = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    sandbox.ports[role] = free_ports(1)[0]
    said = open(os.path.join(sandbox.directory, f"{role}.log"), "ab")
    sandbox.processes[role] = subprocess.Popen(
        [*words[len(set_here):], "--http", f"127.0.0.1:{sandbox.ports[role]}"], cwd=sandbox.directory,
        env={**os.environ, "PATH": path, **set_here}, stdout=said, stderr=said)


def faults(sandbox, secrets):
    """Each wrong setting is named."""
    stranger = os.path.join(secrets, "stranger.pem")
    for expected, old, new in (
        ("authentication failed.*sasl.password", "${KAFKA_PASSWORD}", "wrong"),
        ("authentication failed.*sasl.mechanism", "SHA-512", "SHA-256"),
        ("authentication failed.*ssl.ca.location", '"ca.pem"', f'"{stranger}"'),
        ("cannot read `elsewhere.pem`.*ssl.ca.location", '"ca.pem"', '"elsewhere.pem"'),
    ):
        sandbox.configure(old, new)
        begun = time.monotonic()
        sandbox.refused(expected, "ingest", "--once")
        assert time.monotonic() - begun < 20, "named soon"
        sandbox.configure(new, old)
    # A listener with TLS closes the connection and says nothing, as does one that is about to stop.
    sandbox.configure("SASL_SSL", "SASL_PLAINTEXT")
    sandbox.start("stranger", "ingest")
    sandbox.await_said("stranger", "security.protocol", 20)


def expired(sandbox, cluster, secrets):
    """The brokers' certificate expires. The command that is printed says so."""
    stranger = sandbox.processes.pop("stranger")
    stranger.kill()
    stranger.wait()
    sandbox.configure("SASL_PLAINTEXT", "SASL_SSL")
    certificates.broker(secrets, "broker", "authority", days=0)
    for broker in cluster.all():
        cluster.kill(broker)
    for broker in cluster.all():
        cluster.start(broker)
    said = ""
    deadline = time.monotonic() + 60
    while not (found := re.search(r"to see which: (openssl .*)", said)):
        assert time.monotonic() < deadline, f"no command in: {said}"
        done = sandbox.call("log", "topics", "--log", sandbox.url)
        said = done.stdout + done.stderr
    done = subprocess.run(["sh", "-c", found.group(1)], cwd=sandbox.directory, capture_output=True, text=True, timeout=30)
    assert "certificate has expired" in done.stdout, done.stdout + done.stderr
