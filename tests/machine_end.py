# SPDX-License-Identifier: Apache-2.0
"""A PID 1 of an engine's own, which can take the name that systemd has when all services are stopped and what is left is sent SIGTERM."""
import os
import pathlib
import signal
import sys

from harness import wait_until

PID_1 = """
import ctypes, os, signal, subprocess, sys
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000000 | 0x20000) == 0  # CLONE_NEWPID, CLONE_NEWNS
pid = os.fork()
if pid:
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
libc.prctl(1, signal.SIGKILL, 0, 0, 0)
assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0  # MS_REC, MS_PRIVATE
assert libc.mount(b"proc", b"/proc", b"proc", 0, None) == 0
signal.signal(signal.SIGUSR1, lambda *_: libc.prctl(15, b"systemd-shutdown", 0, 0, 0))
p = subprocess.Popen(sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: p.terminate())
sys.exit(p.wait())
"""
PREFIX = (sys.executable, "-c", PID_1)


def begin(engine):
    """Of an engine that runs under PREFIX: what it started in its namespace sees that the machine ends."""
    pid = engine.p.pid
    while "irekod" not in (names := children(pid)).values() and names:
        pid = next(iter(names))
    os.kill(pid, signal.SIGUSR1)
    wait_until("PID 1 has the name", lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "systemd-shutdow\n")


def children(pid):
    """{pid: name}"""
    pids = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(p): pathlib.Path(f"/proc/{p}/comm").read_text().strip() for p in pids}
