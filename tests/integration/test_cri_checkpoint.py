# SPDX-License-Identifier: Apache-2.0
"""CheckpointContainer: the archive that a kubelet asks for. criu is tests/fake_criu.py."""
import json
import pathlib
import tarfile
import time

import pytest

import harness
from kubelet import refused


@pytest.fixture
def criu(tmp_path, monkeypatch):
    """The stand-in in $PATH of the engines that are started from now on; sets its plan."""
    where = tmp_path / "criu"
    (where / "bin").mkdir(parents=True)
    wrapper = where / "bin/criu"
    wrapper.write_text(f"#!/bin/sh\n[ -e '{where}/hang' ] && exec sleep 1000\nexec /usr/bin/python3 {harness.ROOT}/tests/fake_criu.py \"$@\"\n")
    wrapper.chmod(0o755)
    (where / "plan.json").write_text("{}")
    monkeypatch.setenv("PATH", f"{where}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setenv("FAKE_CRIU", str(where))
    return where


def test_an_archive_for_analysis(criu, new_kubelet):
    k = new_kubelet()
    pod = k.run_pod()
    c = pod.container("sh", "-c", "echo said; exec sleep 1000")
    c.wait_line("said")
    pid = c.info()["pid"]
    place = k.root / "保存 1.tar"
    k.CheckpointContainer(container_id=c.id, location=str(place), timeout=30)
    assert place.stat().st_mode & 0o777 == 0o600
    with tarfile.open(place) as tar:
        names = set(tar.getnames())
        config, spec = (json.load(tar.extractfile(n)) for n in ("config.dump", "spec.dump"))
        log = tar.extractfile("container.log").read().decode()
    assert {"checkpoint", "checkpoint/descriptors.json", "dump.log", "config.dump", "spec.dump", "container.log"} <= names
    assert config["id"] == c.id and config["rootfsImage"] == c.status().image_ref and config["checkpointedTime"].endswith("Z")
    assert spec["process"]["args"][0] == "sh" and log.endswith("stdout F said\n")
    (call,) = [json.loads(line) for line in (criu / "calls.jsonl").read_text().splitlines() if '"leave_running"' in line]
    assert call["opts"]["leave_running"] and call["opts"]["pid"] == pid
    assert c.status().state == "CONTAINER_RUNNING" and c.info()["pid"] == pid
    assert not list(k.root.glob("*.part")) and not list(k.root.rglob("checkpoint-*"))

    # What is in the way of it is left alone, and no link is followed.
    victim = k.root / "victim"
    victim.write_text("mine")
    link = k.root / "link.tar"
    link.symlink_to(victim)
    for bad in (str(link), "relative.tar", str(k.root), str(k.root / "none/x.tar"), ""):
        with refused("INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL"):
            k.CheckpointContainer(container_id=c.id, location=bad, timeout=30)
    assert victim.read_text() == "mine"
    with refused("NOT_FOUND"):
        k.CheckpointContainer(container_id="f" * 64, location=str(place))

    # criu that hangs is ended, and holds nobody up.
    (criu / "hang").touch()
    began = time.monotonic()
    with refused("UNAVAILABLE", "DEADLINE_EXCEEDED", text="not done in time"):
        k.CheckpointContainer(container_id=c.id, location=str(place), timeout=1)
    assert time.monotonic() - began < 15
    assert c.output("echo", "here") == "here\n"
    c.stop(timeout=0)
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT", "UNKNOWN", text="not running"):
        k.CheckpointContainer(container_id=c.id, location=str(place))


def test_without_criu(tmp_path, monkeypatch, new_kubelet):
    if pathlib.Path("/usr/sbin/criu").exists():
        monkeypatch.setenv("PATH", str(tmp_path))
    k = new_kubelet()
    c = k.run_pod().container()
    with refused("UNIMPLEMENTED", text="criu is not installed"):
        k.CheckpointContainer(container_id=c.id, location=str(tmp_path / "x.tar"), timeout=10)
    assert not list(tmp_path.iterdir())
