# SPDX-License-Identifier: Apache-2.0
"""RUN --mount: what a step is given while it runs, and that nothing of it is left, in the layer, on the disk or for others."""
import re
import tarfile
import threading
import time

import pytest

import harness
from harness import wait_until


@pytest.fixture(autouse=True)
def classic(monkeypatch):
    """What the classic builder's stream says is looked for."""
    monkeypatch.setattr(harness.Engine, "more_env", {"DOCKER_BUILDKIT": "0"})


@pytest.fixture
def build(engine, folder, name):
    """build(dockerfile, *options, files={...}) -> what the builder printed; the image is `name`."""
    def run(dockerfile, *options, files=None, check=True, context=None):
        where = context or folder
        for path, text in (files or {}).items():
            (where / path).parent.mkdir(parents=True, exist_ok=True)
            (where / path).write_text(text)
        (where / "Dockerfile").write_text(dockerfile)
        p = engine.cli("build", "-t", name, *options, where, check=check)
        return p.stdout + p.stderr

    yield run
    engine.cli("rmi", "-f", name, check=False)


def names_in(engine, image):
    """Every path in the image's layers beside those of its base."""
    names = set()
    out = engine.cli("save", image, "-o", engine.data_root.parent / "saved.tar")
    assert out.returncode == 0
    with tarfile.open(engine.data_root.parent / "saved.tar") as outer:
        for member in outer.getmembers():
            if member.name.endswith(".tar") or member.name.startswith("blobs/"):
                try:
                    with tarfile.open(fileobj=outer.extractfile(member)) as layer:
                        names |= {m.name.strip("/") for m in layer.getmembers()}
                except (tarfile.ReadError, ValueError):
                    continue
    assert names
    return names


def test_a_bind_shows_the_context_and_keeps_nothing(build, engine, name):
    said = build("""FROM busybox
RUN --mount=target=/src cat /src/私/f && ! touch /src/new
RUN --mount=type=bind,target=/src,rw touch /src/new && ls /src > /seen
RUN --mount=target=/one/two/f,source=私/f cat /one/two/f > /copied && test ! -s /src/new
RUN test ! -e /src -a ! -e /one && cat /seen /copied
""", files={"私/f": "hello\n"})
    assert said.count("hello") == 2 and "new" in said
    assert not {"src", "one", "one/two", "one/two/f"} & names_in(engine, name)


def test_a_bind_of_the_context_belongs_to_the_cache_key(build):
    text = "FROM busybox\nRUN --mount=target=/src cat /src/f\n"
    assert "one" in build(text, files={"f": "one\n"})
    assert "Using cache" in build(text)
    assert "two" in build(text, files={"f": "two\n"})


def test_a_bind_from_a_stage_and_from_an_image(build):
    said = build("""FROM busybox AS base
RUN mkdir /d && echo of-the-stage > /d/f && ln -s /etc/hostname /d/out
FROM busybox
RUN --mount=from=base,source=/d,target=/mnt,rw cat /mnt/f && rm /mnt/f
RUN --mount=from=base,source=/d/f,target=/mnt/f cat /mnt/f
RUN --mount=from=busybox,target=/image ls /image/bin/busybox
""")
    assert len(re.findall("^of-the-stage$", said, re.M)) == 2 and "/image/bin/busybox" in said


@pytest.mark.parametrize("source", ("../../etc", "/link", "/nothing"))
def test_a_source_that_leads_nowhere_else(build, source):
    said = build(f"FROM busybox AS base\nRUN mkdir /d && ln -s ../../../../../../etc /link\nFROM busybox\nRUN --mount=from=base,source={source},target=/mnt ls /mnt; exit 3\n", check=False)
    # What is above a root is the root, and a link of the stage is not followed out of it: it is the stage's own /etc that is seen, or nothing.
    assert "machine-id" not in said and ("returned a non-zero code: 3" in said or "no such file" in said or "leads out" in said), said


def test_a_cache_outlives_builds_and_is_its_ids(build, engine, name):
    text = "FROM busybox\nRUN --mount=type=cache,target=/c,id={} echo {} >> /c/n && cat /c/n\n"
    build(text.format(name, "first"))
    said = build(text.format(name, "second"))
    assert re.search(r"^first\nsecond$", said, re.M)
    assert "first" not in build(text.format(f"{name}-other", "third"))
    assert "c" not in names_in(engine, name) and "c/n" not in names_in(engine, name)
    # Mode and owner are those of who made it first; its target alone is its id.
    said = build(f"FROM busybox\nRUN --mount=type=cache,target=/{name},mode=0711,uid=7,gid=8 stat -c '%a %u %g' /{name}\n")
    assert "711 7 8" in said


def test_a_cache_begins_as_a_directory_of_a_stage(build, name):
    said = build(f"""FROM busybox AS seed
RUN mkdir -p /seed/d && echo planted > /seed/d/f
FROM busybox
RUN --mount=type=cache,id={name},target=/c,from=seed,source=/seed cat /c/d/f && echo grown > /c/d/f
RUN --mount=type=cache,id={name},target=/c,from=seed,source=/seed cat /c/d/f
""")
    assert re.search(r"planted[\s\S]*grown", said)


def test_a_part_of_a_cache_that_became_a_link_is_not_followed(build, engine, name):
    """CVE-2024-23651: source= of a cache mount, which another step makes a link meanwhile."""
    said = build(f"""FROM busybox
RUN --mount=type=cache,id={name},target=/c rm -rf /c/sub && ln -s / /c/sub
RUN --mount=type=cache,id={name},target=/c,source=sub ls /c/{engine.data_root.parent.name} /c
""", check=False)
    assert "returned a non-zero code" in said or "source=sub" in said
    assert engine.data_root.parent.name not in re.sub(r"Step.*|RUN.*|The command.*", "", said)


def test_stubs_that_became_links_take_nothing_along(build, engine, name, tmp_path):
    """CVE-2024-23652: what was made to mount on is removed after the step, by a path on which the step has put a link."""
    victim = tmp_path / "empty"
    victim.mkdir()
    said = build(f"""FROM busybox
RUN --mount=type=tmpfs,target=/a/empty mv /a /moved && ln -s "{tmp_path}" /a && ls -l /a
RUN --mount=type=tmpfs,target=/x/empty true
RUN --mount=type=tmpfs,target=/kept/dir touch /kept/mine && mkdir /kept/own
RUN ls /kept
""")
    assert victim.is_dir() and "mine" in said and "own" in said
    names = names_in(engine, name)
    assert "kept/mine" in names and "kept/own" in names and "kept/dir" not in names and "x" not in names


def test_mount_points_that_were_there_stay(build, engine, name):
    build("FROM busybox\nRUN mkdir /there && echo x > /file\nRUN --mount=type=tmpfs,target=/there --mount=target=/file,source=f true\nRUN test -d /there && grep x /file\n", files={"f": ""})


def test_locked_caches_take_turns_and_private_ones_do_not_meet(engine, name, folder):
    def start(i, sharing):
        where = folder / f"{sharing}{i}"
        where.mkdir()
        (where / "Dockerfile").write_text(f"""FROM busybox
RUN --mount=type=cache,id={name}-{sharing},target=/c,sharing={sharing} test ! -e /c/busy && touch /c/busy && sleep 0.7 && rm /c/busy && echo {i}
""")
        out = {}

        def run():
            out["p"] = engine.cli("build", where, check=False)

        t = threading.Thread(target=run)
        t.start()
        return t, out

    for sharing in ("locked", "private"):
        began = time.monotonic()
        both = [start(i, sharing) for i in range(2)]
        for t, _ in both:
            t.join()
        assert all(out["p"].returncode == 0 for _, out in both), [out["p"].stdout for _, out in both]
        if sharing == "locked":
            assert time.monotonic() - began >= 1.4


def test_equal_steps_of_two_builds_are_made_once(engine, name, folder):
    (folder / "Dockerfile").write_text(f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c echo once >> /c/n; sleep 1; cat /c/n # {name}\n")
    out = []
    threads = [threading.Thread(target=lambda: out.append(engine.cli("build", folder).stdout)) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sum(o.count("\nonce\n") for o in out) == 1 and sum("Using cache" in o for o in out) == 2


@pytest.mark.parametrize("line, words", [
    ("RUN --network=host true", "network.host"),
    ("RUN --security=insecure true", "security.insecure"),
    ("RUN --network=nowhere true", "nowhere"),
    ("RUN --mount=type=secret,id=s,required cat /run/secrets/s", "secret s"),
    ("RUN --mount=type=ssh,required true", "ssh"),
    ("RUN --mount=type=bind true", "target"),
    ("RUN --mount=type=bind,target=/ true", "target"),
    ("RUN --mount=type=bind,target=/x,source=missing true", "missing"),
])
def test_what_a_step_may_not_ask_for(build, line, words):
    said = build(f"FROM busybox\n{line}\n", check=False)
    assert words in said and "Successfully" not in said


def test_scripts(build, engine, name):
    said = build("""FROM busybox
RUN <<EOF
set -e
echo "in the shell: $0"
EOF
RUN <<EOF
#!/bin/sh -e
echo "by itself: $0 $-"
EOF
RUN sh -s <<'ONE' ; cat <<TWO
echo "quoted $HOME"
ONE
two
TWO
""")
    assert "in the shell: /bin/sh" in said and "by itself: /dev/pipes/EOF e" in said and "quoted /root" in said and "\ntwo\n" in said


def test_a_step_goes_with_its_engine(new_engine, folder):
    engine = new_engine()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo early > /early\nRUN --mount=type=cache,target=/c touch /c/x && sleep 300\n")
    t = threading.Thread(target=lambda: engine.cli("build", "-t", "half", folder, check=False))
    t.start()
    wait_until("the step sleeps", lambda: any(b"sleep 300\"" in engine.api("GET", f"/containers/{c['Id']}/top").body.replace(b"touch /c/x && sleep 300", b"") for c in engine.api("GET", "/containers/json").json))
    engine.kill()
    t.join()
    engine.start()
    assert engine.api("GET", "/containers/json?all=1").json == []
    assert engine.api("GET", "/images/half/json").status == 404
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo early > /early\nRUN --mount=type=cache,target=/c ls /c\n")
    said = engine.cli("build", "-t", "whole", folder).stdout
    assert said.count("Using cache") == 1 and "\nx\n" in said
    assert not [p for p in (engine.data_root / "containers").iterdir() if p.name.startswith("build-")]
