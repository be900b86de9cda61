"""Times `bekk up --once` and `bekk audit --deep` on generated events, each as a whole process, with its peak memory.

usage: bench_audit.py BEKK ROWS
"""

import os
import subprocess
import sys
import tempfile
import time


def run(name, *command):
    """Runs a command; prints its time, the CPU time and the peak memory of its own process."""
    begun = time.monotonic()
    with open(f"{name}.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{name}: {seconds:.1f} s, {cpu:.1f} s of CPU, {usage.ru_maxrss // 1024} MB", flush=True)
    with open(f"{name}.log", encoding="utf-8") as log:
        lines = log.read().splitlines()
    if status != 0:
        sys.exit("\n".join(lines[-5:]))
    return lines


def main():
    bekk, rows = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    for name in [name for name in os.environ if name.startswith(("BEKK_", "PG", "POSTGRES_", "DATABASE_URL"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        run("generate", bekk, "generate", "--out", "data", "--rows", str(rows), "--files", "4")
        run("up", bekk, "up", "--once", "--http", "off")
        lines = run("audit", bekk, "audit", "--deep")
        print(next(line.strip() for line in lines if line.strip().startswith("content:")))
        os.chdir("/")


if __name__ == "__main__":
    main()
