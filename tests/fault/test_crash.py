# SPDX-License-Identifier: Apache-2.0
"""kill -9 of irekod, and of ireko-unpack, right before any of its steps during pull, load, commit and prune.

kill_at.c counts the steps; each test first counts those of a whole operation and then kills at points spread evenly over them, no two
alike. After each: the engine starts, `system check` finds the store consistent, the same operation succeeds, and what was whole before is
used again: no blob that was there is downloaded once more. IREKO_CRASH_POINTS says how many points in all (make check-crash: 200).
"""
import contextlib
import mmap
import os
import struct
import subprocess

import pytest

import harness
from harness import docker_archive, run, wait_until
from storage import CountingRegistry, blobs, check, image_layers, layer, settled

POINTS = int(os.environ.get("IREKO_CRASH_POINTS", "40"))
SECONDS = 60 + 5 * POINTS
ENGINE, UNPACK = 0, 1


class Control:
    """The memory that kill_at shares with us."""

    def __init__(self, path):
        path.write_bytes(bytes(4096))
        self.file = path.open("r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)

    def arm(self, kind=ENGINE, kill_at=0):
        at = [0, 0]
        at[kind] = kill_at
        self.map[:48] = struct.pack("6Q", 1, 0, 0, *at, 0)

    def disarm(self):
        self.map[:8] = bytes(8)

    def counts(self):
        return struct.unpack_from("2Q", self.map, 8)

    @property
    def killed(self):
        return struct.unpack_from("Q", self.map, 40)[0] != 0

    def close(self):
        self.map.close()
        self.file.close()


@pytest.fixture(scope="module")
def kill_at():
    folder = harness.temp_folder("kill-at")
    run("gcc", "-std=gnu17", "-O1", "-Wall", "-Werror", harness.ROOT / "tests/fault/kill_at.c", "-o", folder / "kill_at", "-lseccomp")
    yield folder / "kill_at"
    harness.shutil.rmtree(folder)


@pytest.fixture(scope="module")
def registry():
    r = CountingRegistry()
    yield r
    r.close()


@pytest.fixture
def victim(kill_at, request):
    root = harness.temp_folder("crash 倒れる")
    control = Control(root / "control")
    engine = harness.Engine("--insecure-registry", "127.0.0.0/8", "--snapshotter", getattr(request, "param", "auto"), root=root, prefix=(kill_at, root / "control"))
    engine.control = control
    engine.start()
    yield engine
    control.disarm()
    try:
        engine.destroy()
    finally:
        control.close()


def forget_images(engine):
    for image in engine.api("GET", "/images/json?all=1").json:
        assert engine.api("DELETE", f"/images/{image['Id']}?force=1").status in (200, 404)
    engine.cli("builder", "prune", "-af")


def wait_dead(engine):
    with contextlib.suppress(subprocess.TimeoutExpired):
        engine.p.wait(timeout=10)
    alive = engine.p.poll() is None
    engine.kill() if alive else (engine.log_file.close(), setattr(engine, "p", None))
    return not alive


def run_to(engine, kind, step, operate):
    """One operation, killed at that step if it takes so many: (whether it was met, the steps that were taken)."""
    engine.control.arm(kind, step)
    p = operate()
    if kind == ENGINE:
        wait_until("a kill, or the end", lambda: engine.control.killed or p.poll() is not None, seconds=60)
        met = engine.control.killed and wait_dead(engine)
        p.kill()
        p.communicate()
        if engine.p is not None:
            engine.kill()
    else:
        out, _ = p.communicate(timeout=60)
        met = engine.control.killed
        assert not met or (p.returncode != 0 and "kill" in out.lower()), out
    steps = engine.control.counts()[kind]
    engine.control.disarm()
    if kind == ENGINE:
        engine.start()
    return bool(met), steps


def run_points(engine, points, kind, prepare, operate, redo):
    """Kills at `points` points of operate(), and looks at what is left after each."""
    totals = []
    # The first time has steps that do not come again.
    for _ in range(3):
        prepare()
        engine.control.arm(kind)
        assert operate().wait(timeout=60) == 0
        totals.append(engine.control.counts()[kind])
        engine.control.disarm()
    total = min(totals)
    # No two points alike.
    points, met = min(points, total - 1), 0
    for i in range(points):
        # The same operation does not take the same number of steps each time: what others do beside it counts as well. One that was over before its point
        # says how many it takes now.
        for _ in range(2):
            prepare()
            was_met, steps = run_to(engine, kind, 1 + i * total // points, operate)
            settled(engine)
            check(engine)
            redo()
            check(engine)
            if was_met:
                break
            total = max(min(total, steps), points)
        met += was_met
    assert met >= points // 2, f"only {met} of {points} points were met"


def counted_redo(engine, registry, operate):
    """Does it again; nothing that was there is downloaded."""
    def redo():
        there = blobs(engine)
        registry.forget_sent()
        p = operate()
        out, _ = p.communicate(timeout=60)
        assert p.returncode == 0, out
        again = [d for d, _ in registry.sent if d in there]
        assert not again, f"downloaded although it was there: {again}"

    return redo


@pytest.mark.seconds(SECONDS)
@pytest.mark.parametrize("victim, kind, share", [("auto", ENGINE, 0.2), ("overlayfs", ENGINE, 0.15), ("auto", UNPACK, 0.05), ("overlayfs", UNPACK, 0.15)], indirect=["victim"])
def test_pull(victim, registry, kind, share):
    registry.push("crash/pull", "x", image_layers())
    points = max(3, int(POINTS * share))
    operate = lambda: victim.popen("pull", f"{registry.host}/crash/pull:x")
    run_points(victim, points, kind, lambda: forget_images(victim), operate, counted_redo(victim, registry, operate))


@pytest.mark.seconds(SECONDS)
@pytest.mark.parametrize("victim, kind, share", [("auto", ENGINE, 0.1), ("overlayfs", ENGINE, 0.05), ("overlayfs", UNPACK, 0.1)], indirect=["victim"])
def test_load(victim, folder, kind, share):
    (folder / "a.tar").write_bytes(docker_archive("crash/load:x", image_layers()))
    points = max(3, int(POINTS * share))
    operate = lambda: victim.popen("load", "-i", folder / "a.tar")

    def redo():
        out, _ = (p := operate()).communicate(timeout=60)
        assert p.returncode == 0, out
        assert "crash/load:x" in victim.images()

    run_points(victim, points, kind, lambda: forget_images(victim), operate, redo)


@pytest.mark.seconds(SECONDS)
def test_commit(victim, folder):
    victim.load_busybox()
    (folder / "new").mkdir()
    for i in range(30):
        (folder / "new" / f"f{i}").write_bytes(os.urandom(5000))
    victim.cli("create", "--name", "cc", "busybox", "true")
    victim.cli("cp", folder / "new", "cc:/root/new")
    points = max(3, int(POINTS * 0.1))
    operate = lambda: victim.popen("commit", "cc", "crash/commit:x")

    def prepare():
        victim.cli("rmi", "crash/commit:x", check=False)

    def redo():
        out, _ = (p := operate()).communicate(timeout=60)
        assert p.returncode == 0, out
        assert "crash/commit:x" in victim.images() and "cc" in victim.containers()

    run_points(victim, points, ENGINE, prepare, operate, redo)


@pytest.mark.seconds(SECONDS)
def test_prune(victim, registry):
    registry.push("crash/prune", "x", image_layers())
    registry.push("crash/prune", "y", [*image_layers(2), layer(9)])
    points = max(3, int(POINTS * 0.1))

    def prepare():
        for tag in "xy":
            victim.cli("pull", "-q", f"{registry.host}/crash/prune:{tag}")

    def operate():
        return victim.popen("image", "prune", "-af")

    def redo():
        out, _ = (p := operate()).communicate(timeout=60)
        assert p.returncode == 0, out
        assert not victim.images()

    run_points(victim, points, ENGINE, prepare, operate, redo)
