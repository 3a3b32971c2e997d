# SPDX-License-Identifier: Apache-2.0
"""What images and layers are written as: archives in both forms and as directories, commits that repeat, squashed layers, imports by URL, diffs."""
import contextlib
import http.server
import io
import json
import pathlib
import re
import socket
import subprocess
import tarfile
import threading
import time
import urllib.parse

import pytest

from harness import Registry, add_file, busybox_layer, docker_archive, make_tar, program, run, sha256


def inspect(engine, name):
    return json.loads(engine.cli("image", "inspect", name).stdout)[0]


def layers_of(engine, name):
    return inspect(engine, name)["RootFS"]["Layers"]


def index_of(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as t:
        return json.load(t.extractfile("index.json")), set(t.getnames())


# ---- save and load
def test_formats_of_save(ireko, engine, name):
    ireko("tag", "busybox", f"{name}:f")
    docker, oci = (ireko("save", *form, f"{name}:f", text=False).stdout for form in ([], ["--format", "oci"]))
    assert {"manifest.json", "repositories", "index.json", "oci-layout"} <= index_of(docker)[1]
    index, names = index_of(oci)
    assert {"index.json", "oci-layout"} <= names and not {"manifest.json", "repositories"} & names
    assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": f"docker.io/library/{name}:f", "org.opencontainers.image.ref.name": "f"}
    assert oci == ireko("save", "--format", "oci", f"{name}:f", text=False).stdout
    assert "docker and oci are known" in ireko.fails("save", "--format", "zip", f"{name}:f", status=1)
    ireko("rmi", f"{name}:f")


def test_several_images_in_one_archive(cli, engine, name, folder):
    engine.cli("load", input=docker_archive(f"{name}:other", [busybox_layer(), make_tar(lambda t: add_file(t, name, b"x"))], Cmd=["sh"]), text=False)
    cli("tag", "busybox", f"{name}:one")
    cli("tag", "busybox", f"example.org:5000/{name}:two")
    names = [f"{name}:one", f"example.org:5000/{name}:two", f"{name}:other"]
    cli("save", "-o", folder / "all.tar", *names)
    cli("rmi", *names)
    out = cli.out("load", "-i", folder / "all.tar")
    assert [f"Loaded image: {n}" for n in names] == [line for line in out.splitlines() if line.startswith("Loaded image")]
    cli("rmi", *names)


def test_layout_directory(ireko, engine, folder, name):
    ireko("tag", "busybox", f"{name}:dir")
    before = inspect(engine, f"{name}:dir")["Id"]
    target = folder / "画像 の layout"
    ireko("save", "-o", f"{target}/", f"{name}:dir")
    assert json.loads((target / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    for blob in (target / "blobs/sha256").iterdir():
        assert sha256(blob.read_bytes()) == blob.name
    assert sorted(p.name for p in folder.iterdir()) == [target.name]
    said = ireko.fails("save", "-o", target, f"{name}:dir", status=1)
    assert "is not empty" in said and sorted(p.name for p in folder.iterdir()) == [target.name]
    ireko("rmi", f"{name}:dir")
    assert f"Loaded image: {name}:dir" in ireko.out("load", "-i", target)
    assert inspect(engine, f"{name}:dir")["Id"] == before
    (folder / "empty").mkdir()
    ireko("save", "--format", "oci", "-o", folder / "empty", f"{name}:dir")
    (target / "blobs/sha256/extra").symlink_to("/etc/passwd")
    ireko("rmi", f"{name}:dir")
    assert f"{name}:dir" in ireko.out("load", "-i", folder / "empty")
    ireko("rmi", f"{name}:dir")


def test_platforms_of_save_and_load(ireko, engine, name):
    # As newer docker CLIs say it.
    document = urllib.parse.quote(json.dumps({"os": "linux", "architecture": "s390x"}))
    assert engine.api("GET", f"/images/get?names=busybox&platform={document}").status == 404
    assert engine.api("GET", "/images/get?names=busybox&platform=" + document.replace("s390x", inspect(engine, "busybox")["Architecture"])).status == 200
    machine = inspect(engine, "busybox")["Architecture"]
    other = "s390x"
    assert other != machine
    ireko("tag", "busybox", f"{name}:p")
    data = ireko("save", "--platform", f"linux/{machine}", f"{name}:p", text=False).stdout
    assert "is not here for linux/s390x" in ireko.fails("save", "--platform", f"linux/{other}", f"{name}:p", status=1)
    p = ireko("load", "--platform", f"linux/{other}", input=data, text=False, check=False)
    assert p.returncode == 1 and b"no image for linux/s390x" in p.stdout + p.stderr
    assert f"{name}:p".encode() in ireko("load", "--platform", f"linux/{machine}", input=data, text=False).stdout
    ireko("rmi", f"{name}:p")


@pytest.mark.parametrize("tool", ["gzip", "zstd", "xz", "bzip2"])
def test_compressed_archives(ireko, name, tool):
    ireko("tag", "busybox", f"{name}:z")
    data = ireko("save", f"{name}:z", text=False).stdout
    ireko("rmi", f"{name}:z")
    packed = run(program(tool), "-1", "-c", input=data, text=False).stdout
    assert f"{name}:z".encode() in ireko("load", input=packed, text=False).stdout
    ireko("rmi", f"{name}:z")


def test_a_pulled_image_is_saved_as_it_came(ireko, engine, name):
    registry = Registry()
    try:
        # Of layers that are not here yet: of one that is, a pull fetches no blob.
        digest, _ = registry.push_image(name, "x", [make_tar(lambda t, k=k: add_file(t, "f", name.encode() * k)) for k in (1000, 2000)], Cmd=["sh"])
        ireko("pull", f"{registry.host}/{name}:x")
    finally:
        registry.close()
    index, names = index_of(ireko("save", "--format", "oci", f"{registry.host}/{name}:x", text=False).stdout)
    assert [m["digest"] for m in index["manifests"]] == [digest]
    # A docker archive of the same has plain layers.
    _, plain = index_of(ireko("save", f"{registry.host}/{name}:x", text=False).stdout)
    assert {f"blobs/sha256/{d[7:]}" for d in layers_of(engine, f"{registry.host}/{name}:x")} <= plain
    ireko("rmi", f"{registry.host}/{name}:x")


def test_a_save_that_is_cut_leaves_no_file(ireko, folder):
    p = ireko("save", "-o", folder / "no" / "such.tar", "busybox", check=False)
    assert p.returncode == 1 and str(folder) in p.stderr and not list(folder.iterdir())
    for target in (folder / "x.tar", f"{folder}/x/"):
        assert "No such image" in ireko.fails("save", "-o", target, "nosuch:image", status=1)
    assert not list(folder.iterdir())


# ---- commit
CHANGES = "mkdir -p /d/e; echo one > /d/one; ln /d/one /hard; ln -s one /soft; rm /etc/group; mknod /dev-null c 1 3; touch -d @1000 /d/one /d/e /d /dev-null; touch -h -d @1000 /soft; touch -d @2000 /etc"
REVERSED = "mknod /dev-null c 1 3; ln -s one /soft; rm /etc/group; mkdir /d; echo one > /hard; ln /hard /d/one; mkdir /d/e; touch -d @2000 /etc; touch -d @1000 /dev-null /d/one /d/e /d; touch -h -d @1000 /soft"


def test_equal_states_have_equal_layers(engine, name):
    for k, commands in enumerate((CHANGES, REVERSED)):
        engine.cli("run", "--name", f"{name}-{k}", "busybox", "sh", "-c", commands)
        engine.cli("commit", f"{name}-{k}", f"{name}:{k}")
        engine.cli("commit", f"{name}-{k}", f"{name}:again{k}")
    all_layers = [layers_of(engine, f"{name}:{t}") for t in ("0", "1", "again0", "again1")]
    assert all(x == all_layers[0] and len(x) == 2 for x in all_layers)
    engine.cli("rmi", *(f"{name}:{t}" for t in ("0", "1", "again0", "again1")))


def test_source_date_epoch(engine, name, folder):
    (folder / "root.tar").write_bytes(busybox_layer())
    env = engine.env(SOURCE_DATE_EPOCH="86400")
    engine.cli("run", "--name", name, "busybox", "sh", "-c", CHANGES)
    commits = [engine.cli("commit", name, f"{name}:{t}", env=env).stdout for t in "ab"]
    imports = [engine.cli("import", folder / "root.tar", f"{name}:i{t}", env=env).stdout for t in "ab"]
    assert commits[0] == commits[1] and imports[0] == imports[1]
    for tag in ("a", "ia"):
        assert inspect(engine, f"{name}:{tag}")["Created"] == "1970-01-02T00:00:00Z"
    p = engine.cli("commit", name, env=engine.env(SOURCE_DATE_EPOCH="yesterday"), check=False)
    assert p.returncode == 1 and "SOURCE_DATE_EPOCH=yesterday" in p.stderr
    engine.cli("rmi", *(f"{name}:{t}" for t in ("a", "b", "ia", "ib")))


def test_builds_at_a_given_time(ireko, engine, name):
    """What is built says SOURCE_DATE_EPOCH, what came with the base keeps its times."""
    for tag, time_of in (("a", ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=86400"]), ("b", ["--build-arg", "SOURCE_DATE_EPOCH=86400"])):
        ireko("build", *time_of, "-t", f"{name}:{tag}", "-", input="FROM busybox\nENV A=b\nLABEL c=d\n")
    assert inspect(engine, f"{name}:a")["Id"] == inspect(engine, f"{name}:b")["Id"] and inspect(engine, f"{name}:a")["Created"] == "1970-01-02T00:00:00Z"
    times = ireko.out("history", "--human=false", "--format", "{{.CreatedAt}}", f"{name}:a").splitlines()
    assert [t[:10] for t in times] == ["1970-01-02", "1970-01-02", "2024-01-01"]
    assert "SOURCE_DATE_EPOCH=soon" in ireko.fails("build", "--build-arg", "SOURCE_DATE_EPOCH=soon", "-", input="FROM busybox\nENV A=b\n")
    ireko("rmi", f"{name}:a", f"{name}:b")


def test_every_change(cli, engine, name):
    cli("run", "--name", name, "busybox", "true")
    changes = ["SHELL [\"/bin/sh\", \"-ec\"]", "ENTRYPOINT [\"/bin/env\"]", "CMD [\"printenv\"]", "ENV A=1 B='two words'", "EXPOSE 80 53/udp", "LABEL l=v", "ONBUILD RUN true",
               "USER 1000:1000", "VOLUME /data", "WORKDIR /tmp/w", "STOPSIGNAL SIGQUIT", "HEALTHCHECK --interval=30s --retries=2 CMD true"]
    cli("commit", *(x for c in changes for x in ("-c", c)), "-m", "why", "-a", "who", name, f"{name}:all")
    c = inspect(engine, f"{name}:all")["Config"]
    assert c["Shell"] == ["/bin/sh", "-ec"] and c["Entrypoint"] == ["/bin/env"] and c["Cmd"] == ["printenv"]
    assert {"A=1", "B=two words"} <= set(c["Env"]) and set(c["ExposedPorts"]) == {"80/tcp", "53/udp"} and c["Labels"]["l"] == "v"
    assert c["OnBuild"] == ["RUN true"] and c["User"] == "1000:1000" and set(c["Volumes"]) == {"/data"} and c["WorkingDir"] == "/tmp/w" and c["StopSignal"] == "SIGQUIT"
    assert c["Healthcheck"]["Test"] == ["CMD-SHELL", "true"] and c["Healthcheck"]["Interval"] == 30 * 10**9 and c["Healthcheck"]["Retries"] == 2
    assert "RUN make is" not in cli.fails("commit", "-c", "RUN make", name)
    rows = cli.out("history", "--no-trunc", "--format", "{{.Comment}}|{{.Size}}|{{.ID}}", f"{name}:all").splitlines()
    assert rows[0].startswith("why|0B|sha256:") and rows[1].endswith("|<missing>")
    cli("rmi", f"{name}:all")


def test_a_hole_is_not_read_nor_copied(engine, name):
    """A gigabyte of nothing becomes a layer without a gigabyte on the disk; in the layer's tar it is zeros, as everybody expects."""
    engine.cli("run", "--name", name, "busybox", "sh", "-c", "dd if=/dev/zero of=/hole bs=1 count=1 seek=1073741823 2>/dev/null; echo end >> /hole")
    engine.cli("commit", name, f"{name}:hole")
    blocks, size, tail = engine.cli("run", "--rm", f"{name}:hole", "sh", "-c", "stat -c '%b %s' /hole; tail -c 4 /hole").stdout.split()
    assert int(size) == (1 << 30) + 4 and int(blocks) * 512 < 1 << 20 and tail == "end"
    engine.cli("rmi", f"{name}:hole")


def test_commit_of_a_container_at_work(engine, name):
    """Not paused: a layer of several moments, but one whose digest is that of what it holds."""
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /f$((i % 50)); rm -f /f$(((i + 25) % 50)); done")
    for _ in range(3):
        engine.cli("commit", "--pause=false", name, f"{name}:live")
        data = engine.cli("save", f"{name}:live", text=False).stdout  # checks digests on the way
        assert len(data) > 1000000
    # Paused: it goes on afterwards.
    engine.cli("commit", name, f"{name}:live")
    assert engine.inspect(name)["State"]["Status"] == "running"
    engine.cli("rm", "-f", name)
    engine.cli("image", "prune", "-f")
    engine.cli("rmi", f"{name}:live")


# ---- squash
def test_squash(ireko, engine, name):
    ireko("build", "-t", f"{name}:many", "-", input="FROM busybox\nRUN echo 1 > /one; mkdir /d; touch /d/gone\nENV A=kept\nRUN rm -r /d; echo 2 > /two; rm /etc/group\nRUN ln /two /three; echo 1b > /one\n")
    base, before = layers_of(engine, "busybox"), inspect(engine, f"{name}:many")
    assert len(before["RootFS"]["Layers"]) == 4
    first = ireko.out("image", "squash", "-t", f"{name}:flat", f"{name}:many")
    assert first == ireko.out("image", "squash", f"{name}:many"), "the same image again has the same id"
    onto = ireko.out("image", "squash", "-t", f"{name}:onto", "--from", "busybox", f"{name}:many")
    assert onto == ireko.out("image", "squash", "--from", base[-1][7:19], f"{name}:many")
    assert len(layers_of(engine, f"{name}:flat")) == 1 and layers_of(engine, f"{name}:onto")[:-1] == base and len(layers_of(engine, f"{name}:onto")) == 2
    script = "cat /one /two /three; stat -c %h /two; ls -d /d /etc/group 2>/dev/null; echo $A; busybox | head -n 1 | cut -c 1-7"
    outs = [ireko.out("run", "--rm", f"{name}:{t}", "sh", "-c", script) for t in ("many", "flat", "onto")]
    assert outs[0] == "1b\n2\n2\n2\nkept\nBusyBox" and outs[1] == outs[0] and outs[2] == outs[0]
    assert inspect(engine, f"{name}:flat")["Config"] == before["Config"] and inspect(engine, f"{name}:flat")["Created"] == before["Created"]
    history = ireko.out("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", f"{name}:onto").splitlines()
    assert history[0] == f"ireko image squash|3 layers of {before['Id']}" and len(history) == 2
    assert "is not built on" in ireko.fails("image", "squash", "--from", f"{name}:flat", f"{name}:many", status=1)
    assert "neither a layer" in ireko.fails("image", "squash", "--from", "nosuch", f"{name}:many", status=1)
    # The result stands alone.
    ireko("rmi", f"{name}:many")
    assert ireko.out("run", "--rm", f"{name}:flat", "cat", "/two") == "2"
    ireko("rmi", f"{name}:flat", f"{name}:onto")


# ---- import by URL
class Files(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = self.server.files.get(self.path)
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", len(data or b"none"))
        self.end_headers()
        # "/cut" promises more than it gives.
        self.wfile.write((data or b"none")[:len(data) // 2 if data and self.path == "/cut" else None])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def file_server(files):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.files = files
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_import_from_a_url(cli, engine, name):
    with file_server({"/root.tar": busybox_layer(), "/cut": busybox_layer()}) as url:
        identity = cli.out("import", "-c", "CMD [\"echo\", \"fetched\"]", "-m", "from the web", f"{url}/root.tar", f"{name}:url").splitlines()[-1]
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", identity) and cli.out("run", "--rm", f"{name}:url") == "fetched"
        before = engine.cli("images", "-aq").stdout
        assert "404" in cli.fails("import", f"{url}/nothing.tar", f"{name}:no")
        assert cli.fails("import", f"{url}/cut", f"{name}:no")
        assert engine.cli("images", "-aq").stdout == before
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        assert "download" in cli.fails("import", f"http://127.0.0.1:{s.getsockname()[1]}/x", f"{name}:no")
    cli("rmi", f"{name}:url")


# ---- diff
def test_diff(cli, name):
    """Kinds and paths as docker's."""
    cli("run", "--name", name, "busybox", "sh", "-c", "echo x > /new; echo y >> /etc/passwd; rm /etc/group; mkdir -p /a/b; touch /a/b/c; rm -r /home; mkdir /home; chmod 700 /var; ln -s x /link; rm /bin/su; mkdir /bin/su")
    got = set(cli.out("diff", name).splitlines())
    assert got == {"A /new", "C /etc", "C /etc/passwd", "D /etc/group", "A /a", "A /a/b", "A /a/b/c", "C /home", "D /home/user", "C /var", "A /link", "C /bin", "C /bin/su"}


# ---- speed, by what does not depend on the machine
def test_commit_does_not_walk_the_image(new_engine, name, folder):
    """Ten changed files in an image of thousands: the engine opens about as many files as have changed, and starts no program."""
    engine = new_engine()
    layer = make_tar(lambda t: [add_file(t, f"many/{i}", b"x" * 100) for i in range(5000)])
    engine.cli("load", input=docker_archive(f"{name}:big", [busybox_layer(), layer], Cmd=["sh"]), text=False)
    engine.cli("run", "--name", name, f"{name}:big", "sh", "-c", "for i in 0 1 2 3 4 5 6 7 8 9; do echo $i > /many/$i; done")
    trace = folder / "trace"
    tracer = subprocess.Popen([program("strace"), "-f", "-q", "-e", "trace=openat,execve,clone3,fork,vfork,copy_file_range", "-o", trace, "-p", str(engine.p.pid)],
                                            stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while "TracerPid:\t0" in pathlib.Path(f"/proc/{engine.p.pid}/status").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        engine.cli("commit", name, f"{name}:c")
    finally:
        tracer.terminate()
        tracer.wait()
    text = trace.read_text()
    assert "execve" not in text
    assert text.count("openat(") < 120, text.count("openat(")
    assert engine.cli("run", "--rm", f"{name}:c", "cat", "/many/3", "/many/10").stdout == "3\n" + "x" * 100
