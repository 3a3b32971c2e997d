# SPDX-License-Identifier: Apache-2.0
"""Containers that take all they can get: processes, memory, log. The engine answers meanwhile, other containers go on, and the bomb can be ended."""
import contextlib
import time

import pytest

from harness import wait_until

SOON = 10  # seconds, on a busy machine; whoever waits for a bomb waits as long as it is there


@pytest.fixture
def engine(new_engine):
    engine = new_engine()
    engine.cli("run", "-d", "--name", "bystander", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done")
    return engine


@contextlib.contextmanager
def bystander_goes_on(engine):
    pid = engine.inspect("bystander")["State"]["Pid"]
    yield
    assert engine.inspect("bystander")["State"]["Pid"] == pid
    before = engine.cli("logs", "bystander").stdout.count("\n")
    wait_until("the bystander writes", lambda: engine.cli("logs", "bystander").stdout.count("\n") > before)


def answers(engine, *paths):
    for path in ("/_ping", "/containers/json", *paths):
        start = time.monotonic()
        assert engine.api("GET", path).status == 200
        assert time.monotonic() - start < SOON, path


def test_fork_bomb(engine, name):
    with bystander_goes_on(engine):
        engine.cli("run", "-d", "--name", name, "--pids-limit", "50", "--cpus", "0.5", "busybox", "sh", "-c", "sh -c 'while :; do sleep 1000 & done'; exec sleep 1000")
        wait_until("it is at its limit", lambda: engine.api("GET", f"/containers/{name}/stats?stream=0&one-shot=1").json["pids_stats"].get("current", 0) >= 49)
        answers(engine, f"/containers/{name}/json", f"/containers/{name}/top")
        start = time.monotonic()
        engine.cli("rm", "-f", name)
        assert time.monotonic() - start < 20


def test_memory_bomb(engine, name):
    with bystander_goes_on(engine):
        engine.cli("run", "-d", "--name", name, "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
        answers(engine)
        assert engine.cli("wait", name).stdout.strip() == "137"
        assert engine.inspect(name)["State"]["OOMKilled"] is True


def size_of(path):
    """It may be rotated away while it is looked at."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_log_flood(engine, name):
    """A reader that does not read holds nobody up, and a log that is capped stays capped."""
    with bystander_goes_on(engine):
        engine.cli("run", "-d", "--name", name, "--log-opt", "max-size=1m", "--log-opt", "max-file=2", "--stop-signal", "KILL", "busybox", "yes", "0123456789" * 8)
        reader = engine.popen("logs", "-f", name)
        time.sleep(1)
        answers(engine, f"/containers/{name}/logs?stdout=1&tail=10")
        folder = engine.data_root / "containers" / engine.inspect(name)["Id"]
        assert sum(size_of(p) for p in folder.iterdir() if "log" in p.name) < 4 << 20
        engine.cli("rm", "-f", name)
        reader.kill()
        reader.communicate()
