# SPDX-License-Identifier: Apache-2.0
"""A base image from the machine's own package mirror, and what a developer does with it. Slow: one engine for the whole file."""
import json
import re
import time

import pytest

import harness
from harness import ROOT


@pytest.fixture(scope="module")
def debian():
    engine = harness.Engine().start()
    try:
        start = time.monotonic()
        engine.first = engine.cli("image", "bootstrap", "debian:bookworm", timeout=500)
        engine.first_seconds = time.monotonic() - start
        yield engine
    finally:
        engine.destroy()


@pytest.mark.seconds(600)
def test_bootstrap_shows_progress_and_tags(debian):
    assert len(debian.first.stdout.splitlines()) > 3
    assert "debian:bookworm" in debian.images()
    j = json.loads(debian.cli("image", "inspect", "debian:bookworm").stdout)[0]
    assert j["Os"] == "linux" and j["Config"]["Cmd"] == ["bash"] and 40 << 20 < j["Size"] < 400 << 20


def test_it_is_debian(debian):
    out = debian.cli("run", "--rm", "debian:bookworm", "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; dpkg -l | wc -l; bash -c 'echo $0'").stdout.split()
    assert out[0] == "bookworm" and int(out[1]) > 60 and out[2] == "bash"


def test_second_time_is_cached(debian):
    start = time.monotonic()
    debian.cli("image", "bootstrap", "debian:bookworm")
    assert time.monotonic() - start < max(5, debian.first_seconds / 2)


@pytest.mark.seconds(300)
def test_apt_get_works_inside(debian):
    p = debian.cli("run", "--rm", "debian:bookworm", "sh", "-c", "apt-get update && apt-get install -y --no-install-recommends hello && hello", timeout=240)
    assert "Hello, world!" in p.stdout


@pytest.mark.seconds(600)
def test_the_example_builds_and_runs(debian, folder):
    """What `make demo` does."""
    import shutil

    source = folder / "私の 名前"
    shutil.copytree(ROOT / "examples/python-dev/私の 名前", source)
    (source / "result.txt").unlink(missing_ok=True)
    start = time.monotonic()
    debian.cli("build", "-t", "python-dev", ROOT / "examples/python-dev", timeout=500)
    first_seconds = time.monotonic() - start
    out = debian.cli("run", "--rm", "-v", f"{source}:/src", "python-dev").stdout
    assert re.match(r"numpy \d", out) and "[1.0, 2.0, 3.0]" in out
    assert (source / "result.txt").read_text() == out
    start = time.monotonic()
    p = debian.cli("build", "-t", "python-dev", ROOT / "examples/python-dev")
    assert "CACHED" in p.stdout + p.stderr and time.monotonic() - start < max(3, first_seconds / 2)


@pytest.mark.seconds(300)
def test_apt_keeps_its_packages_in_caches_of_steps(debian, folder):
    """As many Dockerfiles have it: two stages take turns, and the second one installs what the first one has fetched. Nothing of it is in the image."""
    caches = "--mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked"
    (folder / "Dockerfile").write_text(f"""FROM debian:bookworm AS base
RUN rm -f /etc/apt/apt.conf.d/docker-clean
FROM base AS first
RUN {caches} apt-get update && apt-get install -y --no-install-recommends hello
FROM base
COPY --from=first /usr/bin/hello /hello-of-first
RUN {caches} apt-get install -y --no-install-recommends --no-download hello
RUN test -z "$(find /var/cache/apt /var/lib/apt/lists -type f ! -name lock)" && cmp /hello-of-first /usr/bin/hello
""")
    debian.cli("build", "-t", "with-hello", folder, timeout=240)
    assert debian.cli("run", "--rm", "with-hello", "hello").stdout == "Hello, world!\n"


def test_a_release_that_does_not_exist(debian):
    p = debian.cli("image", "bootstrap", "debian:no-such-release", check=False, timeout=110)
    assert p.returncode == 1 and "no-such-release" in p.stderr
    assert not any("no-such-release" in t for t in debian.images())
    p = debian.cli("image", "bootstrap", "fedora:40", check=False)
    assert p.returncode == 1 and "debian" in p.stderr


def test_interrupted_bootstrap_leaves_nothing(debian):
    import os
    import signal

    p = debian.popen("image", "bootstrap", "debian:trixie")
    time.sleep(2)
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=30)

    def helpers():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    line = f.read()
            except OSError:
                continue
            if b"mmdebstrap" in line and str(debian.root).encode() in line:
                found.append(pid)
        return found

    harness.wait_until("mmdebstrap has gone", lambda: not helpers())
    assert "debian:trixie" not in debian.images()
    mounts = [m for m in debian.leftovers() if m.startswith("/") and m != str(debian.socket)]
    assert not mounts
    harness.wait_until("its temporary folder has gone", lambda: not list((debian.data_root / "bootstrap").glob("*")))
