#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cri_images.py REGISTRY: makes the images that critest asks for, and pushes them to a registry on this machine (HOST:PORT, plain HTTP) under the paths that it asks for.

Nothing is fetched: busybox is Debian's, the servers are programs.c, linked statically. What the tests rely on in each image is said beside it. An engine that has the registry as
the mirror of every other one finds them under the names that critest has for them. Pushing them again changes nothing.
"""
import functools
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cri_engines  # noqa: E402
from cri_engines import harness  # noqa: E402

TOOLS, E2E = "k8s-staging-cri-tools", "e2e-test-images"
PATH = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
# Debian's has no pgrep and no ipcs.
SCRIPTS = {"usr/bin/pgrep": "#!/bin/sh\nexec pidof \"$@\"\n", "usr/bin/ipcs": "#!/bin/sh\nexec cat /proc/sysvipc/shm\n"}
USERS = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUPS = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"


@functools.cache
def programs():
    with tempfile.TemporaryDirectory(prefix="irk-programs-") as folder:
        out = pathlib.Path(folder) / "programs"
        # The build id would make another image of the same source in another folder.
        subprocess.run(["gcc", "-std=gnu17", "-static", "-Os", "-s", "-Wall", "-Wl,--build-id=none", "-o", out, HERE / "programs.c"], check=True)
        return out.read_bytes()


def files(*entries):
    """One layer of (name, text or bytes, mode)."""
    return harness.make_tar(lambda tar: [harness.add_file(tar, name, data.encode() if isinstance(data, str) else data, mode) for name, data, mode in entries])


def libraries(program):
    """Paths of what it is linked with, its loader among them."""
    return re.findall(r"(/\S+) \(0x", harness.run("ldd", program).stdout)


@functools.cache
def busybox():
    """The one of Debian's that is not static: that one's shell runs `ls` without looking at /bin/ls, and one of the tests hides that. For its sake, too, commands are hard links: of a symbolic
    link all would be hidden."""
    program = cri_engines.CACHE / "bin/busybox"
    assert program.exists(), f"{program} is missing: run tools/deps cri"

    def fill(tar):
        for name, mode in {"bin": 0o755, "etc": 0o755, "lib": 0o755, "root": 0o700, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755, "var": 0o755, "var/run": 0o755}.items():
            harness.add_file(tar, name, mode=mode, type=b"5")
        harness.add_file(tar, "bin/busybox", program.read_bytes(), 0o755)
        for applet in sorted(harness.run(program, "--list").stdout.split()):
            harness.add_file(tar, f"bin/{applet}", mode=0o755, type=b"1", linkname="bin/busybox")
        for path in libraries(program):
            harness.add_file(tar, path.lstrip("/"), pathlib.Path(path).read_bytes(), 0o755)
        for name, text in SCRIPTS.items():
            harness.add_file(tar, name, text.encode(), 0o755)
        harness.add_file(tar, "etc/passwd", USERS.encode())
        harness.add_file(tar, "etc/group", GROUPS.encode())

    return [harness.make_tar(fill)]


def server(name, port):
    """`nginx` has "master process" among its words, by which the tests know it."""
    return dict(layers=[*busybox(), files((f"usr/sbin/{name}", programs(), 0o755))], Entrypoint=[f"/usr/sbin/{name}", str(port), "master process"], StopSignal="SIGQUIT", ExposedPorts={f"{port}/tcp": {}})


def predefined_group():
    """User 1000 is in a group that only the image knows of."""
    return [*busybox(), files(("etc/passwd", USERS + "default-user:x:1000:1000::/home/user:/bin/sh\n", 0o644), ("etc/group", GROUPS + "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n", 0o644))]


def plain(**config):
    return {"layers": busybox(), "Cmd": ["sh"], **config}


def only(text):
    """An image that differs from others in a file."""
    return {"layers": [*busybox(), files(("etc/which", text, 0o644))], "Cmd": ["sh"]}


def images():
    """{(path, tag, ...): what it is made of}; tags of one row are one image."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(harness.os.uname().machine, harness.os.uname().machine)
    pause = {"layers": [files(("pause", programs(), 0o755))], "Entrypoint": ["/pause"], "User": "65535:65535"}
    return {
        (f"{E2E}/busybox", "1.29-2"): plain(),
        (f"{E2E}/nginx", "1.14-2"): server("nginx", 80),
        (f"{E2E}/httpd", "2.4.39-4"): server("httpd", 80),
        (f"{E2E}/nonewprivs", "1.3"): {"layers": [files(("nonewprivs", programs(), 0o4755))], "Entrypoint": ["/nonewprivs"]},
        (f"{TOOLS}/hostnet-nginx-{arch}", "latest"): server("nginx", 12003),
        ("pause", "3.9"): pause,
        # Another image, so that the one above has no names but those that the tests give it.
        ("sandbox", "1"): {**pause, "Env": ["SANDBOX=1"]},
        (f"{TOOLS}/test-image-user-uid", "latest"): plain(User="1002"),
        (f"{TOOLS}/test-image-user-username", "latest"): plain(User="www-data"),
        (f"{TOOLS}/test-image-user-uid-group", "latest"): plain(User="1003:users"),
        (f"{TOOLS}/test-image-user-username-group", "latest"): plain(User="www-data:users"),
        (f"{TOOLS}/test-image-predefined-group", "latest"): {"layers": predefined_group(), "Cmd": ["sh"], "User": "1000"},
        (f"{TOOLS}/test-image-latest", "latest"): only("latest"),
        (f"{TOOLS}/test-image-tag", "test"): only("tag test"),
        (f"{TOOLS}/test-image-tag", "all"): only("tag all"),
        (f"{TOOLS}/test-image-digest", "latest"): only("digest"),
        (f"{TOOLS}/test-image-tags", "1", "2", "3"): only("tags"),
        **{(f"{TOOLS}/test-image-{i}", "latest"): only(f"image {i}") for i in (1, 2, 3)},
    }


def push(registry):
    """Pushes all of them; {path: digest of the last tag's manifest}."""
    digests = {}
    for (path, *tags), made in images().items():
        config = {k: v for k, v in made.items() if k != "layers"}
        for tag in tags:
            digests[path] = registry.push_image(path, tag, made["layers"], **{"created": "2024-01-01T00:00:00Z", "Env": PATH, "Labels": {"made-for": path}, **config})[0]
    return digests


class AtHost(harness.Registry):
    """One that somebody else has started."""

    def __init__(self, host):  # pylint: disable=super-init-not-called
        self.host, self.authorization, self.context = host, None, None


if __name__ == "__main__":
    if len(sys.argv) != 2 or ":" not in sys.argv[1]:
        sys.exit("usage: cri_images.py HOST:PORT")
    for pushed, its_digest in push(AtHost(sys.argv[1])).items():
        print(f"{pushed}@{its_digest}")
