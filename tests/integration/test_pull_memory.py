# SPDX-License-Identifier: Apache-2.0
"""How much memory an image takes to come in: the engine, its helpers and the client together, whatever the image holds."""
import contextlib
import gzip
import pathlib
import random
import subprocess
import time

import pytest

from harness import BUILD, Engine, add_file, make_tar

MIB = 1 << 20
LAYERS, LAYER_MB = 4, 12
BUDGET_MIB = 40


def processes_below(pid):
    found = [pid]
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += processes_below(int(child))
    return found


def pss(pid):
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def peak_of(engine, *words):
    """The most memory, and the most helpers that unpack at once, while a command of the client runs."""
    p = subprocess.Popen([BUILD / "ireko", *words], env=engine.env(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    most = helpers = 0
    while p.poll() is None:
        below = processes_below(engine.p.pid)
        most = max(most, sum(pss(one) for one in [*below, p.pid]))
        helpers = max(helpers, len(below) - 1)
        time.sleep(0.002)
    assert p.returncode == 0
    return most, helpers


def zstd(data):
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def files(number):
    """A layer of large and of many small files."""
    def fill(tar):
        chance = random.Random(number)
        for i in range(LAYER_MB // 2):
            add_file(tar, f"{number}/large{i}", chance.randbytes(MIB))
        for i in range(9500):
            add_file(tar, f"{number}/many/of-them/a-file-whose-name-is-long-{i}", chance.randbytes(100))
    return make_tar(fill)


# As images, layers take the most: all their names and inodes are held until the end.
@pytest.mark.parametrize("pack", [lambda d: gzip.compress(d, 1), zstd], ids=["gzip", "zstd"])
def test_a_pull_stays_below_40_mib(registry, name, pack):
    registry.push_image(name, "x", [files(i) for i in range(LAYERS)], pack=pack, Cmd=["/x"])
    engine = Engine("--snapshotter", "erofs").start()
    try:
        most, helpers = peak_of(engine, "pull", "-q", f"{registry.host}/{name}:x")
    finally:
        engine.destroy()
    assert most < BUDGET_MIB * MIB, f"{most / MIB:.1f} MiB with {helpers} helpers"
    assert 1 <= helpers <= 4, "two layers at once, each with a process that reads and one that unpacks"
    print(f"{most / MIB:.1f} MiB with {helpers} helpers")
