# SPDX-License-Identifier: Apache-2.0
"""Hostile image configs, and layers that change what lower ones made: what an image says is data, never a way to the host."""
import json
import os
import re
import tarfile

import pytest

from harness import add_file, busybox_layer, docker_archive, make_tar, sha256

DIR, SYM, LNK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def archive(tag, layers, text):
    """A docker-archive whose config has exactly this text."""
    def fill(t):
        names = [f"{sha256(data)}/layer.tar" for data in layers]
        for name, data in dict(zip(names, layers)).items():
            add_file(t, name, data)
        add_file(t, "config.json", text)
        add_file(t, "manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).encode())
    return make_tar(fill)


def document(layers, config, **more):
    return {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(d)}" for d in layers]}, **more}


@pytest.fixture
def load(ireko, engine, name):
    """Loads an image with such a config on busybox and returns its name, or what was said against it."""
    tags = []

    def load(layers=(), text=None, **config):
        tag = f"{name}:h{len(tags)}"
        layers = [busybox_layer(), *layers]
        text = text(layers) if callable(text) else text
        text = json.dumps(document(layers, {"Cmd": ["sh"], **config})).encode() if text is None else text
        p = ireko("load", input=archive(tag, layers, text), text=False, check=False)
        if p.returncode:
            assert tag not in engine.images()
            return None, p.stderr.decode()
        tags.append(tag)
        return tag, ""

    yield load
    engine.remove_containers()
    for tag in tags:
        ireko("rmi", "-f", tag)


@pytest.fixture
def marker(tmp_path):
    """A directory of the host with a file that no container may see or change."""
    (tmp_path / "marker").write_text("of the host")
    yield tmp_path
    assert sorted(os.listdir(tmp_path)) == ["marker"] and (tmp_path / "marker").read_text() == "of the host"


# ---- configs ----

def test_volumes_that_climb(load, ireko, marker):
    """What is copied into a new volume is the image's, whatever the path says (CVE-2022-23648)."""
    for path in (f"/../../../../../../../../../..{marker}", f"{marker}/../..{marker}", f"/proc/self/root{marker}", f"/proc/1/root{marker}"):
        tag, said = load(Volumes={path: {}})
        if tag is None:
            assert "Volumes" in said or path in said
            continue
        p = ireko("run", "--rm", tag, "find", "/", "-xdev", "-name", "marker", check=False)
        assert p.returncode != 0 or p.stdout == "", (path, p)
        assert "of the host" not in p.stdout + p.stderr


@pytest.mark.parametrize("layer", [lambda t, m: add_file(t, "data", type=SYM, linkname=str(m)), lambda t, m: add_file(t, "data", type=SYM, linkname="../../../../../../../.." + str(m))])
def test_a_volume_over_a_link_to_the_host(load, ireko, marker, layer):
    tag, _ = load([make_tar(lambda t: layer(t, marker))], Volumes={"/data": {}})
    p = ireko("run", "--rm", tag, "sh", "-c", "ls /data/; echo written > /data/new", check=False)
    assert "marker" not in p.stdout


@pytest.mark.parametrize("where", [f"/proc/self/fd/{n}" for n in (3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20)] + ["/proc/self/cwd", "/proc/1/root", "/proc/self/root/.."])
def test_a_working_directory_among_descriptors(load, ireko, where):
    """CVE-2024-21626: a descriptor of the host's that leaks would be the way out."""
    tag, said = load(WorkingDir=where)
    if tag is None:
        assert said
        return
    p = ireko("run", "--rm", tag, "sh", "-c", "pwd -P; ls ../../../../../../../../bin/busybox && cat ../../../../../../../../etc/passwd", check=False)
    assert p.returncode != 0 or "home/user" in p.stdout, p  # busybox's own /etc/passwd


@pytest.mark.parametrize("user", ["0:0\nroot", "root\n", "4294967296", "4294967295", "-1", "2147483648", "0:4294967296", "0:-1", "nosuch", "root:nosuch", "1e3", "0x0", " 0", "0 ", "+0",
                                  "root:root:root", "\x1b[2J", "u" * 100000])
def test_users_that_are_none(load, ireko, user):
    tag, said = load(User=user)
    if tag is None:
        assert said
        return
    said = ireko.fails("run", "--rm", tag, "id", "-u")
    assert re.search(r"user|group|passwd|uid|id", said, re.I) and len(said) < 4000, said


@pytest.mark.parametrize("signal", ["SIGNOPE", "-1", "0", "65", "99999999999", "9; reboot", "TERM\n", "", "S" * 5000])
def test_stop_signals_that_are_none(load, ireko, signal, name):
    tag, said = load(StopSignal=signal)
    if tag is None:
        assert said
        return
    p = ireko("run", "-d", "--name", name, tag, "sleep", "1000", check=False)
    if p.returncode:
        assert "signal" in p.stderr.lower() and len(p.stderr) < 4000, p.stderr
    else:
        assert signal in ("", "0")
        ireko("stop", "-t", "0", name)


@pytest.mark.parametrize("health", [{"Test": ["CMD"] + ["x" * 1000] * 2000}, {"Test": ["CMD-SHELL", "true"], "Interval": -1, "Timeout": -(1 << 63), "Retries": -5},
                                    {"Test": ["CMD-SHELL", "true"], "Interval": (1 << 63) - 1, "Timeout": 1, "Retries": (1 << 63) - 1, "StartPeriod": (1 << 63) - 1},
                                    {"Test": ["NOSUCH", "x"]}, {"Test": [""]}, {"Test": []}, {}], ids=["huge", "negative", "largest", "unknown", "empty word", "no words", "nothing"])
def test_absurd_health_checks(load, ireko, health, name):
    """None of it keeps the container from running, or the engine from answering."""
    tag, said = load(Healthcheck=health)
    if tag is None:
        assert said
        return
    p = ireko("run", "--name", name, tag, "echo", "fine", check=False)
    assert p.stdout == "fine\n" or "ealth" in p.stderr, p
    assert ireko("ps", "-a").returncode == 0


def test_labels_of_other_engines_mean_nothing(load, ireko, marker, name):
    """CVE-2026-53488 and its like: a label is no instruction."""
    log = marker / "log"
    labels = {"io.containerd.runc.v2.log": f"binary:///bin/sh?-c=echo>{log}", "io.kubernetes.cri.log-path": str(log), "io.podman.annotations.label": "disable",
              "org.opencontainers.image.config": "../../x", "com.docker.compose.project": "x\x1b[2J", "ireko.volatile": "1", "": "empty", "a=b": "equals"}
    tag, said = load(Labels=labels)
    assert tag, said
    ireko("run", "--name", name, tag, "true")
    shown = json.loads(ireko.out("inspect", name))[0]["Config"]["Labels"]
    assert shown["com.docker.compose.project"] == "x\x1b[2J" and "\x1b" not in ireko.out("inspect", name)


def test_environments(load, ireko):
    tag, said = load(Env=["PATH=/bin", "A=1", "A=2", "NOEQUALS", "=x", "LONG=" + "x" * 100000, "LINE=a\nb", "LD_PRELOAD=/evil.so", "IREKO_X=1"])
    assert tag, said
    p = ireko("run", "--rm", tag, "sh", "-c", 'echo "$A"; echo "${#LONG}"; echo "$LINE"', check=False)
    assert p.returncode != 0 and p.stderr or p.stdout == "2\n100000\na\nb\n", p


@pytest.mark.parametrize("ports", [{"99999/tcp": {}}, {"80/../../x": {}}, {"-1": {}}, {"80/nosuch": {}}, {"": {}}, {"0-65535/tcp": {}}])
def test_ports_that_are_none(load, ireko, ports):
    tag, said = load(ExposedPorts=ports)
    if tag is None:
        assert said
        return
    p = ireko("run", "--rm", "-P", tag, "echo", "fine", check=False, timeout=90)
    assert p.stdout == "fine\n" or "port" in p.stderr.lower(), p


@pytest.mark.parametrize("config", [{"Entrypoint": ["/"]}, {"Entrypoint": ["/proc/self/fd/3"]}, {"Cmd": ["../../../../nothing"]}, {"Entrypoint": ["x" * 5000]}, {"Cmd": ["\n"]}])
def test_commands_that_are_none(load, ireko, config):
    tag, said = load(**config)
    if tag is None:
        assert said
        return
    p = ireko("run", "--rm", tag, check=False)
    assert p.returncode in (125, 126, 127) and p.stderr.strip(), p


def test_what_an_image_says_does_not_speak_to_the_terminal(load, ireko, name):
    """Users, commands and labels of control characters: on a terminal they are shown as such."""
    evil = "\x1b[2J\x1b]0;title\x07"
    for config in ({"User": evil}, {"Cmd": [evil]}, {"WorkingDir": "/" + evil, "User": "nobody"}, {"StopSignal": evil}, {"Labels": {"a": evil}, "Cmd": ["true"]}):
        tag, said = load(**config)
        if tag is None:
            assert said
            continue
        for args in (("run", "--name", name, tag), ("ps", "-a"), ("ps", "-a", "--format", "{{.Command}} {{.Labels}}"), ("history", tag), ("inspect", tag), ("image", "inspect", "--format", "{{.Config}}", tag)):
            with ireko.pty(*args) as t:
                t.wait()
                assert "\x1b[2J" not in t.said and "\x07" not in t.said, (args, t.said)
        ireko("rm", "-f", name, check=False)


def wrong(change):
    def text(layers):
        d = document(layers, {"Cmd": ["sh"]})
        change(d)
        return json.dumps(d).encode()
    return text


def nested(layers):
    plain = json.dumps(document(layers, {"Labels": "@"})).encode()
    return plain.replace(b'"@"', b'{"a":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}")


@pytest.mark.parametrize("text,words", [
    (nested, r"depth|nest|JSON|config|Labels"), (lambda layers: json.dumps(document(layers, {})).encode()[:-1] + b',"os":"linux"}', r"duplicate|twice"),
    (lambda layers: json.dumps(document(layers, {"Env": ["A=\x00B"]})).encode(), r"\\u0000|NUL"), (lambda layers: json.dumps(document(layers, {})).encode() + b" " * (9 << 20), r"large|bytes"),
    (lambda layers: json.dumps(document(layers, {})).encode() + b"x", r"end of file|JSON|line 1"), (lambda layers: b"\xff\xfe", r"UTF|line 1"), (lambda layers: b"", r"line 1|empty|JSON"),
    (wrong(lambda d: d.pop("rootfs")), r"rootfs"), (wrong(lambda d: d["rootfs"].update(diff_ids=[])), r"layers"), (wrong(lambda d: d["rootfs"]["diff_ids"].append(d["rootfs"]["diff_ids"][0])), r"layers"),
    (wrong(lambda d: d["rootfs"].update(diff_ids=["sha256:../../x"])), r"diff_ids|sha256"), (wrong(lambda d: d["rootfs"].update(diff_ids=["md5:" + "0" * 32])), r"diff_ids|sha256"),
    (wrong(lambda d: d["rootfs"].update(diff_ids=["sha256:" + "0" * 64])), r"diff id|digest|mismatch"), (wrong(lambda d: d["config"].update(Volumes=["/x"])), r"Volumes"),
    (wrong(lambda d: d["config"].update(Env="A=B" * 10, Labels=["x"])), r"Labels"), (wrong(lambda d: d["config"].update(User=7)), r"User"), (wrong(lambda d: d["config"].update(StopTimeout="x")), r"StopTimeout"),
    (wrong(lambda d: d.update(history=[{}] * 20000)), r"history"), (wrong(lambda d: d.update(history="x")), r"history"), (wrong(lambda d: d.update(config=[])), r"config"),
], ids=["deep", "twice", "NUL", "huge", "trailing", "no UTF-8", "empty", "no rootfs", "no layer", "a layer too many", "climbing id", "md5", "another id", "Volumes", "Labels", "User", "StopTimeout",
        "history", "no history", "config"])
def test_configs_that_are_none(load, text, words):
    tag, said = load(text=text)
    assert tag is None, "it was loaded"
    assert re.search(words, said), said
    assert len(said) < 4000


def test_configs_with_too_much(load, ireko):
    """Within the size of a document a config may be as long as it likes: listing and inspecting it works."""
    tag, said = load(Env=[f"V{i}=x" for i in range(50000)], Labels={f"l{i}": "x" for i in range(50000)}, Cmd=["sh"])
    assert tag, said
    assert len(json.loads(ireko.out("image", "inspect", tag))[0]["Config"]["Labels"]) == 50000
    p = ireko("run", "--rm", tag, "true", check=False)
    assert p.returncode == 0 or p.stderr.strip()


# ---- layers that change what lower ones made ----

def layer(*entries):
    def fill(t):
        for name, kind, data in entries:
            if kind == "dir":
                add_file(t, name, type=DIR, mode=0o755)
            elif kind == "link":
                add_file(t, name, type=SYM, linkname=data)
            elif kind == "hard":
                add_file(t, name, type=LNK, linkname=data)
            else:
                add_file(t, name, data.encode())
    return make_tar(fill)


CHANGES = {
    "directory to file": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer(("x", "file", "new")), "x=new"),
    "file to directory": ([layer(("x", "file", "old"))], layer(("x", "dir", ""), ("x/f", "file", "new")), "x/ x/f=new"),
    "directory to link": ([layer(("x", "dir", ""), ("x/f", "file", "old"), ("y", "dir", ""), ("y/f", "file", "y"))], layer(("x", "link", "y")), "x->y y/ y/f=y"),
    "link to directory": ([layer(("y", "dir", ""), ("y/f", "file", "y"), ("x", "link", "y"))], layer(("x", "dir", ""), ("x/g", "file", "new")), "x/ x/g=new y/ y/f=y"),
    "link to file": ([layer(("y", "file", "kept"), ("x", "link", "y"))], layer(("x", "file", "new")), "x=new y=kept"),
    "file to link": ([layer(("y", "file", "kept"), ("x", "file", "old"))], layer(("x", "link", "y")), "x->y y=kept"),
    "file to hard link": ([layer(("x", "file", "old"))], layer(("y", "file", "both"), ("x", "hard", "y")), "x=both y=both"),
    "whiteout of a file": ([layer(("x", "file", "old"), ("y", "file", "kept"))], layer((".wh.x", "file", "")), "y=kept"),
    "whiteout of a directory": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer((".wh.x", "file", "")), ""),
    "whiteout of a link": ([layer(("y", "file", "kept"), ("x", "link", "y"))], layer((".wh.x", "file", "")), "y=kept"),
    "whiteout of nothing": ([layer(("y", "file", "kept"))], layer((".wh.x", "file", ""), ("d", "dir", ""), ("d/.wh.x", "file", "")), "d/ y=kept"),
    "whiteout and new directory": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer((".wh.x", "file", ""), ("x", "dir", ""), ("x/g", "file", "new")), "x/ x/g=new"),
    "new directory and whiteout": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer(("x", "dir", ""), ("x/g", "file", "new"), (".wh.x", "file", "")), "x/ x/g=new"),
    "opaque": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer(("x", "dir", ""), ("x/g", "file", "new"), ("x/.wh..wh..opq", "file", "")), "x/ x/g=new"),
    "opaque before": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer(("x", "dir", ""), ("x/.wh..wh..opq", "file", ""), ("x/g", "file", "new")), "x/ x/g=new"),
    "opaque without entry": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer(("x/.wh..wh..opq", "file", "")), "x/"),
    "opaque over a link": ([layer(("y", "dir", ""), ("y/f", "file", "kept"), ("x", "link", "y"))], layer(("x/.wh..wh..opq", "file", ""), ("x/g", "file", "new")), "x/ x/g=new y/ y/f=kept"),
    "opaque root": ([layer(("x", "dir", ""), ("x/f", "file", "old"))], layer((".wh..wh..opq", "file", ""), ("g", "file", "new")), "g=new"),
    "opaque below opaque": ([layer(("x", "dir", ""), ("x/y", "dir", ""), ("x/y/f", "file", "old"))], layer(("x/.wh..wh..opq", "file", ""), ("x/y/.wh..wh..opq", "file", ""), ("x/y/g", "file", "new")), "x/ x/y/ x/y/g=new"),
    "twice removed": ([layer(("x", "file", "1")), layer((".wh.x", "file", "")), layer(("x", "file", "3"))], layer((".wh.x", "file", "")), ""),
    "back again": ([layer(("x", "dir", ""), ("x/f", "file", "1")), layer((".wh.x", "file", ""))], layer(("x", "dir", ""), ("x/g", "file", "3")), "x/ x/g=3"),
    "file over a link's directory": ([layer(("y", "dir", ""), ("x", "link", "/y"))], layer(("x/f", "file", "new")), None),
}

SHOW = """cd /t && find . -mindepth 1 | sort | while read -r n; do n=${n#./}
if [ -L "$n" ]; then echo "$n->$(readlink "$n")"; elif [ -d "$n" ]; then echo "$n/"; else echo "$n=$(cat "$n")"; fi; done"""


def below(data, folder="t"):
    """The same layer in a directory of its own; a root that is opaque would hide busybox."""
    out = []
    with tarfile.open(fileobj=__import__("io").BytesIO(data)) as t:
        for i in t.getmembers():
            contents = t.extractfile(i).read() if i.isreg() else b""
            i.name = f"{folder}/{i.name}"
            if i.islnk():
                i.linkname = f"{folder}/{i.linkname}"
            out.append((i, contents))

    def fill(t):
        for i, contents in out:
            t.addfile(i, __import__("io").BytesIO(contents))
    return make_tar(fill)


def changed(change):
    """The layers of a change, and what a container sees of them."""
    lower, upper, expected = CHANGES[change]
    base = make_tar(lambda t: add_file(t, "t", type=DIR, mode=0o755))
    return [base, *(below(d) for d in lower), below(upper)], expected


def check_changed(out, expected, change):
    if expected is not None:
        assert " ".join(out.split()) == expected, change
    else:  # engines differ in whether a lower layer's link is followed: it stays inside either way
        assert "f=new" in out


@pytest.mark.parametrize("change", CHANGES)
def test_layers_over_layers(load, ireko, change):
    """As the image-spec has it, seen from within a container."""
    layers, expected = changed(change)
    tag, said = load(layers)
    assert tag, said
    check_changed(ireko.out("run", "--rm", tag, "sh", "-c", SHOW), expected, change)


@pytest.mark.parametrize("snapshotter", ["overlayfs", "vfs"])
def test_layers_over_layers_however_they_are_kept(new_engine, snapshotter):
    engine = new_engine("--snapshotter", snapshotter, busybox=False)
    for i, change in enumerate(CHANGES):
        layers, expected = changed(change)
        engine.cli("load", input=docker_archive(f"c{i}:x", [busybox_layer(), *layers], Cmd=["sh"]), text=False)
        check_changed(engine.cli("run", "--rm", f"c{i}:x", "sh", "-c", SHOW).stdout, expected, change)


def test_a_layer_that_replaces_what_engines_use(load, ireko, marker):
    """/etc, /dev, /proc and /sys as links to the host's: whatever is written for the container stays in it."""
    for path in ("etc", "dev", "proc", "sys", "etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/mtab", "dev/shm", "dev/pts"):
        tag, said = load([layer((f".wh.{path}" if "/" not in path else path.replace("/", "/.wh."), "file", "")), layer((path, "link", str(marker)))])
        assert tag, said
        ireko("run", "--rm", tag, "true", check=False)
        assert os.listdir(marker) == ["marker"], path
