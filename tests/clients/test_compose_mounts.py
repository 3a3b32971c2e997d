# SPDX-License-Identifier: Apache-2.0
"""Volumes and mounts of a compose file: drivers with options, parts of volumes, images, tmpfs, read-only, and idmap by what compose passes on."""
import os

import pytest

from compose import Compose

PROJECT = """
services:
  writer:
    image: busybox
    command: sh -c "touch /long/new /short/new2 /plain/new3; echo kept > /data/sub/f; stat -c %u:%g /long"
    volumes:
      - {type: bind, source: './home 家', target: /long, bind: {propagation: idmap}}
      - {type: bind, source: './home 家', target: /short, bind: {propagation: 'rprivate,idmap', create_host_path: false}}
      - ./plain:/plain
      - data:/data
      - {type: volume, source: memory, target: /memory}
  reader:
    image: busybox
    depends_on: {writer: {condition: service_completed_successfully}}
    command: sh -c "cat /part/f /image/passwd; touch /part/x 2>&1; df -k /t | tail -1 | awk '{print $$2}'; grep ' /memory ' /proc/mounts"
    volumes:
      - {type: volume, source: data, target: /part, read_only: true, volume: {subpath: sub}}
      - {type: image, source: busybox, target: /image, image: {subpath: etc}}
      - {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o700}}
      - memory:/memory
volumes:
  data: {driver: local, driver_opts: {type: none, o: bind, device: "$PWD/on disk"}}
  memory: {driver_opts: {type: tmpfs, device: tmpfs, o: 'size=3m'}}
"""


@pytest.fixture
def compose(engine, folder, name):
    made = Compose(engine, "v2", folder, name)
    yield made
    made.remove()


def test_everything_a_service_may_mount(compose):
    compose.write({"compose.yaml": PROJECT.replace("$PWD", str(compose.folder))})
    for d, ids in (("home 家", (4321, 8765)), ("on disk/sub", (0, 0))):
        (compose.folder / d).mkdir(parents=True)
        os.chown(compose.folder / d, *ids)
    compose("up", "-d", "--wait", check=False)
    assert compose.engine.api("POST", f"/containers/{compose.container('reader')}/wait").json["StatusCode"] == 0
    said = compose.engine.cli("logs", compose.container("reader")).stdout
    assert said.splitlines()[0] == "kept" and "root:x:0:0" in said and "Read-only file system" in said and "\n1024\n" in said and "size=3072k" in said
    assert compose.engine.cli("logs", compose.container("writer")).stdout == "0:0\n"
    home = compose.folder / "home 家"
    assert {p.name: (p.stat().st_uid, p.stat().st_gid) for p in home.iterdir()} == {"new": (4321, 8765), "new2": (4321, 8765)}
    assert (compose.folder / "plain/new3").stat().st_uid == 0
    assert (compose.folder / "on disk/sub/f").read_text() == "kept\n"
