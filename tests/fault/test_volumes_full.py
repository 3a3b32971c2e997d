# SPDX-License-Identifier: Apache-2.0
"""No space left while a volume is filled from an image, and irekod killed while it is: nothing half filled stays."""
import os
import threading
import time

from harness import add_file, docker_archive, make_tar, wait_until
from mounts import create
from storage import settled
from test_full_disk import MB, disk  # noqa: F401 (a fixture)


def load(engine, files, size):
    layer = make_tar(lambda t: [add_file(t, "data", mode=0o755, type=b"5"), *(add_file(t, f"data/f{i}", os.urandom(size)) for i in range(files))])
    reply = engine.api("POST", "/images/load?quiet=1", docker_archive("filling:1", [layer]), {"Content-Type": "application/x-tar"})
    assert reply.status == 200 and b"error" not in reply.body, reply.body


def volumes(engine):
    return [v["Name"] for v in engine.api("GET", "/volumes").json["Volumes"]]


def test_a_full_disk(disk):  # noqa: F811
    engine = disk.engine
    load(engine, 20, 200000)
    wait_until("the layer is there alone", lambda: disk.used() > 0)
    engine.api("POST", "/volumes/create", {"Name": "before"})
    # Some room is for the rows: of the snapshot, and of the volume.
    for room in (400000, MB, 3 * MB):
        settled(engine)
        disk.resize(disk.used() + room)
        for volume in ("before", "new"):
            reply = create(engine, "box", image="filling:1", Binds=[f"{volume}:/data"])
            assert reply.status == 500 and "o space left" in reply.message, reply.body
            assert f"fill volume {volume} with the image's /data" in reply.message and "needed: more than" in reply.message and "free in" in reply.message
            assert engine.containers() == set()
        assert volumes(engine) == ["before"], "what was made for the container goes with it"
        assert list((engine.data_root / "volumes/before").iterdir()) == [engine.data_root / "volumes/before/_data"]
        assert os.listdir(engine.data_root / "volumes/before/_data") == []
    disk.resize(64 * MB)
    assert create(engine, "box", image="filling:1", Binds=["before:/data"]).status == 201
    assert len(os.listdir(engine.data_root / "volumes/before/_data")) == 20


def test_killed_while_a_volume_is_filled(new_engine):
    engine = new_engine(busybox=False)
    load(engine, 800, 100)
    where = engine.data_root / "volumes/vv/_data"
    for pause in (0.0, 0.02):
        def fill():
            try:
                create(engine, "box", image="filling:1", Binds=["vv:/data"])
            except OSError:
                pass  # it is killed

        thread = threading.Thread(target=fill)
        thread.start()
        wait_until("it is at work", lambda: where.exists() and os.listdir(where))
        time.sleep(pause)
        engine.kill()
        thread.join()
        engine.start()
        reply = create(engine, "after", image="filling:1", Binds=["vv:/data"])
        assert reply.status == 201, reply.body
        assert len(os.listdir(where)) == 800 and os.listdir(where.parent) == ["_data"]
        engine.remove_containers()
        engine.api("DELETE", "/volumes/vv")
