# SPDX-License-Identifier: Apache-2.0
"""Many containers come and go; descriptors, threads, memory, disk, cgroups and interfaces end as they began. IREKO_CYCLES says how many (make check-fault: 10,000)."""
import os
import pathlib
import queue
import threading
import time

import pytest

from harness import cgroups_named, wait_until

CYCLES = int(os.environ.get("IREKO_CYCLES", "80"))
WARM_UP = 100  # the rings of events and execs are full by then
MEMORY = 1 << 20
POOL = 4 + 3 * os.cpu_count()  # threads that wait for work for some seconds, of which there may be more or fewer
ROOM = {"mappings": 200}  # of the allocator, which has others for other threads


def cycle(engine, i):
    """Of every eight, one has a network, one a volume, one an exec, one is stopped and one is removed by itself."""
    kind = i % 8
    host = {"NetworkMode": "default" if kind == 1 else "none", "AutoRemove": kind == 5}
    if kind == 2:
        host["Mounts"] = [{"Type": "volume", "Target": "/v"}]
    lasting = kind in (3, 4)
    made = engine.api("POST", "/containers/create", {"Image": "busybox", "Cmd": ["sleep", "1000"] if lasting else ["echo", str(i)], "StopSignal": "SIGKILL", "HostConfig": host})
    assert made.status == 201, made.body
    path = f"/containers/{made.json['Id']}"
    assert engine.api("POST", f"{path}/start").status == 204
    if kind == 3:
        execed = engine.api("POST", f"{path}/exec", {"Cmd": ["echo", "x"], "AttachStdout": True}).json["Id"]
        assert engine.api("POST", f"/exec/{execed}/start", {}).status == 200
    if kind == 4:
        assert engine.api("POST", f"{path}/stop?t=5").status == 204
    if kind == 5:
        wait_until("it is removed", lambda: engine.api("GET", f"{path}/json").status == 404)
        return
    if not lasting:
        assert engine.api("POST", f"{path}/wait").json["StatusCode"] == 0
        assert str(i).encode() in engine.api("GET", f"{path}/logs?stdout=1").body
    assert engine.api("DELETE", f"{path}?force=1&v=1").status == 204


def cycles(engine, numbers):
    """In as many threads as there are CPUs."""
    work, bad = queue.SimpleQueue(), []
    for i in numbers:
        work.put(i)

    def loop():
        try:
            while not bad:
                cycle(engine, work.get_nowait())
        except queue.Empty:
            pass
        except Exception as e:  # noqa: BLE001 - reported by the test
            bad.append(e)

    threads = [threading.Thread(target=loop) for _ in range(os.cpu_count())]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad, bad


def memory(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss_Anon:"))) << 10


def disk(engine):
    """Bytes below the data root, without the database's log, and how many files."""
    found = [p for p in engine.data_root.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))]
    return sum(p.stat().st_blocks * 512 for p in found), len(found)


def small_things(engine):
    pid = engine.p.pid
    threads = engine.threads()
    pool = sum(t in ("irekod-http", "irekod-work") for t in threads)
    brif = pathlib.Path(f"/sys/class/net/{engine.bridge}/brif")
    return {"descriptors": engine.descriptors(), "threads": len(threads) - pool, "pool": max(pool, POOL), "shims": len(engine.shims()), "cgroups": len(cgroups_named(f"ireko_{engine.mark}")),
            "ports": len(os.listdir(brif)) if brif.is_dir() else 0, "mappings": pathlib.Path(f"/proc/{pid}/maps").read_text().count("\n")}


def at_rest(engine):
    """The least of each within a second: a connection is noticed to have ended, and what was removed is deleted, a moment later."""
    looks = []
    for _ in range(20):
        looks.append(small_things(engine))
        time.sleep(0.05)
    return {k: min(look[k] for look in looks) for k in looks[0]}


@pytest.mark.seconds(120 + CYCLES // 8)
def test_soak(new_engine):
    engine = new_engine()
    wait_until("the reserve is made", lambda: (engine.data_root / "reserve").exists())
    cycles(engine, range(WARM_UP))
    before = at_rest(engine)
    size, files = disk(engine)
    used = memory(engine.p.pid)
    cycles(engine, range(WARM_UP, WARM_UP + CYCLES))
    wait_until(lambda: f"{before} is what is there: {small_things(engine)}", lambda: all(v <= before[k] + ROOM.get(k, 0) for k, v in small_things(engine).items()), step=0.2)
    wait_until("the disk is as it was", lambda: disk(engine)[1] <= files and disk(engine)[0] <= size + (1 << 20), seconds=15, step=0.5)
    grown = memory(engine.p.pid) - used
    assert grown < MEMORY, f"{grown} bytes more after {CYCLES} containers"
    assert not engine.containers() and not engine.api("GET", "/volumes").json["Volumes"]
