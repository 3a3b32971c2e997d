# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles: every instruction, stages, the cache, ignore files, and what a wrong one gets. Once with ours, once with the docker CLI."""
import contextlib
import http.client
import io
import json
import os
import re
import signal
import tarfile
import threading
import urllib.parse

import pytest

import harness
from harness import add_file, make_tar, wait_until


@pytest.fixture(autouse=True)
def classic(monkeypatch):
    """Both clients take the classic builder's way; ours has one of its own as well: test_build_cli.py."""
    monkeypatch.setattr(harness.Engine, "more_env", {"DOCKER_BUILDKIT": "0"})


@pytest.fixture
def box(cli, engine, folder, name):
    """box(dockerfile, files={...}, *options): builds in a fresh context; the image is `name`, removed after the test."""
    made = set()

    def build(dockerfile, files=None, *options, tag=None, check=True, **kw):
        for path, data in (files or {}).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
        if dockerfile is not None:
            (folder / "Dockerfile").write_text(dockerfile)
        made.add(tag or name)
        return cli("build", "-t", tag or name, *options, folder, check=check, **kw)

    yield build
    for tag in made:
        cli("rmi", "-f", tag, check=False)


def config_of(cli, name):
    return json.loads(cli.out("image", "inspect", name))[0]["Config"]


def test_run_copy_workdir_cmd(box, cli, name):
    box("FROM busybox\nWORKDIR /app/私の 名前\nCOPY a.txt b.txt ./\nRUN cat a.txt b.txt > c.txt && pwd >> c.txt\nCMD [\"cat\", \"c.txt\"]\n", {"a.txt": "A\n", "b.txt": "B\n"})
    assert cli.out("run", "--rm", name) == "A\nB\n/app/私の 名前"


def test_config_instructions(box, cli, name):
    box("""FROM busybox
ARG VERSION=1
ENV ONE=1 TWO="two words" \\
    THREE=$VERSION
LABEL org.example.a="x y" b=2
EXPOSE 80 53/udp
VOLUME ["/data", "/more data"]
USER user
WORKDIR /tmp
WORKDIR sub
STOPSIGNAL SIGINT
ENTRYPOINT ["echo", "entry"]
CMD ["default"]
""", None, "--build-arg", "VERSION=7", "--label", "c=3")
    c = config_of(cli, name)
    assert {"ONE=1", "TWO=two words", "THREE=7"} <= set(c["Env"])
    assert c["Labels"] == {"org.example.a": "x y", "b": "2", "c": "3"}
    assert set(c["ExposedPorts"]) == {"80/tcp", "53/udp"} and set(c["Volumes"]) == {"/data", "/more data"}
    assert c["User"] == "user" and c["WorkingDir"] == "/tmp/sub" and c["StopSignal"] == "SIGINT"
    assert cli.out("run", "--rm", name) == "entry default"
    assert cli.out("run", "--rm", name, "mine") == "entry mine"


def test_shell_and_exec_forms(box, cli, name):
    box('FROM busybox\nENV WHO=shell\nRUN echo "$WHO" > /shell\nRUN ["/bin/sh", "-c", "echo exec > /exec"]\nSHELL ["/bin/sh", "-ec"]\nRUN false || echo set-e-kept > /third\n'
        'CMD cat /shell /exec /third\n')
    assert cli.out("run", "--rm", name).split() == ["shell", "exec", "set-e-kept"]


def test_multi_stage(box, cli, name):
    box("""ARG BASE=busybox
FROM ${BASE} AS first
RUN mkdir /out && echo built > /out/file
FROM busybox AS unused
RUN exit 1
FROM busybox
COPY --from=first /out/ /in/
COPY --from=0 /out/file /again
COPY --from=busybox /etc/group /group-of-image
CMD ["cat", "/in/file", "/again"]
""")
    assert cli.out("run", "--rm", name).split() == ["built", "built"]


def test_target(box, cli, name):
    box("FROM busybox AS a\nCMD [\"echo\", \"a\"]\nFROM a AS b\nCMD [\"echo\", \"b\"]\n", None, "--target", "a")
    assert cli.out("run", "--rm", name) == "a"


def test_cache_is_used_and_missed(box, cli, engine, name):
    files = {"a.txt": "one"}
    text = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /time\nCOPY a.txt /\nRUN cat a.txt > /copy\n"
    box(text, files)
    first = cli.out("run", "--rm", name, "cat", "/time")
    identity = json.loads(cli.out("image", "inspect", name))[0]["Id"]
    p = box(text, files)
    assert p.stdout.count("Using cache") == 3
    assert json.loads(cli.out("image", "inspect", name))[0]["Id"] == identity
    p = box(text, {"a.txt": "two"})
    assert p.stdout.count("Using cache") == 1
    assert cli.out("run", "--rm", name, "cat", "/time", "/copy") == f"{first}\ntwo"
    box(text, files, "--no-cache")
    assert cli.out("run", "--rm", name, "cat", "/time") != first


def test_cache_sees_modes_but_not_times(box, folder, name):
    text = f"FROM busybox\nCOPY a.txt /{name}\n"
    box(text, {"a.txt": "one"})
    os.utime(folder / "a.txt", (1, 1))
    assert box(text).stdout.count("Using cache") == 1
    (folder / "a.txt").chmod(0o755)
    assert box(text).stdout.count("Using cache") == 0


def test_dockerignore(box, cli, name):
    box("FROM busybox\nCOPY . /ctx\nRUN cd /ctx && find . -type f | sort > /list\n",
        {".dockerignore": "# comment\n*.log\n!keep.log\n**/deep\nsub/*/x\n", "a.log": "", "keep.log": "", "d/deep/f": "", "deep": "", "sub/1/x": "", "sub/1/y": "", "名 前": ""})
    assert set(cli.out("run", "--rm", name, "cat", "/list").split("\n")) == {"./.dockerignore", "./Dockerfile", "./keep.log", "./sub/1/y", "./名 前"}


def test_copy_semantics(box, cli, name):
    box("""FROM busybox
COPY d /into
COPY d/ /into2/
COPY *.txt /texts/
COPY ["with space.txt", "/renamed file"]
COPY --chown=user:extra --chmod=0640 a.txt /owned
COPY --chown=1234 a.txt /numbered
RUN ls /into /into2 /texts | tr '\\n' ' ' > /seen; stat -c '%u:%g %a' /owned /numbered >> /seen
""", {"d/x": "1", "d/e/y": "2", "a.txt": "a", "b.txt": "b", "with space.txt": "s"})
    out = cli.out("run", "--rm", name, "cat", "/seen", "/renamed file")
    assert "/into: e x" in re.sub(r"\s+", " ", out) and "a.txt b.txt with space.txt" in out
    assert "1000:2000 640" in out and re.search(r"1234:(1234|0) 644", out) and out.endswith("s")


def test_copy_keeps_links_and_does_not_follow_them_out(box, cli, folder, name):
    (folder / "link").symlink_to("target")
    (folder / "out").symlink_to("/etc/shadow")
    box("FROM busybox\nCOPY . /c\nRUN readlink /c/link > /seen; readlink /c/out >> /seen\n", {"target": "t"})
    assert cli.out("run", "--rm", name, "cat", "/seen").split() == ["target", "/etc/shadow"]


def test_add_unpacks_archives(box, cli, name):
    import bz2
    import gzip
    import lzma

    plain = make_tar(lambda t: add_file(t, "dir/inner.txt", b"inner\n"))
    box("FROM busybox\nADD a.tar.gz /gz/\nADD a.tar.xz /xz/\nADD a.tar.bz2 /bz/\nADD a.tar /plain/\nCOPY a.tar /kept/\nRUN cat /gz/dir/inner.txt /xz/dir/inner.txt "
        "/bz/dir/inner.txt /plain/dir/inner.txt > /seen && ls /kept >> /seen\n",
        {"a.tar.gz": gzip.compress(plain), "a.tar.xz": lzma.compress(plain), "a.tar.bz2": bz2.compress(plain), "a.tar": plain})
    assert cli.out("run", "--rm", name, "cat", "/seen").split() == ["inner"] * 4 + ["a.tar"]


def test_wildcards_without_match_and_missing_files(box):
    for line in ("COPY nothing* /x", "COPY missing /x"):
        p = box(f"FROM busybox\n{line}\n", check=False)
        assert p.returncode != 0 and re.search(r"(nothing\*|missing)\": not found", p.stderr + p.stdout), p


def test_dockerfile_elsewhere_and_from_stdin(cli, folder, name):
    (folder / "sub dir").mkdir()
    (folder / "sub dir/My.Dockerfile").write_text("FROM busybox\nCOPY here /\n")
    (folder / "here").write_text("x")
    cli("build", "-t", name, "-f", folder / "sub dir/My.Dockerfile", folder)
    assert cli.out("run", "--rm", name, "cat", "/here") == "x"
    cli("build", "-t", name, "-", input="FROM busybox\nRUN echo stdin > /here\n")
    assert cli.out("run", "--rm", name, "cat", "/here") == "stdin"
    context = make_tar(lambda t: (add_file(t, "Dockerfile", b"FROM busybox\nCOPY f /here\n"), add_file(t, "f", b"tar")))
    cli("build", "-t", name, "-", input=context, text=False)
    assert cli.out("run", "--rm", name, "cat", "/here") == "tar"
    cli("rmi", name)


def test_from_scratch(box, cli, name):
    import pathlib

    from harness import program

    box("FROM scratch\nCOPY --chmod=755 busybox /busybox\nENTRYPOINT [\"/busybox\", \"echo\"]\nCMD [\"tiny\"]\n", {"busybox": pathlib.Path(program("busybox")).read_bytes()})
    assert cli.out("run", "--rm", name) == "tiny"


def test_onbuild(box, cli, name):
    box("FROM busybox\nONBUILD RUN echo triggered > /onbuild\n", tag=name + "-base")
    box(f"FROM {name}-base\nCMD [\"cat\", \"/onbuild\"]\n")
    assert cli.out("run", "--rm", name) == "triggered"


def test_heredoc_run(box, cli, name):
    p = box("FROM busybox\nRUN <<EOT\necho one > /seen\necho two >> /seen\nEOT\n", check=False)
    if p.returncode == 0:
        assert cli.out("run", "--rm", name, "cat", "/seen").split() == ["one", "two"]
    else:
        assert "here-document" in p.stderr + p.stdout


def test_build_network_none_and_hosts(box):
    p = box("FROM busybox\nRUN ls /sys/class/net | tr '\\n' ' '; cat /etc/hosts\n", None, "--no-cache", "--network", "none", "--add-host", "db:192.0.2.9")
    assert "eth0" not in p.stdout and re.search(r"192\.0\.2\.9\s+db", p.stdout)


def test_output_names_steps(box):
    p = box("FROM busybox\nRUN echo hello-from-run\n")
    assert re.search(r"Step 1/2 : FROM busybox", p.stdout) and "hello-from-run" in p.stdout and "Successfully built" in p.stdout


def test_layers_hold_only_changes(box, cli, engine, name):
    box("FROM busybox\nRUN rm /etc/group && echo x > /new\n")
    cli("save", "-o", str(engine.root / "one.tar"), name)
    with tarfile.open(engine.root / "one.tar") as outer:
        layers = json.load(outer.extractfile("manifest.json"))[0]["Layers"]
        inner = tarfile.open(fileobj=io.BytesIO(outer.extractfile(layers[-1]).read()))
        names = {n.rstrip("/") for n in inner.getnames()}
    assert {"new", "etc/.wh.group"} <= names and not any(n.startswith("bin") for n in names)


def root_options(text):
    """volatile: of the kernel's words for it, "volatile" and "fsync=volatile"."""
    return re.split("[,=]", re.search(r"^\S+ / overlay (\S+)", text, re.M)[1])


def test_steps_do_not_wait_for_the_disk_and_containers_may(box, cli, name):
    """fsync(2) is for what must survive a power failure: a step is made again, a container is not."""
    p = box("FROM busybox\nRUN cat /proc/mounts\n", None, "--no-cache")
    assert "volatile" in root_options(p.stdout)
    assert "volatile" not in root_options(cli.out("run", "--rm", name, "cat", "/proc/mounts"))


def test_a_step_that_is_kept_is_a_container_like_others(box, cli, engine, name):
    """docker build --rm=false: it can be copied from and into, committed and started again."""
    p = box("FROM busybox\nRUN cat /proc/mounts; echo kept > /f; exit $(test -e /again; echo $((7 * $?)))\n", {"again": ""}, "--rm=false", check=False)
    assert p.returncode != 0 and "volatile" not in root_options(p.stdout)
    [step] = engine.containers()
    try:
        cli("cp", f"{p.args[-1]}/again", f"{step}:/again")
        cli("start", step)
        assert cli.out("wait", step) == "0" and cli.out("commit", step, f"{name}:step").startswith("sha256:")
        assert cli.out("run", "--rm", f"{name}:step", "cat", "/f") == "kept"
    finally:
        cli("rm", "-f", step)
        cli("rmi", "-f", f"{name}:step", check=False)


def nothing_runs(engine):
    return not engine.shims() and not os.listdir(engine.exec_root / "containers")


@pytest.mark.parametrize("last, code", [("RUN true", 0), ("RUN false\nRUN never", 1), ("RUN --network=none test ! -e /sys/class/net/eth0", 0), ("COPY . /c\nRUN test -e /sys/class/net/eth0", 0)])
def test_what_was_begun_for_the_next_step_is_used_or_goes(box, engine, last, code):
    """The program that keeps a step's container is started while the step before it runs."""
    p = box(f"FROM busybox\nRUN true\nENV A=b\n{last}\n", {"f": ""}, "--no-cache", check=False)
    assert (p.returncode != 0) == code, p
    wait_until("nothing is left", lambda: nothing_runs(engine))


def test_what_was_begun_for_the_next_step_may_be_killed(box, engine):
    def others():
        """A step's own process is called as its shim is until it has its program."""
        try:
            shims = [pid for pid in engine.shims() if open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1] == str(engine.p.pid)]
            return [pid for pid in shims if len(shims) == 2 and not open(f"/proc/{pid}/task/{pid}/children").read()]
        except OSError:  # one of them has ended
            return []

    def kill():
        for pid in wait_until("it waits", others):
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    p = box("FROM busybox\nRUN sleep 2\nRUN echo it-went-on\n", None, "--no-cache")
    killer.join()
    assert "it-went-on" in p.stdout
    wait_until("nothing is left", lambda: nothing_runs(engine))


def test_nothing_stays_of_what_was_begun_for_a_step_that_is_cached(box, engine):
    dockerfile = "FROM busybox\nRUN true\nRUN echo > /f\n"
    box(dockerfile)
    box(dockerfile, None, "--no-cache")
    box(dockerfile)
    wait_until("nothing is left", lambda: nothing_runs(engine))


# ---- what a wrong one gets
@pytest.mark.parametrize("dockerfile, pattern", [
    ("FROM busybox\nRUN true\nFRO x\n", r"Dockerfile:3: .*unknown instruction: FRO.*FROM"),
    ("FROM busybox\n\n# c\nCOPY\n", r"Dockerfile:4: .*COPY"),
    ("RUN true\n", r"no build stage in current context|Dockerfile:1"),
    ("", r"no instructions|cannot be empty|empty"),
    ("FROM busybox\nENV novalue\n", r"ENV must have two arguments"),
    ("FROM no-such-image-anywhere.invalid/x\n", r"no-such-image-anywhere.invalid"),
    ("FROM busybox\nCOPY --from=nosuchstage.invalid/x /a /b\n", r"nosuchstage"),
    ("FROM Bad::Reference\n", r"invalid reference format|invalid"),
])
def test_wrong_dockerfiles(box, engine, dockerfile, pattern):
    before = engine.images()
    p = box(dockerfile, check=False)
    assert p.returncode == 1 and re.search(pattern, p.stderr + p.stdout, re.I), p
    assert engine.images() == before and not engine.containers()


def test_failing_run_names_step_code_and_last_lines(box, cli, engine, name):
    p = box("FROM busybox\nRUN echo before && echo the-last-words >&2 && exit 42\n", check=False)
    said = p.stdout + p.stderr
    assert p.returncode != 0 and "the-last-words" in said and "exit 42" in said and "returned a non-zero code: 42" in said
    assert not engine.containers() and not any(name in t for t in engine.images())
    if cli.client == "ireko":
        assert "Dockerfile:2" in said


def test_missing_dockerfile(cli, folder):
    assert re.search(r"Dockerfile", cli.fails("build", folder, status=1))
    assert re.search(r"nowhere", cli.fails("build", folder / "nowhere", status=1))


def test_hostile_contexts_stay_inside(engine, folder):
    """A context tar that climbs out, or whose links lead out, is refused or kept inside; nothing is written on the host."""
    victim = folder / "victim"
    up = "../" * 12 + str(victim).lstrip("/")

    def climbing(t):
        add_file(t, "Dockerfile", b"FROM busybox\nCOPY . /c\n")
        add_file(t, up, b"escaped")

    def by_link(t):
        add_file(t, "Dockerfile", b"FROM busybox\nCOPY . /c\n")
        add_file(t, "d", type=tarfile.SYMTYPE, linkname=str(folder))
        add_file(t, "d/victim", b"escaped")

    for fill in (climbing, by_link):
        reply = engine.api("POST", "/build?t=hostile", make_tar(fill), {"Content-Type": "application/x-tar"})
        assert reply.status in (200, 400, 500)
        assert not victim.exists()
    engine.api("DELETE", "/images/hostile?force=1")


def test_a_build_is_cancelled_by_its_id(engine, name):
    """What it runs is ended, and nothing of it stays."""
    tar = make_tar(lambda t: add_file(t, "Dockerfile", b"FROM busybox\nRUN echo begun; sleep 1000\n"))
    before = {c["Id"] for c in engine.api("GET", "/containers/json?all=1").json}
    done = []
    thread = threading.Thread(target=lambda: done.append(attempt(engine, f"/build?buildid={name}&t={name}", tar)))
    thread.start()
    wait_until("it runs", lambda: {c["Id"] for c in engine.api("GET", "/containers/json").json} - before)
    assert engine.api("POST", "/build/cancel?id=another").status == 200
    assert engine.api("POST", "/build/cancel").status == 400 and thread.is_alive()
    assert engine.api("POST", f"/build/cancel?id={name}").status == 200
    thread.join(20)
    assert not thread.is_alive() and b"Successfully built" not in done[0]
    wait_until("its container is gone", lambda: {c["Id"] for c in engine.api("GET", "/containers/json?all=1").json} == before)
    assert engine.api("GET", f"/images/{name}/json").status == 404


def attempt(engine, path, tar):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return engine.api("POST", path, tar, headers={"Content-Type": "application/x-tar"}).body
    return b"it hung up"


def test_squash_makes_one_layer_over_the_base(engine, folder, name):
    """By ours: docker's command asks for an experimental daemon first."""
    def build():
        (folder / "Dockerfile").write_text("FROM busybox\nRUN echo one > /one && echo gone > /gone\nRUN rm /gone\nENV A=b\nRUN echo two > /two\n")
        engine.cli("build", "-t", name, "--squash", folder)
        return engine.api("GET", f"/images/{name}/json").json

    layers = engine.api("GET", "/images/busybox/json").json["RootFS"]["Layers"]
    made = build()
    assert made["RootFS"]["Layers"][:len(layers)] == layers and len(made["RootFS"]["Layers"]) == len(layers) + 1
    assert engine.cli("run", "--rm", name, "sh", "-c", "cat /one /two; test ! -e /gone; echo $A").stdout == "one\ntwo\nb\n"
    # The same steps once more, from the cache: the same image.
    assert build()["Id"] == made["Id"]
    engine.cli("rmi", "-f", name)


@pytest.mark.parametrize("line, taken", [("docker/dockerfile:1", True), ("docker.io/docker/dockerfile:1.20-labs", True), ("docker/dockerfile-upstream:master", True),
                                         ("docker/dockerfile2", False), ("example.org/other:1", False)])
def test_front_ends_are_built_in_or_refused(engine, folder, line, taken):
    (folder / "Dockerfile").write_text(f"# syntax={line}\nFROM busybox\n")
    p = engine.cli("build", folder, check=False)
    assert (p.returncode == 0) == taken and (taken or "front ends that are images are not offered" in p.stdout + p.stderr)


def test_limits_of_steps(box, cli, name):
    box("FROM busybox\nRUN ulimit -n > /soft; ulimit -Hn > /hard\n", None, "--ulimit", "nofile=123:456")
    assert cli.out("run", "--rm", name, "cat", "/soft", "/hard").split() == ["123", "456"]


@pytest.mark.parametrize("query", ["securityopt=seccomp=unconfined", "isolation=hyperv", 'outputs=[{"Type":"local"}]', "ulimits={", 'ulimits=[{"Name":"nofile"}]', 'ulimits=[{"Name":"none","Soft":1,"Hard":1}]'])
def test_what_the_endpoint_does_not_do_is_refused(engine, query):
    key, _, value = query.partition("=")
    tar = make_tar(lambda t: add_file(t, "Dockerfile", b"FROM busybox\nRUN true\n"))
    reply = engine.api("POST", "/build?" + urllib.parse.urlencode({key: value}), tar, {"Content-Type": "application/x-tar"})
    assert reply.status != 200 or b"error" in reply.body, reply.body
    assert key.rstrip("s") in str(reply.body), reply.body


@pytest.mark.parametrize("option, words", [("--ulimit=nosuch=1", "nosuch"), ("--ulimit=nofile=5:1", "nofile"), ("--add-host=nothing", "nothing"), ("--memory=1", "memory"), ("--cpuset-cpus=9999", "9999"),
                                           ("--shm-size=-1", "SHM")])
def test_options_of_steps_are_looked_at_first(engine, folder, option, words):
    """Whether there is a step that they concern, and it is in the cache, or not."""
    for text in ("FROM scratch\n", "FROM nosuch.invalid/image\n"):
        (folder / "Dockerfile").write_text(text)
        p = engine.cli("build", option, folder, check=False)
        said = p.stdout + p.stderr
        assert p.returncode != 0 and words in said and "nosuch.invalid" not in said, said
