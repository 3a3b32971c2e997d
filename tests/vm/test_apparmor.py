# SPDX-License-Identifier: Apache-2.0
"""AppArmor, which the guest's kernel enforces: the profile that containers have by default, what it forbids and what it leaves, and those of an administrator."""
import contextlib
import json
import pathlib
import uuid

import grpc
import pytest

from cri import Client

from layout import run, wait
from service import OUT, api, inspect, remove

CONFIG = pathlib.Path("/etc/ireko/daemon.json")
SOCKET = "/run/ireko/cri.sock"
DEFAULT = "ireko-default"
POLICY = pathlib.Path("/sys/kernel/security/apparmor")
ADMIN = pathlib.Path(f"/etc/apparmor.d/{DEFAULT}")
# Nothing else in the way: what fails then is the profile's doing.
BARE = {"CapAdd": ["ALL"], "MaskedPaths": [], "ReadonlyPaths": [], "Binds": ["/sys:/sys", f"{OUT}:/out"]}
LABEL = "cat /proc/self/attr/current"


def options(*more):
    return ["seccomp=unconfined", *more]


@contextlib.contextmanager
def container(command, **host):
    """Started, of that name; removed at the end."""
    name = f"a{uuid.uuid4().hex[:8]}"
    api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["sh", "-c", command], "HostConfig": {"Binds": [f"{OUT}:/out"], **host}}, 201)
    try:
        api("POST", f"/containers/{name}/start", status=204)
        yield name
    finally:
        remove(name)


def said(command, **host):
    """What a container's command prints; it has ended."""
    file = pathlib.Path(OUT) / uuid.uuid4().hex
    with container(f"({command}) >/out/{file.name} 2>&1", **host) as name:
        wait("its command has ended", lambda: not inspect(name)["State"]["Running"])
        return file.read_text().strip()


def loaded(profile=DEFAULT):
    return f"{profile} (enforce)" in (POLICY / "profiles").read_text().splitlines()


@contextlib.contextmanager
def profile(name, *rules):
    text = f"profile {name} flags=(attach_disconnected,mediate_deleted) {{ capability, file, network, umount, signal, ptrace, {' '.join(rules)} }}\n"
    run("apparmor_parser", "-Kr", text=text)
    try:
        yield text
    finally:
        run("apparmor_parser", "-R", text=text)


def restart():
    run("systemctl", "reset-failed", "ireko.service")  # of how often it was started lately
    run("systemctl", "restart", "ireko.service")


def test_by_default(busybox):
    assert "name=apparmor" in api("GET", "/info").json["SecurityOptions"]
    wait("it is loaded without a container", loaded)
    with container("sleep 1000") as name:
        assert inspect(name)["AppArmorProfile"] == DEFAULT
        pid = inspect(name)["State"]["Pid"]
        assert pathlib.Path(f"/proc/{pid}/attr/current").read_text().strip() == f"{DEFAULT} (enforce)"
        execed = run("ireko", "exec", name, "sh", "-c", LABEL).stdout.strip()
        assert execed == f"{DEFAULT} (enforce)"
        assert run("ireko", "exec", "--privileged", name, "sh", "-c", LABEL).stdout.strip() == "unconfined"
        # The host's signal comes through.
        api("POST", f"/containers/{name}/kill?signal=KILL", status=204)
        wait("it has ended", lambda: not inspect(name)["State"]["Running"])


@pytest.mark.parametrize("how", ({"SecurityOpt": ["apparmor=unconfined"]}, {"Privileged": True}), ids=("unconfined", "privileged"))
def test_without(busybox, how):
    assert said(LABEL, **how) == "unconfined"
    with container("sleep 1000", **how) as name:
        assert inspect(name)["AppArmorProfile"] == "unconfined"


@pytest.mark.parametrize("how", (["apparmor=docker-default"], [f"apparmor:{DEFAULT}"]), ids=("docker's name", "its own"))
def test_by_name(busybox, how):
    assert said(LABEL, SecurityOpt=how, Privileged=True) == f"{DEFAULT} (enforce)"


FORBIDDEN = {
    "mount": "mount -t tmpfs t /tmp",
    "kernel": "p=$(cat /proc/sys/kernel/panic); echo $p >/proc/sys/kernel/panic",
    "vm": "p=$(cat /proc/sys/vm/swappiness); echo $p >/proc/sys/vm/swappiness",
    "a file of /proc": "echo h >/proc/sysrq-trigger",
    "kcore": "head -c 1 /proc/kcore",
    "irq": "p=$(cat /proc/irq/default_smp_affinity); echo $p >/proc/irq/default_smp_affinity",
    "sys/kernel": "p=$(cat /sys/kernel/mm/ksm/sleep_millisecs); echo $p >/sys/kernel/mm/ksm/sleep_millisecs",
    "sys/devices": "p=$(cat /sys/class/net/lo/tx_queue_len); echo $p >/sys/class/net/lo/tx_queue_len",
}


@pytest.mark.parametrize("command", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_it_forbids(busybox, command):
    """A container with every capability and nothing masked may not, and could without the profile."""
    command = f"({command}) && echo could"
    assert "ermission denied" in said(command, **BARE, SecurityOpt=options()), "denied by default"
    assert said(command, **BARE, SecurityOpt=options("apparmor=unconfined")).endswith("could"), "allowed without it"


def test_what_it_leaves(busybox):
    """Processes of the container are each other's; its own settings are its own."""
    commands = ("echo 5 >/proc/self/oom_score_adj", "p=$(cat /proc/sys/kernel/shmmax); echo $p >/proc/sys/kernel/shmmax", "sleep 1000 & kill $!", "umount /dev/shm",
                "ls /proc/1/fd", "chown 1:1 /tmp; touch /tmp/x; ln -s x /tmp/y; mknod /tmp/z p", "cp /bin/busybox /tmp/true; /tmp/true")
    for command in commands:
        assert said(f"({command}) && echo could", **BARE, SecurityOpt=options()).endswith("could"), command


def test_an_administrators_profile(busybox):
    with profile("irk-test-locked", "deny /tmp/locked w,"):
        with container("sleep 1000", SecurityOpt=["apparmor=irk-test-locked"]) as name:
            assert inspect(name)["AppArmorProfile"] == "irk-test-locked"
        assert "ermission denied" in said("touch /tmp/locked", SecurityOpt=["apparmor=irk-test-locked"])
        assert said("touch /tmp/other && echo could", SecurityOpt=["apparmor=irk-test-locked"]) == "could"
    refused = api("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"SecurityOpt": ["apparmor=irk-test-locked"]}}, 400)
    assert refused.message == "security option apparmor=irk-test-locked: no profile of that name is loaded on this host: load it with apparmor_parser -r FILE"


def test_a_profile_that_was_removed_meanwhile(busybox):
    """As aa-remove-unknown does with all that no file speaks of."""
    assert said(LABEL) == f"{DEFAULT} (enforce)"
    (POLICY / ".remove").write_text(DEFAULT)
    assert not loaded()
    assert said(LABEL) == f"{DEFAULT} (enforce)"
    with profile("irk-test-gone"):
        name = f"a{uuid.uuid4().hex[:8]}"
        api("POST", f"/containers/create?name={name}", {"Image": "busybox", "HostConfig": {"SecurityOpt": ["apparmor=irk-test-gone"]}}, 201)
    try:
        assert "irk-test-gone: no profile of that name" in api("POST", f"/containers/{name}/start", status=400).message
    finally:
        remove(name)


def test_an_administrators_file_is_taken_instead(busybox):
    with profile(DEFAULT, "deny /tmp/locked w,") as text:
        ADMIN.write_text(text)
        try:
            restart()
            assert "ermission denied" in said("touch /tmp/locked"), "what is loaded stays"
            (POLICY / ".remove").write_text(DEFAULT)
            assert "ermission denied" in said("touch /tmp/locked"), "it comes from the file"
            ADMIN.write_text("profile this is none")
            (POLICY / ".remove").write_text(DEFAULT)
            name = f"a{uuid.uuid4().hex[:8]}"
            api("POST", f"/containers/create?name={name}", {"Image": "busybox"}, 201)
            try:
                message = api("POST", f"/containers/{name}/start", status=500).message
                assert f"load the AppArmor profile {DEFAULT}" in message and "apparmor=unconfined" in message and "syntax error" in message, message
            finally:
                remove(name)
            ADMIN.write_text(text)
            assert "ermission denied" in said("touch /tmp/locked"), "and again when it is mended"
        finally:
            ADMIN.unlink()
    restart()
    assert said("touch /tmp/locked && echo could") == "could", "its own again"


def test_build_steps_have_it(busybox, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nRUN {LABEL} >/label\n")
    run("ireko", "build", "-t", "irk-apparmor", str(tmp_path))
    assert run("ireko", "run", "--rm", "irk-apparmor", "cat", "/label").stdout.strip() == f"{DEFAULT} (enforce)"
    api("DELETE", "/images/irk-apparmor")


@pytest.fixture
def door(busybox):
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(json.dumps({"cri": [f"unix://{SOCKET}"]}))
    restart()
    wait("the kubelet's door is there", pathlib.Path(SOCKET).exists)
    client = Client(SOCKET)
    yield client
    for pod in client.ListPodSandbox().items:
        client.StopPodSandbox(pod_sandbox_id=pod.id)
        client.RemovePodSandbox(pod_sandbox_id=pod.id)
    client.close()
    CONFIG.unlink()
    restart()


def test_by_a_kubelet(door):
    config = {"metadata": {"name": "a", "uid": "a", "namespace": "tests"}, "log_directory": "/run/irk-apparmor",
              "linux_part": {"security_context": {"privileged": True, "namespace_options": {"network": "NODE", "pid": "CONTAINER"}}}}
    pod = door.RunPodSandbox(config=config).pod_sandbox_id

    def label(**context):
        security = {"security_context": context}
        made = {"metadata": {"name": uuid.uuid4().hex}, "image": {"image": "busybox"}, "command": ["sleep", "1000"], "log_path": "c.log", "linux_part": security}
        id = door.CreateContainer(pod_sandbox_id=pod, config=made, sandbox_config=config).container_id
        door.StartContainer(container_id=id)
        return door.ExecSync(container_id=id, cmd=["sh", "-c", LABEL], timeout=0).stdout.decode().strip()

    assert label() == label(apparmor={"profile_type": "RuntimeDefault"}) == label(apparmor_profile="runtime/default") == f"{DEFAULT} (enforce)"
    assert label(apparmor={"profile_type": "Unconfined"}) == label(apparmor_profile="unconfined") == label(privileged=True) == "unconfined"
    with profile("irk-test-pod"):
        assert label(apparmor={"profile_type": "Localhost", "localhost_ref": "irk-test-pod"}) == label(apparmor_profile="localhost/irk-test-pod") == "irk-test-pod (enforce)"
    with pytest.raises(grpc.RpcError, match="no profile of that name is loaded"):
        label(apparmor={"profile_type": "Localhost", "localhost_ref": "irk-test-none"})
