# SPDX-License-Identifier: Apache-2.0
"""dockerode and testcontainers, from npm: scripts in node/ that do what their users do, on an engine of their own. In `make check-clients`."""
import json
import os
import shutil

import pytest

import project_images
from compose import CLIENTS, CURRENT
from harness import PasswordRegistry, ROOT, busybox_layer, program, run, wait_until

MODULES = CLIENTS / "node/node_modules"


def node(engine, script, *args, **more):
    assert (MODULES / "testcontainers").exists(), f"{MODULES} has no testcontainers: run tools/deps clients"
    env = dict(engine.env(), NODE_PATH=str(MODULES), HOME=str(engine.root), TMPDIR=str(engine.root), **more)
    return run(program("node", "tools/deps clients"), ROOT / "tests/clients/node" / script, *args, env=env, timeout=110)


def test_dockerode(engine, folder, name):
    registry = PasswordRegistry("anna", "geheim42")
    try:
        registry.push_image("secret", "v1", [busybox_layer()])
        private = {"PRIVATE_IMAGE": f"{registry.host}/secret:v1", "PRIVATE_ACCOUNT": json.dumps({"username": "anna", "password": "geheim42"})}
        assert node(engine, "dockerode.js", name, folder, **private).stdout == "all done\n"
    finally:
        engine.api("DELETE", f"/images/{registry.host}/secret:v1?force=1")
        registry.close()
    assert name not in "".join(engine.images())


@pytest.fixture
def suite(new_engine, folder):
    """An engine that knows what testcontainers asks for: the images, and its own socket where it looks for it in containers."""
    engine = new_engine("--insecure-registry", "127.0.0.0/8")
    project_images.load(engine, project_images.postgres(), project_images.nginx(), project_images.ryuk("testcontainers/ryuk:0.11.0"))
    (folder / "built here").mkdir()
    (folder / "built here/Dockerfile").write_text("FROM busybox\nARG WHAT\nENV BUILT=$WHAT\nCMD echo built with $BUILT; sleep 1000\n")
    (folder / "compose.yaml").write_text("services:\n  db: {image: 'postgres:16', environment: {POSTGRES_PASSWORD: pw}, ports: ['5432'], healthcheck: {test: pg_isready, interval: 200ms}}\n")
    return engine


def socket_env(engine):
    """The Ryuk container gets the engine's socket, wherever that is."""
    return {"TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE": str(engine.socket), "TESTCONTAINERS_REUSE_ENABLE": "true"}


def test_testcontainers(suite, folder):
    config = suite.root / "client"
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(CURRENT / "usr/libexec/docker/cli-plugins")]}))
    # The compose module runs `docker compose`.
    path = os.pathsep.join([str(CURRENT / "usr/bin"), os.environ["PATH"]])
    assert shutil.which("docker-compose", path=path)
    assert node(suite, "testcontainers.js", folder, WITH_COMPOSE="1", PATH=path, DOCKER_BUILDKIT="0", **socket_env(suite)).stdout.endswith("all done\n")


def test_the_reaper_removes_what_a_suite_left(suite, folder):
    """The suite ends without a word: Ryuk, in a container that has the socket, removes containers, networks and itself."""
    assert node(suite, "testcontainers.js", folder, "leave", **socket_env(suite)).stdout.endswith("left running\n")
    wait_until("nothing is left", lambda: not suite.containers(), seconds=30)
    wait_until("the network is gone", lambda: {n["Name"] for n in suite.api("GET", "/networks").json} == {"bridge", "host", "none"})
