# SPDX-License-Identifier: Apache-2.0
"""Logs of pods' containers: what a kubelet reads, what it renames and has made anew, and what people see of it through the other door."""
import gzip
import pathlib
import re
import stat
import subprocess
import time

from harness import wait_until
from kubelet import refused

RECORD = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) ([^\n]*)\n")


def records_of(path):
    """(stream, tag, text) of each line; every line is a record."""
    data = pathlib.Path(path).read_bytes()
    found = [m.groups()[1:] for m in RECORD.finditer(data)]
    assert len(found) == data.count(b"\n") and (not data or data.endswith(b"\n"))
    return found


def within(c, *command):
    """A command in the container, by the other door."""
    return c.kubelet.engine.cli("exec", c.id, *command, check=False)


def shell(pod, text, **fields):
    return pod.container("sh", "-c", text, **fields)


def shim_kb(kubelet):
    """Memory of the shims, together."""
    total = 0
    for pid in kubelet.engine.shims():
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))
    return total


def test_lines(pod):
    c = shell(pod, "echo one; echo; echo two >&2; printf 'crlf\\r\\n'; printf last")
    c.wait()
    assert [r for r in records_of(c.log_file) if r[0] == b"stdout"] == [
        (b"stdout", b"F", b"one"), (b"stdout", b"F", b""), (b"stdout", b"F", b"crlf"), (b"stdout", b"P", b"last")]
    assert (b"stderr", b"F", b"two") in records_of(c.log_file)
    assert stat.S_IMODE(c.log_file.stat().st_mode) == 0o640


def test_a_terminal_is_one_stream(pod):
    c = shell(pod, "echo one; echo two >&2", tty=True)
    c.wait()
    assert records_of(c.log_file) == [(b"stdout", b"F", b"one"), (b"stdout", b"F", b"two")]


def test_long_lines_come_in_pieces(pod):
    c = shell(pod, "head -c 40000 /dev/zero | tr '\\0' x; echo; head -c 16384 /dev/zero | tr '\\0' y; echo")
    c.wait()
    assert [(tag, len(text), text[:1]) for _, tag, text in records_of(c.log_file)] == [
        (b"P", 16384, b"x"), (b"P", 16384, b"x"), (b"F", 40000 - 32768, b"x"), (b"F", 16384, b"y")]


def test_no_line_is_lost_or_doubled_by_rotation(pod, kubelet):
    c = shell(pod, "seq 1 300000; while ! [ -e /dev/shm/go ]; do sleep 0.01; done; seq 300001 600000; sleep 1000")
    rotated = []
    while len(rotated) < 12:
        wait_until("something is written", lambda: c.log_file.stat().st_size > 0)
        to = c.log_file.with_name(f"rotated-{len(rotated)}")
        c.log_file.rename(to)
        rotated.append(to)
        kubelet.ReopenContainerLog(container_id=c.id)
        assert c.log_file.exists()
        if len(rotated) == 1:
            within(c, "touch", "/dev/shm/go")
        if b" 600000\n" in to.read_bytes()[-40:]:
            break
    wait_until("all is written", lambda: sum(p.read_bytes().count(b"\n") for p in (*rotated, c.log_file)) >= 600000, seconds=60)
    numbers = [int(text) for p in (*rotated, c.log_file) for _, _, text in records_of(p)]
    assert numbers == list(range(1, 600001))
    assert len(rotated) > 1


def test_only_what_runs_is_reopened(pod, kubelet):
    c = pod.container("true", start=False)
    with refused("FAILED_PRECONDITION", text="not running"):
        kubelet.ReopenContainerLog(container_id=c.id)
    assert not c.log_file.exists()
    c.start().wait()
    c.log_file.unlink()
    with refused("FAILED_PRECONDITION", text="not running"):
        kubelet.ReopenContainerLog(container_id=c.id)
    assert not c.log_file.exists()
    for unknown in "f" * 64, pod.id:
        with refused("NOT_FOUND"):
            kubelet.ReopenContainerLog(container_id=unknown)


def test_a_link_in_its_place_is_not_followed(pod, kubelet):
    victim = kubelet.root / "victim"
    victim.write_text("precious\n")
    c = shell(pod, "while :; do echo more; sleep 0.02; done")
    wait_until("something is written", lambda: c.log_file.exists() and c.log_file.stat().st_size > 0)
    old = c.log_file.with_name("old")
    c.log_file.rename(old)
    c.log_file.symlink_to(victim)
    with refused("INVALID_ARGUMENT", text="not a regular file"):
        kubelet.ReopenContainerLog(container_id=c.id)
    size = old.stat().st_size
    wait_until("the old file goes on", lambda: old.stat().st_size > size)
    c.log_file.unlink()
    kubelet.ReopenContainerLog(container_id=c.id)
    wait_until("the new one is written", lambda: c.log_file.stat().st_size > 0)
    other = pod.container(start=False, log_path="other.log")
    (c.log_file.parent / "other.log").symlink_to(victim)
    with refused("INVALID_ARGUMENT", text="not a regular file"):
        other.start()
    assert victim.read_text() == "precious\n"


def test_logs_stay_in_the_pods_directory(pod, kubelet):
    for path in "../up.log", "a/../../up.log", "..", "a/..":
        with refused("INVALID_ARGUMENT", text="log_path"):
            pod.container(start=False, log_path=path)
    c = shell(pod, "echo deep", log_path="deep/er/0.log")
    c.wait()
    assert records_of(c.log_file) == [(b"stdout", b"F", b"deep")]


def test_without_a_path_nothing_is_kept(pod, kubelet):
    c = shell(pod, "yes | head -n 100000; echo done > /dev/shm/done; sleep 1000", log_path="")
    wait_until("the output was taken", lambda: within(c, "cat", "/dev/shm/done").returncode == 0)
    kubelet.ReopenContainerLog(container_id=c.id)
    p = kubelet.engine.cli("logs", c.id, check=False)
    assert p.returncode and "does not support reading" in p.stderr
    assert kubelet.engine.inspect(c.id)["HostConfig"]["LogConfig"]["Type"] == "none"


def test_people_read_them_with_what_was_rotated(pod, kubelet):
    engine = kubelet.engine
    c = shell(pod, "for i in 1 2 3 4; do while ! [ -e /dev/shm/$i ]; do sleep 0.01; done; echo line $i; echo error $i >&2; done; head -c 20000 /dev/zero | tr '\\0' x; echo; sleep 1000")
    assert engine.inspect(c.id)["LogPath"] == str(c.log_file)
    follower = engine.popen("logs", "-f", c.id, stderr=subprocess.DEVNULL)
    for i in 1, 2, 3:
        within(c, "touch", f"/dev/shm/{i}")
        wait_until("it is written", lambda: f"error {i}" in c.log_text() and f"line {i}" in c.log_text())
        rotated = c.log_file.with_name(f"{c.log_file.name}.20261126-21503{i}")
        c.log_file.rename(rotated)
        kubelet.ReopenContainerLog(container_id=c.id)
        if i == 1:
            rotated.with_name(rotated.name + ".gz").write_bytes(gzip.compress(rotated.read_bytes()))
            rotated.unlink()
    within(c, "touch", "/dev/shm/4")
    wait_until("all is written", lambda: len(records_of(c.log_file)) >= 4)
    shown = engine.cli("logs", c.id)
    assert shown.stdout == "".join(f"line {i}\n" for i in range(1, 5)) + "x" * 20000 + "\n"
    assert shown.stderr == "".join(f"error {i}\n" for i in range(1, 5))
    assert re.fullmatch(r"\d{4}-\S+Z line 4\n", "".join(l for l in engine.cli("logs", "-t", "--tail", "4", c.id).stdout.splitlines(True) if "line" in l))
    c.stop()
    assert follower.communicate(timeout=15)[0] == shown.stdout


def test_a_flood_without_a_newline(pod, kubelet):
    c = shell(pod, "sleep 1000")
    before = shim_kb(kubelet)
    flood = shell(pod, "dd if=/dev/zero bs=1M count=256 2>/dev/null; sleep 1000")
    most = 0

    def written():
        nonlocal most
        most = max(most, shim_kb(kubelet))
        return flood.log_file.exists() and flood.log_file.stat().st_size >= (256 << 20) - 16384

    wait_until("all is written", written, seconds=60)
    assert most - before < 4096, f"{before} kB before, {most} kB at most"
    assert c.status().state == "CONTAINER_RUNNING"
    with flood.log_file.open("rb") as f:
        first = f.readline()
        assert RECORD.fullmatch(first) and b" stdout P " in first and first.count(b"\0") == 16384


def test_what_a_full_disk_loses_is_counted(kubelet):
    pod = kubelet.run_pod()
    directory = pod.config["log_directory"]
    kubelet.inside("mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", directory)
    try:
        c = shell(pod, "seq 1 20000; while ! [ -e /dev/shm/go ]; do sleep 0.01; done; echo again; sleep 1000", log_path="c.log")

        def inside(*command):
            return kubelet.inside(*command).stdout

        def full():
            sizes = [int(inside("stat", "-c", "%s", f"{directory}/c.log")) for _ in range(2) if not time.sleep(0.1)]
            return sizes[0] == sizes[1] > 100000

        wait_until("the disk is full, and all is said", full)
        first = inside("cat", f"{directory}/c.log")
        assert first.endswith("\n")
        kubelet.inside("rm", f"{directory}/c.log")
        kubelet.ReopenContainerLog(container_id=c.id)
        within(c, "touch", "/dev/shm/go")
        wait_until("it goes on", lambda: "again" in inside("cat", f"{directory}/c.log"))
        second = inside("cat", f"{directory}/c.log")
        assert second.endswith(" stdout F again\n")
        expected = 1
        for line in [*first.splitlines(), *second.splitlines()[:-1]]:
            lost = re.search(r" stderr F \[ireko: (\d+) log records lost: No space left on device\]$", line)
            assert lost or int(line.split()[3]) == expected, line
            expected += int(lost.group(1)) if lost else 1
        assert expected == 20001
    finally:
        pod.remove()
        kubelet.inside("umount", directory)
