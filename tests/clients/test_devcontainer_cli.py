# SPDX-License-Identifier: Apache-2.0
"""@devcontainers/cli, which VS Code and CI use: workspaces whose box comes from a Dockerfile and features, built through buildx or compose, entered, and pushed. In `make check-clients`."""
import json
import os
import shutil

import pytest

from compose import CLIENTS, CURRENT, PLUGINS
from harness import program, run

CLI = CLIENTS / "node/node_modules/@devcontainers/cli/devcontainer.js"
FEATURE = """#!/bin/sh
set -e
printf '#!/bin/sh\\necho "%s from $(id -un)"\\n' "$GREETING" >/bin/hello
chmod 755 /bin/hello
echo "$_REMOTE_USER $_REMOTE_USER_HOME $_CONTAINER_USER" >/etc/feature
"""
DOCKERFILE = """ARG VARIANT=none
FROM busybox:${VARIANT} AS unused
RUN exit 1
FROM busybox:${VARIANT} AS box
COPY greeting.txt /etc/greeting
RUN echo dev:x:4321:4321::/home/dev:/bin/sh >>/etc/passwd && echo dev:x:4321: >>/etc/group && mkdir -p /home/dev && chown dev:dev /home/dev
"""


class Workspace:
    """A folder with a .devcontainer, and what the command line says of it."""

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder
        config = engine.root / "devcontainer-client"
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
        # What it makes on the side goes with the engine.
        self.env = dict(engine.env(), DOCKER_CONFIG=str(config), HOME=str(engine.root), TMPDIR=str(engine.root), PATH=os.pathsep.join([str(CURRENT / "usr/bin"), os.environ["PATH"]]))

    def write(self, config, **files):
        box = self.folder / ".devcontainer"
        feature = {"id": "hello", "version": "1.0.0", "options": {"greeting": {"type": "string", "default": "nothing"}}, "containerEnv": {"FEATURE": "is here"}}
        for name, text in {"devcontainer.json": json.dumps(config), "Dockerfile": DOCKERFILE, "hello/devcontainer-feature.json": json.dumps(feature), "hello/install.sh": FEATURE, **files}.items():
            (box / name).parent.mkdir(parents=True, exist_ok=True)
            (box / name).write_text(text)
        self.folder.chmod(0o777)  # who works in the box is not who owns the folder
        (self.folder / "greeting.txt").write_text("of the context\n")

    def __call__(self, verb, *args):
        """The last line of its output, which is a document; of exec, what it says."""
        assert CLI.exists(), f"{CLI} is missing: run tools/deps clients"
        p = run(program("node", "tools/deps clients"), CLI, verb, "--workspace-folder", self.folder, *args, env=self.env, timeout=110)
        return p.stdout if verb == "exec" else json.loads(p.stdout.strip().splitlines()[-1])

    def label(self, image):
        return json.loads(self.engine.api("GET", f"/images/{image}/json").json["Config"]["Labels"]["devcontainer.metadata"])


@pytest.fixture
def workspace(new_engine, folder, registry):
    engine = new_engine("--insecure-registry", "127.0.0.0/8")
    yield Workspace(engine, folder)
    shutil.rmtree(engine.root / "devcontainercli-root", ignore_errors=True)


FEATURES = {"./hello": {"greeting": "こんにちは"}}


def test_a_box_from_a_dockerfile_and_a_feature(workspace):
    workspace.write({"build": {"dockerfile": "Dockerfile", "context": "..", "target": "box", "args": {"VARIANT": "latest"}, "options": ["--label=from=options"]}, "features": FEATURES, "remoteUser": "dev",
                     "remoteEnv": {"REMOTE": "of the editor"}, "containerEnv": {"INSIDE": "yes"}, "postCreateCommand": "echo made >/tmp/made", "mounts": ["type=volume,source=kept,target=/kept"]})
    up = workspace("up")
    assert up["outcome"] == "success" and up["remoteUser"] == "dev" and up["remoteWorkspaceFolder"] == f"/workspaces/{workspace.folder.name}"
    said = workspace("exec", "sh", "-c", "id -un; hello; cat /etc/greeting /etc/feature /tmp/made greetin*; echo $REMOTE $INSIDE $FEATURE; touch written; ls -d /kept")
    assert said == "dev\nこんにちは from dev\nof the context\ndev /home/dev root\nmade\nof the context\nof the editor yes is here\n/kept\n"
    assert (workspace.folder / "written").stat().st_uid == 4321
    # Another one finds the box again; one that is told to makes it anew, from the cache.
    assert workspace("up")["containerId"] == up["containerId"]
    again = workspace("up", "--remove-existing-container")
    assert again["containerId"] != up["containerId"]
    image = workspace.engine.inspect(again["containerId"])["Image"]
    assert workspace.engine.inspect(again["containerId"])["Config"]["Labels"]["from"] == "options" and image
    assert workspace("read-configuration", "--include-merged-configuration")["mergedConfiguration"]["remoteUser"] == "dev"


def test_the_image_is_built_for_others(workspace, registry, name):
    workspace.write({"build": {"dockerfile": "Dockerfile", "context": "..", "target": "box", "args": {"VARIANT": "latest"}}, "features": FEATURES, "remoteUser": "dev"})
    assert workspace("build", "--image-name", name, "--image-name", f"{name}:second")["imageName"] == [name, f"{name}:second"]
    assert workspace.label(name)[-1]["remoteUser"] == "dev" and workspace.label(f"{name}:second")
    pushed = f"{registry.host}/{name}"
    assert workspace("build", "--image-name", f"{pushed}:1", "--push", "true", "--label", "more=labels")["outcome"] == "success"
    assert registry.digest(name, "1").startswith("sha256:")
    # The next one takes what was pushed for its cache, and its output elsewhere.
    assert workspace("build", "--image-name", name, "--cache-from", f"type=registry,ref={pushed}:1", "--cache-to", "type=inline", "--output", f"type=local,dest={workspace.engine.root}/files")["outcome"] == "success"
    assert (workspace.engine.root / "files/etc/feature").read_text() == "dev /home/dev root\n"


def test_a_box_from_an_image(workspace):
    workspace.write({"image": "busybox", "features": {"./hello": {}}})
    assert workspace("up")["outcome"] == "success"
    assert workspace("exec", "hello") == "nothing from root\n"


def test_a_box_among_the_services_of_compose(workspace):
    compose = """services:
  app:
    build: {context: .., dockerfile: .devcontainer/Dockerfile, target: box, args: {VARIANT: latest}}
    volumes: ["..:/workspace"]
    command: sleep 1000
    depends_on: [db]
  db: {image: busybox, command: sleep 1000}
"""
    workspace.write({"dockerComposeFile": "compose.yml", "service": "app", "workspaceFolder": "/workspace", "features": FEATURES, "remoteUser": "dev", "postCreateCommand": "nslookup db >/tmp/reached"}, **{"compose.yml": compose})
    up = workspace("up")
    assert up["outcome"] == "success" and up["composeProjectName"]
    assert workspace("exec", "sh", "-c", "hello; pwd; ls greeting.txt; grep -c Name: /tmp/reached") == "こんにちは from dev\n/workspace\ngreeting.txt\n1\n"
    assert len(workspace.engine.containers()) == 2
