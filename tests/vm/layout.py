# SPDX-License-Identifier: Apache-2.0
"""What the tests in the guest share: where a controller's directory is in each layout, and waiting."""
import os
import pathlib
import subprocess
import time

import pytest

if "IREKO_LAYOUT" not in os.environ:
    raise pytest.UsageError("these tests are for the guests of make check-vm: they change units of systemd and schedulers of disks")
LAYOUT = os.environ["IREKO_LAYOUT"]
ROOT = pathlib.Path("/sys/fs/cgroup")
V2 = LAYOUT == "v2"
# A test that is about one kind of controllers is not collected where there are others: the guest of the other kind runs it.
only_v2 = pytest.mark.layouts("v2")
only_v1 = pytest.mark.layouts("v1", "hybrid")


def controllers():
    """The hierarchies with controllers: their names as directories."""
    return [""] if V2 else sorted(d.name for d in ROOT.iterdir() if d.is_dir() and not d.is_symlink() and d.name not in ("systemd", "unified"))


def hierarchies():
    return controllers() + [d for d in ("systemd", "unified") if not V2 and (ROOT / d).is_dir()]


def where(controller, path):
    """The directory of a cgroup in the hierarchy of a controller."""
    return ROOT / ("" if V2 else controller) / path.lstrip("/")


def read(directory, name):
    return (directory / name).read_text().strip()


def run(*args, check=True, text="", timeout=60, **kw):
    """text: what it reads."""
    p = subprocess.run([str(a) for a in args], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, check=False, **kw)
    assert not check or p.returncode == 0, f"{args}: {p.returncode}\n{p.stdout}{p.stderr}"
    return p


def wait(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.05)


def pids(directory):
    """Of a cgroup and those below it."""
    return sorted(int(p) for f in directory.rglob("cgroup.procs") for p in f.read_text().split())
