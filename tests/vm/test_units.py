# SPDX-License-Identifier: Apache-2.0
"""irekod under a real systemd: its socket, its signs of life, its ends, and containers that take no notice."""
import grp
import json
import os
import pathlib
import signal
import stat
import time
import urllib.request

import pytest

from layout import ROOT, V2, hierarchies, pids, read, run, wait, where
from service import SOCKET, UNITS, api, inspect, remove, show, start, state

SETTINGS = pathlib.Path("/etc/ireko/daemon.json")
MB = 1 << 20
COUNT = "i=0; while :; do echo $((i += 1)); sleep 0.2; done"


@pytest.fixture(scope="module")
def counter(busybox):
    """A container that counts: the pid that it keeps whatever happens to the engine."""
    start("counter", COUNT, Memory=64 * MB, PidsLimit=30)
    pid = state("counter")["Pid"]
    yield pid
    seen = inspect("counter")
    assert seen["State"]["Pid"] == pid
    counted = [int(json.loads(line)["log"]) for line in pathlib.Path(seen["LogPath"]).read_text().splitlines()]
    assert len(counted) > 20 and counted == list(range(1, len(counted) + 1)), "its log has a gap"
    remove("counter")


def test_what_is_installed(installed):
    p = run("systemd-analyze", "verify", "ireko.socket", "ireko.service")
    assert p.stdout + p.stderr == ""
    st = os.stat(SOCKET)
    assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (0o660, 0, grp.getgrnam("ireko").gr_gid)
    assert stat.S_IMODE(os.stat(os.path.dirname(SOCKET)).st_mode) == 0o711


def test_a_request_starts_it(installed):
    assert show("ActiveState", "Type", "NotifyAccess") == ("inactive", "notify", "main")
    assert api("GET", "/_ping").body == b"OK"
    # Only READY=1 makes it that.
    assert show("ActiveState", "SubState", "NRestarts") == ("active", "running", "0")


def test_layers_are_not_copied(installed):
    """Debian's own kernel has overlayfs, and takes its options in another way than newer ones do."""
    assert api("GET", "/info").json["Driver"] == "overlayfs"


def test_containers_take_no_notice(counter):
    with open(f"/proc/{counter}/oom_score_adj") as f:
        assert f.read() == "0\n", "the unit's own is not the container's"
    before = show("MainPID")
    run("systemctl", "restart", "ireko")
    assert show("MainPID") != before and state("counter")["Pid"] == counter
    begun = time.monotonic()
    run("systemctl", "stop", "ireko")
    assert time.monotonic() - begun < 15
    assert show("ActiveState", "SubState", "Result") == ("inactive", "dead", "success")
    assert os.path.exists(f"/proc/{counter}")
    assert state("counter")["Pid"] == counter, "the socket has started it"
    os.kill(int(*show("MainPID")), signal.SIGKILL)
    wait("systemd starts it again", lambda: show("NRestarts", "SubState") == ("1", "running"))
    assert state("counter")["Pid"] == counter


def test_their_cgroups_are_not_systemds(counter):
    """Nor are they the service's, which is stopped and started; a manager that reads its units again leaves them alone."""
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "ireko")
    path = f"/ireko/{inspect('counter')['Id']}"
    assert read(where("memory", path), "memory.max" if V2 else "memory.limit_in_bytes") == str(64 * MB)
    assert read(where("pids", path), "pids.max") == "30"
    assert all(counter in pids(where(name, path)) for name in hierarchies() if name != "freezer")
    if V2:
        assert read(where("", path), "cgroup.controllers") == read(ROOT, "cgroup.controllers")


def test_settings(counter):
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text('{"hosts": ["tcp://127.0.0.1:2375"]}')
    run("systemctl", "restart", "ireko")
    with urllib.request.urlopen("http://127.0.0.1:2375/_ping") as reply:
        assert reply.read() == b"OK"
    SETTINGS.write_text('{"hosts": ["tcp://127.0.0.1:2375"], "labels": ["read=again"]}')
    run("systemctl", "reload", "ireko")
    wait("the settings are in force", lambda: api("GET", "/info").json["Labels"] == ["read=again"])
    wait("the reload is over", lambda: show("ActiveState", "SubState") == ("active", "running"))
    SETTINGS.unlink()


def test_watchdog(counter):
    drop_in = pathlib.Path(UNITS, "ireko.service.d/watchdog.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=6\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "ireko")
    pid, since = show("MainPID", "WatchdogTimestampMonotonic")
    wait("a sign of life", lambda: show("WatchdogTimestampMonotonic") != (since,))
    assert show("MainPID", "NRestarts") == (pid, "0")
    os.kill(int(pid), signal.SIGSTOP)
    wait("systemd ends it and starts another", lambda: show("NRestarts", "SubState") == ("1", "running"))
    assert "Watchdog timeout" in run("journalctl", "--boot", "--unit", "ireko.service").stdout
    assert state("counter")["Pid"] == counter
    drop_in.unlink()
    run("systemctl", "daemon-reload")


def test_nothing_listens_when_all_is_stopped(counter):
    run("systemctl", "stop", "ireko.socket", "ireko.service")
    assert show("ActiveState") + show("ActiveState", unit="ireko.socket") == ("inactive", "inactive")
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        api("GET", "/_ping")
    run("systemctl", "start", "ireko.socket")
    assert state("counter")["Pid"] == counter
