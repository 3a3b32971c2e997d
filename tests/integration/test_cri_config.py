# SPDX-License-Identifier: Apache-2.0
"""What a kubelet's configurations become: user namespaces of pods, ids, capabilities, limits that only Kubernetes has, and cgroups by systemd."""
import json
import os
import pathlib
import sys
import urllib.parse

import pytest

import harness
from harness import Engine, wait_until
from kubelet import SEEDED, Kubelet, context, refused

MAPS = [{"host_id": 400000, "container_id": 0, "length": 65536}]
USERNS = {"namespace_options": {"pid": "CONTAINER", "userns_options": {"mode": "POD", "uids": MAPS, "gids": MAPS}}}


def page_size(kb):
    return f"{kb >> 20}GB" if kb >= 1 << 20 else f"{kb >> 10}MB" if kb >= 1 << 10 else f"{kb}KB"


def status_of(pid, field):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].split() for line in lines if line.startswith(field + ":"))


# ---- user namespaces

def test_a_pods_user_namespace(kubelet, folder):
    """The sandbox and every container are in one; files of the image, of volumes and of images are the container's root's; what is bound without mappings is nobody's."""
    pod = kubelet.run_pod(linux_part=context(**USERNS))
    (folder / "file").write_text("x")
    folder.chmod(0o755)
    bound = {"container_path": "/bound", "host_path": str(folder)}
    image = {"container_path": "/image", "image": {"image": SEEDED}, "readonly": True}
    one = pod.container(linux_part=context(**USERNS), mounts=[bound, image])
    two = pod.container(linux_part=context(**USERNS))
    pids = [pod.info()["pid"], one.info()["pid"], two.info()["pid"]]
    assert len({os.readlink(f"/proc/{pid}/ns/user") for pid in pids}) == 1
    for pid in pids:
        assert pathlib.Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "400000", "65536"]
        assert status_of(pid, "Uid")[0] == "400000"
    assert one.output("stat", "-c", "%u", "/bin/busybox", "/image", "/bound/file", "/proc/1").split() == ["0", "0", "65534", "0"]
    assert one.output("sh", "-c", "touch /tmp/new && stat -c %u /tmp/new").strip() == "0"
    assert one.execute("mount", "-t", "tmpfs", "x", "/tmp").exit_code != 0


def test_a_user_namespace_outlives_the_engine(new_kubelet):
    kubelet = new_kubelet()
    pod = kubelet.run_pod(linux_part=context(**USERNS))
    first = pod.container(linux_part=context(**USERNS))
    kubelet.kill()
    kubelet.start()
    assert first.output("stat", "-c", "%u", "/bin").strip() == "0"
    second = pod.container(linux_part=context(**USERNS))
    assert status_of(second.info()["pid"], "Uid")[0] == "400000"


@pytest.mark.parametrize("fields", [
    {"namespace_options": {"pid": "CONTAINER"}},
    {"namespace_options": {"pid": "CONTAINER", "userns_options": {"mode": "POD", "uids": [{"host_id": 500000, "length": 65536}], "gids": MAPS}}},
    {"namespace_options": {**USERNS["namespace_options"], "pid": "NODE"}},
], ids=["none", "others", "host pid"])
def test_a_container_whose_user_namespace_is_not_the_pods(kubelet, fields):
    pod = kubelet.run_pod(linux_part=context(**USERNS))
    with refused("INVALID_ARGUMENT"):
        kubelet.CreateContainer(pod_sandbox_id=pod.id, sandbox_config=pod.config,
                                config={"metadata": {"name": "c"}, "image": {"image": SEEDED}, "command": ["true"], "linux_part": {"security_context": fields}})


@pytest.mark.parametrize("ns", ["network", "pid", "ipc"])
def test_a_user_namespace_and_the_nodes(kubelet, ns):
    with refused("INVALID_ARGUMENT", text="user namespace"):
        kubelet.run_pod(linux_part=context(namespace_options={**USERNS["namespace_options"], ns: "NODE"}))


# ---- processes

def test_ambient_capabilities(pod):
    """They stay with a user who is not root, in the command and in what is run beside it; nothing else does."""
    fields = context(run_as_user={"value": 1000}, capabilities={"drop_capabilities": ["ALL"], "add_ambient_capabilities": ["NET_BIND_SERVICE"]})
    c = pod.container(linux_part=fields)
    expected = f"{1 << 10:016x}"
    for name in ("CapAmb", "CapEff", "CapBnd", "CapInh"):
        assert status_of(c.info()["pid"], name) == [expected], name
    assert c.output("grep", "CapAmb", "/proc/self/status").split()[1] == expected


def test_the_engines_defaults_are_not_the_pods(new_kubelet):
    """What an administrator wants of containers of the other door (name servers, limits, init, seccomp, sharing of /dev/shm)."""
    kubelet = new_kubelet("--dns", "192.0.2.1", "--default-ulimit", "nofile=100:200", "--init", "--no-new-privileges", "--default-shm-size", "1m")
    pod = kubelet.run_pod(dns_config={"servers": ["192.0.2.9"]})
    c = pod.container()
    assert c.output("cat", "/etc/resolv.conf").split() == ["nameserver", "192.0.2.9"]
    assert c.output("sh", "-c", "ulimit -n").strip() != "100"
    assert c.output("cat", "/proc/1/comm").strip() == "sleep"
    assert status_of(c.info()["pid"], "NoNewPrivs") == ["0"]
    assert int(c.output("sh", "-c", "df -k /dev/shm | tail -1 | awk '{print $2}'")) == 65536


def test_what_images_declare(kubelet, pod):
    """Health checks are the kubelet's own; a volume goes with its container."""
    engine = kubelet.engine
    made = engine.api("POST", "/containers/create", {"Image": SEEDED, "Cmd": ["true"]}).json["Id"]
    changes = urllib.parse.quote("VOLUME /data") + "&changes=" + urllib.parse.quote("HEALTHCHECK --interval=1s CMD false")
    assert engine.api("POST", f"/commit?container={made}&repo=declares&tag=1&changes={changes}").status == 201
    engine.api("DELETE", f"/containers/{made}")
    c = pod.container(image="docker.io/library/declares:1")
    told = engine.inspect(c.id)
    assert "Health" not in told["State"] and [m["Type"] for m in told["Mounts"]] == ["volume"]
    assert c.output("sh", "-c", "echo x > /data/x && cat /data/x") == "x\n"
    c.remove()
    assert not engine.api("GET", "/volumes").json["Volumes"]
    kubelet.RemoveImage(image={"image": "docker.io/library/declares:1"})


def test_limits_of_memory_mean_no_swap(pod):
    c = pod.container(linux_part={"resources": {"memory_limit_in_bytes": 5 << 20}})  # less than the other door takes
    host = c.kubelet.engine.inspect(c.id)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (5 << 20, 5 << 20)


def test_huge_pages_where_they_are_not_counted(kubelet, pod):
    """Kubelets name every size of the machine."""
    sizes = [d.name for d in pathlib.Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB")]
    assert sizes, "this kernel has no huge pages"
    limits = [{"page_size": page_size(int(s[len("hugepages-"):-2])), "limit": 0} for s in sizes]
    assert pod.shell("echo ok", linux_part={"resources": {"hugepage_limits": limits}}) == ["ok"]


def test_seccomp_profile_of_the_node(pod, folder):
    profile = folder / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}))
    local = context(seccomp={"profile_type": "Localhost", "localhost_ref": str(profile)})
    assert pod.shell("mkdir /tmp/x 2>/dev/null || echo refused", linux_part=local) == ["refused"]
    profile.write_text("{")
    with refused("INVALID_ARGUMENT"):
        pod.container(linux_part=local)


def test_devices_by_name(new_kubelet, folder):
    """CDI: by the field for it, and by annotations of the container. Those of the pod order nothing: whoever makes a pod writes them."""
    devices = [{"name": n, "containerEdits": {"env": [f"THING_{n}=yes", f"LAST={n}"]}} for n in "abc"]
    (folder / "v.json").write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "vendor.com/thing", "devices": devices}))
    kubelet = new_kubelet("--cdi-spec-dir", str(folder))
    pod = kubelet.run_pod(annotations={"cdi.k8s.io/x": "vendor.com/thing=c"})

    def has(**fields):
        return pod.shell("echo $THING_a $THING_b $THING_c; echo $LAST", **fields)

    assert has() == ["", ""]
    assert has(CDI_devices=[{"name": "vendor.com/thing=a"}]) == ["yes", "a"]
    assert has(annotations={"cdi.k8s.io/x": "vendor.com/thing=c,vendor.com/thing=a"}) == ["yes yes", "a"]
    # Each once, where it is named first: the field, then annotations by their keys.
    assert has(CDI_devices=[{"name": "vendor.com/thing=a"}], annotations={"cdi.k8s.io/2": "vendor.com/thing=a", "cdi.k8s.io/1": "vendor.com/thing=b,vendor.com/thing=a"}) == ["yes yes", "b"]
    for annotations, text in (({"cdi.k8s.io/x": "vendor.com/thing=d"}, "unresolvable CDI devices vendor.com/thing=d"), ({"cdi.k8s.io/x": "thing"}, 'annotations: cdi.k8s.io/x: "thing" is not vendor.com/class=name'),
                              ({"cdi.k8s.io/": "vendor.com/thing=a"}, 'annotations: "cdi.k8s.io/"')):
        with refused("INVALID_ARGUMENT", text=text):
            pod.container(start=False, annotations=annotations)
    with refused("INVALID_ARGUMENT", text="vendor.com/thing=d"):
        pod.container(start=False, CDI_devices=[{"name": "vendor.com/thing=d"}])
    made = pod.container(start=False, annotations={"cdi.k8s.io/x": "vendor.com/thing=a"})
    assert made.status().annotations == {"cdi.k8s.io/x": "vendor.com/thing=a"}


# ---- cgroups by systemd

class WithSystemd(Kubelet):
    """Where a systemd seems to be the init."""

    def start(self):
        if not self.room.daemons:
            self.record = self.root / "systemd-calls"
            self.room.own_cgroups = {"kubepods.slice", "kubepods-burstable.slice", "kubepods-burstable-pod1.slice"}  # which a systemd has to forget
            self.room.daemon(sys.executable, harness.ROOT / "tests/systemd_double.py", f"/{self.room.cgroup}", self.record)
            wait_until("systemd's double listens", self.room.path("/run/systemd/private").exists)
        return super().start()


@pytest.fixture(params=[["--cgroup-driver", "systemd"], ["--exec-opt", "native.cgroupdriver=systemd"]], ids=["ours", "dockerd's"])
def with_systemd(request):
    kubelet = WithSystemd(*request.param)
    try:
        kubelet.serve_images().pull()
        yield kubelet
    finally:
        kubelet.close()


def calls(kubelet, name):
    return [c for c in map(json.loads, kubelet.record.read_text().splitlines()) if c["call"] == name]


def test_cgroups_by_systemd(with_systemd):
    """Sandbox and containers are scopes in the pod's slice, however that is written; they go with the pod, also by an engine that was killed."""
    kubelet = with_systemd
    assert kubelet.RuntimeConfig().linux_part.cgroup_driver == "SYSTEMD"
    assert kubelet.engine.api("GET", "/info").json["CgroupDriver"] == "systemd"
    pod = kubelet.run_pod(linux_part={"cgroup_parent": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice"})
    c = pod.container(linux_part={"resources": {"memory_limit_in_bytes": 32 << 20}})
    units = {u["unit"]: u["properties"] for u in calls(kubelet, "StartTransientUnit")}
    assert set(units) == {f"ireko-{pod.id}.scope", f"ireko-{c.id}.scope"}
    assert {p["Slice"] for p in units.values()} == {"kubepods-burstable-pod1.slice"}
    place = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/ireko-{c.id}.scope"
    assert place in pathlib.Path(f"/proc/{c.info()['pid']}/cgroup").read_text()
    assert kubelet.engine.api("GET", f"/containers/{c.id}/stats?stream=0&one-shot=1").json["memory_stats"]["limit"] == 32 << 20
    kubelet.kill()
    kubelet.start()
    pod.remove()
    assert {u["unit"] for u in calls(kubelet, "StopUnit")} == set(units)
    assert not [d for d in kubelet.room.cgroups() if d.name.endswith(".scope")]


def test_a_parent_that_is_no_slice(with_systemd):
    with refused("INVALID_ARGUMENT", text="xxx.slice"):
        with_systemd.run_pod(linux_part={"cgroup_parent": "/kubepods/pod1"})


def test_no_systemd(folder):
    """It is told at the start, not with the first pod."""
    engine = Engine("--cgroup-driver", "systemd", root=folder)
    with pytest.raises(AssertionError, match="systemd is not the init here"):
        engine.start()
