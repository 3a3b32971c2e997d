# SPDX-License-Identifier: Apache-2.0
"""No space left, at every stage of a pull, a load and a commit: small file systems of ever larger sizes, until the operation fits.

Each failure says how much was needed and how much is free, leaves nothing behind, and after the file system has grown the same command
works. Garbage collection works with not one byte free.
"""
import os
import re
import shutil

import pytest

import harness
from harness import docker_archive, run, wait_until
from storage import CountingRegistry, blobs, check, image_layers, layers, settled

MB = 1 << 20


class SmallDisk:
    """An engine whose data root is a file system with `room` bytes beyond what an empty store takes."""

    def __init__(self, snapshotter):
        self.root = harness.temp_folder("full 満杯")
        self.mount = self.root / "disk"
        self.mount.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=64m", "irk-full", self.mount)
        self.engine = harness.Engine("--insecure-registry", "127.0.0.0/8", "--gc-interval", "1s", "--snapshotter", snapshotter, root=self.root, data_root=self.mount / "data")
        self.engine.own_mounts = (str(self.mount),)
        self.engine.start()

    def used(self):
        s = os.statvfs(self.mount)
        return (s.f_blocks - s.f_bfree) * s.f_frsize

    def resize(self, size):
        run("mount", "-o", f"remount,size={size // 4096 * 4096}", self.mount)

    def close(self):
        try:
            self.engine.destroy(keep_files=True)
        finally:
            run("umount", self.mount)
            shutil.rmtree(self.root)


@pytest.fixture
def disk(request):
    d = SmallDisk(getattr(request, "param", "auto"))
    yield d
    d.close()


@pytest.fixture(scope="module")
def registry():
    r = CountingRegistry()
    yield r
    r.close()


def step_through(disk, operate, undo, steps=14):
    """Fails operate() at `steps` sizes between no room and enough; each time it then works with more room."""
    settled(disk.engine)
    before = disk.used()
    p = operate()
    assert p.returncode == 0, p.stderr
    settled(disk.engine)
    need = disk.used() - before
    undo()
    wait_until("it is as before", lambda: disk.used() <= before + MB)
    failed = 0
    for i in range(steps):
        base = disk.used()
        there = (blobs(disk.engine), layers(disk.engine))
        disk.resize(base + need * i // steps)
        p = operate()
        if p.returncode != 0:
            failed += 1
            said = p.stderr + p.stdout
            assert re.search(r"[Nn]o space left", said), said
            assert re.search(r"needed: more than [\d.]+ \w+; free in .*: [\d.]+ \w+", said), said
        disk.resize(64 * MB + need * 2)
        if p.returncode != 0:
            settled(disk.engine)
            wait_until("nothing is left of it", lambda: (blobs(disk.engine), layers(disk.engine)) == there)
            check(disk.engine)
            p = operate()
            assert p.returncode == 0, p.stderr
        check(disk.engine)
        undo()
        settled(disk.engine)
    assert failed >= steps // 2, f"only {failed} of {steps} sizes were too small"


@pytest.mark.seconds(180)
@pytest.mark.parametrize("disk", ["overlayfs", "auto"], indirect=True)
def test_pull(disk, registry):
    registry.push("full/pull", "x", image_layers(4, big=900000))
    reference = f"{registry.host}/full/pull:x"
    step_through(disk, lambda: disk.engine.cli("pull", reference, check=False), lambda: disk.engine.cli("rmi", reference))


@pytest.mark.seconds(180)
@pytest.mark.parametrize("disk", ["overlayfs", "auto"], indirect=True)
def test_load(disk, folder):
    (folder / "a.tar").write_bytes(docker_archive("full/load:x", image_layers(4, big=900000)))
    step_through(disk, lambda: disk.engine.cli("load", "-i", folder / "a.tar", check=False), lambda: disk.engine.cli("rmi", "full/load:x"))


@pytest.mark.seconds(180)
def test_commit(disk, folder):
    disk.engine.load_busybox()
    for i in range(20):
        (folder / f"f{i}").write_bytes(os.urandom(150000))
    disk.engine.cli("create", "--name", "cc", "busybox", "true")
    disk.engine.cli("cp", f"{folder}/.", "cc:/root")
    step_through(disk, lambda: disk.engine.cli("commit", "cc", "full/commit:x", check=False), lambda: disk.engine.cli("rmi", "full/commit:x"), steps=10)


def test_remove_with_no_byte_free(disk, registry):
    """Deleting needs room too: the reserve is for that."""
    registry.push("full/rm", "x", image_layers(3))
    disk.resize(160 * MB)
    wait_until("the reserve is made", lambda: (disk.engine.restart(), (disk.engine.data_root / "reserve").exists())[1])
    disk.engine.cli("pull", f"{registry.host}/full/rm:x")
    settled(disk.engine)
    filler = disk.mount / "filler"
    with filler.open("wb", buffering=0) as f:
        with pytest.raises(OSError):
            while True:
                f.write(bytes(MB))
        with pytest.raises(OSError):
            while True:
                f.write(bytes(512))
    assert os.statvfs(disk.mount).f_bavail == 0
    disk.engine.cli("rmi", f"{registry.host}/full/rm:x")
    wait_until("its files are gone", lambda: not layers(disk.engine) and not blobs(disk.engine))
    assert os.statvfs(disk.mount).f_bavail > 0
    filler.unlink()
    check(disk.engine)
