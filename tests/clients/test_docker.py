# SPDX-License-Identifier: Apache-2.0
"""The real docker CLI where it differs from ours: negotiation, contexts, formats, and flows as people type them."""
import json
import re
import subprocess
import time

import pytest

from compose import current_docker, distributions_docker
from harness import Bound, free_port, program, run, tcp_ask


@pytest.fixture(params=["distribution", "current"])
def docker(request, engine):
    """The distribution's docker CLI (Debian 12: 20.10), then the current one."""
    return Bound(engine, str(distributions_docker() if request.param == "distribution" else current_docker()))


def test_version_and_info(docker):
    out = docker.out("version")
    assert "Client:" in out and re.search(r"Server:", out) and "ireko" in out
    assert "Server Version" in docker.out("info")


def test_a_day_of_work(docker, engine, folder, name):
    port = free_port()
    (folder / "Dockerfile").write_text("FROM busybox\nWORKDIR /www\nCOPY . .\nEXPOSE 8080\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n")
    (folder / "index.html").write_text("version one\n")
    docker("build", "-t", name, folder, env=engine.env(DOCKER_BUILDKIT="0"))
    docker("run", "-d", "--name", name, "-p", f"{port}:8080", "-v", f"{folder}:/www", name)
    assert b"version one" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    (folder / "index.html").write_text("version two\n")
    assert b"version two" in tcp_ask("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n")
    assert "httpd" in docker.out("exec", name, "ps")
    assert docker.out("inspect", "-f", "{{.State.Running}}", name) == "true"
    docker("stop", "-t", "1", name)
    docker("rm", name)
    docker("rmi", name)


def test_older_api_versions(docker, engine):
    for version in ("1.24", "1.30", "1.40", "1.41"):
        p = docker("ps", env=engine.env(DOCKER_API_VERSION=version))
        assert p.stdout.startswith("CONTAINER ID")
    p = docker("ps", env=engine.env(DOCKER_API_VERSION="1.99"), check=False)
    assert p.returncode != 0 and "1.99" in p.stderr


def test_system_commands(docker):
    assert "Images" in docker.out("system", "df")
    docker("container", "prune", "-f")
    docker("network", "prune", "-f")
    docker("volume", "prune", "-f")


def test_create_then_start_interactive(docker, name):
    with docker.pty("run", "-it", "--rm", "--name", name, "busybox", "sh") as t:
        t.expect(r"/ # ")
        p = docker("exec", name, "echo", "from-outside")
        assert p.stdout == "from-outside\n"
        t.send("exit 0\n")
        assert t.wait() == 0


@pytest.mark.parametrize("options", [(), ("--rm",)])
def test_a_command_that_is_not_there_is_one_error(docker, name, options):
    p = docker("run", *options, "--name", name, "busybox", "nope", check=False)
    assert p.returncode == 127 and p.stderr.count("executable file not found in $PATH") == 1 and "Error waiting for container" not in p.stderr, p.stderr


def test_swarm_says_what_it_is_not(docker):
    assert "swarm" in docker.fails("node", "ls").lower()


def test_piped_shell(docker, engine):
    p = subprocess.run([program(docker.client), "run", "-i", "--rm", "busybox", "sh"], input="for i in 1 2 3; do echo $i; done; exit 8\n", text=True, env=engine.env(),
                       stdout=subprocess.PIPE, timeout=60, check=False)
    assert (p.stdout, p.returncode) == ("1\n2\n3\n", 8)


def test_events_in_json(docker, engine, name):
    docker("run", "--name", name, "busybox", "true")
    out = docker.out("events", "--since", "1h", "--until", str(time.time() + 0.2), "--filter", f"container={name}", "--format", "{{json .}}")
    actions = [json.loads(line)["Action"] for line in out.splitlines()]
    assert {"create", "start", "die"} <= set(actions)


def test_skopeo_and_docker_agree_on_a_saved_image(docker, folder, name):
    docker("tag", "busybox", f"{name}:s")
    docker("save", "-o", folder / "s.tar", f"{name}:s")
    digest = json.loads(run(program("skopeo"), "inspect", "--config", f"docker-archive:{folder}/s.tar").stdout)["rootfs"]["diff_ids"]
    assert digest == json.loads(docker.out("image", "inspect", f"{name}:s"))[0]["RootFS"]["Layers"]
    docker("rmi", f"{name}:s")
