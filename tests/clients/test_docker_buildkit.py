# SPDX-License-Identifier: Apache-2.0
"""BuildKit by POST /build?version=2: docker's command line of Debian 12 (20.10) with DOCKER_BUILDKIT=1, whose directories come over a session, and programs that send
a context as the body of the request."""
import base64
import contextlib
import io
import json
import re
import signal
import socket
import subprocess
import tarfile
import threading
import uuid
from concurrent import futures
from urllib.parse import quote, urlencode

import pytest

from compose import distributions_docker
from harness import PasswordRegistry, busybox_layer, run, wait_until


class Docker:
    """docker build in a folder of its own."""

    def __init__(self, engine, folder, name):
        self.engine, self.folder, self.name = engine, folder, name
        self.config = folder.parent / "client"
        self.config.mkdir(exist_ok=True)
        self.env = dict(engine.env(), DOCKER_CONFIG=str(self.config), DOCKER_BUILDKIT="1", BUILDKIT_PROGRESS="plain")

    def __call__(self, *args, check=True, env=None, **kw):
        return run(distributions_docker(), *args, check=check, cwd=self.folder, env={**self.env, **(env or {})}, timeout=60, **kw)

    def build(self, *options, dockerfile=None, where=".", **kw):
        if dockerfile is not None:
            (self.folder / "Dockerfile").write_text(dockerfile)
        p = self("build", "-t", self.name, *options, where, **kw)
        return p.stdout + p.stderr

    def image(self):
        return self.engine.api("GET", f"/images/{self.name}/json").json


@pytest.fixture
def docker(engine, folder, name):
    yield Docker(engine, folder, name)
    for tag in [t for i in engine.api("GET", "/images/json").json for t in i["RepoTags"] if name in t]:
        engine.api("DELETE", f"/images/{tag}?force=1")


def tar_of(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_an_image_with_its_progress_and_its_cache(docker):
    (docker.folder / "a file 名.txt").write_text("one\n")
    text = "FROM busybox AS base\nARG WHO\nRUN echo hello $WHO\nFROM base AS second\nCOPY . /ctx\nRUN printf '%s;' /ctx/*\nFROM second AS third\nRUN echo too far\n"
    iid = docker.folder.parent / "iid"
    out = docker.build("--label", "c=d", "--build-arg", "WHO=you", "--target", "second", "--iidfile", iid, "--add-host", "there:10.1.2.3", "--ulimit", "nofile=77:88", dockerfile=text)
    assert re.search(r"^#\d+ \[internal\] load build definition from Dockerfile$", out, re.M), out
    assert re.search(r"^#\d+ \d+\.\d+ hello you$", out, re.M) and "a file 名.txt" in out and "too far" not in out, out
    image = docker.image()
    assert image["Config"]["Labels"] == {"c": "d"} and iid.read_text() == image["Id"]
    again = docker.build("--label", "c=d", "--build-arg", "WHO=you", "--target", "second", "--add-host", "there:10.1.2.3", "--ulimit", "nofile=77:88")
    assert "CACHED" in again and docker.image()["Id"] == image["Id"]
    quiet = docker("build", "-q", "--label", "c=d", "--build-arg", "WHO=you", "--target", "second", "--add-host", "there:10.1.2.3", "--ulimit", "nofile=77:88", ".")
    assert quiet.stdout.strip() == image["Id"]
    out = docker.build("--no-cache", "--network", "none", "--add-host", "there:10.1.2.3", "--ulimit", "nofile=77:88", dockerfile="FROM busybox\nRUN grep there /etc/hosts; ulimit -n; ls /sys/class/net\n")
    assert re.search(r"10\.1\.2\.3\tthere", out) and re.search(r"\d 77$", out, re.M) and "eth0" not in out, out


def test_failures(docker):
    p = docker("build", ".", check=False, input=None)
    assert p.returncode != 0
    out = docker.build(check=False, dockerfile="FROM busybox\nRUN echo before && false\n")
    assert 'process "/bin/sh -c echo before && false" did not complete successfully: exit code: 1' in out and re.search(r"#\d+ ERROR", out), out
    assert "unknown instruction: RUM" in docker.build(check=False, dockerfile="FROM busybox\nRUM true\n")
    assert "must be lowercase" in docker("build", "-t", "Not-Valid", ".", check=False).stderr
    assert docker.engine.api("GET", "/containers/json?all=1").json == []


def test_what_is_lent(docker, tmp_path):
    (tmp_path / "s").write_text("of the secret\n")
    text = f"FROM busybox\nRUN --mount=type=secret,id=a : {docker.name}; cat /run/secrets/a\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo an agent\n"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()
        out = docker.build("--secret", f"id=a,src={tmp_path}/s", "--ssh", f"default={tmp_path}/agent", dockerfile=text)
    assert "of the secret" in out and re.search(r"\d an agent", out), out


def test_outputs_to_the_client(docker, tmp_path):
    text = "FROM busybox AS made\nRUN mkdir /out && echo hi > /out/f\nFROM scratch\nCOPY --from=made /out /\n"
    docker("build", "-o", f"{tmp_path}/here", "-", input=text)
    assert (tmp_path / "here/f").read_text() == "hi\n"
    docker("build", "-o", f"type=tar,dest={tmp_path}/t.tar", "-", input=text)
    with tarfile.open(tmp_path / "t.tar") as t:
        assert t.extractfile("f").read() == b"hi\n"
    assert docker.engine.api("GET", f"/images/{docker.name}/json").status == 404


def test_contexts_of_other_kinds(docker, tmp_path):
    archive = tar_of(Dockerfile=b"FROM busybox\nCOPY x /x-of-old\nRUN cat /x-of-old\n", x=b"of an archive\n")
    p = run(distributions_docker(), "build", "-t", docker.name, "-", env=docker.env, input=archive, text=False, timeout=60)
    assert b"of an archive" in p.stdout + p.stderr
    (tmp_path / "other file").write_text("FROM busybox\nRUN echo of another folder\n")
    assert "of another folder" in docker.build("-f", tmp_path / "other file")
    assert re.search(r"\d of standard input", docker.build("-f", "-", input="FROM busybox\nRUN : old; echo of standard input\n"))


def test_a_private_image(docker):
    registry = PasswordRegistry("anna", "geheim42")
    try:
        registry.push_image("secret", "v1", [busybox_layer()])
        text = f"FROM {registry.host}/secret:v1\nRUN echo made on it\n"
        assert re.search("denied|unauthorized|no basic auth", docker.build("--pull", check=False, dockerfile=text))
        (docker.config / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": base64.b64encode(b"anna:geheim42").decode()}}}))
        assert "made on it" in docker.build("--pull")
    finally:
        docker.engine.api("DELETE", f"/images/{registry.host}/secret:v1?force=1")
        registry.close()


def test_a_cache_in_the_image(docker, registry):
    docker.build("--build-arg", "BUILDKIT_INLINE_CACHE=1", "-t", f"{registry.host}/{docker.name}", dockerfile="FROM busybox\nRUN echo once > /made\n")
    docker("push", f"{registry.host}/{docker.name}")
    docker("rmi", "-f", docker.name, f"{registry.host}/{docker.name}")
    docker.engine.api("POST", "/build/prune?all=1")
    assert "CACHED" in docker.build("--cache-from", f"{registry.host}/{docker.name}", "--build-arg", "BUILDKIT_INLINE_CACHE=1")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_goes_ends_its_build(docker, how):
    (docker.folder / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 82.5\n")
    p = subprocess.Popen([distributions_docker(), "build", "."], cwd=docker.folder, env=docker.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for line in p.stderr:
            if re.search(r"\d begun", line):
                break
        p.send_signal(how)
        p.wait(20)
    finally:
        p.kill()
        p.wait()
        p.stderr.close()
    wait_until("its container is gone", lambda: docker.engine.api("GET", "/containers/json?all=1").json == [])


# ---- the interface itself

def post(engine, body=b"", **query):
    return engine.api("POST", "/build?" + urlencode({"version": "2", **query}, doseq=True), body, {"Content-Type": "application/x-tar"}, timeout=60)


def varint(data, at):
    n = shift = 0
    while data[at] & 128:
        n |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return n | data[at] << shift, at + 1


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        n, at = varint(data, at)
        if key & 7 == 2:
            n, at = data[at:at + n], at + n
        yield key >> 3, n


def traces(reply):
    return [base64.b64decode(m["aux"]) for m in reply.lines if m.get("id") == "moby.buildkit.trace"]


def output(reply):
    return b"".join(dict(fields(log)).get(4, b"") for t in traces(reply) for number, log in fields(t) if number == 3).decode()


def test_a_body_is_a_context(docker):
    files = dict(Dockerfile=b"FROM busybox\nARG A\nARG B=b\nCOPY x /\nRUN cat /x; echo $A,$B\nLABEL l=m\n", x=b"of a body\n")
    r = post(docker.engine, tar_of(**files), t=docker.name, buildargs='{"A":"1","B":null}', labels='{"k":"v"}', cachefrom="null", ulimits="null", rm="1", shmsize="0")
    assert r.status == 200 and output(r) == "of a body\n1,b\n", r.body
    names = [dict(fields(v)).get(3, b"").decode() for t in traces(r) for number, v in fields(t) if number == 1]
    assert "exporting to image" in names and any(n.endswith("COPY x /") for n in names), names
    image = docker.image()
    assert r.lines[-1] == {"id": "moby.image.id", "aux": {"ID": image["Id"]}} and image["Config"]["Labels"] == {"k": "v", "l": "m"}
    r = post(docker.engine, tar_of(**files), t=docker.name, q="1")
    assert r.lines[-1] == {"stream": image["Id"] + "\n"} or r.lines[-1]["stream"].startswith("sha256:"), r.body
    r = post(docker.engine, tar_of(other=files["Dockerfile"], x=b"y"), dockerfile="other", t=docker.name, outputs='[{"Type":"cacheonly"}]')
    assert r.status == 200 and not [m for m in r.lines if m.get("id") != "moby.buildkit.trace"], r.body


def test_failures_are_told_in_the_stream(docker):
    r = post(docker.engine, tar_of(Dockerfile=b"FROM busybox\nRUN exit 3\n"))
    text = 'process "/bin/sh -c exit 3" did not complete successfully: exit code: 3'
    assert r.status == 200 and r.lines[-1] == {"errorDetail": {"message": text}, "error": text}, r.body
    for status, said, query in ((400, "must be lowercase", {"t": "Not-Valid"}), (501, "multiple outputs", {"outputs": '[{"Type":"image"},{"Type":"tar"}]'}), (501, "exporter nothing", {"outputs": '[{"Type":"nothing"}]'}),
                                (400, "buildargs", {"buildargs": "[]"}), (400, "labels", {"labels": '{"a":1}'}), (400, "ulimits", {"ulimits": "[1]"}), (400, "extrahosts", {"extrahosts": "x"}), (501, "squash", {"squash": "1"}),
                                (501, "securityopt", {"securityopt": '["seccomp=x"]'}), (501, "isolation", {"isolation": "hyperv"}), (501, "network mode", {"networkmode": "container:x"}), (501, "cachefrom", {"cachefrom": '["type=local,src=x"]'}),
                                (404, "no active session", {"session": "nowhere", "remote": "client-session"}), (404, "has not come", {"remote": "upload-request", "buildid": "nowhere"}), (400, "no buildid", {"remote": "upload-request"})):
        r = post(docker.engine, tar_of(Dockerfile=b"FROM busybox\n"), **query)
        assert r.status == status and said in r.message, (query, r.status, r.body)
    assert docker.engine.api("GET", "/containers/json?all=1").json == []


def raw(engine, path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(str(engine.socket))
    s.sendall(f"POST {path} HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    return s


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def all_of(s):
    said = b""
    with contextlib.suppress(OSError):
        while data := s.recv(65536):
            said += data
            if b"\r\n0\r\n\r\n" in said:
                break
    return said.decode()


def test_a_body_that_is_cut_off_is_no_context(docker):
    """Up to the cut it is a whole archive."""
    archive = tar_of(Dockerfile=b"FROM busybox\nRUN echo it ran > /x\n")
    for path in (f"/build?version=2&t={docker.name}", f"/build?version=2&buildid=upload-request:{docker.name}"):
        with raw(docker.engine, path) as s, contextlib.ExitStack() as stack:
            upload = "upload" in path
            build = stack.enter_context(raw(docker.engine, f"/build?version=2&t={docker.name}&remote=upload-request&buildid={docker.name}")) if upload else s
            if upload:
                build.sendall(b"0\r\n\r\n")
            s.sendall(chunk(archive) + b"nonsense\r\n")
            said = all_of(build)
            assert "request body ended early" in said and "moby.image.id" not in said, said
        assert docker.engine.api("GET", f"/images/{docker.name}/json").status == 404


def test_uploads_find_their_build_and_no_other(docker):
    archive = tar_of(Dockerfile=b"FROM busybox\nRUN echo of an upload\n")
    with futures.ThreadPoolExecutor(2) as pool:
        uploads = [pool.submit(post, docker.engine, archive, buildid=f"upload-request:{docker.name}") for _ in range(2)]
        # Of two of one name the second is refused at once; the first waits.
        done, _ = futures.wait(uploads, 20, futures.FIRST_COMPLETED)
        assert [f.result().status for f in done] == [409]
        r = post(docker.engine, remote="upload-request", buildid=docker.name, t=docker.name)
        assert sorted(f.result(20).status for f in uploads) == [200, 409]
    assert output(r) == "of an upload\n"
    r = post(docker.engine, archive, buildid=f"upload-request:{docker.name}")
    assert r.status == 404 and "no build has asked" in r.message


def test_a_build_is_cancelled_by_its_id(docker):
    id, replies = uuid.uuid4().hex, {}

    def build():
        replies["build"] = post(docker.engine, tar_of(Dockerfile=b"FROM busybox\nRUN sleep 84.5\n"), buildid=id)

    t = threading.Thread(target=build)
    t.start()
    try:
        wait_until("the step runs", lambda: docker.engine.api("GET", "/containers/json").json)
        assert docker.engine.api("POST", f"/build/cancel?id={quote(id)}").status == 200
    finally:
        t.join(20)
    assert "error" in replies["build"].lines[-1], replies["build"].body
    wait_until("its container is gone", lambda: docker.engine.api("GET", "/containers/json?all=1").json == [])
    assert docker.engine.api("POST", f"/build/cancel?id={quote(id)}").status == 200


def test_who_builds_unless_told(new_engine, docker, folder):
    """docker 20.10 asks the engine; a setting keeps the classic builder."""
    (folder / "Dockerfile").write_text("FROM busybox\n")
    env = {k: v for k, v in docker.env.items() if k != "DOCKER_BUILDKIT"}

    def builds(engine):
        said = {engine.api(m, "/_ping").headers["Builder-Version"] for m in ("GET", "HEAD")}
        p = run(distributions_docker(), "build", ".", cwd=folder, env=dict(env, DOCKER_HOST=engine.env()["DOCKER_HOST"]))
        return said, "exporting to image" in p.stderr, "Successfully built" in p.stdout

    assert builds(docker.engine) == ({"2"}, True, False)
    assert builds(new_engine("--feature", "buildkit=false")) == ({"1"}, False, True)
