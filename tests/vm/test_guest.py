# SPDX-License-Identifier: Apache-2.0
"""The guest is what it was booted to be: otherwise the tests beside this one would pass for the wrong reason."""
import os
import pathlib

from layout import LAYOUT


def mounted():
    """Mount points below /sys/fs/cgroup and their filesystems."""
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    return {f[1].removeprefix("/sys/fs/cgroup").lstrip("/"): f[2] for f in map(str.split, lines) if f[1].startswith("/sys/fs/cgroup")}


def test_init_is_systemd():
    assert pathlib.Path("/proc/1/comm").read_text() == "systemd\n"
    assert os.path.isdir("/run/systemd/system")


def test_layout():
    found = mounted()
    assert (found[""] == "cgroup2") == (LAYOUT == "v2")
    assert ("cgroup2" in found.values()) == (LAYOUT != "v1")
    assert ("memory" in found) == (LAYOUT != "v2")
