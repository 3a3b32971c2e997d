# SPDX-License-Identifier: Apache-2.0
"""docker build as it is today: the current docker CLI with buildx, bake and compose on the engine's BuildKit door, unmodified, by way of its docker driver."""
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile

import pytest

from compose import CURRENT, Compose, current_docker
from harness import run, wait_until


class Buildx:
    """docker build in a folder of its own."""

    def __init__(self, engine, folder, name):
        self.engine, self.folder, self.name = engine, folder, name
        config = folder.parent / "client"
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(CURRENT / "usr/libexec/docker/cli-plugins")]}))
        self.env = dict(engine.env(), DOCKER_CONFIG=str(config))
        self.env.pop("DOCKER_BUILDKIT", None)

    def files(self, **files):
        for name, content in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return self

    def docker(self, *args, check=True, env=None, **kw):
        return run(current_docker(), *args, check=check, cwd=self.folder, env={**self.env, **(env or {})}, timeout=60, **kw)

    def build(self, *options, dockerfile=None, where=".", **kw):
        """The whole progress, as lines."""
        if dockerfile is not None:
            (self.folder / "Dockerfile").write_text(dockerfile)
        p = self.docker("build", "--progress", "plain", "-t", self.name, *options, where, **kw)
        return p.stdout + p.stderr

    def fails(self, *options, **kw):
        return self.build(*options, check=False, **kw)

    def image(self, name=None):
        return self.engine.api("GET", f"/images/{name or self.name}/json").json

    def says(self, *command):
        return self.docker("run", "--rm", self.name, *command).stdout


@pytest.fixture
def buildx(engine, folder, name):
    b = Buildx(engine, folder, name)
    yield b
    left = [t for i in engine.api("GET", "/images/json").json for t in i["RepoTags"] if name in t]
    for tag in left:
        engine.api("DELETE", f"/images/{tag}?force=1")


def test_an_image_with_its_progress_and_its_cache(buildx):
    buildx.files(**{"a file 名.txt": "one\n", "ignored/secret": "x", ".dockerignore": "ignored\n"})
    text = "FROM busybox AS base\nRUN echo hello from a step\nFROM base\nCOPY . /ctx\nRUN printf '%s;' /ctx/*\nLABEL a=b\n"
    out = buildx.build("--label", "c=d", "--iidfile", buildx.folder.parent / "iid", dockerfile=text)
    assert "using docker driver" in out, "buildx has refused the driver"
    assert re.search(r"^#\d+ \[internal\] load build definition from Dockerfile$", out, re.M)
    assert re.search(r"^#\d+ transferring context: .* done$", out, re.M)
    assert re.search(r"^#\d+ \d+\.\d+ hello from a step$", out, re.M), out
    assert "a file 名.txt" in out and "ignored" not in re.sub(r".*dockerignore.*", "", out)
    assert re.search(rf"naming to docker.io/library/{buildx.name}:latest done", out)
    image = buildx.image()
    assert image["Config"]["Labels"] == {"a": "b", "c": "d"} and (buildx.folder.parent / "iid").read_text() == image["Id"]
    again = buildx.build("--label", "c=d")
    assert "CACHED" in again and not re.search(r"\d hello from a step", again) and buildx.image()["Id"] == image["Id"]


def test_only_what_has_changed_is_sent_again(buildx):
    buildx.files(big="x" * 3_000_000, small="one", gone="g", dir__f="f")
    os.symlink("small", buildx.folder / "link")
    text = "FROM busybox\nCOPY . /ctx\n"

    def sent(out):
        n, unit = re.findall(r"transferring context: ([\d.]+)(k?M?B)", out)[-1]
        return float(n) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit]

    assert sent(buildx.build(dockerfile=text)) >= 3_000_000
    buildx.files(small="two")
    (buildx.folder / "gone").unlink()
    (buildx.folder / "dir/f").unlink()
    (buildx.folder / "dir").rmdir()
    buildx.files(dir="now a file")
    assert sent(buildx.build()) < 10_000
    assert buildx.says("sh", "-c", "cd /ctx; cat small dir link; ls; wc -c < big") == "twonow a filetwoDockerfile\nbig\ndir\nlink\nsmall\n3000000\n"


def test_failures_show_their_place(buildx):
    out = buildx.fails(dockerfile="FROM busybox\nRUN echo before && false\n")
    assert 'ERROR: failed to build: failed to solve: process "/bin/sh -c echo before && false" did not complete successfully: exit code: 1' in out, out
    assert re.search(r"Dockerfile:2\n-+\n +1 \| +FROM busybox\n +2 \| >>> RUN echo before", out), out
    assert re.search(r"#\d+ ERROR: process", out)
    out = buildx.fails(dockerfile="FROM busybox\nRUM true\n")
    assert "unknown instruction: RUM" in out and ">>> RUM true" in out, out
    out = buildx.fails(dockerfile="FROM busybox\nCOPY nothing /\n")
    assert "nothing" in out and ">>> COPY nothing /" in out, out
    assert buildx.engine.api("GET", "/containers/json?all=1").json == []


def test_secrets_and_agents_are_lent(buildx, tmp_path):
    (tmp_path / "s").write_text("from a file\n")
    text = "FROM busybox\nRUN --mount=type=secret,id=a cat /run/secrets/a\nRUN --mount=type=secret,id=b,env=B echo \"$B\"\n"
    out = buildx.build("--secret", f"id=a,src={tmp_path}/s", "--secret", "id=b,env=BEE", dockerfile=text, env={"BEE": "from a variable"})
    assert "from a file" in out and re.search(r"\d from a variable", out), out
    out = buildx.fails("--no-cache", "--secret", f"id=a,src={tmp_path}/s", dockerfile="FROM busybox\nRUN --mount=type=secret,id=other,required true\n")
    assert "other" in out and "not found" in out, out
    assert "from a" not in run(current_docker(), "history", "--no-trunc", buildx.name, env=buildx.env).stdout


def test_an_agent_is_spoken_to(buildx, tmp_path):
    """ssh-add in a step, with its libraries, lists what ssh-agent has at the client."""
    ask, key, path = shutil.which("ssh-add"), tmp_path / "key", tmp_path / "agent.sock"
    libraries = re.findall(r"(?:=> )?(/\S+) \(0x", run("ldd", ask).stdout)
    for file in (ask, *libraries):
        (buildx.folder / "root" / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, buildx.folder / "root" / file.lstrip("/"))
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the key of the test", "-f", key)
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as agent:
        try:
            wait_until("ssh-agent listens", path.exists)
            run("ssh-add", "-q", key, env={**os.environ, "SSH_AUTH_SOCK": str(path)})
            text = f"FROM busybox\nCOPY root /\nRUN --mount=type=ssh {ask} -l\nRUN --mount=type=ssh,id=other {ask} -l\n"
            out = buildx.build("--ssh", f"default={path}", "--ssh", f"other={path}", dockerfile=text)
        finally:
            agent.terminate()
    fingerprint = run("ssh-keygen", "-l", "-f", key).stdout.split()[1]
    assert len(re.findall(rf"^#\d+ \d+\.\d+ 256 {re.escape(fingerprint)} the key of the test \(ED25519\)$", out, re.M)) == 2, out


def test_outputs_to_the_client(buildx, tmp_path):
    text = "FROM busybox\nRUN mkdir -p /out/d && echo hi > /out/d/f && ln -s d/f /out/link && ln /out/d/f /out/hard && chmod 750 /out/d\n"
    out = buildx.build("-o", f"{tmp_path}/here", dockerfile=text)
    assert "exporting to client directory" in out
    here = tmp_path / "here/out"
    assert (here / "d/f").read_text() == "hi\n" and os.readlink(here / "link") == "d/f" and (here / "d").stat().st_mode & 0o777 == 0o750
    assert (here / "hard").stat().st_ino == (here / "d/f").stat().st_ino
    buildx.build("-o", f"type=tar,dest={tmp_path}/t.tar")
    with tarfile.open(tmp_path / "t.tar") as t:
        assert "out/d/f" in t.getnames() and t.extractfile("out/hard").read() == b"hi\n"
    assert buildx.engine.api("GET", f"/images/{buildx.name}/json").status == 404
    stdout = buildx.docker("build", "-q", "-o", "-", ".", text=False).stdout
    assert b"out/d/f" in stdout


def test_names_are_checked_first(buildx):
    (buildx.folder / "Dockerfile").write_text("FROM busybox\nRUN echo this was executed\n")
    p = buildx.docker("build", "--progress", "plain", "-o", "type=image,name=Not-Valid", ".", check=False)
    assert p.returncode != 0 and "was executed" not in p.stderr and "must be lowercase" in p.stderr, p.stderr


def test_bake_shares_a_session(engine, tmp_path, name):
    # buildx itself cannot share a session of a folder that is not ASCII.
    buildx = Buildx(engine, tmp_path, name)
    buildx.files(**{"docker-bake.hcl": f"""
group "default" {{ targets = ["a", "b"] }}
target "a" {{
  dockerfile-inline = "FROM busybox\\nCOPY x /a\\n"
  tags = ["{buildx.name}-a"]
}}
target "b" {{
  dockerfile-inline = "FROM busybox\\nCOPY x /b\\n"
  tags = ["{buildx.name}-b"]
}}
""", "x": "y"})
    out = buildx.docker("buildx", "bake", "--progress", "plain", "--metadata-file", buildx.folder.parent / "meta").stderr
    assert "[a internal] load build definition" in out, out
    meta = json.loads((buildx.folder.parent / "meta").read_text())
    for target in "ab":
        assert meta[target]["containerimage.digest"] == buildx.image(f"{buildx.name}-{target}")["Id"]
        engine.api("DELETE", f"/images/{name}-{target}?force=1")


def test_targets_that_are_linked(engine, tmp_path, name):
    buildx = Buildx(engine, tmp_path, name)
    buildx.files(**{"docker-bake.hcl": f"""
group "default" {{ targets = ["base", "top"] }}
target "base" {{ dockerfile-inline = "FROM busybox\\nRUN echo of the base > /made && chown 12:34 /made\\nENV FROM_BASE=1\\n" }}
target "top" {{
  contexts = {{ lower = "target:base" }}
  dockerfile-inline = "FROM lower\\nRUN cat /made; echo env $FROM_BASE\\nFROM busybox\\nCOPY --from=lower /made /copied\\nRUN --mount=from=lower,target=/l stat -c %u:%g /copied /l/made >/owners\\n"
  tags = ["{name}"]
}}
"""})
    buildx.docker("buildx", "bake", "--progress", "plain")
    assert buildx.says("cat", "/copied", "/owners") == "of the base\n12:34\n12:34\n"
    engine.api("DELETE", f"/images/{name}?force=1")


def test_contexts_of_other_kinds(buildx, tmp_path):
    (tmp_path / "other dir").mkdir()
    (tmp_path / "other dir/f").write_text("of another directory\n")
    text = "FROM busybox\nCOPY --from=other f /f\nRUN cat /f\n"
    assert "of another directory" in buildx.build("--build-context", f"other={tmp_path}/other dir", dockerfile=text)
    with tarfile.open(tmp_path / "context.tar", "w") as t:
        for file, content in (("Dockerfile", b"FROM busybox\nCOPY x /\nRUN cat /x\n"), ("x", b"of an archive\n")):
            info = tarfile.TarInfo(file)
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    with open(tmp_path / "context.tar", "rb") as f:
        assert "of an archive" in buildx.build(where="-", stdin=f)
    assert re.search(r"\d of standard input", buildx.build("-f", "-", input="FROM busybox\nRUN echo of standard input\n"))


def test_compose_builds(engine, tmp_path, name):
    project = Compose(engine, "v2", tmp_path, name)
    project.env.pop("DOCKER_BUILDKIT")
    project.env.pop("COMPOSE_DOCKER_CLI_BUILD")
    config = json.loads((engine.root / "compose-client/config.json").read_text())
    assert config["cliPluginsExtraDirs"]
    project.write({"compose.yml": """
services:
  one:
    build: {context: ., dockerfile_inline: "FROM busybox\\nCOPY compose.yml /c\\nCMD cat /c"}
  two:
    build: {context: sub folder, additional_contexts: {first: "service:one"}}
    command: cat /of-one
""", "sub folder/Dockerfile": "FROM busybox\nCOPY --from=first /c /of-one\n"})
    try:
        p = project("up", "--build")
        assert p.stdout.count("dockerfile_inline") >= 2, p.stdout + p.stderr
    finally:
        project.remove()
        for service in ("one", "two"):
            engine.api("DELETE", f"/images/{name}-{service}?force=1")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_goes_ends_its_build(buildx, how):
    (buildx.folder / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 81.5\n")
    plugin = CURRENT / "usr/libexec/docker/cli-plugins/docker-buildx"
    p = subprocess.Popen([plugin, "build", "--progress", "plain", "."], cwd=buildx.folder, env=buildx.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for line in p.stderr:
            if re.search(r"\d begun", line):
                break
        assert subprocess.run(["pgrep", "-f", "sleep 81.5"], stdout=subprocess.DEVNULL, check=False).returncode == 0
        p.send_signal(how)
        p.wait(20)
    finally:
        p.kill()
        p.wait()
    wait_until("the step has ended", lambda: subprocess.run(["pgrep", "-f", "^sleep 81.5"], stdout=subprocess.DEVNULL, check=False).returncode != 0)
    wait_until("its container is gone", lambda: buildx.engine.api("GET", "/containers/json?all=1").json == [])


def test_an_engine_that_ends_ends_builds(new_engine, folder, name):
    buildx = Buildx(new_engine(), folder, name)
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 85.5\n")
    plugin = CURRENT / "usr/libexec/docker/cli-plugins/docker-buildx"
    with subprocess.Popen([plugin, "build", "--progress", "plain", "."], cwd=folder, env=buildx.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        try:
            for line in p.stderr:
                if re.search(r"\d begun", line):
                    break
            buildx.engine.stop()
            assert "some requests did not end in time" not in buildx.engine.log_text()
            assert "the engine is shutting down" in p.stderr.read() and p.wait(20) != 0
        finally:
            p.kill()
    buildx.engine.start()
    assert buildx.engine.api("GET", "/containers/json?all=1").json == []


def test_what_the_builder_is(buildx):
    out = buildx.docker("buildx", "inspect").stdout
    assert re.search(r"Driver: +docker\n", out) and re.search(r"Status: +running\n", out) and re.search(r"Platforms: +linux/", out)
    buildx.build(dockerfile="FROM busybox\nRUN echo something > /some\n")
    assert "Total:" in buildx.docker("buildx", "du").stdout
    out = buildx.build("--add-host", "there:host-gateway", "--no-cache", dockerfile="FROM busybox\nRUN grep there /etc/hosts\n")
    assert re.search(r"\d 10\.\d+\.\d+\.\d+\tthere", out), out


def test_questions_about_a_dockerfile(buildx):
    (buildx.folder / "Dockerfile").write_text("FROM busybox as Made\nARG WHAT=it\nRUN echo executed $WHAT\n")
    p = buildx.docker("build", "--check", ".", check=False)
    assert p.returncode == 1 and "StageNameCasing" in p.stdout and ">>> FROM busybox as Made" in p.stdout, p.stdout + p.stderr
    assert "WHAT" in buildx.docker("build", "--call=outline", ".").stdout
    assert "made" in buildx.docker("build", "--call=targets", ".").stdout
    assert "executed" not in p.stderr


def test_what_is_not_offered_is_refused_by_name(buildx):
    refused = "FROM busybox\n"
    assert "frontends in images are not offered" in buildx.fails("--build-arg", "BUILDKIT_SYNTAX=example.com/my/frontend", dockerfile=refused)
    assert "Total:" in buildx.docker("buildx", "du").stdout
    buildx.build("--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1.7", dockerfile=refused)
