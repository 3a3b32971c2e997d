# SPDX-License-Identifier: Apache-2.0
"""`ireko build` on an engine of this machine: directories, secrets and agents by descriptor, what is shown, where results go, and what a hostile client gets."""
import array
import contextlib
import hashlib
import http.server
import json
import os
import re
import socket
import stat
import subprocess
import tarfile
import threading

import pytest

import harness
from harness import wait_until


def write(folder, files):
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.fixture
def box(ireko, folder, name):
    """box(dockerfile, files={...}, *options): the image is `name`, removed after the test."""

    def build(dockerfile, files=None, *options, tag=name, check=True, **kw):
        write(folder, files or {})
        if dockerfile is not None:
            (folder / "Dockerfile").write_text(dockerfile)
        return ireko("build", *(["-t", tag] if tag else []), *options, folder, check=check, **kw)

    yield build
    ireko("rmi", "-f", name, check=False)


# ---- what is built and shown


def test_plain_progress_goes_to_standard_error(box, ireko, name):
    p = box("FROM busybox\nCOPY a.txt /\nRUN echo from-run && echo to-stderr >&2\nCMD cat /a.txt\n", {"a.txt": "A"}, "--progress", "plain")
    assert p.stdout == ""
    assert re.search(r"^#\d+ \[1/3\] FROM busybox$", p.stderr, re.M) and re.search(r"^#\d+ \d+\.\d{3} from-run$", p.stderr, re.M)
    assert re.search(r"^#\d+ \d+\.\d{3} to-stderr$", p.stderr, re.M) and re.search(r"^#\d+ DONE \d+\.\ds$", p.stderr, re.M)
    assert ireko.out("run", "--rm", name) == "A"
    again = box(None, None, "--progress", "plain")
    assert again.stderr.count("CACHED") == 2 and not re.search(r"\d from-run$", again.stderr, re.M)


def test_progress_on_a_terminal(box, ireko, folder, name):
    (folder / "Dockerfile").write_text("FROM busybox\nRUN printf '\\033[2Jcleared\\n'; echo $((40+2))-lines; sleep 0.5\n")
    with ireko.pty("build", "-t", name, folder) as t:
        t.expect(r"\[\+\] Building \d+\.\ds \(\d/3\)")
        t.expect(r"=> => # cleared\x1b\[K\r\n => => # 42-lines")
        t.expect(r"FINISHED")
        assert t.wait() == 0


def test_rawjson_is_one_document_a_line(box):
    p = box("FROM busybox\nRUN echo hello\n", None, "--progress", "rawjson", tag=None)
    docs = [json.loads(line) for line in p.stderr.splitlines()]
    names = [v["name"] for d in docs for v in d.get("vertexes", [])]
    assert "[2/2] RUN echo hello" in names and any(v.get("completed") for d in docs for v in d.get("vertexes", []))
    assert any(log["data"] == "aGVsbG8K" for d in docs for log in d.get("logs", []))


def test_quiet_iidfile_metadata(box, ireko, folder, name):
    p = box("FROM busybox\nLABEL a=b\n", None, "-q", "--iidfile", folder / "id", "--metadata-file", folder / "meta.json")
    identity = p.stdout.strip()
    assert p.stderr == "" and re.fullmatch(r"sha256:[0-9a-f]{64}", identity) and (folder / "id").read_text() == identity
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["containerimage.config.digest"] == identity and meta["image.name"] == f"docker.io/library/{name}:latest"
    assert json.loads(ireko.out("image", "inspect", name))[0]["Id"] == identity


def test_same_thing_under_other_names(ireko, folder):
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo same > /x\n")
    ids = {ireko.out(*words, "-q", folder) for words in (["build"], ["buildx", "build"], ["builder", "build"], ["image", "build"])}
    assert len(ids) == 1


def test_both_ways_make_the_same_image(box, engine, folder):
    files = {"a.txt": "A", "sub/b.txt": "B", "left-out": "x", ".dockerignore": "left-out\n"}
    ours = box("FROM busybox\nCOPY . /app/\nRUN ls /app > /list\n", files, "-q", tag=None).stdout
    classic = engine.cli("build", "-q", folder, env=engine.env(DOCKER_BUILDKIT="0")).stdout
    assert ours == classic


# ---- options


def test_dockerfile_from_elsewhere_has_its_own_ignore_file(box, ireko, folder, tmp_path_factory, name):
    other = tmp_path_factory.mktemp("別 place")
    write(other, {"My file": "FROM busybox\nCOPY . /c/\nCMD ls /c\n", "My file.dockerignore": "hidden\n"})
    box(None, {"hidden": "", "seen": ""}, "-f", other / "My file")
    assert ireko.out("run", "--rm", name) == "seen"
    ireko("build", "-t", name, "-f", "-", folder, input="FROM busybox\nCOPY seen /\nCMD ls /seen\n")
    assert ireko.out("run", "--rm", name) == "/seen"
    ireko("build", "-t", name, "-", input="FROM busybox\nCMD echo from-stdin\n")
    assert ireko.out("run", "--rm", name) == "from-stdin"


def test_args_labels_target_and_more(box, ireko, engine, folder, name):
    p = engine.cli("build", "-t", name, "--build-arg", "A=1", "--build-arg", "FROM_OURS", "--label", "l=2", "--target", "t", "--add-host", "h:10.1.2.3", "--shm-size", "2m",
                   "--network", "none", folder, env=engine.env(FROM_OURS="env")) if (folder / "Dockerfile").write_text(
        "FROM busybox AS t\nARG A\nARG FROM_OURS\nRUN echo $A $FROM_OURS > /args; grep h$ /etc/hosts > /hosts; df -k /dev/shm | tail -1 > /shm; ls /sys/class/net > /net\nFROM t\nRUN false\n") else None
    assert p.returncode == 0
    said = ireko.out("run", "--rm", name, "cat", "/args", "/hosts", "/shm", "/net")
    assert "1 env" in said and "10.1.2.3" in said and re.search(r"shm +2048 ", said) and said.endswith("\nlo")
    assert json.loads(ireko.out("image", "inspect", name))[0]["Config"]["Labels"] == {"l": "2"}


def test_outputs(box, ireko, folder, name):
    text = "FROM busybox AS b\nRUN mkdir /out && echo hi > /out/file && ln -s file /out/link && chmod 600 /out/file\nFROM scratch\nCOPY --from=b /out /\n"
    box(text, None, "-o", folder / "to here", tag=None)
    assert (folder / "to here/file").read_text() == "hi\n" and os.readlink(folder / "to here/link") == "file"
    assert stat.S_IMODE((folder / "to here/file").stat().st_mode) == 0o600
    box(None, None, "--output", f"type=tar,dest={folder}/r.tar", tag=None)
    with tarfile.open(folder / "r.tar") as t:
        assert sorted(t.getnames()) == ["file", "link"]
    box(None, None, "-o", f"type=oci,dest={folder}/oci.tar")
    box(None, None, "-o", f"type=docker,dest={folder}/docker.tar")
    for archive in ("oci.tar", "docker.tar"):
        with tarfile.open(folder / archive) as t:
            assert "index.json" in t.getnames()
    before = ireko.out("images", "-aq")
    box(text + "LABEL never=seen\n", None, "-o", "type=cacheonly", tag=None)
    assert ireko.out("images", "-aq") == before
    assert "dest" in box(None, None, "-o", "type=local", tag=None, check=False).stderr
    assert "leave -t away" in box(None, None, "-o", folder / "x", check=False).stderr


def test_push(box, registry, ireko):
    name = f"{registry.host}/pushed"
    try:
        box("FROM busybox\nLABEL pushed=1\n", None, "--push", tag=name)
        ireko("rmi", name)
        ireko("pull", name)
    finally:
        ireko("rmi", "-f", name, check=False)


def test_secrets_by_file_and_variable(box, ireko, engine, folder, name):
    text = ("FROM busybox\nRUN --mount=type=secret,id=f cat /run/secrets/f | md5sum > /f\nRUN --mount=type=secret,id=e,env=E echo -n $E | md5sum > /e\n"
            "RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n")
    (folder / "Dockerfile").write_text(text)
    (folder / "s ecret").write_text("from-file")
    ireko("build", "-t", name, "--secret", f"id=f,src={folder}/s ecret", "--secret", "id=e,env=VAR", folder, env=engine.env(VAR="from-var"))
    sums = ireko.out("run", "--rm", name, "cat", "/f", "/e").split()
    assert sums[::2] == ["a7df8a0c11a5e5cd9ac7a8a7bbdd8a58", "x"] or len(sums) == 4
    for wrong in ("id=f,src=/nowhere", "src=x", "id=e,env=NOT_SET_HERE", "id=x,mode=1"):
        assert box(None, None, "--secret", wrong, check=False).returncode != 0


ASK_AGENT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char got[100] = "";
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(a.sun_path, getenv("SSH_AUTH_SOCK"), sizeof(a.sun_path) - 1);
	if (connect(s, (void *)&a, sizeof(a)) < 0 || write(s, "question", 8) != 8)
		return 1;
	if (read(s, got, sizeof(got) - 1) <= 0)
		return 2;
	puts(got);
	return 0;
}
"""


@pytest.fixture(scope="module")
def ask_agent(tmp_path_factory):
    """A program that says something to the agent of its step and prints the answer."""
    where = tmp_path_factory.mktemp("ask")
    (where / "ask.c").write_text(ASK_AGENT)
    harness.run("gcc", "-O1", "-static", where / "ask.c", "-o", where / "ask")
    return (where / "ask").read_bytes()


def test_ssh_agent_is_asked_through_the_client(box, folder, name, ireko, ask_agent):
    """Each connection is a new one to the agent's socket; nothing of it is in the image."""
    path, got = folder / "agent", []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(30)

    def serve():
        with contextlib.suppress(OSError):
            for i in range(2):
                connection, _ = listener.accept()
                with connection:
                    got.append(connection.recv(100))
                    connection.sendall(b"answer-%d" % i)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        write(folder, {"ask": ask_agent})
        (folder / "ask").chmod(0o755)
        p = box("FROM busybox\nCOPY ask /\nRUN --mount=type=ssh /ask && /ask\n", None, "--ssh", f"default={path}")
        assert "answer-0" in p.stderr and "answer-1" in p.stderr and got == [b"question"] * 2
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
    assert "SSH_AUTH_SOCK" not in ireko.out("image", "inspect", name)
    assert "no socket" in box(None, None, "--ssh", f"default={folder}/Dockerfile", check=False).stderr


def test_named_contexts(box, ireko, tmp_path_factory, name):
    other = tmp_path_factory.mktemp("もう ひとつ")
    write(other, {"x": "other's"})
    box("FROM busybox\nCOPY --from=more x /\nCMD cat /x\n", None, "--build-context", f"more={other}")
    assert ireko.out("run", "--rm", name) == "other's"
    assert "expected key=value" in box(None, None, "--build-context", "more", check=False).stderr


@pytest.fixture
def web(folder):
    """A server that has a Dockerfile and an archive."""
    content = {"/Dockerfile": b"FROM busybox\nCMD echo from-the-web\n",
               "/context.tar": harness.make_tar(lambda t: [harness.add_file(t, "Dockerfile", b"FROM busybox\nCOPY f /\nCMD cat /f\n"), harness.add_file(t, "f", b"in the archive\n")])}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = content.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("classic", [False, True], ids=["ours", "classic"])
def test_contexts_from_the_web(ireko, engine, web, name, classic):
    env = engine.env(**({"DOCKER_BUILDKIT": "0"} if classic else {}))
    for path, said in (("Dockerfile", "from-the-web"), ("context.tar", "in the archive")):
        ireko("build", "-t", name, f"{web}/{path}", env=env)
        assert ireko.out("run", "--rm", name) == said
    assert ireko("build", f"{web}/missing", env=env, check=False).returncode == 1
    ireko("rmi", "-f", name)


@pytest.mark.parametrize("option", [["--cache-to", "type=gha"], ["--provenance", "max"],
                                    ["-o", "type=image,compression=zstd"], ["-o", "a", "-o", "b"], ["--progress", "fancy"], ["--ulimit", "nofile=x"]])
def test_what_is_not_offered_is_refused_by_name(box, option):
    said = box("FROM scratch\nLABEL a=b\n", None, *option, check=False)
    assert said.returncode != 0 and (option[-1].split("=")[0].split(",")[0] in said.stderr or option[0].strip("-") in said.stderr), said.stderr


def test_call_tells_without_building(box, engine, folder):
    """No engine is needed, which knows base images only."""
    nobody = dict(engine.env(), DOCKER_HOST="unix:///nonexistent")
    text = "FROM busybox as Base\nARG X=1\nRUN --mount=type=secret,id=tok,required true\nFROM base AS last\n"
    p = box(text, None, "--check", tag=None, check=False, env=nobody)
    assert p.returncode == 1 and "WARNING: StageNameCasing - https://docs.docker.com/" in p.stdout and "   1 | >>> FROM busybox as Base\n" in p.stdout
    said = box(None, None, "--call=outline,format=json", "--target", "last", tag=None, env=nobody)
    assert [a["name"] for a in json.loads(said.stdout)["args"]] == ["X"] and json.loads(said.stdout)["secrets"][0]["name"] == "tok"
    assert "last (default)" in box(None, None, "--call=targets", tag=None, env=nobody).stdout
    # Of an image that the engine has it is known what variables it sets.
    assert "UndefinedVar" not in box("FROM busybox\nENV P=$PATH:/x\n", None, "--check", tag=None, check=False).stdout
    assert "check, outline or targets" in box(None, None, "--call=nonsense", tag=None, check=False).stderr


def test_an_archive_on_standard_input(ireko, engine, name, folder):
    big = os.urandom(3 << 20)
    data = harness.make_tar(lambda t: [harness.add_file(t, "sub/Dockerfile", b"FROM busybox\nCOPY . /c/\nRUN --mount=type=secret,id=s cp /run/secrets/s /copied\n"),
                                       harness.add_file(t, "big", big), harness.add_file(t, "out", b""), harness.add_file(t, ".dockerignore", b"out\n")])
    (folder / "c.tar").write_bytes(data)
    with (folder / "c.tar").open() as archive:
        p = ireko("build", "-t", name, "-f", "sub/Dockerfile", "--secret", "id=s,env=HOME", "-", stdin=archive)
    assert "[internal]" in p.stderr
    said = ireko.out("run", "--rm", name, "sh", "-c", "sha256sum < /c/big; ls -A /c")
    assert said.split()[0] == hashlib.sha256(big).hexdigest() and "out" not in said.split()
    # What ends early is no context, and a client that goes takes its archive along.
    (folder / "c.tar").write_bytes(data[:1 << 20])
    with (folder / "c.tar").open() as archive:
        assert ireko("build", "-", stdin=archive, check=False).returncode == 1
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as w, os.fdopen(reading, "rb") as r:
        before = engine.descriptors()
        client = subprocess.Popen([harness.BUILD / "ireko", "build", "-"], env=engine.env(), stdin=r, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        w.write(data[:1 << 20])
        w.flush()
        wait_until("the engine has the build", lambda: engine.descriptors() > before)
        client.kill()
        client.wait()
        wait_until("the build is over", lambda: engine.descriptors() <= before)


# ---- failure


def test_failure_shows_the_step_and_its_last_lines(box):
    p = box("FROM busybox\nRUN for i in $(seq 30); do echo line-$i; done; exit 3\n", None, check=False)
    assert p.returncode == 1 and 'process "/bin/sh -c for i in' in p.stderr and "exit code: 3" in p.stderr
    tail = p.stderr.split("------")[1]
    assert "line-30" in tail and "line-21" in tail and "line-20" not in tail
    assert re.search(r"^Dockerfile:2\n-+\n   1 \|     FROM busybox\n   2 \| >>> RUN for i", p.stderr, re.M)
    p = box("FROM busybox\nRUM x\n", None, check=False)
    assert "   2 | >>> RUM x\n" in p.stderr and p.stderr.rstrip().endswith("unknown instruction: RUM (did you mean RUN?)")


def test_explain(box):
    box("FROM busybox\nCOPY a /\nRUN echo explained\n", {"a": "1"})
    p = box(None, {"a": "2"}, "--explain")
    assert re.search(r"^ \[2/3\] COPY a /\n     made: \S", p.stderr, re.M), p.stderr
    p = box(None, None, "--explain")
    assert re.search(r"^ \[3/3\] RUN echo explained\n     cached: \S", p.stderr, re.M), p.stderr


def test_shell_in_what_a_failed_step_left(box, ireko):
    before = ireko.out("images", "-aq"), ireko.out("ps", "-aq")
    p = box("FROM busybox\nENV V=kept\nWORKDIR /w 1\nUSER user\nRUN echo made > /tmp/file; false\n", None, "--shell-on-fail", check=False, input="pwd; id -un; echo $V; cat /tmp/file\n")
    assert p.returncode == 1 and p.stdout.split("\n")[:4] == ["/w 1", "user", "kept", "made"], p.stdout + p.stderr
    assert (ireko.out("images", "-aq"), ireko.out("ps", "-aq")) == before


@pytest.mark.parametrize("terminal", [False, True])
def test_a_shell_goes_with_a_client_that_is_killed(engine, ireko, folder, terminal):
    """With all that it was made of: the step's container, its image, the shell's container."""
    before = ireko.out("images", "-aq"), ireko.out("ps", "-aq")
    write(folder, {"Dockerfile": "FROM busybox\nRUN false\n"})
    if terminal:
        shell = engine.pty("build", "--shell-on-fail", folder)
        shell.expect("ends with exit")
        shell.send("echo at-$((40 + 2))\n")
        shell.expect("at-42")
        p = shell.p
    else:
        p = subprocess.Popen([harness.BUILD / "ireko", "build", "--shell-on-fail", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=engine.env())
        p.stdin.write(b"echo at-$((40 + 2))\n")
        p.stdin.flush()
        assert p.stdout.readline() == b"at-42\n"
    assert ireko.out("ps", "-q") != before[1]
    p.kill()
    p.wait(timeout=20)
    wait_until("nothing is left", lambda: (ireko.out("images", "-aq"), ireko.out("ps", "-aq")) == before)
    if terminal:
        os.close(shell.master)
    else:
        p.stdin.close()
        p.stdout.close()


def test_a_failed_step_that_was_kept(box, ireko, folder):
    p = box("FROM busybox\nRUN echo kept > /file; false\n", None, "--rm=false", check=False)
    hint = re.search(r"ireko builder shell ([0-9a-f]{12})$", p.stderr, re.M)
    assert p.returncode == 1 and hint, p.stderr
    for words in (["builder", "shell", hint[1]], ["builder", "shell"], ["build", "shell"]):
        assert ireko(*words, input="cat /file; exit 7\n", check=False, cwd=folder).stdout == "kept\n", words
    assert ireko("builder", "shell", input="exit 7\n", check=False).returncode == 7
    images = ireko.out("images", "-aq")
    ireko("rm", hint[1])
    assert "no failed build step was kept" in ireko.fails("builder", "shell") and ireko.out("images", "-aq") == images
    # A directory of that name is a context like any other.
    write(folder, {"shell/Dockerfile": "FROM scratch\nLABEL a=b\n"})
    assert ireko("build", "-q", "shell", cwd=folder).stdout.startswith("sha256:")
    assert "requires 1 argument" in ireko.fails("build", folder, folder)


def test_client_that_goes_ends_its_build(ireko, engine, folder):
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 1000\n")
    p = engine.popen("build", "--progress", "plain", "--no-cache", folder)
    while "begun" not in p.stdout.readline():
        assert p.poll() is None
    p.kill()
    p.wait()
    wait_until("the step is gone", lambda: not ireko.out("ps", "-aq"))


def test_engine_that_goes_ends_the_client(new_engine, folder):
    engine = new_engine()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 1000\n")
    p = engine.popen("build", "--progress", "plain", folder)
    while "begun" not in p.stdout.readline():
        assert p.poll() is None
    engine.kill()
    assert p.wait(20) == 1 and "went away" in p.stdout.read()
    engine.start()


def test_an_engine_that_ends_waits_for_no_build(new_engine, folder):
    engine = new_engine()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 1000\n")
    p = engine.popen("build", "--progress", "plain", folder)
    while "begun" not in p.stdout.readline():
        assert p.poll() is None
    engine.stop()
    assert "some requests did not end in time" not in engine.log_text() and p.wait(20) == 1
    engine.start()
    assert not engine.containers()


# ---- other people's files


def as_user(engine, uid, *args, groups=(), cwd="/"):
    os.chmod(engine.root, 0o755)
    os.chmod(engine.socket, 0o666)
    return subprocess.run([str(harness.BUILD / "ireko"), *map(str, args)], env=engine.env(HOME="/tmp"), user=uid, group=uid, extra_groups=list(groups), cwd=cwd, check=False, timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.fixture
def theirs(tmp_path_factory):
    """A context that others may reach, with files of several people."""
    folder = tmp_path_factory.mktemp("their 文脈")
    for parent in (folder, *folder.parents[:-2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    write(folder, {"Dockerfile": "FROM busybox\nCOPY . /c/\nCMD cat /c/mine\n", "mine": "mine", "group's": "group"})
    os.chown(folder / "mine", 1234, 1234)
    (folder / "mine").chmod(0o600)
    os.chown(folder / "group's", 0, 4321)
    (folder / "group's").chmod(0o640)
    yield folder


def test_a_user_builds_from_his_own_files(new_engine, theirs):
    engine = new_engine()
    p = as_user(engine, 1234, "build", "--progress", "plain", "-t", "theirs", theirs, groups=[4321])
    assert p.returncode == 0 and "[internal] load build context" in p.stderr, p.stderr
    assert engine.cli("run", "--rm", "theirs").stdout == "mine"
    # What he gets as files is his.
    os.chown(theirs, 1234, 1234)
    p = as_user(engine, 1234, "build", "-o", theirs / "out", theirs, groups=[4321])
    assert p.returncode == 0 and (theirs / "out/c/mine").stat().st_uid == 1234, p.stderr


@pytest.mark.parametrize("secret", ["file", "folder", "link"])
def test_nobody_reads_through_the_engine_what_he_may_not(new_engine, theirs, folder, secret):
    engine = new_engine()
    target = folder / "root's"
    target.write_text("for root alone")
    target.chmod(0o600)
    if secret == "file":
        write(theirs, {"private": "for root alone"})
        (theirs / "private").chmod(0o600)
    elif secret == "folder":
        write(theirs, {"private/x": "for root alone"})
        (theirs / "private").chmod(0o700)
    else:
        os.symlink(target, theirs / "private")
        write(theirs, {"Dockerfile": "FROM busybox\nCOPY private /c\n"})
    p = as_user(engine, 1234, "build", "-t", "stolen", theirs, groups=[4321])
    if secret == "link":  # where it leads to in the context there is nothing, and the link itself is no secret
        assert p.returncode != 0 or engine.cli("run", "--rm", "stolen", "cat", "/c", check=False).returncode != 0
        return
    assert p.returncode != 0 and re.search("ermission denied", p.stderr), p.stderr
    assert "stolen" not in engine.images()
    # The group alone makes the difference for its file.
    assert as_user(engine, 1234, "build", "-t", "stolen", theirs).returncode != 0


def test_what_the_kernel_cannot_show_with_his_rights_goes_as_an_archive(new_engine, theirs, tmp_path_factory):
    """An overlay on an overlay is as deep as the kernel lets them be."""
    engine, top, mounted = new_engine(), tmp_path_factory.mktemp("stacked"), []
    top.chmod(0o755)
    (top / "empty").mkdir()
    try:
        lower = theirs
        for i in range(2):
            at = top / f"o{i}"
            at.mkdir()
            harness.run("mount", "-t", "overlay", "-o", f"ro,lowerdir={lower}:{top}/empty", "none", at)
            mounted.append(at)
            lower = at
        p = as_user(engine, 1234, "build", "-t", "by-archive", lower, groups=[4321])
        assert p.returncode == 0 and "Successfully built" in p.stdout, p.stdout + p.stderr
        assert engine.cli("run", "--rm", "by-archive").stdout == "mine"
        p = as_user(engine, 1234, "build", "--secret", "id=x,env=HOME", lower)
        assert p.returncode == 1 and "--secret cannot be used" in p.stderr
        # Root's own directories need no such view.
        assert "[internal]" in engine.cli("build", "-t", "by-archive", lower).stderr
    finally:
        for at in reversed(mounted):
            harness.run("umount", at)


# ---- hostile clients


class Wire:
    """A client that has been let in by 101 and may now say what it likes."""

    def __init__(self, engine):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(30)
        self.s.connect(str(engine.socket))
        self.s.sendall(b"POST /ireko/build HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ireko-build\r\nContent-Length: 0\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.s.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head

    def send(self, doc, fds=()):
        data = doc if isinstance(doc, bytes) else json.dumps(doc).encode() + b"\n"
        if fds:
            self.s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        else:
            self.s.sendall(data)
        return self

    def last(self):
        data = b""
        while more := self.s.recv(65536):
            data += more
        self.s.close()
        return json.loads(data.splitlines()[-1]) if data else None


@pytest.mark.parametrize("request_,why", [
    (b"nonsense\n", "build request"), (b"[]\n", "expected a JSON object"), ({"privileged": True}, "unknown member privileged"), ({"files": [{"kind": "secret", "name": "a"}]}, "0 descriptors for 1 files"),
    ({"tags": ["UPPER"]}, "UPPER"), (b"{}\n{}\n", "more than one line"), (b"x" * (3 << 20), "more than"),
], ids=lambda v: repr(v)[:20])
def test_wrong_requests(engine, request_, why):
    wire = Wire(engine)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.send(request_)
    with contextlib.suppress(ConnectionResetError):
        assert why in wire.last()["error"]["message"]


def test_wrong_descriptors(engine, folder):
    (folder / "file").write_text("FROM scratch\n")
    directory, plain = os.open(folder, os.O_RDONLY), os.open(folder / "file", os.O_RDONLY)
    pair = socket.socketpair()
    try:
        cases = [("directory", plain), ("directory", pair[0].fileno()), ("secret", directory), ("dockerfile", pair[0].fileno()), ("archive", directory)]
        for kind, fd in cases:
            assert "another type" in Wire(engine).send({"files": [{"kind": kind, "name": "context"}]}, [fd]).last()["error"]["message"], kind
        many = Wire(engine).send({"files": [{"kind": "secret", "name": str(i)} for i in range(33)]}, [plain] * 33)
        assert "error" in many.last()
        before = engine.descriptors()
        for _ in range(20):
            Wire(engine).send({"files": []}, [plain] * 30).last()
        wait_until("the engine closes what it was sent", lambda: engine.descriptors() <= before + 2)
    finally:
        os.close(directory)
        os.close(plain)
        for s in pair:
            s.close()


def test_links_lead_out_of_no_context(engine, folder):
    (folder / "out").symlink_to("/etc/shadow")
    (folder / "up").symlink_to("../../../../../../etc/shadow")
    (folder / "Dockerfile").symlink_to("/etc/shadow")
    fd = os.open(folder, os.O_RDONLY)
    try:
        last = Wire(engine).send({"files": [{"kind": "directory", "name": "context"}]}, [fd]).last()
        assert "error" in last and "root:" not in last["error"]["message"]
        (folder / "Dockerfile").unlink()
        for source in ("out", "up"):
            (folder / "Dockerfile").write_text(f"FROM busybox\nCOPY {source} /x\nRUN grep root: /x\n")
            assert "error" in Wire(engine).send({"files": [{"kind": "directory", "name": "context"}]}, [fd]).last()
    finally:
        os.close(fd)


def test_not_over_tcp(new_engine):
    port = harness.free_port()
    engine = new_engine("-H", f"tcp://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(f"POST /ireko/build HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n".encode())
        data = b""
        while more := s.recv(65536):
            data += more
    assert b"unix socket only" in data
    (engine.root / "c").mkdir()
    (engine.root / "c/Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /\n")
    p = engine.cli("-H", f"tcp://127.0.0.1:{port}", "build", "-t", "by-tar", engine.root / "c")
    assert "Successfully built" in p.stdout
    assert "--secret" in engine.cli("-H", f"tcp://127.0.0.1:{port}", "build", "--secret", "id=x,env=HOME", engine.root / "c", check=False).stderr


def test_answers_that_are_none(engine, folder, ask_agent):
    """An answer that is no document, has no descriptor, one of a wrong type, or too many: the step's agent hangs up, and nothing else happens."""
    write(folder, {"ask": ask_agent, "Dockerfile": "FROM busybox\nCOPY ask /\nRUN --mount=type=ssh /ask\n"})
    (folder / "ask").chmod(0o755)
    fd = os.open(folder, os.O_RDONLY)
    try:
        for answer, fds in ((b"nonsense\n", []), (b'{"connected":true}\n', []), (b'{"connected":true}\n', [fd]), (b'{"connected":true}\n', [fd, fd]), (b'{"error":"no"}\n', [])):
            wire = Wire(engine).send({"agents": ["default"], "files": [{"kind": "directory", "name": "context"}], "noCache": True}, [fd])
            data = b""
            while b'"ask"' not in data and (more := wire.s.recv(65536)):
                data += more
            assert b'"ask"' in data, data
            assert "exit code: " in wire.send(answer, fds).last()["error"]["message"]
    finally:
        os.close(fd)


def test_cache_in_a_folder_of_ours(box, new_engine, folder, tmp_path_factory):
    """Written and read through the client: with its rights, and only where it said."""
    cache = tmp_path_factory.mktemp("キャッシュ") / "a b"
    text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /made\n"
    box(text, None, "--cache-to", f"type=local,dest={cache},mode=max", tag=None)
    assert any(cache.iterdir())
    other = new_engine()
    p = other.cli("build", "--cache-from", f"type=local,src={cache}", folder)
    assert re.search(r"RUN cat[^\n]*\n#\d+ CACHED", p.stderr), p.stderr


def test_other_verbs_of_buildx_are_its_plugins(engine, folder):
    plugins = folder / "cli-plugins"
    write(folder, {"cli-plugins/docker-buildx": '#!/bin/sh\necho "plugin: $*"\n'})
    (plugins / "docker-buildx").chmod(0o755)
    env = dict(engine.env(), DOCKER_CONFIG=str(folder))
    assert engine.cli("buildx", "bake", "--print", env=env).stdout == "plugin: buildx bake --print\n"
    p = engine.cli("buildx", "bake", check=False)
    assert p.returncode == 1 and "unknown command" in p.stderr


@pytest.mark.parametrize("platform", ["darwin/arm64", "nosuch/x"])
def test_other_systems_are_for_files_alone(engine, folder, platform):
    (folder / "Dockerfile").write_text("FROM scratch\nARG TARGETOS\nCOPY Dockerfile /of-$TARGETOS\n")
    p = engine.cli("build", "--platform", platform, folder, check=False)
    assert p.returncode != 0 and "operating system is not supported" in p.stdout + p.stderr
    engine.cli("build", "--platform", platform, "-o", folder / "out", folder)
    assert [f.name for f in (folder / "out").iterdir()] == [f"of-{platform.split('/')[0]}"]
