# SPDX-License-Identifier: Apache-2.0
"""Binds and tmpfs with all their options, by the API and by both command lines; idmapped binds."""
import contextlib
import os

import pytest

from harness import program, run
from mounts import bind, create, refused, run_created, script


@contextlib.contextmanager
def mounted(where, *options):
    where.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", *options, "irk-mounts", where)
    try:
        yield where
    finally:
        run("umount", "-R", where)


# ---- what is refused
@pytest.mark.parametrize(("mount", "words"), [
    ({"Type": "bind", "Source": "/tmp"}, 'invalid mount config for type "bind": field Target must not be empty'),
    ({"Type": "bind", "Target": "/m"}, 'invalid mount config for type "bind": field Source must not be empty'),
    ({"Type": "bind", "Source": "/tmp", "Target": "/"}, 'invalid mount config for type "bind": invalid specification: destination can\'t be \'/\''),
    ({"Type": "bind", "Source": "/tmp", "Target": "/a/.."}, "destination can't be '/'"),
    ({"Type": "bind", "Source": "/tmp", "Target": "m"}, "invalid mount path: 'm' mount path must be absolute"),
    ({"Type": "bind", "Source": "tmp", "Target": "/m"}, "invalid mount path: 'tmp' mount path must be absolute"),
    ({"Type": "bind", "Source": "/no/such 無", "Target": "/m"}, 'invalid mount config for type "bind": bind source path does not exist: /no/such 無'),
    ({"Type": "bind", "Source": "/tmp", "Target": "/m", "BindOptions": {"Propagation": "x"}}, 'invalid mount config for type "bind": invalid propagation mode: x'),
    ({"Type": "bind", "Source": "/tmp", "Target": "/m", "VolumeOptions": {}}, 'invalid mount config for type "bind": field VolumeOptions must not be specified'),
    ({"Type": "bind", "Source": "/tmp", "Target": "/m", "TmpfsOptions": {}}, "field TmpfsOptions must not be specified"),
    ({"Type": "bind", "Source": "/tmp", "Target": "/m", "Consistency": "x"}, "invalid consistency: x"),
    ({"Type": "bind", "Source": "/tmp", "Target": "/m", "BindOptions": {"ReadOnlyNonRecursive": True}}, "!ReadOnly && BindOptions.ReadOnlyNonRecursive"),
    ({"Type": "bind", "Source": "/tmp", "Target": "/m", "BindOptions": {"ReadOnlyForceRecursive": True}}, "!ReadOnly && BindOptions.ReadOnlyForceRecursive"),
    ({"Type": "volume", "Target": "/m", "BindOptions": {}}, 'invalid mount config for type "volume": field BindOptions must not be specified'),
    ({"Type": "volume", "Target": "/m", "ReadOnly": True}, "must not set ReadOnly mode when using anonymous volumes"),
    ({"Type": "volume", "Target": "/m", "VolumeOptions": {"Subpath": "a"}}, "must not set Subpath when using anonymous volumes"),
    ({"Type": "volume", "Source": "vol", "Target": "/m", "VolumeOptions": {"Subpath": "../a"}}, "subpath must be a relative path within the volume"),
    ({"Type": "volume", "Source": "v/w", "Target": "/m"}, "includes invalid characters for a local volume name"),
    ({"Type": "tmpfs", "Source": "x", "Target": "/m"}, 'invalid mount config for type "tmpfs": field Source must not be specified'),
    ({"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"Options": [["bogus"]]}}, 'invalid tmpfs option "bogus"'),
    ({"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"Options": ["exec"]}}, "TmpfsOptions.Options[0]"),
    ({"Type": "image", "Target": "/m"}, 'invalid mount config for type "image": field Source must not be empty'),
    ({"Type": "image", "Source": "busybox", "Target": "/m", "ImageOptions": {"Subpath": "/etc"}}, "subpath must be a relative path within the image"),
    ({"Type": "npipe", "Source": "x", "Target": "/m"}, 'invalid mount config for type "npipe"'),
    ({"Type": "cluster", "Source": "x", "Target": "/m"}, 'invalid mount config for type "cluster"'),
    ({"Type": "what", "Target": "/m"}, 'invalid mount config for type "what": mount type unknown'),
])
def test_refused_in_dockers_words(engine, name, mount, words):
    refused(engine, name, words, Mounts=[mount])


def test_missing_images_and_containers(engine, name):
    refused(engine, name, "No such image: nothing:9", 404, Mounts=[{"Type": "image", "Source": "nothing:9", "Target": "/m"}])
    refused(engine, name, "No such container: nobody", 404, VolumesFrom=["nobody"])


def test_one_place_twice(engine, name, folder):
    refused(engine, name, "Duplicate mount point: /m", Binds=[f"{folder}:/m"], Mounts=[bind(folder, "/x/../m")])
    refused(engine, name, "Duplicate mount point: /m", Mounts=[bind(folder)], Tmpfs={"/m": ""})


def test_old_clients(engine, name, folder):
    mount = dict(bind(folder), VolumeOptions={"NoCopy": True})
    reply = create(engine, name, version="/v1.41", Mounts=[mount])
    assert reply.status == 201, reply.body
    assert "VolumeOptions" not in engine.inspect(name)["HostConfig"]["Mounts"][0]
    for version, told, mount in (("1.47", "1.48", {"Type": "image", "Source": "busybox", "Target": "/m"}), ("1.44", "1.45", {"Type": "volume", "Source": "v1", "Target": "/m", "VolumeOptions": {"Subpath": "a"}}),
                                 ("1.43", "1.44", bind(folder, ReadOnly=True, ReadOnlyForceRecursive=True)), ("1.45", "1.46", {"Type": "tmpfs", "Target": "/m", "TmpfsOptions": {"Options": [["exec"]]}})):
        reply = create(engine, name + "x", version=f"/v{version}", Mounts=[mount])
        assert reply.status == 400 and f"needs API v{told} or newer" in reply.message, reply.body


def test_paths_inside_procfs(engine, name, folder):
    (folder / "f").touch()
    create(engine, name, Mounts=[bind(folder / "f", "/proc/version")])
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status >= 400 and "it lies inside procfs" in reply.message, reply.body


# ---- binds
def test_missing_source(engine, name, folder):
    """-v makes a directory, --mount does not, unless it is told to."""
    assert script(engine, name, "test -d /m && echo there", Binds=[f"{folder}/by v 一:/m"]) == (0, "there")
    assert (folder / "by v 一").is_dir()
    assert script(engine, name, "test -d /m && echo there", Mounts=[bind(folder / "told/to", CreateMountpoint=True)]) == (0, "there")
    assert (folder / "told/to").is_dir()


def test_read_only_is_recursive(engine, name, folder):
    deep = folder / "deep 深"
    write = "touch /m/x 2>/dev/null && echo top; touch '/m/deep 深/x' 2>/dev/null && echo below; true"
    with mounted(deep):
        assert script(engine, name, write, Mounts=[bind(folder)])[1].split() == ["top", "below"]
        assert script(engine, name, write, Mounts=[bind(folder, ReadOnly=True)])[1].split() == []
        assert script(engine, name, write, Binds=[f"{folder}:/m:ro"])[1].split() == []
        assert script(engine, name, write, Mounts=[bind(folder, ReadOnly=True, ReadOnlyForceRecursive=True)])[1].split() == []
        assert script(engine, name, write, Mounts=[bind(folder, ReadOnly=True, ReadOnlyNonRecursive=True)])[1].split() == ["below"]
        assert script(engine, name, write, version="/v1.43", Mounts=[bind(folder, ReadOnly=True)])[1].split() == ["below"]


def test_not_recursive(engine, name, folder):
    with mounted(folder / "deep"):
        (folder / "deep/inside").touch()
        assert script(engine, name, "ls /m/deep", Mounts=[bind(folder)]) == (0, "inside")
        assert script(engine, name, "ls /m/deep", Mounts=[bind(folder, NonRecursive=True)]) == (0, "")


@pytest.mark.parametrize(("propagation", "comes", "goes"), [("rprivate", False, False), ("private", False, False), ("rslave", True, False), ("slave", True, False), ("rshared", True, True), ("shared", True, True)])
def test_propagation(engine, name, folder, propagation, comes, goes):
    """What is mounted later on the host comes, what the container mounts goes out."""
    with mounted(folder / "s"):
        run("mount", "--make-shared", folder / "s")
        for d in ("host", "box"):
            (folder / "s" / d).mkdir()
        reply = create(engine, name, "while ! test -e /m/go; do sleep 0.02; done; ls /m/host; mount -t tmpfs x /m/box; touch /m/box/of-box; touch /m/done; while test -e /m/go; do sleep 0.02; done",
                       Mounts=[bind(folder / "s", Propagation=propagation)], Privileged=True)
        assert reply.status == 201, reply.body
        assert engine.inspect(name)["Mounts"][0]["Propagation"] == propagation
        assert engine.api("POST", f"/containers/{name}/start").status == 204
        with mounted(folder / "s/host"):
            (folder / "s/host/of-host").touch()
            (folder / "s/go").touch()
            while not (folder / "s/done").exists():
                pass
            assert (folder / "s/box/of-box").exists() == goes
            (folder / "s/go").unlink()
            engine.api("POST", f"/containers/{name}/wait")
        assert ("of-host" in engine.cli("logs", name).stdout) == comes
        engine.api("DELETE", f"/containers/{name}?force=1")
        run("umount", "-R", folder / "s/box", check=False)


def test_propagation_needs_a_shared_mount(engine, name, folder):
    with mounted(folder / "p"):
        run("mount", "--make-private", folder / "p")
        for propagation, kind in (("rshared", "shared"), ("rslave", "shared or slave")):
            create(engine, name, Mounts=[bind(folder / "p", Propagation=propagation)])
            reply = engine.api("POST", f"/containers/{name}/start")
            assert f"path {folder}/p is mounted on {folder}/p but it is not a {kind} mount".replace(" ", "\\040", 0) in reply.message.replace("\\040", " "), reply.body
            engine.api("DELETE", f"/containers/{name}")


def test_nested_in_any_order(engine, name, folder):
    for d in ("a", "b", "c"):
        (folder / d).mkdir()
        (folder / d / f"of-{d}").touch()
    (folder / "file").write_text("file")
    mounts = [bind(folder / "c", "/m/b/c"), bind(folder / "file", "/m/b/f"), bind(folder / "b", "/m/b"), bind(folder / "a")]
    assert script(engine, name, "ls /m /m/b /m/b/c; cat /m/b/f", Mounts=mounts) == (0, "/m:\nb\nof-a\n\n/m/b:\nc\nf\nof-b\n\n/m/b/c:\nof-c\nfile")


def test_consistency_and_labels_change_nothing(engine, name, folder):
    for mode in ("cached", "delegated", "consistent", "z", "Z", "Z,ro,rslave"):
        reply = create(engine, name, Binds=[f"{folder}:/m:{mode}"])
        assert reply.status == 201, reply.body
        assert engine.inspect(name)["Mounts"][0]["Mode"] == mode
        engine.api("DELETE", f"/containers/{name}")
    assert script(engine, name, "touch /m/x", Mounts=[bind(folder, Consistency="cached")])[0] == 0


def test_inspect_gives_back_what_was_asked(engine, name, folder):
    asked = [bind(folder, ReadOnly=True, Consistency="cached", Propagation="rprivate", NonRecursive=True, CreateMountpoint=True),
             {"Type": "volume", "Source": name, "Target": "/v", "VolumeOptions": {"NoCopy": True, "Labels": {"a": "b=c"}, "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}}},
             {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 65536, "Mode": 448, "Options": [["exec"], ["nr_inodes", "100"]]}},
             {"Type": "image", "Source": "busybox", "Target": "/i", "ReadOnly": True, "ImageOptions": {"Subpath": "etc"}}]
    reply = create(engine, name, Mounts=asked, Tmpfs={"/flag": "size=1m"})
    assert reply.status == 201, reply.body
    i = engine.inspect(name)
    assert i["HostConfig"]["Mounts"] == asked and i["HostConfig"]["Tmpfs"] == {"/flag": "size=1m"}
    shown = {m["Destination"]: m for m in i["Mounts"]}
    assert set(shown) == {"/m", "/v", "/t", "/i"}, "what --tmpfs made is shown in HostConfig alone"
    assert shown["/t"] == {"Type": "tmpfs", "Source": "", "Destination": "/t", "Mode": "", "RW": True, "Propagation": ""}
    assert not shown["/m"]["RW"] and shown["/v"]["Driver"] == "local" and shown["/v"]["Name"] == name and shown["/i"]["Source"] == "busybox"
    engine.api("DELETE", f"/containers/{name}")
    assert engine.api("DELETE", f"/volumes/{name}").status == 204


def test_tmpfs_options(engine, name):
    look = "grep ' /t ' /proc/mounts; stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'; cp /bin/busybox /t/ls && /t/ls /t"
    status, out = script(engine, name, look, Mounts=[{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4 << 20, "Mode": 0o1700, "Options": [["exec"], ["nr_inodes", "64"]]}}])
    assert status == 0 and "noexec" not in out and "nosuid" in out and "nr_inodes=64" in out and out.splitlines()[1:3] == ["1700", "4096"]
    status, out = script(engine, name, look, Tmpfs={"/t": "size=4m"})
    assert status == 126 and "noexec" in out


def test_a_command_line_with_commas_quotes_and_colons(cli, name, folder):
    odd = folder / 'a,"b" : 一'
    odd.mkdir()
    quoted = str(odd).replace('"', '""')
    assert cli.out("run", "--rm", "--mount", f'type=bind,"source={quoted}",target=/m', "busybox", "sh", "-c", "touch '/m/a:b,c' && ls /m") == "a:b,c"
    assert (odd / "a:b,c").exists()
    assert "invalid" in cli.fails("run", "--rm", "-v", f"{odd}:/m:ro:x", "busybox", "true")


def test_read_only_by_the_command_lines(cli, folder):
    with mounted(folder / "deep"):
        write = ("busybox", "sh", "-c", "touch /m/x 2>/dev/null && echo top; touch /m/deep/x 2>/dev/null && echo below; true")
        place = f"type=bind,source={folder},target=/m,readonly"
        assert cli.out("run", "--rm", "--mount", place, *write) == ""
        assert cli.out("run", "--rm", "--mount", f"{place},bind-recursive=writable", *write) == "below"
        assert cli.out("run", "--rm", "--mount", f"{place},bind-recursive=readonly,bind-propagation=rprivate", *write) == ""
        assert "bind source path does not exist" in cli.fails("run", "--rm", "--mount", f"type=bind,source={folder}/none,target=/m", "busybox", "true")


# ---- idmapped binds
@pytest.fixture
def owned(folder):
    """A folder of user 4321, group 8765, with a file of his and one of root's."""
    home = folder / "home 家"
    home.mkdir()
    for where, uid, gid in ((home, 4321, 8765), (home / "his", 4321, 8765), (home / "roots", 0, 0), (home / "others", 55, 66)):
        if where != home:
            where.write_text(where.name)
        os.chown(where, uid, gid)
    home.chmod(0o755)
    return home


def owner(path):
    s = os.lstat(path)
    return s.st_uid, s.st_gid


def test_idmap_gives_files_to_the_folders_owner(cli, owned):
    seen = cli.out("run", "--rm", "-v", f"{owned}:/m:idmap", "busybox", "sh", "-c",
                   "cd /m; echo new > new; mkdir -p d/e; ln -s his link; chown 55 new2 2>/dev/null; touch asked; chown 55:66 asked; stat -c '%n %u:%g' . his others new")
    assert set(seen.splitlines()) == {". 0:0", "his 0:0", "others 55:66", "new 0:0"}
    for n in ("new", "d", "d/e", "link"):
        assert owner(owned / n) == (4321, 8765), n
    assert owner(owned / "asked") == (55, 66), "other ids stay as they are"


@pytest.mark.parametrize("how", ["--mount", "consistency of a long syntax"])
def test_idmap_by_what_other_clients_pass_on(engine, docker, owned, how):
    """Clients know nothing of it, but they hand the propagation on as it is: docker run --mount, compose's bind.propagation."""
    if how == "--mount":
        docker("run", "--rm", "--mount", f"type=bind,source={owned},target=/m,bind-propagation=idmap", "busybox", "touch", "/m/new")
    else:
        assert script(engine, "idmap-by-compose", "touch /m/new", Binds=[f"{owned}:/m:rw,rprivate,idmap"])[0] == 0
    assert owner(owned / "new") == (4321, 8765)


def test_idmap_by_our_command_line(ireko, owned):
    ireko("run", "--rm", "--mount", f"type=bind,source={owned},target=/m,idmap", "busybox", "touch", "/m/one")
    ireko("run", "--rm", "--mount", f"type=bind,source={owned},target=/m,idmap=uids=4321-1000-1;gids=8765-1000-1", "-u", "1000:1000", "busybox", "touch", "/m/two")
    assert owner(owned / "one") == owner(owned / "two") == (4321, 8765)
    assert "invalid idmap" in ireko.fails("run", "--rm", "--mount", f"type=bind,source={owned},target=/m,idmap=uids=1", "busybox", "true")


def test_idmap_with_explicit_ranges(engine, name, owned):
    assert script(engine, name, "id -u; stat -c %u:%g /m/his; touch /m/new", Mounts=[bind(owned, IDMap="uids=4321-1000-1#0-0-1;gids=8765-1000-1#0-0-1")],
                  config={"User": "1000:1000"})[1].splitlines()[:2] == ["1000", "1000:1000"]
    assert owner(owned / "new") == (4321, 8765)


def test_idmap_read_only_and_below(engine, name, owned):
    with mounted(owned / "deep", "-o", "uid=4321,gid=8765"):
        status, out = script(engine, name, "touch /m/x 2>/dev/null || echo ro; stat -c %u /m/his /m/deep", Binds=[f"{owned}:/m:ro,idmap"])
        assert out.split() == ["ro", "0", "0"]


def test_idmap_of_a_folder_of_roots_is_a_plain_bind(engine, name, folder):
    assert script(engine, name, "touch /m/new; chown 7:7 /m/new", Binds=[f"{folder}:/m:idmap"])[0] == 0
    assert owner(folder / "new") == (7, 7)


def test_idmap_where_the_file_system_cannot(engine, name):
    refused(engine, name, "cannot map ids with this kernel: leave out idmap", Mounts=[bind("/proc/sys", IDMap="uids=1-0-1")])


def test_who_made_room_is_nobody(engine, name, owned):
    """The owner's id in the container, and root's in the folder, have no counterpart: nothing can be made in their name."""
    owned.chmod(0o777)
    status, out = script(engine, name, "stat -c %u:%g /m/roots; touch /m/new 2>&1; chown 4321 /m 2>&1 || true", Binds=[f"{owned}:/m:idmap"], config={"User": "4321:8765"})
    assert out.splitlines()[0] == "65534:65534" and "oo large" in out, out
    assert not (owned / "new").exists()


def test_made_mounts_with_another_runtime(new_engine, name, owned):
    """What has no path is shown to runtimes that are programs in the bundle: a folder and a file."""
    engine = new_engine("--runtime", f"other={program('runc')}")
    mounts = [{"Type": "image", "Source": "busybox", "Target": t, "ImageOptions": {"Subpath": s}} for t, s in (("/i", "etc"), ("/j", "etc/passwd"))]
    assert script(engine, name, "ls /i/passwd; head -c 4 /j", Runtime="other", Mounts=mounts) == (0, "/i/passwd\nroot")


def test_copies_into_an_idmapped_bind(cli, engine, name, folder, owned):
    (folder / "f").write_text("x")
    create(engine, name, Binds=[f"{owned}:/m:idmap"])
    cli("cp", folder / "f", f"{name}:/m/before")
    assert owner(owned / "before") == (4321, 8765)
    assert run_created(engine, name)[0] == 0
    cli("cp", folder / "f", f"{name}:/m/after")
    assert owner(owned / "after") == (4321, 8765)
