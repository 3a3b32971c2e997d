# SPDX-License-Identifier: Apache-2.0
"""Projects as people have them, with real toolchains: each is built from nothing by every command line that builds, and what comes of it runs and answers. `make check-builds`."""
import gzip
import json
import pathlib
import re
import shutil
import urllib.request

import pytest

import bases
import harness
from compose import PLUGINS, Compose, current_docker, distributions_docker
from harness import add_file, make_tar, run, wait_until

PROJECTS = pathlib.Path(__file__).parent / "projects"
WAYS = ("ireko build", "docker 20.10, classic", "docker 20.10, BuildKit", "docker buildx build", "docker compose build")
OPTIONS = {"go-static": ["VERSION=4.5.6"], "static-site": ["BUILDER=the suite"]}  # build arguments
TARGETS = {"monorepo": ("api", "web")}
LIMIT = 400  # seconds, for one build on a busy machine


@pytest.fixture(scope="session")
def hub():
    opened = bases.open_hub()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def box(hub):
    engine = harness.Engine("--insecure-registry", "127.0.0.0/8", "--registry-mirror", f"http://{hub.host}").start()
    try:
        yield engine
    finally:
        engine.destroy()


# ---- the ways
def by_command(box, client, config, buildkit):
    """docker build, or ours."""
    def build(context, tag, args, target):
        options = [o for a in args for o in ("--build-arg", a)] + (["--target", target] if target else [])
        env = dict(box.env(), DOCKER_CONFIG=str(config), **({} if buildkit is None else {"DOCKER_BUILDKIT": str(buildkit)}))
        run(client, "build", "--no-cache", "-t", tag, *options, ".", cwd=context, env=env, timeout=LIMIT)

    return build


def by_compose(box, folder, name):
    def build(context, tag, args, target):
        project = Compose(box, "v2", folder, name)
        for variable in ("DOCKER_BUILDKIT", "COMPOSE_DOCKER_CLI_BUILD"):
            project.env.pop(variable)
        service = {"build": {"context": str(context), "args": args, **({"target": target} if target else {})}, "image": tag}
        (folder / "compose.yml").write_text(json.dumps({"services": {"one": service}}))
        run(*project.command, "build", "--no-cache", cwd=folder, env=project.env, timeout=LIMIT)

    return build


def way_to(kind, box, folder, name):
    config = box.root / "client-of-builds"
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
    return {"ireko build": lambda: by_command(box, harness.BUILD / "ireko", config, None), "docker 20.10, classic": lambda: by_command(box, distributions_docker(), config, 0),
            "docker 20.10, BuildKit": lambda: by_command(box, distributions_docker(), config, 1), "docker buildx build": lambda: by_command(box, current_docker(), config, 1),
            "docker compose build": lambda: by_compose(box, folder, name)}[kind]()


# ---- the contexts
def package(name, text, version):
    manifest = json.dumps({"name": name, "version": version, "main": "index.js"}).encode()
    return gzip.compress(make_tar(lambda t: (add_file(t, "package/package.json", manifest), add_file(t, "package/index.js", text.encode()))), mtime=0)


def vendored(context):
    """What npm would have fetched."""
    (context / "vendor").mkdir(exist_ok=True)
    (context / "vendor/greet-1.0.0.tgz").write_bytes(package("greet", "module.exports = who => `こんにちは ${who}`;\n", "1.0.0"))
    (context / "vendor/only-here-2.0.0.tgz").write_bytes(package("only-here", "module.exports = true;\n", "2.0.0"))


def left_over(context):
    """What lies about in a work tree and is to stay there."""
    for path, text in {"apps/web/node_modules/stale": "stale", "docs/huge.md": "x" * 1_000_000, ".env": "SECRET=1", "apps/api/README.md": "x"}.items():
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        (context / path).write_text(text)


PREPARE = {"node-app": vendored, "monorepo": left_over}


# ---- what they are to do
def said(box, image, *command):
    return box.cli("run", "--rm", image, *command).stdout


def answer(box, image, port, path="/", stop=True):
    """What a server in a container of it says on a published port, and the headers; it ends when it is told to."""
    name = f"{image}-up".replace(":", "-")
    box.cli("run", "-d", "--name", name, "-p", f"127.0.0.1::{port}", image)
    host = box.cli("port", name, str(port)).stdout.strip()

    def ask():
        try:
            with urllib.request.urlopen(f"http://{host}{path}", timeout=10) as reply:
                return reply.read().decode(), dict(reply.headers)
        except OSError:
            return None

    try:
        return wait_until(lambda: f"{image} answers: {box.cli('logs', name, check=False)}", ask, seconds=40, step=0.1)
    finally:
        box.cli("stop", "-t", "20", name)
        ended = box.inspect(name)["State"]["ExitCode"]
        box.cli("rm", "-f", name)
        assert ended in ((0, 130, 143, 2) if stop else (0,)), ended


def node_app(box, images):
    assert answer(box, images[None], 8080)[0] == "こんにちは node 1.2.3 as 1000\n"
    assert said(box, images[None], "sh", "-c", "ls node_modules; ls /app; ls -A /root/.npm 2>&1 | wc -l").split()[:4] == ["greet", "dist", "node_modules", "package.json"]
    name = f"{images[None]}-healthy"
    box.cli("run", "-d", "--name", name, images[None])
    wait_until("it is healthy", lambda: box.inspect(name)["State"]["Health"]["Status"] == "healthy", seconds=40)
    box.cli("rm", "-f", name)


def python_app(box, images):
    assert answer(box, images[None], 8000)[0] == "total 6 shop 0.3.0 as shop\n"
    assert "OK" in box.cli("run", "--rm", "--entrypoint", "cat", images[None], "/tested").stdout


def go_static(box, images):
    assert answer(box, images[None], 8080)[0] == "hello go 4.5.6 as 65532\n"
    assert len(box.api("GET", f"/images/{images[None]}/json").json["RootFS"]["Layers"]) == 1


def c_static(box, images):
    platform = f"linux/{box.api('GET', '/version').json['Arch']}"
    assert said(box, images[None]) == f"hello world from {platform} as 1234, not alone\n"  # /etc is what every container is given
    assert said(box, images[None], "you").startswith("hello you ")


def apt_cached(box, images):
    assert said(box, images[None]) == "42\ninstalled\n"


def distroless(box, images):
    assert said(box, images[None]) == "nonroot of /home/nonroot, no shell\n"


def monorepo(box, images):
    assert answer(box, images["api"], 3000)[0] == "api of 一つの家: apps node_modules package-lock.json package.json packages\n"
    assert answer(box, images["web"], 80)[0] == "<title>一つの家</title>\n"


def java(box, images):
    assert answer(box, images[None], 8080)[0] == "java 21 with -Xmx64m -XX:+UseSerialGC\n"
    assert re.fullmatch(r"with a jre of \d+ MB\n", said(box, images[None], "cat", "/built"))


def static_site(box, images):
    text, headers = answer(box, images[None], 80, "/about.html")
    assert text == "<h1>About us &amp; them</h1>\n" and headers["X-Built-By"] == "the suite"
    assert said(box, images[None], "ls", "/usr/share/nginx/html", "/usr/share/nginx/html/packed").split() == ["/usr/share/nginx/html:", "about.html", "index.html", "packed", "/usr/share/nginx/html/packed:", "about.html.gz",
                                                                                                              "index.html.gz"]


CHECKS = {"node-app": node_app, "python-app": python_app, "go-static": go_static, "c-static": c_static, "apt-cached": apt_cached, "distroless": distroless, "monorepo": monorepo, "java": java,
          "static-site": static_site}


@pytest.mark.seconds(2 * LIMIT + 60 * bases.MINUTES)
@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("project", sorted(CHECKS))
def test_project(box, folder, name, project, kind):
    context = folder / project
    shutil.copytree(PROJECTS / project, context)
    PREPARE.get(project, lambda _: None)(context)
    build = way_to(kind, box, folder, name)
    images = {target: f"{name}-{target or 'image'}" for target in TARGETS.get(project, (None,))}
    try:
        for target, tag in images.items():
            build(context, tag, OPTIONS.get(project, []), target)
        CHECKS[project](box, images)
    finally:
        box.remove_containers()
        for tag in images.values():
            box.cli("rmi", "-f", tag, check=False)


def test_every_project_is_tried():
    assert set(CHECKS) == {p.name for p in PROJECTS.iterdir()}
