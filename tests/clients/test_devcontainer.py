# SPDX-License-Identifier: Apache-2.0
"""What VS Code does through the docker CLI: Dev Containers, which finds, makes and enters a container, and Container Tools, which lists and follows."""
import base64
import json
import os
import re
import signal
import subprocess
import tarfile
import threading

import pytest

from compose import current_docker, distributions_docker
from harness import Bound, wait_until

METADATA = json.dumps([{"id": "ghcr.io/devcontainers/features/common-utils:2", "customizations": {"vscode": {"settings": {"quoted": "it's \"$HOME\" & <b>", "long": "x" * 6000}}}},
                       {"remoteUser": "user", "postCreateCommand": "echo '日本' && true"}])
START = "echo Container started\ntrap \"exit 0\" 15\n\nexec \"$@\"\nwhile sleep 1 & wait $!; do :; done"
END = "\N{SYMBOL FOR END OF TRANSMISSION}"


@pytest.fixture(params=["distribution", "current"])
def docker(request, engine):
    return Bound(engine, str(distributions_docker() if request.param == "distribution" else current_docker()))


class ShellServer:
    """`docker exec -i ID /bin/sh`, held open: commands go in, and a mark on both of its outputs says that one has ended."""

    def __init__(self, docker, *options):
        self.p = subprocess.Popen([docker.client, "exec", "-i", *options, "/bin/sh"], env=docker.engine.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, command):
        said = {}

        def read(stream, which):
            text = b""
            while not text.endswith(END.encode() + b"\n"):
                byte = stream.read(1)
                assert byte, text
                text += byte
            said[which] = text.decode().removesuffix(END + "\n")

        self.p.stdin.write(f"({command}); echo -n {END}$?{END}; echo {END}; echo {END} >&2\n".encode())
        self.p.stdin.flush()
        readers = [threading.Thread(target=read, args=(self.p.stdout, "out")), threading.Thread(target=read, args=(self.p.stderr, "err"))]
        for r in readers:
            r.start()
        for r in readers:
            r.join(timeout=30)
        assert set(said) == {"out", "err"}, said
        out, _, status = said["out"].removesuffix(END).rpartition(END)
        return out, said["err"], int(status)

    def close(self):
        self.p.stdin.close()
        assert self.p.wait(timeout=10) == 0
        self.p.stdout.close()
        self.p.stderr.close()


def test_dev_container(docker, folder, name):
    env = docker.engine.env()
    labels = {"devcontainer.local_folder": str(folder), "devcontainer.config_file": f"{folder}/.devcontainer/devcontainer.json"}
    options = [o for k, v in labels.items() for o in ("-l", f"{k}={v}")]
    filters = [o for k, v in labels.items() for o in ("--filter", f"label={k}={v}")]
    # probes
    assert re.match(r"\d+\.\d+\.\d+", docker.out("version", "--format", "{{.Server.Version}}"))
    assert "nvidia" not in docker.out("info", "-f", "{{.Runtimes.nvidia}}")
    assert docker.out("ps", "-q", "-a", *filters) == ""
    assert json.loads(docker.out("inspect", "--type", "image", "busybox"))[0]["Config"]["Cmd"] == ["sh"]
    assert "no such" in docker.fails("inspect", "--type", "container", "nosuch-one").lower()
    # run: a process that stays attached; the start event says that it is up
    with docker.engine.followed():
        watcher = subprocess.Popen([docker.client, "events", "--format", "{{json .}}", "--filter", "event=start"], env=env, stdout=subprocess.PIPE, text=True)
    runner = docker.popen("run", "--sig-proxy=false", "-a", "STDOUT", "-a", "STDERR", "--mount", f"type=bind,source={folder},target=/workspaces/my project,consistency=cached",
                          "--mount", f"type=volume,source={name},target=/vol", *options, "-e", "A=b c", "--init", "--cap-add", "SYS_PTRACE", "--security-opt", "seccomp=unconfined", "--entrypoint",
                          "/bin/sh", "-l", f"devcontainer.metadata={METADATA}", "busybox", "-c", START, "-")
    event = json.loads(watcher.stdout.readline())
    assert event["status"] == "start" and event["Action"] == "start" and {k: event["Actor"]["Attributes"][k] for k in labels} == labels
    assert runner.stdout.readline() == "Container started\n"
    cid = docker.out("ps", "-q", "-a", *filters)
    assert event["id"].startswith(cid)
    found = json.loads(docker.out("inspect", "--type", "container", cid))[0]
    assert found["Config"]["Labels"]["devcontainer.metadata"] == METADATA and found["State"]["Status"] == "running" and "A=b c" in found["Config"]["Env"]
    assert {(m["Type"], m["Destination"]) for m in found["Mounts"]} == {("bind", "/workspaces/my project"), ("volume", "/vol")}
    # two shell servers beside each other
    one, two = ShellServer(docker, "-u", "root", "-e", "LANG=C.UTF-8", "-w", "/workspaces/my project", cid), ShellServer(docker, "-u", "user", cid)
    assert one.ask("pwd; echo err >&2; exit 3") == ("/workspaces/my project\n", "err\n", 3)
    assert two.ask("id -un; echo $A; head -c 300000 /dev/zero | tr '\\0' x | wc -c")[0] == "user\nb c\n300000\n"
    packed = folder.parent / f"{name}.tar"
    with tarfile.open(packed, "w") as tar:
        (folder / "random").write_bytes(os.urandom(70000))
        tar.add(folder / "random", "copied")
    assert one.ask(f"echo '{base64.b64encode(packed.read_bytes()).decode()}' | base64 -d | tar x -C /vol; cmp /vol/copied random")[1:] == ("", 0)
    packed.unlink()
    one.close()
    two.close()
    p = docker("exec", "-i", "-u", "user", cid, "/bin/sh", "-c", "cat >&2; exit 9", input=b"binary \x00\xff", text=False, check=False)
    assert (p.returncode, p.stdout, p.stderr) == (9, b"", b"binary \x00\xff")
    # the command line goes, the container stays; it is stopped and started again
    runner.kill()
    runner.communicate(timeout=10)
    assert docker.out("inspect", "-f", "{{.State.Running}}", cid) == "true"
    docker("stop", "-t", "5", cid)
    assert docker.out("inspect", "-f", "{{.State.ExitCode}}", cid) == "0"
    docker("start", cid)
    assert json.loads(watcher.stdout.readline())["id"].startswith(cid)
    watcher.terminate()
    watcher.communicate(timeout=10)
    docker("rm", "-f", cid)
    docker("volume", "rm", name)


def test_images_of_features(docker, folder, name):
    """Without buildx: an image of the features, one on top of it, and one more that gives the user the caller's ids."""
    (folder / "features").mkdir()
    (folder / "features/install.sh").write_text("#!/bin/sh\necho feature of $1 >/etc/feature\n")
    (folder / "features/Dockerfile").write_text("FROM scratch\nCOPY . /tmp/build-features/\n")
    docker("build", "-t", f"{name}-content", "-f", folder / "features/Dockerfile", folder / "features")
    (folder / "Dockerfile").write_text(f"""ARG _DEV_CONTAINERS_BASE_IMAGE=placeholder
FROM {name}-content AS dev_containers_feature_content_source
FROM $_DEV_CONTAINERS_BASE_IMAGE AS dev_containers_target_stage
USER root
COPY --from=dev_containers_feature_content_source --chown=root:root /tmp/build-features/ /tmp/dev-container-features
RUN chmod -R 0755 /tmp/dev-container-features \\
 && cd /tmp/dev-container-features \\
 && ./install.sh dev
ARG _DEV_CONTAINERS_IMAGE_USER=root
USER $_DEV_CONTAINERS_IMAGE_USER
LABEL devcontainer.metadata='[{{"id": "./feature"}}]'
FROM busybox AS not_wanted
RUN exit 1
""")
    docker("build", "--target", "dev_containers_target_stage", "--build-arg", "BUILDKIT_INLINE_CACHE=1", "--build-arg", "_DEV_CONTAINERS_BASE_IMAGE=busybox", "--build-arg", "_DEV_CONTAINERS_IMAGE_USER=user",
           "-t", f"vsc-{name}-features", folder)
    found = json.loads(docker.out("inspect", "--type", "image", f"vsc-{name}-features"))[0]
    assert found["Config"]["User"] == "user" and found["Config"]["Labels"]["devcontainer.metadata"] == '[{"id": "./feature"}]'
    (folder / "updateUID.Dockerfile").write_text("""ARG BASE_IMAGE
FROM $BASE_IMAGE
USER root
ARG REMOTE_USER
ARG NEW_UID
ARG NEW_GID
SHELL ["/bin/sh", "-c"]
RUN sed -i -e "s/\\\\(${REMOTE_USER}:[^:]*:\\\\)[0-9]*:[0-9]*/\\\\1${NEW_UID}:${NEW_GID}/" /etc/passwd && chown -R $NEW_UID:$NEW_GID /home/user
ARG IMAGE_USER
USER $IMAGE_USER
""")
    (folder / "empty").mkdir()
    docker("build", "-f", folder / "updateUID.Dockerfile", "-t", f"vsc-{name}-uid", "--build-arg", f"BASE_IMAGE=vsc-{name}-features", "--build-arg", "REMOTE_USER=user", "--build-arg", "NEW_UID=1234",
           "--build-arg", "NEW_GID=1235", "--build-arg", "IMAGE_USER=user", folder / "empty")
    assert docker.out("run", "--rm", f"vsc-{name}-uid", "sh", "-c", "id -u; cat /etc/feature; stat -c %u:%g /home/user") == "1234\nfeature of dev\n1234:1235"
    docker("rmi", f"vsc-{name}-uid", f"vsc-{name}-features", f"{name}-content")


def test_container_tools(docker, folder, name):
    """The lists that the views are made of, and the streams and prunes that they start."""
    docker("run", "-d", "--name", name, "-l", "a=b,c", "-p", "127.0.0.1::80", "-v", "/data", "--stop-signal", "KILL", "busybox", "sh", "-c", "seq 5; sleep 1000")
    rows = [json.loads(line) for line in docker.out("container", "ls", "--all", "--no-trunc", "--filter", f"name={name}", "--format", "{{json .}}").splitlines()]
    row, = rows
    assert row["Names"] == name and row["State"] == "running" and row["Status"].startswith("Up ") and "a=b,c" in row["Labels"] and re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \w+$", row["CreatedAt"])
    assert re.match(r"127\.0\.0\.1:\d+->80/tcp$", row["Ports"]) and row["Image"] == "busybox" and len(row["ID"]) == 64 and row["Networks"] == "bridge"
    for kind in ("image", "network", "volume"):
        rows = [json.loads(line) for line in docker.out(kind, "ls", *(["--no-trunc"] if kind != "volume" else []), "--format", "{{json .}}").splitlines()]
        assert rows, kind
    assert json.loads(docker.out("container", "inspect", "--format", "{{json .}}", name))["Id"] == row["ID"]
    assert json.loads(docker.out("network", "inspect", "--format", "{{json .}}", "bridge"))["Name"] == "bridge"
    assert json.loads(docker.out("info", "--format", "{{json .}}"))["OSType"] == "linux"
    assert json.loads(docker.out("version", "--format", "{{json .}}"))["Server"]["ApiVersion"]
    wait_until("it has said all", lambda: docker.out("logs", name).endswith("5"))
    follower = docker.popen("container", "logs", "--follow", "--tail", "3", name)
    assert [follower.stdout.readline() for _ in range(3)] == ["3\n", "4\n", "5\n"]
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=10)
    assert re.match(r"81a4 1 0 0 \d+$", docker.out("container", "exec", name, "stat", "-c", "%f %h %g %u %s", "/etc/passwd"))
    p = docker("cp", f"{name}:/etc/passwd", "-", text=False)
    assert p.stdout[:10] == b"passwd\0\0\0\0"
    docker("container", "stop", "--time", "0", name)
    said = docker.out("container", "prune", "--force")
    assert row["ID"] in said and "Total reclaimed space" in said
    stats = docker.out("stats", "--no-stream", "--format", "{{json .}}")
    assert stats == ""
    wait_until("prune removed it", lambda: name not in docker.engine.containers())
