# SPDX-License-Identifier: Apache-2.0
"""Faults: a full disk, killed daemons in the middle of everything, killed shims, and what is left afterwards."""
import os
import pathlib
import random
import re
import shutil
import signal
import time

import pytest

import harness
from harness import add_file, busybox_archive, busybox_layer, docker_archive, make_tar, run, wait_until


@pytest.fixture
def small_disk():
    """An engine whose data root is a file system of its own, large enough for the reserve that the store keeps for bad days."""
    root = harness.temp_folder("small")
    data = root / "disk"
    data.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=340m", "irk-small", data)
    engine = harness.Engine(root=root, data_root=data / "data")
    engine.own_mounts = (str(data),)
    try:
        engine.start()
        engine.load_busybox()
        wait_until("the reserve is made", lambda: (engine.data_root / "reserve").exists())
        yield engine
        # What is stored still works, once there is room.
        assert engine.cli("run", "--rm", "busybox", "echo", "fine").stdout == "fine\n"
    finally:
        try:
            engine.destroy(keep_files=True)
        finally:
            run("umount", data)
            shutil.rmtree(root)


def used(engine):
    s = os.statvfs(engine.data_root)
    return (s.f_blocks - s.f_bfree) * s.f_frsize


def test_full_disk_load(small_disk):
    before = used(small_disk)
    big = docker_archive("big:x", [make_tar(lambda t: add_file(t, "big", bytes(400 << 20)))])
    p = small_disk.cli("load", input=big, text=False, check=False)
    assert p.returncode == 1 and re.search(rb"[Nn]o space left|disk is full|ENOSPC", p.stderr + p.stdout), p.stderr
    assert "big:x" not in small_disk.images()
    wait_until("what was half made is gone", lambda: used(small_disk) < before + (2 << 20))


def test_full_disk_build(small_disk, folder):
    before = used(small_disk)
    (folder / "Dockerfile").write_text("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=400\n")
    p = small_disk.cli("build", "-t", "big", folder, check=False)
    assert p.returncode != 0 and "No space left" in p.stdout + p.stderr
    assert not small_disk.containers()
    wait_until("what was half made is gone", lambda: used(small_disk) < before + (2 << 20))


def test_full_disk_run_and_logs(small_disk, name):
    p = small_disk.cli("run", "--name", name, "busybox", "sh", "-c", "dd if=/dev/zero of=/fill bs=1M; echo full; exit 3", check=False)
    assert p.returncode == 3 and "No space left" in p.stderr
    # A full disk: the engine still answers, and says what is wrong when it cannot.
    assert name in small_disk.cli("ps", "-a").stdout
    p = small_disk.cli("run", "--rm", "busybox", "echo", "works", check=False)
    assert p.returncode in (0, 125) and (p.returncode == 0 or re.search("[nN]o space left", p.stderr)), p
    small_disk.cli("rm", "-f", name)


def test_full_disk_while_logging(small_disk, name):
    """The container is not held up by a log that cannot be written."""
    small_disk.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "dd if=/dev/zero of=/fill bs=1M 2>/dev/null; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; rm /fill; exit 5")
    assert small_disk.cli("wait", name).stdout.strip() == "5"


@pytest.mark.seconds(240)
def test_kill_9_at_random_moments(new_engine, folder):
    """Whatever the daemon was doing when it died, it comes back, works, and nothing is half there."""
    engine = new_engine()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo a > /a\nRUN echo b > /b\nCOPY . /c\n")
    (folder / "file").write_text("x" * 100000)
    chance = random.Random(4)
    for i in range(12):
        work = [engine.popen("run", "--rm", "busybox", "sh", "-c", "echo x; sleep 0.1"), engine.popen("run", "-d", "--name", f"c{i}", "busybox", "sleep", "1000"),
                engine.popen("build", "--no-cache", "-t", f"b{i}", folder), engine.popen("load", "-i", busybox_archive())]
        time.sleep(chance.uniform(0, 0.5))
        engine.kill()
        for p in work:
            p.kill()
            p.communicate()
        engine.start()
        assert engine.cli("run", "--rm", "busybox", "echo", "back").stdout == "back\n"
    engine.remove_containers()
    wait_until("nothing of a container is left", lambda: not engine.leftovers_of_containers(), seconds=20)
    for image in engine.images():
        if not image.startswith("busybox"):
            assert engine.cli("run", "--rm", image, "cat", "/a", "/b", "/c/file").stdout == "a\nb\n" + "x" * 100000


def test_killed_shim(new_engine, name):
    """The shim dies (out of memory, say): the container goes with it and is reported as ended, and can be started again."""
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    pid = engine.inspect(name)["State"]["Pid"]
    for shim in engine.shims():
        os.kill(shim, signal.SIGKILL)
    wait_until("it is seen", lambda: not engine.inspect(name)["State"]["Running"])
    wait_until("its process is gone", lambda: not pathlib.Path(f"/proc/{pid}").exists())
    engine.cli("start", name)
    assert engine.inspect(name)["State"]["Running"]


def test_shim_and_daemon_killed_together(new_engine, name):
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    pid = engine.inspect(name)["State"]["Pid"]
    shims = engine.shims()
    engine.kill()
    for shim in shims:
        os.kill(shim, signal.SIGKILL)
    engine.start()
    wait_until("it is seen", lambda: not engine.inspect(name)["State"]["Running"])
    wait_until("its process is gone", lambda: not pathlib.Path(f"/proc/{pid}").exists())
    engine.cli("rm", name)


def test_damaged_database_is_named(new_engine):
    engine = new_engine()
    engine.stop()
    db = engine.data_root / "ireko.db"
    good = db.read_bytes()
    for extra in ("ireko.db-wal", "ireko.db-shm"):
        (engine.data_root / extra).unlink(missing_ok=True)
    db.write_bytes(b"this is no database" * 1000)
    p = run(harness.BUILD / "irekod", "--data-root", engine.data_root, "--exec-root", engine.exec_root, "-H", f"unix://{engine.socket}", check=False, timeout=20)
    assert p.returncode == 1 and "ireko.db" in p.stderr
    db.write_bytes(good)
    engine.start()


def test_damaged_layer_leaves_nothing(new_engine):
    """A layer whose archive is damaged in the middle leaves nothing of it in the store, nor of the layers before it."""
    engine = new_engine()
    first = make_tar(lambda t: add_file(t, "first", os.urandom(50000)))
    layer = bytearray(make_tar(lambda t: [add_file(t, f"f{i}", os.urandom(5000)) for i in range(200)]))
    layer[len(layer) // 2 // 512 * 512:] = b"\xff" * (len(layer) - len(layer) // 2 // 512 * 512)
    stored = lambda: {p for d in ("content", "layers") for p in (engine.data_root / d).rglob("*")}
    before = stored()
    p = engine.cli("load", input=docker_archive("cut:x", [busybox_layer(), first, bytes(layer)]), text=False, check=False)
    assert p.returncode == 1 and p.stderr.strip() and "cut:x" not in engine.images()
    wait_until("what was half made is gone", lambda: stored() <= before)
