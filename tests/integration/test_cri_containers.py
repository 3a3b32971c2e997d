# SPDX-License-Identifier: Apache-2.0
"""Containers of pods by the kubelet's door: their life, what is told of them, lists and filters, commands, ExecSync and events."""
import concurrent.futures
import contextlib
import os
import signal
import threading
import time

import grpc
import pytest

from harness import wait_until
from kubelet import HOST, SEEDED, context, refused

NO_ID = "f" * 64


def test_a_life(kubelet, pod):
    began = time.time_ns()
    c = pod.container("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done", start=False, labels={"a": "b", "made-by": None}, annotations={"x/y": "z w"}, metadata={"attempt": 2})
    s = c.status()
    assert len(c.id) == 64 and s.state == "CONTAINER_CREATED" and began <= s.created_at <= time.time_ns() and s.started_at == s.finished_at == 0
    assert s.labels == {"a": "b"} and s.annotations == {"x/y": "z w"} and s.metadata.name == c.config["metadata"]["name"] and s.metadata.attempt == 2
    assert s.log_path == str(c.log_file)
    c.start()
    s = c.status()
    assert s.state == "CONTAINER_RUNNING" and s.created_at <= s.started_at <= time.time_ns() and s.finished_at == 0 and s.exit_code == 0
    c.wait_line("ready")
    c.stop(timeout=20)
    s = c.status()
    assert s.state == "CONTAINER_EXITED" and s.exit_code == 5 and s.reason == "Error" and s.started_at < s.finished_at <= time.time_ns()
    c.stop()
    c.remove()
    with refused("NOT_FOUND", text=c.id[:12]):
        c.status()
    c.remove()
    c.stop()
    assert pod.status().state == "SANDBOX_READY"


def test_images_are_told_consistently(kubelet, pod):
    ref = kubelet.pull()
    image = kubelet.ImageStatus(image={"image": SEEDED}).image
    c = pod.container()
    s = c.status()
    (row,) = kubelet.ListContainers(filter={"id": c.id}).containers
    assert s.image.image == SEEDED and s.image_ref in (ref, *image.repo_digests) and s.image_id == image.id
    assert row.image.image == s.image.image and row.image_ref in (image.id, ref, *image.repo_digests) and row.image_id == s.image_id
    # By id, as a kubelet names it after it has pulled.
    by_id = pod.container(image=image.id).status()
    assert by_id.image_id == image.id


def test_how_it_ended(kubelet, pod):
    done, failed, killed = pod.container("true").wait(), pod.container("sh", "-c", "exit 77").wait(), pod.container().stop().status()
    assert (done.exit_code, done.reason) == (0, "Completed")
    assert (failed.exit_code, failed.reason) == (77, "Error")
    assert (killed.exit_code, killed.reason) == (137, "Error")
    suicide = pod.container("sh", "-c", "kill -11 $$", linux_part=context(namespace_options={"pid": "POD"})).wait()
    assert suicide.exit_code == 139


@pytest.mark.parametrize("command, text", [(["/no/such/program"], "/no/such/program"), (["/etc/plain-file"], "/etc/plain-file"), (["/etc"], "/etc")])
def test_a_command_that_cannot_start(kubelet, pod, command, text):
    c = pod.container(*command, start=False)
    with refused("UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL", "PERMISSION_DENIED", text=text):
        c.start()
    s = c.status()
    assert s.state == "CONTAINER_EXITED" and s.exit_code in (126, 127, 128) and s.reason == "StartError" and text in s.message
    with refused("FAILED_PRECONDITION", "UNKNOWN", "ABORTED"):
        c.start()
    c.remove()


def test_it_starts_once(kubelet, pod):
    c = pod.container("true")
    c.wait()
    for _ in range(2):
        with refused("FAILED_PRECONDITION", "UNKNOWN", "ABORTED"):
            c.start()
    assert c.state == "CONTAINER_EXITED"


@pytest.mark.parametrize("fields", [{"metadata": None}, {"image": None}, {"image": {"image": ""}}, {"log_path": "../../x"}, {"log_path": "a/../../b"},
                                    {"working_dir": "relative"}, {"envs": [{"key": "", "value": b"x"}]}, {"envs": [{"key": "A=B", "value": b"x"}]}, {"envs": [{"key": "A", "value": b"x\0y"}]},
                                    {"devices": [{"host_path": "/dev/null", "container_path": "/dev/x", "permissions": "rwx"}]}, {"devices": [{"host_path": "/dev/no-such-device", "container_path": "/dev/x", "permissions": "rw"}]},
                                    {"CDI_devices": [{"name": "no/such=device"}]}], ids=str)
def test_configurations_that_are_refused(kubelet, pod, fields):
    with refused("INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN"):
        if None in fields.values() or "image" in fields:
            usual = {"metadata": {"name": "x"}, "image": {"image": SEEDED}, "command": ["true"], **fields}
            kubelet.CreateContainer(pod_sandbox_id=pod.id, config=usual, sandbox_config=pod.config)
        else:
            pod.container(start="device" in str(fields), **fields)  # what devices there are is known when it starts
    assert {c.state for c in kubelet.ListContainers().containers} <= {"CONTAINER_EXITED"}


def test_an_image_that_is_not_there(kubelet, pod):
    with refused("NOT_FOUND", text="no-such-image"):
        pod.container(image=f"{HOST}/no-such-image:1")
    assert not kubelet.containers()


def test_filters(kubelet, pod):
    other = kubelet.run_pod()
    one, two, ended = pod.container(labels={"app": "a"}), other.container(labels={"app": "a", "n": "2"}), pod.container("true", labels={"app": "b"})
    made = pod.container(start=False)
    ended.wait()

    def ids(**fields):
        return {c.id for c in kubelet.ListContainers(filter=fields).containers}

    assert ids() == {one.id, two.id, ended.id, made.id}
    assert ids(id=two.id) == {two.id} and ids(id=NO_ID) == set()
    assert ids(pod_sandbox_id=pod.id) == {one.id, ended.id, made.id} and ids(pod_sandbox_id=NO_ID) == set()
    assert ids(state={"state": "CONTAINER_RUNNING"}) == {one.id, two.id} and ids(state={"state": "CONTAINER_EXITED"}) == {ended.id} and ids(state={"state": "CONTAINER_CREATED"}) == {made.id}
    assert ids(label_selector={"app": "a"}) == {one.id, two.id} and ids(label_selector={"app": "a", "n": "2"}) == {two.id}
    assert ids(label_selector={"app": "a"}, pod_sandbox_id=pod.id, state={"state": "CONTAINER_RUNNING"}) == {one.id}
    assert {c.id for m in kubelet.StreamContainers(filter={"pod_sandbox_id": pod.id}) for c in m.containers} == {one.id, ended.id, made.id}
    (row,) = kubelet.ListContainers(filter={"id": two.id}).containers
    s = two.status()
    assert (row.pod_sandbox_id, row.state, row.created_at, row.labels, str(row.metadata)) == (other.id, s.state, s.created_at, s.labels, str(s.metadata))


def test_the_pods_status_has_its_containers(kubelet, pod):
    c = pod.container("sh", "-c", "exit 4")
    c.wait()
    (told,) = kubelet.PodSandboxStatus(pod_sandbox_id=pod.id).containers_statuses or [c.status()]
    assert told.id == c.id and told.exit_code == 4


# ---- what runs

def test_command_and_arguments(kubelet, pod):
    image = f"{HOST}/entry:1"
    kubelet.pull(image)
    def said(**fields):
        c = pod.container(image=image, **{"command": None, **fields})
        assert c.wait().exit_code == 0
        return c.lines()
    assert said() == ["entry word of image"]
    assert said(args=["other words"]) == ["entry other words"]
    assert said(command=["pwd"]) == ["/tmp"]
    assert said(command=["echo"], args=["a", "b"]) == ["a b"]
    assert said(command=["pwd"], working_dir="/made/for it") == ["/made/for it"]
    lines = said(command=["env"], envs=[{"key": "FROM_IMAGE", "value": b"no"}, {"key": "OWN", "value": "é=\" x".encode()}, {"key": "TWICE", "value": b"1"}, {"key": "TWICE", "value": b"2"}])
    assert "FROM_IMAGE=no" in lines and 'OWN=é=" x' in lines and "TWICE=2" in lines and "TWICE=1" not in lines


def test_stdin(kubelet, pod):
    assert pod.run("cat") == []
    c = pod.container("cat", stdin=True, stdin_once=True)
    assert c.state == "CONTAINER_RUNNING"


def test_a_terminal(kubelet, pod):
    c = pod.container("sh", "-c", "tty; echo to-error >&2; stty size", tty=True)
    c.wait()
    assert {r[1] for r in c.records()} == {"stdout"} and "/dev/pts/0" in c.log_text() and "to-error" in c.log_text()


@pytest.mark.parametrize("stop_signal, code", [("SIGUSR1", 11), ("SIGRTMINPLUS3", 12), ("RUNTIME_DEFAULT", 13)])
def test_stop_signals(kubelet, pod, stop_signal, code):
    c = pod.container("sh", "-c", "trap 'exit 11' USR1; trap 'exit 12' 37; trap 'exit 13' TERM; echo ready; while :; do sleep 0.02; done", stop_signal=stop_signal)
    c.wait_line("ready")
    assert c.status().stop_signal == ("SIGTERM" if stop_signal == "RUNTIME_DEFAULT" else stop_signal)
    assert c.stop(timeout=20).status().exit_code == code


def test_stop_waits_as_long_as_it_is_told(kubelet, pod):
    c = pod.container("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.02; done")
    c.wait_line("ready")
    began = time.monotonic()
    c.stop(timeout=1)
    assert time.monotonic() - began >= 0.95 and c.status().exit_code == 137
    other = pod.container()
    began = time.monotonic()
    other.stop(timeout=0)
    assert other.status().exit_code == 137


def test_a_stop_that_is_given_up_can_be_made_again(kubelet, pod):
    c = pod.container("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.02; done")
    c.wait_line("ready")
    with refused("DEADLINE_EXCEEDED"):
        kubelet.StopContainer(container_id=c.id, timeout=1000, rpc_timeout=0.3)
    assert c.state == "CONTAINER_RUNNING"
    c.stop(timeout=0)
    assert c.status().exit_code == 137


def test_removal_of_one_that_runs(kubelet, pod):
    c = pod.container()
    pid = c.info()["pid"]
    c.remove()
    assert not os.path.exists(f"/proc/{pid}") and not kubelet.containers()


def test_one_ends_and_the_others_go_on(kubelet, pod):
    kept = pod.container()
    for i in range(20):
        c = pod.container("sh", "-c", f"exit {i}")
        assert c.wait().exit_code == i
        c.remove()
    assert kept.output("echo", "here") == "here\n" and len(kubelet.engine.shims()) == 1


# ---- ExecSync

def test_exec_sync(kubelet, pod):
    c = pod.container(envs=[{"key": "OWN", "value": b"1"}], working_dir="/tmp")
    answer = c.execute("sh", "-c", "echo out; echo error >&2; echo $OWN; pwd; exit 3")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n1\n/tmp\n", b"error\n", 3)
    assert c.execute("cat").stdout == b"" and c.execute("true").exit_code == 0
    assert c.execute("printf", "\\0\\377x").stdout == b"\0\xffx"
    # What it starts and leaves is not waited for.
    began = time.monotonic()
    assert c.output("sh", "-c", "sleep 30 >/dev/null 2>&1 & echo left") == "left\n"
    assert time.monotonic() - began < 20


def test_exec_sync_that_takes_too_long(kubelet, pod):
    c = pod.container()
    began = time.monotonic()
    with refused("DEADLINE_EXCEEDED"):
        c.execute("sleep", "7654", timeout=1)
    assert 0.9 < time.monotonic() - began < 15
    wait_until("its process has gone", lambda: "7654" not in c.output("ps"))
    # And so does one whose caller goes away.
    with refused("DEADLINE_EXCEEDED"):
        kubelet.ExecSync(container_id=c.id, cmd=["sleep", "6543"], rpc_timeout=0.3)
    wait_until("its process has gone", lambda: "6543" not in c.output("ps"))


def test_exec_sync_where_nothing_runs(kubelet, pod):
    c, ended = pod.container(start=False), pod.container("true")
    ended.wait()
    for one in (c, ended):
        with refused("FAILED_PRECONDITION", "UNKNOWN", "NOT_FOUND", "ABORTED"):
            one.execute("true")
    with refused("NOT_FOUND"):
        kubelet.ExecSync(container_id=NO_ID, cmd=["true"])
    running = pod.container()
    with refused("INVALID_ARGUMENT"):
        running.execute()
    with pytest.raises(grpc.RpcError) as caught:
        answer = running.execute("/no/such/program")
        assert answer.exit_code in (126, 127), answer
        raise grpc.RpcError
    assert not isinstance(caught.value, grpc.Call) or "/no/such/program" in caught.value.details()


def test_exec_sync_that_floods(kubelet, pod):
    """16 MiB of each stream are kept; the process is not held up, and the engine does not grow."""
    c = pod.container()
    def resident():
        with open(f"/proc/{kubelet.engine.p.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    answer = c.execute("sh", "-c", "yes | head -c 20000000; echo end >&2")
    assert answer.exit_code == 0 and answer.stderr == b"end\n" and len(answer.stdout) <= 16 << 20 and answer.stdout[:100000] == b"y\n" * 50000
    before = resident()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: c.execute("sh", "-c", "yes | head -c 20000000"), range(4)))
    assert resident() - before < 200 << 10, f"{before} kB, then {resident()} kB"


def test_many_execs_at_once(kubelet, pod):
    c = pod.container()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda i: c.output("sh", "-c", f"echo {i}"), range(64)))
    assert got == [f"{i}\n" for i in range(64)]
    assert c.output("ps").count("sh -c") == 0


# ---- events

class Followed:
    def __init__(self, kubelet):
        self.stream, self.seen = kubelet.GetContainerEvents(), []
        self.thread = threading.Thread(target=self._follow)
        self.thread.start()

    def _follow(self):
        with contextlib.suppress(grpc.RpcError):
            for event in self.stream:
                self.seen.append(event)

    def kinds(self, container_id):
        return [e.container_event_type.removeprefix("CONTAINER_").removesuffix("_EVENT") for e in self.seen if e.container_id == container_id]

    def close(self):
        self.stream.cancel()
        self.thread.join(20)


def test_events(kubelet):
    followed = Followed(kubelet)
    other = Followed(kubelet)
    try:
        wait_until("they are followed", lambda: kubelet.run_pod().remove() or followed.seen and other.seen)
        pod = kubelet.run_pod()
        c = pod.container("sh", "-c", "exit 6")
        c.wait()
        c.remove()
        pod.stop()
        pod.remove()
        wait_until(lambda: f"all of them: {followed.kinds(pod.id)} {followed.kinds(c.id)}", lambda: followed.kinds(pod.id)[-1:] == ["DELETED"])
        assert followed.kinds(pod.id) == ["CREATED", "STARTED", "STOPPED", "DELETED"]
        assert followed.kinds(c.id) == ["CREATED", "STARTED", "STOPPED", "DELETED"]
        stopped = next(e for e in followed.seen if e.container_id == c.id and e.container_event_type == "CONTAINER_STOPPED_EVENT")
        assert stopped.pod_sandbox_status.id == pod.id and [(s.id, s.exit_code, s.state) for s in stopped.containers_statuses] == [(c.id, 6, "CONTAINER_EXITED")]
        assert 0 < stopped.created_at <= time.time_ns()
        wait_until("the other has heard them as well", lambda: other.kinds(pod.id) == followed.kinds(pod.id))
    finally:
        followed.close()
        other.close()


def test_events_after_a_kill(new_kubelet):
    """The next engine tells of what ends from then on. What ended while none was there has its end in its state: kubelets look at all when their stream has broken."""
    k = new_kubelet()
    pod = k.run_pod()
    wait_for = "while [ ! -e /go ]; do sleep 0.02; done; exit"
    later, away = pod.container("sh", "-c", f"{wait_for} 4"), pod.container("sh", "-c", f"{wait_for} 5")
    pid = away.info()["pid"]
    k.kill()
    open(f"/proc/{pid}/root/go", "w").close()
    wait_until("it has ended", lambda: not os.path.exists(f"/proc/{pid}"))
    k.start()
    followed = Followed(k)
    try:
        wait_until("they are followed", lambda: k.host_pod().remove() or followed.seen)
        assert away.wait().exit_code == 5
        later.execute("touch", "/go")  # which ends with the container, if it has not yet ended by itself
        wait_until("its end is told", lambda: followed.kinds(later.id) == ["STOPPED"])
        told = next(e for e in followed.seen if e.container_id == later.id)
        assert {s.id: s.exit_code for s in told.containers_statuses} == {later.id: 4, away.id: 5}
    finally:
        followed.close()


def test_who_follows_events_does_not_hold_up_the_end(new_kubelet):
    k = new_kubelet(images=False)
    followed = Followed(k)
    k.host_pod().remove()
    began = time.monotonic()
    k.engine.stop()
    assert time.monotonic() - began < 10
    followed.thread.join(10)
    assert not followed.thread.is_alive()
    k.start()


def test_oom(kubelet, pod):
    c = pod.container("sh", "-c", "x=a; while :; do x=$x$x; done", linux_part={"resources": {"memory_limit_in_bytes": 16 << 20, "memory_swap_limit_in_bytes": 16 << 20}})
    s = c.wait(60)
    assert s.exit_code == 137 and s.reason == "OOMKilled", s


def test_a_shim_that_is_killed(kubelet, pod):
    """Everything of the pod ends, is told so, and can be removed."""
    c = pod.container()
    (shim,) = kubelet.engine.shims()
    os.kill(shim, signal.SIGKILL)
    assert c.wait().state == "CONTAINER_EXITED"
    wait_until("so has the pod", lambda: pod.status().state == "SANDBOX_NOTREADY")
    pod.stop()
    pod.remove()
    assert len(kubelet.cni_calls("DEL", pod=pod.id)) == 1
