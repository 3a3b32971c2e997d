# SPDX-License-Identifier: Apache-2.0
"""docker compose on an engine: version 2 (a plugin of the current docker CLI, of Debian unstable) and version 1 (Debian 12's, in Python). Version 2 is started
by docker's command line, or by ours, whose plugin it is too."""
import json
import os
import subprocess
from urllib.parse import quote

from harness import BUILD, ROOT, program, run

CLIENTS = ROOT / ".cache/clients"
CURRENT = CLIENTS / "sid"
PLUGINS = CURRENT / "usr/libexec/docker/cli-plugins"
ALL = os.environ.get("IREKO_CLIENTS") == "all"


def current_docker():
    path = CURRENT / "usr/bin/docker"
    assert path.exists(), f"{path} is missing: run tools/deps test"
    return path


def distributions_docker():
    path = CLIENTS / "distribution/docker"
    assert path.exists(), f"{path} is missing: run tools/deps test"
    return path


class Compose:
    """One project, in a folder of its own."""

    def __init__(self, engine, kind, folder, name):
        self.engine, self.kind, self.folder, self.name = engine, kind, folder, name
        config = engine.root / "compose-client"
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
        # BuildKit is another protocol; COMPOSE_HTTP_TIMEOUT is of v1.
        self.env = dict(engine.env(), DOCKER_CONFIG=str(config), DOCKER_BUILDKIT="0", COMPOSE_DOCKER_CLI_BUILD="0", COMPOSE_HTTP_TIMEOUT="60",
                        COMPOSE_PROJECT_NAME=name, PYTHONDONTWRITEBYTECODE="1")
        commands = {"v2": lambda: [current_docker(), "compose"], "v2 by ireko": lambda: [BUILD / "ireko", "compose"], "v1": lambda: [program("docker-compose", "tools/deps clients")]}
        self.command = commands[kind]()

    def write(self, files):
        """Files of the project by name; a name that ends in .sh is executable."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)

    def __call__(self, *args, check=True, env=None, **kw):
        return run(*self.command, *args, check=check, cwd=self.folder, env={**self.env, **(env or {})}, timeout=90, **kw)

    def out(self, *args, **kw):
        return self(*args, **kw).stdout.strip()

    def fails(self, *args, **kw):
        p = self(*args, check=False, **kw)
        assert p.returncode != 0, f"{args} should have failed: {p.stdout}"
        return p.stdout + p.stderr

    def popen(self, *args, **kw):
        return subprocess.Popen([str(a) for a in (*self.command, *args)], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)

    def containers(self, service=None, state=None):
        """What the engine has of this project: names of containers, oldest first; one-off ones too."""
        labels = [f"com.docker.compose.project={self.name}"] + ([f"com.docker.compose.service={service}"] if service else [])
        filters = {"label": labels, **({"status": [state]} if state else {})}
        found = self.engine.api("GET", f"/containers/json?all=1&filters={quote(json.dumps(filters))}").json
        return [c["Names"][0].lstrip("/") for c in sorted(found, key=lambda c: c["Names"])]

    def container(self, service, number=1):
        separator = "_" if self.kind == "v1" else "-"
        return f"{self.name}{separator}{service}{separator}{number}"

    def leftovers(self):
        """Networks, volumes and containers that carry the project's name."""
        networks = [n["Name"] for n in self.engine.api("GET", "/networks").json if n["Name"].startswith(self.name)]
        volumes = [v["Name"] for v in self.engine.api("GET", "/volumes").json["Volumes"] or [] if v["Name"].startswith(self.name)]
        return networks + volumes + self.containers()

    def remove(self):
        self("down", "-v", "--remove-orphans", "-t", "0")
        assert self.leftovers() == []
