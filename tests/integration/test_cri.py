# SPDX-License-Identifier: Apache-2.0
"""The kubelet's door from one end to the other, on an engine of its own without CNI: pods on the host's network, their containers, images, lists and events, and how people
see them through the other door. What a kubelet does beyond this is in test_cri_*.py."""
import concurrent.futures
import json

import grpc
import pytest

from cri import Client
from harness import Engine, temp_folder, wait_until


@pytest.fixture(scope="module")
def engine():
    root = temp_folder("cri")
    e = Engine("--cri", f"unix://{root}/cri 1.sock", "--cni-conf-dir", root / "none", root=root).start()
    e.load_busybox()
    yield e
    e.destroy()


@pytest.fixture
def cri(engine):
    with Client(engine.root / "cri 1.sock") as c:
        yield c
        for p in c.ListPodSandbox().items:
            c.RemovePodSandbox(pod_sandbox_id=p.id)
        assert c.ListContainers().containers == []


def pod_config(engine, name, attempt=0, **more):
    return dict(metadata=dict(name=name, uid=f"uid-{name}", namespace="tests", attempt=attempt), log_directory=str(engine.root / "logs" / name), labels={"app": name},
                annotations={"note": "値"}, linux_part=dict(security_context=dict(namespace_options=dict(network="NODE"))), **more)


def run_pod(cri, engine, name, **more):
    return cri.RunPodSandbox(config=pod_config(engine, name, **more)).pod_sandbox_id


def create(cri, engine, pod, name="main", script="sleep 1000", **more):
    config = dict(metadata=dict(name=name), image=dict(image="busybox"), command=["sh", "-c", script], log_path=f"{name}.log", labels={"name": name}, **more)
    return cri.CreateContainer(pod_sandbox_id=pod, config=config).container_id


def status(cri, container):
    return cri.ContainerStatus(container_id=container).status


def ended(cri, container):
    wait_until("the container ends", lambda: status(cri, container).state == "CONTAINER_EXITED")
    return status(cri, container)


def refused(code, call, *words, **fields):
    with pytest.raises(grpc.RpcError) as caught:
        call(**fields)
    assert caught.value.code() == code, caught.value
    for word in words:
        assert word in caught.value.details()


def test_what_is_asked_about_the_runtime(cri):
    version = cri.Version()
    assert (version.version, version.runtime_name, version.runtime_api_version) == ("0.1.0", "ireko", "v1")
    assert cri.RuntimeConfig().linux_part.cgroup_driver == "CGROUPFS"
    cri.UpdateRuntimeConfig(runtime_config=dict(network_config=dict(pod_cidr="10.0.0.0/24")))
    told = cri.Status(verbose=True)
    conditions = {c.type: c for c in told.status.conditions}
    assert conditions["RuntimeReady"].status
    assert not conditions["NetworkReady"].status and conditions["NetworkReady"].reason == "NetworkPluginNotReady" and conditions["NetworkReady"].message
    assert {h.name for h in told.runtime_handlers} >= {""}
    assert told.features.supplemental_groups_policy
    assert json.loads(told.info["config"])["cgroupDriver"] == "cgroupfs"


def test_the_life_of_a_pod(cri, engine):
    pod = run_pod(cri, engine, "web")
    told = cri.PodSandboxStatus(pod_sandbox_id=pod).status
    assert (told.state, told.metadata.name, told.labels, told.annotations) == ("SANDBOX_READY", "web", {"app": "web"}, {"note": "値"})
    assert (told.network.ip, told.linux_part.namespaces.options.network) == ("", "NODE")
    c = create(cri, engine, pod, script="echo started; sleep 1000", envs=[dict(key="A", value=b"1")])
    assert status(cri, c).state == "CONTAINER_CREATED"
    cri.StartContainer(container_id=c)
    now = status(cri, c)
    assert (now.state, now.reason, now.exit_code, now.stop_signal) == ("CONTAINER_RUNNING", "", 0, "SIGTERM")
    assert 0 < now.created_at < now.started_at and now.finished_at == 0
    assert now.log_path == str(engine.root / "logs/web/main.log")
    wait_until("the log is there", lambda: "stdout F started" in open(now.log_path).read())
    assert [s.id for s in cri.PodSandboxStatus(pod_sandbox_id=pod).containers_statuses] == [c]
    refused(grpc.StatusCode.FAILED_PRECONDITION, cri.StartContainer, "once", container_id=c)
    cri.StopContainer(container_id=c, timeout=0)
    now = status(cri, c)
    assert (now.state, now.reason, now.exit_code) == ("CONTAINER_EXITED", "Error", 137) and now.finished_at >= now.started_at
    cri.StopContainer(container_id=c, timeout=0)
    cri.RemoveContainer(container_id=c)
    cri.RemoveContainer(container_id=c)
    refused(grpc.StatusCode.NOT_FOUND, cri.ContainerStatus, container_id=c)
    cri.StopPodSandbox(pod_sandbox_id=pod)
    assert cri.PodSandboxStatus(pod_sandbox_id=pod).status.state == "SANDBOX_NOTREADY"
    cri.StopPodSandbox(pod_sandbox_id=pod)
    cri.RemovePodSandbox(pod_sandbox_id=pod)
    cri.RemovePodSandbox(pod_sandbox_id=pod)
    refused(grpc.StatusCode.NOT_FOUND, cri.PodSandboxStatus, pod_sandbox_id=pod)


def test_how_a_container_has_ended(cri, engine):
    pod = run_pod(cri, engine, "ends")
    good, bad, none = create(cri, engine, pod, "good", "true"), create(cri, engine, pod, "bad", "exit 3"), create(cri, engine, pod, "none")
    for c in good, bad:
        cri.StartContainer(container_id=c)
    assert (ended(cri, good).reason, ended(cri, good).exit_code) == ("Completed", 0)
    assert (ended(cri, bad).reason, ended(cri, bad).exit_code) == ("Error", 3)
    cri.StopContainer(container_id=none, timeout=1)
    assert status(cri, none).state == "CONTAINER_CREATED"
    wrong = cri.CreateContainer(pod_sandbox_id=pod, config=dict(metadata=dict(name="wrong"), image=dict(image="busybox"), command=["/no/such"])).container_id
    with pytest.raises(grpc.RpcError):
        cri.StartContainer(container_id=wrong)
    now = status(cri, wrong)
    assert (now.state, now.reason, now.exit_code) == ("CONTAINER_EXITED", "StartError", 128) and "/no/such" in now.message and now.finished_at


def test_lists_and_filters(cri, engine):
    pods = {n: run_pod(cri, engine, n) for n in ("one", "two")}
    containers = {n: create(cri, engine, p, n) for n, p in pods.items()}
    cri.StartContainer(container_id=containers["two"])
    found = cri.ListContainers().containers
    assert {c.id: (c.pod_sandbox_id, c.metadata.name, c.state) for c in found} == {
        containers["one"]: (pods["one"], "one", "CONTAINER_CREATED"), containers["two"]: (pods["two"], "two", "CONTAINER_RUNNING")}
    assert all(c.image_id and c.image_id == c.image_ref == status(cri, c.id).image_id for c in found)

    def containers_by(**f):
        plain = [c.id for c in cri.ListContainers(filter=f).containers]
        assert plain == [c.id for piece in cri.StreamContainers(filter=f) for c in piece.containers]
        return plain

    def pods_by(**f):
        plain = [p.id for p in cri.ListPodSandbox(filter=f).items]
        assert plain == [p.id for piece in cri.StreamPodSandboxes(filter=f) for p in piece.pod_sandboxes]
        return plain

    assert containers_by(id=containers["one"]) == containers_by(id=containers["one"][:12]) == [containers["one"]]
    assert containers_by(pod_sandbox_id=pods["two"]) == containers_by(state=dict(state="CONTAINER_RUNNING")) == [containers["two"]]
    assert containers_by(label_selector={"name": "one"}) == [containers["one"]]
    assert containers_by(label_selector={"name": "one"}, state=dict(state="CONTAINER_RUNNING")) == []
    assert pods_by(id=pods["one"][:20]) == pods_by(label_selector={"app": "one"}) == [pods["one"]]
    assert pods_by(label_selector={"app": "three"}) == []
    cri.StopPodSandbox(pod_sandbox_id=pods["one"])
    assert pods_by(state=dict(state="SANDBOX_NOTREADY")) == [pods["one"]]
    assert set(pods_by()) == set(pods.values())


def test_what_is_wrong_is_refused(cri, engine):
    refused(grpc.StatusCode.INVALID_ARGUMENT, cri.RunPodSandbox, "metadata")
    refused(grpc.StatusCode.INVALID_ARGUMENT, cri.RunPodSandbox, "metadata", config=dict(hostname="x"))
    refused(grpc.StatusCode.NOT_FOUND, cri.CreateContainer, pod_sandbox_id="0" * 64, config=dict(metadata=dict(name="x"), image=dict(image="busybox")))
    pod = run_pod(cri, engine, "wrong")
    refused(grpc.StatusCode.INVALID_ARGUMENT, cri.CreateContainer, pod_sandbox_id=pod, config=dict(metadata=dict(name="x")))
    refused(grpc.StatusCode.NOT_FOUND, cri.CreateContainer, "no-such-image", pod_sandbox_id=pod, config=dict(metadata=dict(name="x"), image=dict(image="no-such-image")))
    refused(grpc.StatusCode.INVALID_ARGUMENT, cri.CreateContainer, "labels", pod_sandbox_id=pod,
            config=dict(metadata=dict(name="x"), image=dict(image="busybox"), annotations={"a": "x" * (3 << 20)}))
    refused(grpc.StatusCode.FAILED_PRECONDITION, cri.RunPodSandbox, config=pod_config(engine, "wrong"))
    refused(grpc.StatusCode.NOT_FOUND, cri.ContainerStatus, container_id=pod)
    refused(grpc.StatusCode.INVALID_ARGUMENT, cri.ContainerStatus, container_id="")
    for call in cri.StopContainer, cri.RemoveContainer:
        call(container_id="f" * 64)
    for call in cri.StopPodSandbox, cri.RemovePodSandbox:
        call(pod_sandbox_id="f" * 64)
    cri.RemoveImage(image=dict(image="no-such-image"))
    assert cri.ImageStatus(image=dict(image="no-such-image")).image is None


def test_containers_of_docker_are_none_of_a_kubelet(cri, engine):
    name = "by-docker"
    engine.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    id_ = engine.inspect(name)["Id"]
    assert cri.ListContainers().containers == [] and cri.ListPodSandbox().items == []
    refused(grpc.StatusCode.NOT_FOUND, cri.ContainerStatus, container_id=id_)
    for call, field in ((cri.StopContainer, "container_id"), (cri.RemoveContainer, "container_id"), (cri.StopPodSandbox, "pod_sandbox_id"), (cri.RemovePodSandbox, "pod_sandbox_id")):
        call(**{field: id_})
        call(**{field: name})
    assert engine.inspect(name)["State"]["Running"]
    engine.cli("rm", "-f", name)


def test_people_see_pods(cri, engine):
    pod = run_pod(cri, engine, "seen")
    c = create(cri, engine, pod, script="echo to be read; sleep 1000")
    cri.StartContainer(container_id=c)
    names = engine.cli("ps", "--format", "{{.Names}}").stdout.split()
    assert {"k8s_POD_seen_tests_uid-seen_0", "k8s_main_seen_tests_uid-seen_0"} <= set(names)
    labels = engine.inspect(c)["Config"]["Labels"]
    assert (labels["io.kubernetes.docker.type"], labels["io.kubernetes.sandbox.id"]) == ("container", pod)
    assert engine.cli("ps", "-q", "--no-trunc", "--filter", f"label=io.kubernetes.sandbox.id={pod}").stdout.split() == [c]
    wait_until("the log is there", lambda: engine.cli("logs", c).stdout == "to be read\n")
    for verb in (["rm", "-f"], ["restart"], ["rename"]):
        p = engine.cli(*verb, c, *(["other"] if verb == ["rename"] else []), check=False)
        assert p.returncode and "kubelet" in p.stderr, verb
    engine.cli("container", "prune", "-f")
    assert status(cri, c).state == "CONTAINER_RUNNING"
    info = json.loads(cri.ContainerStatus(container_id=c, verbose=True).info["info"])
    assert info["sandboxID"] == pod and info["config"]["metadata"] == {"name": "main"} and info["runtimeSpec"]["process"]["args"][:2] == ["sh", "-c"]
    assert json.loads(cri.PodSandboxStatus(pod_sandbox_id=pod, verbose=True).info["info"])["config"]["labels"] == {"app": "seen"}


def test_a_new_engine_says_the_same(engine):
    path = engine.root / "cri 1.sock"
    with Client(path) as cri:
        pod = run_pod(cri, engine, "stays")
        running, over = create(cri, engine, pod, "running"), create(cri, engine, pod, "over", "exit 7")
        for c in running, over:
            cri.StartContainer(container_id=c)
        ended(cri, over)
        before = [repr(x) for x in (cri.ListPodSandbox(), cri.ListContainers(), status(cri, running), status(cri, over), cri.PodSandboxStatus(pod_sandbox_id=pod).status)]
    engine.kill()
    engine.start()
    with Client(path) as cri:
        assert before == [repr(x) for x in (cri.ListPodSandbox(), cri.ListContainers(), status(cri, running), status(cri, over), cri.PodSandboxStatus(pod_sandbox_id=pod).status)]
        cri.RemovePodSandbox(pod_sandbox_id=pod)
        assert cri.ListContainers().containers == [] and cri.ListPodSandbox().items == []


def test_events(cri, engine):
    events = cri.GetContainerEvents()
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        # What was before the call is not told: one pod more until the first event is here.
        first = reader.submit(next, events)
        for attempt in range(100):
            cri.RemovePodSandbox(pod_sandbox_id=run_pod(cri, engine, "asked", attempt=attempt))
            if first.done():
                break
        assert first.result().container_event_type.startswith("CONTAINER_")
        pod = run_pod(cri, engine, "told")
        c = create(cri, engine, pod, script="exit 4")
        cri.StartContainer(container_id=c)
        ended(cri, c)
        cri.RemovePodSandbox(pod_sandbox_id=pod)
        seen = []
        while not seen or (seen[-1].container_id, seen[-1].container_event_type) != (pod, "CONTAINER_DELETED_EVENT"):
            seen.append(reader.submit(next, events).result(20))
    events.cancel()
    mine = [e for e in seen if e.container_id == c]
    assert [e.container_event_type for e in mine] == [f"CONTAINER_{w}_EVENT" for w in ("CREATED", "STARTED", "STOPPED", "DELETED")]
    assert [e.container_event_type for e in seen if e.container_id == pod] == [f"CONTAINER_{w}_EVENT" for w in ("CREATED", "STARTED", "STOPPED", "DELETED")]
    assert mine[0].pod_sandbox_status.id == pod and [s.id for s in mine[0].containers_statuses] == [c]
    assert all(a.created_at <= b.created_at for a, b in zip(seen, seen[1:]))


def test_an_open_stream_of_events_does_not_hold_up_the_end(engine):
    with Client(engine.root / "cri 1.sock") as cri:
        cri.GetContainerEvents()
        cri.Version()
        assert engine.stop() == 0
    engine.start()


def test_a_log_that_was_renamed(cri, engine):
    pod = run_pod(cri, engine, "renamed")
    c = create(cri, engine, pod, script="echo one; trap 'echo two' USR1; while :; do sleep 0.02; done")
    refused(grpc.StatusCode.FAILED_PRECONDITION, cri.ReopenContainerLog, container_id=c)
    cri.StartContainer(container_id=c)
    log = engine.root / "logs/renamed/main.log"
    wait_until("the first line is there", lambda: log.read_text().endswith("stdout F one\n"))
    log.rename(f"{log}.1")
    cri.ReopenContainerLog(container_id=c)
    assert log.read_text() == ""
    engine.cli("kill", "-s", "USR1", c)
    wait_until("the second line is there", lambda: log.read_text().endswith("stdout F two\n"))


def test_images(cri, engine):
    engine.cli("tag", "busybox", "example.org/a/b:1")
    engine.cli("tag", "busybox", "example.org/a/b:2")
    listed = {i.id: i for i in cri.ListImages().images}
    one = cri.ImageStatus(image=dict(image="example.org/a/b:1"), verbose=True)
    assert {"docker.io/library/busybox:latest", "example.org/a/b:1", "example.org/a/b:2"} <= set(one.image.repo_tags)
    assert listed[one.image.id].size == one.image.size > 0 and json.loads(one.info["info"])["imageSpec"]["os"] == "linux"
    assert cri.ImageStatus(image=dict(image=one.image.id)).image.id == one.image.id
    assert [i.id for i in cri.ListImages(filter=dict(image=dict(image="busybox"))).images] == [one.image.id]
    assert cri.ListImages(filter=dict(image=dict(image="none"))).images == []
    assert [i.id for piece in cri.StreamImages() for i in piece.images] == list(listed)
    refused(grpc.StatusCode.INVALID_ARGUMENT, cri.ImageStatus, "image")
    fs = cri.ImageFsInfo().image_filesystems[0]
    assert fs.used_bytes.value > 0 and fs.fs_id.mountpoint == str(engine.data_root)
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: cri.RemoveImage(image=dict(image="example.org/a/b:2")), range(5)))
    assert cri.ImageStatus(image=dict(image="busybox")).image is None
    engine.load_busybox()


def test_an_image_with_a_user(cri, engine):
    for user, uid, name in (("1000:7", 1000, ""), ("app", None, "app"), ("", None, "")):
        made = f"with-user-{uid or name or 'none'}"
        engine.cli("create", "--name", made, "busybox")
        engine.cli("commit", "--change", f"USER {user or 'root'}", made, made) if user else engine.cli("tag", "busybox", made)
        image = cri.ImageStatus(image=dict(image=made)).image
        assert (image.uid and image.uid.value, image.username) == (uid, name)
        engine.cli("rm", made)
        engine.cli("rmi", made)


def test_many_at_once(cri, engine):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        pods = list(pool.map(lambda n: run_pod(cri, engine, f"many-{n}"), range(24)))
        containers = list(pool.map(lambda p: create(cri, engine, p), pods))
        list(pool.map(lambda c: cri.StartContainer(container_id=c), containers))
        assert {c.id for c in cri.ListContainers(filter=dict(state=dict(state="CONTAINER_RUNNING"))).containers} == set(containers)
        list(pool.map(lambda p: cri.StopPodSandbox(pod_sandbox_id=p), pods))
        assert all(status(cri, c).state == "CONTAINER_EXITED" for c in containers)
        list(pool.map(lambda p: cri.RemovePodSandbox(pod_sandbox_id=p), pods))
    assert cri.ListPodSandbox().items == [] and cri.ListContainers().containers == []
