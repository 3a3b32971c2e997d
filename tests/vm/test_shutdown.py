# SPDX-License-Identifier: Apache-2.0
"""The machine goes down: containers are stopped, each in its own way, before the engine and what they may need."""
import os
import pathlib
import time

import pytest

from layout import run, wait
from service import OUT, UNITS, remove, show, start, state

# What a shutdown does before systemd ends itself. The target of that may be asked for by other units only.
TARGET = "[Unit]\nDefaultDependencies=no\nRequires=shutdown.target\nAfter=shutdown.target\n"


@pytest.mark.last
def test_containers_are_stopped_when_the_machine_goes_down(busybox):
    start("polite", "trap 'echo bye >/out/polite; exit 3' TERM; while :; do sleep 0.1; done", RestartPolicy={"Name": "unless-stopped"})
    start("deaf", "trap '' TERM; while :; do sleep 0.1; done")
    pids = [state(name)["Pid"] for name in ("polite", "deaf")]
    pathlib.Path(UNITS, "end-of-machine.target").write_text(TARGET)
    run("systemctl", "daemon-reload")
    begun = time.monotonic()
    try:
        run("systemctl", "start", "--job-mode=replace-irreversibly", "end-of-machine.target")
        assert time.monotonic() - begun < 60, "systemd has killed nobody"
        assert run("systemctl", "is-system-running", check=False).stdout == "stopping\n"
        assert show("ActiveState", "Result") == ("inactive", "success")
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
        assert pathlib.Path(OUT, "polite").read_text() == "bye\n"
    finally:
        # What a start of the machine does to /tmp is not for files of tests.
        run("systemctl", "mask", "--runtime", "systemd-tmpfiles-setup.service")
        run("systemctl", "start", "basic.target", "dbus.socket", "ireko.socket")
    assert state("deaf")["ExitCode"] == 137
    wait("what is to run always runs again", lambda: state("polite")["Running"])
    for name in ("polite", "deaf"):
        remove(name)
