# SPDX-License-Identifier: Apache-2.0
"""Volumes: file systems of their own, parts of them, copy-up, image mounts, who uses what, prune, events, and what a kill -9 leaves."""
import contextlib
import json
import os
import pathlib
import signal
import threading
import time
import urllib.parse

import pytest

from harness import add_file, docker_archive, make_tar, run, wait_until
from mounts import create, events, refused, run_created, script


def volume(engine, name, **options):
    reply = engine.api("POST", "/volumes/create", {"Name": name, "DriverOpts": options})
    assert reply.status == 201, reply.body
    return pathlib.Path(reply.json["Mountpoint"])


def is_mounted(path):
    return os.path.ismount(path)


def load(engine, tag, fill, **config):
    reply = engine.api("POST", "/images/load?quiet=1", docker_archive(tag, [make_tar(fill)], **config), {"Content-Type": "application/x-tar"})
    assert reply.status == 200 and b"error" not in reply.body, reply.body


@pytest.fixture
def volumes(engine):
    """Names; what is still there after the test goes with it."""
    made = []

    def one():
        made.append(f"v{len(made)}-{time.monotonic_ns():x}")
        return made[-1]

    yield one
    engine.remove_containers()
    for v in made:
        engine.api("DELETE", f"/volumes/{v}?force=1")
        assert not is_mounted(engine.data_root / "volumes" / v / "_data")


# ---- file systems of their own
@pytest.mark.parametrize(("options", "words"), [
    ({"typ": "tmpfs"}, 'invalid option: "typ"'),
    ({"types": "tmpfs"}, 'invalid option: "types"'),
    ({"type": "tmpfs"}, 'missing required option: "device"'),
    ({"device": "/x"}, 'missing required option: "type"'),
    ({"o": "bind"}, 'missing required option: "device"'),
    ({"size": "1m"}, "quota size requested but no quota support"),
    ({"size": "much"}, "invalid size: 'much'"),
])
def test_options_that_are_none(engine, name, options, words):
    reply = engine.api("POST", "/volumes/create", {"Name": name, "DriverOpts": options})
    assert reply.status == 400 and words in reply.message, reply.body
    assert engine.api("GET", f"/volumes/{name}").status == 404


def test_tmpfs_is_there_while_somebody_uses_it(engine, name, volumes):
    v = volumes()
    where = volume(engine, v, type="tmpfs", device="tmpfs", o="size=2m,mode=0750,nosuid,noexec")
    assert engine.api("GET", f"/volumes/{v}").json["Options"] == {"type": "tmpfs", "device": "tmpfs", "o": "size=2m,mode=0750,nosuid,noexec"}
    assert not is_mounted(where)
    for n in ("a", "b"):
        assert create(engine, f"{name}{n}", "touch /v/of-$HOSTNAME; while ! test -e /v/end; do sleep 0.02; done", Binds=[f"{v}:/v"], config={"Hostname": n}).status == 201
    assert not is_mounted(where)
    for n in ("a", "b"):
        assert engine.api("POST", f"/containers/{name}{n}/start").status == 204
    wait_until("both wrote to one file system", lambda: (where / "of-a").exists() and (where / "of-b").exists())
    line = next(m for m in pathlib.Path("/proc/mounts").read_text().splitlines() if v in m)
    assert "size=2048k,mode=750" in line and "nosuid" in line and "noexec" in line
    engine.api("POST", f"/containers/{name}a/kill")
    engine.api("POST", f"/containers/{name}a/wait")
    assert is_mounted(where), "b still uses it"
    (where / "end").touch()
    engine.api("POST", f"/containers/{name}b/wait")
    wait_until("it is unmounted after the last", lambda: not is_mounted(where))
    assert engine.api("DELETE", f"/volumes/{v}").status == 409


def test_bind_and_read_only(engine, name, volumes, folder):
    (folder / "there 一").write_text("there")
    v, ro = volumes(), volumes()
    where = volume(engine, v, type="none", device=str(folder), o="bind")
    volume(engine, ro, type="none", device=str(folder), o="bind,ro")
    assert script(engine, name, "cat '/v/there 一'; touch /v/new; touch /r/x 2>&1", Binds=[f"{v}:/v", f"{ro}:/r"])[1].startswith("theretouch: /r/x: Read-only")
    assert (folder / "new").exists() and not is_mounted(where)


def test_copy_up_into_a_file_system(engine, name, volumes, folder):
    v = volumes()
    volume(engine, v, type="none", device=str(folder), o="bind")
    assert script(engine, name, "true", Binds=[f"{v}:/etc"])[0] == 0
    assert (folder / "passwd").read_text().startswith("root:")


def test_a_device_that_is_not_there(engine, name, volumes):
    v = volumes()
    where = volume(engine, v, type="none", device="/no/such 無", o="bind")
    assert create(engine, name, Mounts=[{"Type": "volume", "Source": v, "Target": "/v", "VolumeOptions": {"NoCopy": True}}]).status == 201
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 500 and f"error while mounting volume '{where}': failed to mount local volume: mount /no/such 無:{where}" in reply.message, reply.body
    assert engine.inspect(name)["State"]["Status"] == "created" and not is_mounted(where)


def test_names_of_servers_are_resolved_and_passwords_kept(engine, name, volumes):
    for options, words in (({"type": "nfs", "device": ":/x", "o": "addr=no-such-host.invalid,rw"}, "error resolving passed in network volume address no-such-host.invalid"),
                           ({"type": "tmpfs", "device": "tmpfs", "o": "password=very-secret"}, "failed to mount local volume")):
        v = volumes()
        volume(engine, v, **options)
        create(engine, name, Mounts=[{"Type": "volume", "Source": v, "Target": "/v", "VolumeOptions": {"NoCopy": True}}])
        reply = engine.api("POST", f"/containers/{name}/start")
        assert reply.status >= 400 and words in reply.message and "very-secret" not in reply.message, reply.body
        assert "very-secret" not in engine.log_text()
        engine.api("DELETE", f"/containers/{name}")


def test_options_by_mount_and_by_volume_driver(cli, name, folder):
    """As docker run and compose make volumes on their way."""
    cli("run", "--rm", "--mount", f"type=volume,source={name},target=/v,volume-driver=local,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={folder},volume-label=a=b", "busybox", "touch", "/v/x")
    assert (folder / "x").exists()
    assert json.loads(cli.out("volume", "inspect", name))[0]["Labels"] == {"a": "b"}
    assert "already has volume" in cli.fails("volume", "create", "-d", "other", name)
    cli("volume", "rm", name)
    assert (folder / "x").exists(), "the folder is not the volume's"
    assert 'plugin "other" not found' in cli.fails("volume", "create", "-d", "other", name)


def test_copies_mount_it_too(engine, cli, name, volumes, folder):
    v = volumes()
    where = volume(engine, v, type="none", device=str(folder), o="bind")
    (folder / "f").write_text("f")
    create(engine, name, Binds=[f"{v}:/v:nocopy"])
    assert "f" in cli("cp", f"{name}:/v/f", "-").stdout
    assert not is_mounted(where)


def test_restart_keeps_what_is_in_use_and_unmounts_the_rest(new_engine, name):
    engine = new_engine()
    used, unused = (volume(engine, v, type="tmpfs", device="tmpfs") for v in ("used", "unused"))
    create(engine, name, "touch /v/mine; while ! test -e /v/end; do sleep 0.02; done", Binds=["used:/v"])
    create(engine, name + "2", "sleep 1000", Binds=["unused:/v"])
    for n in (name, name + "2"):
        assert engine.api("POST", f"/containers/{n}/start").status == 204
    wait_until("it runs", (used / "mine").exists)
    pid = engine.inspect(name + "2")["State"]["Pid"]
    engine.kill()
    os.kill(pid, signal.SIGKILL)
    engine.start()
    assert (used / "mine").exists()
    wait_until("the end is seen", lambda: engine.inspect(name + "2")["State"]["Status"] == "exited")
    wait_until("it is unmounted", lambda: not is_mounted(unused))
    (used / "end").touch()
    engine.api("POST", f"/containers/{name}/wait")
    wait_until("the other too", lambda: not is_mounted(used))


def test_killed_between_mount_and_start(new_engine, name):
    """The start hangs in the runtime, behind the mount: what an irekod that is killed there has mounted goes with the next start."""
    engine = new_engine()
    where = volume(engine, "vv", type="tmpfs", device="tmpfs")
    slow = engine.root / "runtime"
    slow.write_text("#!/bin/sh\ncase \"$*\" in *\" create \"*) sleep 1000;; esac\n")
    slow.chmod(0o755)
    engine.options = (*engine.options, "--runtime", f"slow={slow}")
    engine.restart()
    create(engine, name, Binds=["vv:/v"], Runtime="slow")

    def start():
        with contextlib.suppress(OSError):
            engine.api("POST", f"/containers/{name}/start", timeout=10)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until("it is mounted", lambda: is_mounted(where))
    sleepers = wait_until("the runtime is called", lambda: [int(p) for p in os.listdir("/proc") if p.isdigit() and _cmdline(p) == ["/bin/sh", str(slow), "--root"]])
    engine.kill()
    thread.join()
    for pid in sleepers:
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until("the shim gives up", lambda: not engine.shims())
    engine.start()
    assert not is_mounted(where)
    assert engine.inspect(name)["State"]["Status"] == "created"
    assert script(engine, name + "2", "touch /v/x && ls /v", Binds=["vv:/v"]) == (0, "x")


def _cmdline(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:3]
    return None


# ---- part of it
def test_subpath(engine, name, volumes):
    v = volumes()
    where = volume(engine, v)
    (where / "sub 一/deep").mkdir(parents=True)
    (where / "sub 一/deep/f").write_text("deep")
    (where / "file").write_text("a file")
    os.symlink("sub 一", where / "inside")
    part = lambda subpath, **more: {"Type": "volume", "Source": v, "Target": "/v", "VolumeOptions": {"Subpath": subpath}, **more}
    for subpath in ("sub 一/deep", "inside/deep", "./sub 一/../inside/deep/"):
        assert script(engine, name, "cat /v/f; touch /v/new; ls /v", Mounts=[part(subpath)])[1] == "deepf\nnew"
    assert script(engine, name, "cat /v; echo more >> /v", Mounts=[part("file")]) == (0, "a file")
    assert (where / "file").read_text() == "a filemore\n"
    assert "Read-only" in script(engine, name, "touch /v/x 2>&1", Mounts=[part("sub 一", ReadOnly=True)])[1]
    assert [p.name for p in (where / "sub 一").iterdir()] == ["deep"], "nothing is copied up into a part"


def test_subpath_leads_nowhere_else(engine, name, volumes, folder):
    v = volumes()
    where = volume(engine, v)
    (folder / "secret").write_text("secret")
    for link, to in (("absolute", str(folder)), ("up", "../../../../../../../../.." + str(folder)), ("self", "self"), ("proc", "/proc/self/root"), ("root", "/")):
        os.symlink(to, where / link)
    (where / "d").mkdir()
    os.symlink("../up", where / "d/chain")
    for subpath in ("absolute", "up", "proc", "root", "d/chain", "absolute/secret", "self"):
        create(engine, name, Mounts=[{"Type": "volume", "Source": v, "Target": "/v", "VolumeOptions": {"Subpath": subpath}}])
        reply = engine.api("POST", f"/containers/{name}/start")
        assert reply.status == 400 and "escapes the base directory" in reply.message, (subpath, reply.body)
        assert engine.api("HEAD", f"/containers/{name}/archive?path=/v/secret").status >= 400
        engine.api("DELETE", f"/containers/{name}")
    create(engine, name, Mounts=[{"Type": "volume", "Source": v, "Target": "/v", "VolumeOptions": {"Subpath": "none"}}])
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 404 and "cannot access path none" in reply.message, reply.body


def test_subpath_while_links_are_exchanged(engine, name, volumes, folder):
    """A container that has the volume too exchanges a directory of the path for a link to the host all the while."""
    v = volumes()
    where = volume(engine, v)
    (folder / "e").mkdir()
    (folder / "e/secret").write_text("secret")
    (where / "d/e").mkdir(parents=True)
    (where / "d/e/mine").write_text("mine")
    os.symlink(folder, where / "x")
    stop = threading.Event()

    def exchange():
        while not stop.is_set():
            os.rename(where / "d", where / "t")
            os.rename(where / "x", where / "d")
            os.rename(where / "d", where / "x")
            os.rename(where / "t", where / "d")

    thread = threading.Thread(target=exchange)
    thread.start()
    seen = set()
    try:
        for _ in range(25):
            create(engine, name, "ls /v", Mounts=[{"Type": "volume", "Source": v, "Target": "/v", "VolumeOptions": {"Subpath": "d/e"}}])
            if engine.api("POST", f"/containers/{name}/start").status == 204:
                engine.api("POST", f"/containers/{name}/wait")
                seen.add(engine.cli("logs", name).stdout.strip())
            engine.api("DELETE", f"/containers/{name}?force=1")
    finally:
        stop.set()
        thread.join()
    assert seen <= {"mine"}, seen


# ---- images
def test_image_mounts(engine, name):
    load(engine, f"{name}:1", lambda t: (add_file(t, "d", mode=0o755, type=b"5"), add_file(t, "d/f 一", b"of the image"), add_file(t, "g", b"g")))
    i = {"Type": "image", "Source": f"{name}:1", "Target": "/i"}
    assert script(engine, name, "cat '/i/d/f 一' /i/g; echo mine > /i/g; cat /i/g", Mounts=[i]) == (0, "of the imagegmine")
    assert script(engine, name, "cat /i/g; echo mine > /i/g || true", Mounts=[dict(i, ReadOnly=True)])[1].startswith("g")
    assert script(engine, name, "ls -d /i/*; cat /j", Mounts=[dict(i, ImageOptions={"Subpath": "d"}), dict(i, Target="/j", ImageOptions={"Subpath": "d/f 一"})])[1].endswith("\nof the image")
    reply = create(engine, name, Mounts=[dict(i, ImageOptions={"Subpath": "none"})])
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 404 and "cannot access path none in image" in reply.message, reply.body
    engine.api("DELETE", f"/containers/{name}")
    engine.api("DELETE", f"/images/{name}:1")


def test_a_mounted_image_is_in_use_and_keeps_what_is_written(engine, cli, name):
    load(engine, f"{name}:1", lambda t: add_file(t, "g", b"g"))
    create(engine, name, "cat /i/g; echo more >> /i/g", Mounts=[{"Type": "image", "Source": f"{name}:1", "Target": "/i"}])
    image = engine.api("GET", f"/images/{name}:1/json").json["Id"]
    reply = engine.api("DELETE", f"/images/{image}")
    assert reply.status == 409 and "image is being used by stopped container" in reply.message, reply.body
    assert [m["Type"] for m in engine.inspect(name)["Mounts"]] == ["image"]
    assert "g" in cli("cp", f"{name}:/i/g", "-").stdout
    assert run_created(engine, name) == (0, "g")
    assert "gmore" in cli("cp", f"{name}:/i/g", "-").stdout
    # Untagged, its layers stay as long as the container.
    engine.api("DELETE", f"/images/{name}:1?force=1")
    assert run_created(engine, name)[1].endswith("gmore")
    engine.api("DELETE", f"/containers/{name}")
    assert not [k for k in os.listdir(engine.data_root / "containers") if ".m" in k]
    engine.api("POST", "/images/prune")
    assert engine.api("GET", f"/images/{image}/json").status == 404


def test_two_of_one_image_by_the_command_line(cli, engine, name):
    out = cli.out("run", "--rm", "--mount", "type=image,source=busybox,target=/i", "--mount", "type=image,source=busybox,target=/j,image-subpath=etc", "busybox", "sh", "-c", "rm /i/etc/passwd; ls /i/etc /j")
    assert out.splitlines() == ["/i/etc:", "group", "plain-file", "", "/j:", "group", "passwd", "plain-file"]


# ---- copy-up
@pytest.fixture
def filled(engine, name):
    """An image with a directory that has owners, modes, links and attributes of its own, and a VOLUME."""
    def fill(t):
        add_file(t, "data", mode=0o1770, type=b"5", uid=33, gid=44)
        add_file(t, "data/f 一", b"f", mode=0o640, uid=55, gid=66)
        add_file(t, "data/hard", type=b"1", linkname="data/f 一")
        add_file(t, "data/soft", type=b"2", linkname="/etc/passwd")
        add_file(t, "data/suid", b"s", mode=0o4755)
        add_file(t, "bin", type=b"5", mode=0o755)
        add_file(t, "empty", type=b"5", mode=0o700, uid=7, gid=8)

    load(engine, f"{name}:filled", fill, Volumes={"/data": {}})
    yield f"{name}:filled"
    engine.remove_containers()
    engine.api("DELETE", f"/images/{name}:filled")


def test_copy_up(engine, name, filled, volumes):
    v, empty, not_copied, late = volumes(), volumes(), volumes(), volumes()
    create(engine, name, image=filled, Binds=[f"{v}:/data", f"{empty}:/empty", f"{not_copied}:/x/../data2:nocopy"])
    where = engine.data_root / "volumes" / v / "_data"
    s = os.stat(where)
    assert (s.st_uid, s.st_gid, s.st_mode & 0o7777) == (33, 44, 0o1770)
    f = os.stat(where / "f 一")
    assert (f.st_uid, f.st_gid, f.st_mode & 0o7777, f.st_nlink) == (55, 66, 0o640, 2) and os.path.samefile(where / "f 一", where / "hard")
    assert os.readlink(where / "soft") == "/etc/passwd" and os.stat(where / "suid").st_mode & 0o7777 == 0o4755
    s = os.stat(where.parent.parent / empty / "_data")
    assert (s.st_uid, s.st_gid, s.st_mode & 0o7777) == (7, 8, 0o700), "owner and mode of an empty directory too"
    assert not list(where.parent.glob("filling"))
    create(engine, name + "2", image=filled, Mounts=[{"Type": "volume", "Source": late, "Target": "/data", "VolumeOptions": {"NoCopy": True}}])
    assert list((where.parent.parent / late / "_data").iterdir()) == []
    # One that is not empty stays as it is.
    (where / "f 一").unlink()
    create(engine, name + "3", image=filled, Binds=[f"{v}:/data"])
    assert not (where / "f 一").exists()


def test_a_half_filled_volume_is_filled_again(engine, name, filled, volumes):
    """What a killed irekod leaves of a copy-up."""
    v = volumes()
    where = volume(engine, v)
    (where / "half").mkdir()
    (where / "half/f").write_text("x")
    (where.parent / "filling").touch()
    create(engine, name, image=filled, Binds=[f"{v}:/data"])
    assert sorted(p.name for p in where.iterdir()) == ["f 一", "hard", "soft", "suid"]
    assert not (where.parent / "filling").exists()


def test_volumes_from(engine, name, filled, folder, volumes):
    v = volumes()
    create(engine, name, image=filled, Binds=[f"{folder}:/bound", f"{v}:/named"], Tmpfs={"/t": ""}, Mounts=[{"Type": "volume", "Source": v, "Target": "/part", "VolumeOptions": {"Subpath": "p"}}])
    (engine.data_root / "volumes" / v / "_data/p").mkdir()
    (engine.data_root / "volumes" / v / "_data/p/of-part").touch()
    status, out = script(engine, name + "2", "touch /bound/x /named/y '/data/z' && ls /part && ls -d /t 2>/dev/null; ls /data | wc -l", VolumesFrom=[name])
    assert status == 0 and out.split() == ["of-part", "5"]
    status, out = script(engine, name + "3", "touch /bound/x 2>/dev/null || echo no; touch /data/q 2>/dev/null || echo no", VolumesFrom=[f"{name}:ro"])
    assert out.split() == ["no", "no"]
    assert "invalid volumes-from" in create(engine, name + "4", VolumesFrom=[f"{name}:rx"]).message
    # Its own stand above them.
    assert script(engine, name + "5", "ls /data", VolumesFrom=[name], Tmpfs={"/data": ""})[1] == ""


def test_nothing_stays_of_a_create_that_fails(engine, name, volumes, folder):
    before = {v["Name"] for v in engine.api("GET", "/volumes").json["Volumes"]}
    v = volumes()
    refused(engine, name, "Duplicate mount point", Binds=[f"{v}:/a", "/b"], config={"Volumes": {"/c": {}}}, Mounts=[{"Type": "image", "Source": "busybox", "Target": "/i"}, {"Type": "volume", "Target": "/a"}])
    assert {v["Name"] for v in engine.api("GET", "/volumes").json["Volumes"]} == before
    assert not [k for k in os.listdir(engine.data_root / "containers") if ".m" in k]


# ---- lists, removal, prune, events
def test_cluster_volumes_are_refused(engine, name):
    assert engine.api("POST", "/volumes/create", {"Name": name, "ClusterVolumeSpec": {"Group": "g"}}).status == 503
    assert engine.api("PUT", f"/volumes/{name}?version=1", {"Spec": {}}).status == 503


def test_in_use_by_whom(engine, name, volumes):
    v = volumes()
    ids = [create(engine, f"{name}{n}", Binds=[f"{v}:/v"]).json["Id"] for n in "ab"]
    reply = engine.api("DELETE", f"/volumes/{v}")
    assert reply.status == 409 and reply.message.startswith(f"remove {v}: volume is in use - [") and all(i in reply.message for i in ids), reply.body
    assert engine.api("DELETE", f"/volumes/{v}?force=1").status == 409
    assert engine.api("DELETE", f"/volumes/{v}x").status == 404 and engine.api("DELETE", f"/volumes/{v}x?force=1").status == 204
    assert engine.api("GET", f"/volumes/{v}x").message == f"get {v}x: no such volume"


def test_prune_leaves_names_and_file_systems_alone(new_engine, folder):
    engine = new_engine(busybox=False)
    anonymous = engine.api("POST", "/volumes/create", {}).json["Name"]
    volume(engine, "named")
    volume(engine, "mounted", type="none", device=str(folder), o="bind")
    (engine.data_root / "volumes" / anonymous / "_data/f").write_bytes(b"x" * 5000)
    pruned = engine.api("POST", "/volumes/prune").json
    assert pruned == {"VolumesDeleted": [anonymous], "SpaceReclaimed": 5000}
    assert engine.api("POST", '/volumes/prune?filters={"all":["1"]}').json["VolumesDeleted"] == ["named"]
    assert engine.api("POST", "/v1.41/volumes/prune").json["VolumesDeleted"] == []
    assert [v["Name"] for v in engine.api("GET", "/volumes").json["Volumes"]] == ["mounted"]
    assert engine.api("GET", "/system/df").json["Volumes"] == [], "its room is not ours"
    assert engine.api("DELETE", "/volumes/mounted").status == 204


def test_events(engine, name, volumes):
    v = volumes()
    since = f"{time.time():.9f}"
    volume(engine, v)
    cid = create(engine, name, Binds=[f"{v}:/v:ro"]).json["Id"]
    run_created(engine, name)
    engine.api("DELETE", f"/containers/{name}")
    engine.api("DELETE", f"/volumes/{v}")
    got = [e for e in events(engine, since, type="volume") if e[1] == v]
    assert got == [("create", v, {"driver": "local"}), ("mount", v, {"container": cid, "destination": "/v", "driver": "local", "propagation": "", "read/write": "false"}),
                   ("unmount", v, {"container": cid, "driver": "local"}), ("destroy", v, {"driver": "local"})]
    order = [a for a, i, _ in events(engine, since) if i in (v, cid) or a in ("start", "die")]
    assert order.index("mount") < order.index("start") < order.index("die") < order.index("unmount")


def test_list_filters(new_engine):
    engine = new_engine()
    for n, labels in (("one", {"a": "b"}), ("two", {"a": "c"}), ("three", {})):
        assert engine.api("POST", "/volumes/create", {"Name": n, "Labels": labels}).status == 201
    create(engine, "user", Binds=["one:/v"])
    for filters, expected in (({}, {"one", "two", "three"}), ({"dangling": ["true"]}, {"two", "three"}), ({"dangling": ["0"]}, {"one"}), ({"driver": ["local"]}, {"one", "two", "three"}), ({"driver": ["x"]}, set()),
                              ({"label": ["a"]}, {"one", "two"}), ({"label": ["a=c"]}, {"two"}), ({"name": ["^t"]}, {"two", "three"}), ({"name": ["e$"], "label": ["a"]}, {"one"}), ({"name": ["one", "two"]}, {"one", "two"})):
        reply = engine.api("GET", f"/volumes?filters={urllib.parse.quote(json.dumps(filters))}")
        assert {v["Name"] for v in reply.json["Volumes"]} == expected, filters
    for filters, words in (({"color": ["red"]}, "invalid filter 'color'"), ({"dangling": ["maybe"]}, "invalid filter 'dangling=[maybe]'"), ({"dangling": ["true", "false"]}, "invalid filter 'dangling=[true false]'")):
        reply = engine.api("GET", f"/volumes?filters={urllib.parse.quote(json.dumps(filters))}")
        assert reply.status == 400 and words in reply.message, reply.body


def test_made_again_it_is_the_same(engine, volumes):
    v = volumes()
    first = engine.api("POST", "/volumes/create", {"Name": v, "Labels": {"a": "b"}}).json
    again = engine.api("POST", "/volumes/create", {"Name": v, "Labels": {"c": "d"}, "Driver": "local"})
    assert again.status == 201 and again.json == first == engine.api("GET", f"/volumes/{v}").json
    assert set(first) == {"CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"} and first["Scope"] == "local"
    reply = engine.api("POST", "/volumes/create", {"Name": v, "Driver": "other"})
    assert reply.status == 409 and f"driver 'local' already has volume '{v}': volume name must be unique" in reply.message
    for bad, words in (("a", "volume name is too short"), ("a/b", "includes invalid characters for a local volume name"), ("私", "includes invalid characters"), ("x" * 256, "includes invalid characters")):
        reply = engine.api("POST", "/volumes/create", {"Name": bad})
        assert reply.status == 400 and words in reply.message, reply.body
