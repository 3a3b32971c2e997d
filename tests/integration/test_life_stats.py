# SPDX-License-Identifier: Apache-2.0
"""GET /containers/{id}/stats as v1 and v2 clients read it, update of what runs, and namespaces that containers share."""
import json
import os
import pathlib
import time

import pytest

from harness import UnixConnection, program, wait_until
from test_life import actions, create, post, start, state

BUSY = "while :; do :; done"
V2 = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()


def stats(engine, name, query="stream=false"):
    reply = engine.api("GET", f"/containers/{name}/stats?{query}")
    assert reply.status == 200, reply.body
    return reply.json


def cpu_percent(s):
    """As the docker CLI computes it."""
    used = s["cpu_stats"]["cpu_usage"]["total_usage"] - s["precpu_stats"]["cpu_usage"]["total_usage"]
    system = s["cpu_stats"]["system_cpu_usage"] - s["precpu_stats"]["system_cpu_usage"]
    return used / system * s["cpu_stats"]["online_cpus"] * 100


def test_every_member(engine, name):
    cid = start(engine, name, "sh", "-c", f"dd if=/dev/zero of=/dev/null bs=1M count=100 2>/dev/null; wget -q -O- http://127.0.0.1:1; {BUSY}",
                HostConfig={"Memory": 64 << 20, "PidsLimit": 33, "NanoCpus": 100000000})
    s = stats(engine, name)
    assert s["id"] == cid and s["name"] == f"/{name}" and s["os_type"] == "linux" and s["num_procs"] == 0 and s["storage_stats"] == {}
    assert s["preread"] < s["read"] and s["preread"] > "2000"
    assert 0.5 < cpu_percent(s) < 90
    usage = s["cpu_stats"]["cpu_usage"]
    assert usage["total_usage"] > 0 and "usage_in_kernelmode" in usage and usage["usage_in_usermode"] > 0
    assert s["cpu_stats"]["online_cpus"] == os.cpu_count() and set(s["cpu_stats"]["throttling_data"]) == {"periods", "throttled_periods", "throttled_time"}
    m = s["memory_stats"]
    assert 0 < m["usage"] < m["limit"] == 64 << 20
    assert ("inactive_file" if V2 else "total_inactive_file") in m["stats"] and ("max_usage" in m) == (not V2)
    assert s["pids_stats"]["current"] >= 1 and s["pids_stats"]["limit"] == 33
    assert set(s["blkio_stats"]) == {"io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive",
                                     "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive"}
    assert set(s["networks"]) == {"eth0"}
    assert set(s["networks"]["eth0"]) == {f"{d}_{what}" for d in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")}


def test_traffic_and_limits(engine, name):
    start(engine, name, "sleep", "1000")
    before = stats(engine, name, "stream=false&one-shot=true")
    assert before["preread"].startswith("0001-01-01") and "system_cpu_usage" not in before["precpu_stats"]
    with open("/proc/meminfo", encoding="ascii") as f:
        total = int(f.readline().split()[1]) * 1024
    assert before["memory_stats"]["limit"] == total and "limit" not in before["pids_stats"]
    gateway = engine.inspect(name)["NetworkSettings"]["Gateway"]
    engine.cli("exec", name, "ping", "-c", "3", "-i", "0.1", "-s", "1000", gateway)
    after = stats(engine, name, "stream=0&one-shot=1")
    for d in ("rx", "tx"):
        assert after["networks"]["eth0"][f"{d}_bytes"] - before["networks"]["eth0"][f"{d}_bytes"] > 3000
    start(engine, name + "h", "sleep", "1000", HostConfig={"NetworkMode": "host"})
    assert "networks" not in stats(engine, name + "h", "stream=0&one-shot=1")
    reply = engine.api("GET", f"/containers/{name}/stats?one-shot=true&stream=true")
    assert reply.status == 400 and reply.message == "cannot have stream=true and one-shot=true"
    assert engine.api("GET", "/containers/nobody/stats").status == 404


@pytest.mark.alone
def test_a_stopped_container_has_zeros(engine, name):
    cid = create(engine, name, "true")
    before = time.monotonic()
    s = stats(engine, name)
    assert time.monotonic() - before < 0.9
    assert s["read"] == s["preread"] == "0001-01-01T00:00:00Z" and s["id"] == cid and s["name"] == f"/{name}"
    assert s["cpu_stats"] == s["precpu_stats"] and s["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert s["memory_stats"] == s["pids_stats"] == {} and "networks" not in s
    assert set(s["blkio_stats"].values()) == {None}


def test_stream(engine, name):
    """One a second, each with the one before; zeros after the end; over with the container."""
    start(engine, name, "sh", "-c", f"{BUSY}")
    c = UnixConnection(engine.socket)
    c.request("GET", f"/containers/{name}/stats")
    response = c.getresponse()
    docs = [json.loads(response.readline()) for _ in range(3)]
    assert docs[0]["preread"].startswith("0001") and docs[0]["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    for before, after in zip(docs, docs[1:]):
        assert after["preread"] == before["read"] and after["precpu_stats"] == before["cpu_stats"] and cpu_percent(after) > 5
    post(engine, f"/containers/{name}/kill")
    end = wait_until("zeros", lambda: next((d for d in [json.loads(response.readline())] if d["read"].startswith("0001")), None))
    assert end["name"] == f"/{name}"
    assert engine.api("DELETE", f"/containers/{name}").status == 204
    while response.readline():
        pass
    c.close()


def test_docker_stats(cli, name):
    cli("run", "-d", "--name", name, "-m", "32m", "busybox", "sleep", "1000")
    row = cli("stats", "--no-stream", "--format", "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}", name).stdout.strip().split("|")
    assert row[0] == name and row[1].endswith("%") and row[2].endswith("/ 32MiB") and row[3] == "1"


# ---- update

def cgroup(engine, name, controller, file):
    pid = state(engine, name)["Pid"]
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or (V2 and not controllers):
            return (pathlib.Path("/sys/fs/cgroup") / ("" if V2 else controller) / path.lstrip("/") / file).read_text().strip()
    return None


def test_update_of_a_running_container(engine, name):
    cid = start(engine, name, "sleep", "1000", HostConfig={"Memory": 64 << 20, "PidsLimit": 50})
    body = {"Memory": 96 << 20, "MemorySwap": 192 << 20, "CpuShares": 512, "CpuQuota": 50000, "CpuPeriod": 100000, "CpusetCpus": "0", "PidsLimit": 20,
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 4}}
    reply = engine.api("POST", f"/containers/{name}/update", body)
    assert reply.status == 200 and reply.json == {"Warnings": None}
    host = engine.inspect(name)["HostConfig"]
    assert {k: host[k] for k in body} == body
    assert cgroup(engine, name, "memory", "memory.max" if V2 else "memory.limit_in_bytes") == str(96 << 20)
    assert cgroup(engine, name, "pids", "pids.max") == "20" and cgroup(engine, name, "cpuset", "cpuset.cpus") == "0"
    assert cgroup(engine, name, "cpu", "cpu.max" if V2 else "cpu.cfs_quota_us") == ("50000 100000" if V2 else "50000")
    assert actions(engine, cid)[-1] == "update"
    for body, says in (({"NanoCpus": 100000000}, "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set"),
                       ({"Memory": 400 << 20}, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")):
        reply = engine.api("POST", f"/containers/{name}/update", body)
        assert reply.status == 409 and says in reply.message, reply.body
    reply = engine.api("POST", f"/containers/{name}/update", {"Memory": 1 << 20})
    assert reply.status == 400 and "Minimum memory limit allowed is 6MB" in reply.message
    for body in ({"CapAdd": ["SYS_ADMIN"]}, {"Devices": [{"PathOnHost": "/dev/null"}]}, {"Privileged": True}, {"OomKillDisable": True}):
        reply = engine.api("POST", f"/containers/{name}/update", body)
        assert reply.status == 501 and f"update: {next(iter(body))} is settled when a container is created" in reply.message, reply.body
    # What the docker CLI sends.
    empty = {"CpuShares": 0, "Devices": None, "BlkioWeightDevice": None, "CgroupParent": "", "OomKillDisable": None, "Ulimits": None, "PidsLimit": None, "MemorySwappiness": None}
    assert engine.api("POST", f"/containers/{name}/update", empty).status == 200
    engine.cli("update", "--cpu-shares", "300", name, client="docker")
    assert engine.inspect(name)["HostConfig"]["CpuShares"] == 300
    assert engine.api("POST", f"/containers/{name}/update", {"PidsLimit": -1}).status == 200
    assert cgroup(engine, name, "pids", "pids.max") == "max"
    # The policy that was given later is the one that holds.
    os.kill(state(engine, name)["Pid"], 9)
    wait_until("it is restarted", lambda: engine.inspect(name)["RestartCount"] == 1 and state(engine, name)["Running"])


# ---- memory that runs out

def test_oom_of_the_first_process(engine, name):
    cid = start(engine, name, "sh", "-c", "exec tail < /dev/zero", HostConfig={"Memory": 16 << 20, "MemorySwap": 16 << 20})
    wait_until("it has ended", lambda: not state(engine, name)["Running"])
    s = state(engine, name)
    assert s["OOMKilled"] and s["ExitCode"] == 137
    told = actions(engine, cid)
    assert told.index("oom") < told.index("die")
    # A new start is a new life.
    post(engine, f"/containers/{name}/start")
    assert not state(engine, name)["OOMKilled"] or not state(engine, name)["Running"]


def test_oom_of_a_child_is_told_at_once(engine, name):
    # The kernel is told whom to end: a shell that goes on while the other's memory is still being freed may be next.
    # One process alone, as two that are to be ended are two of these events.
    eats = "(echo 1000 >/proc/self/oom_score_adj; exec tail < /dev/zero)"
    cid = start(engine, name, "sh", "-c", f"{eats}; sleep 1000", HostConfig={"Memory": 16 << 20, "MemorySwap": 16 << 20})
    wait_until("it is told while the container runs", lambda: "oom" in actions(engine, cid))
    assert state(engine, name)["Running"] and state(engine, name)["OOMKilled"]
    post(engine, f"/containers/{name}/stop?t=0")
    assert state(engine, name)["OOMKilled"] and actions(engine, cid).count("oom") == 1


def test_oom_by_the_limit_of_a_parent(engine, name):
    """The limit is the parent's, the victim is ours."""
    parent = f"irk-test-{name}"
    top = pathlib.Path("/sys/fs/cgroup") / ("" if V2 else "memory") / parent
    top.mkdir()
    try:
        (top / ("memory.max" if V2 else "memory.limit_in_bytes")).write_text(str(16 << 20))
        start(engine, name, "sh", "-c", "exec tail < /dev/zero", HostConfig={"CgroupParent": f"/{parent}"})
        wait_until("it has ended", lambda: not state(engine, name)["Running"])
        assert state(engine, name)["OOMKilled"] and state(engine, name)["ExitCode"] == 137
        engine.remove_containers()
    finally:
        for d in ([top] if V2 else pathlib.Path("/sys/fs/cgroup").glob(f"*/{parent}")):
            d.rmdir()


def test_oom_in_a_cgroup_of_the_containers_own(engine, name):
    """What the container does with cgroups inside it does not hide the victim."""
    inside = "/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/memory"
    script = f"mkdir {inside}/sub && echo 16777216 > {inside}/sub/{'memory.max' if V2 else 'memory.limit_in_bytes'} && (echo 0 > {inside}/sub/cgroup.procs; exec tail < /dev/zero); exit 5"
    if V2:
        script = f"mkdir {inside}/self && echo 0 > {inside}/self/cgroup.procs && echo +memory > {inside}/cgroup.subtree_control; {script}"
    start(engine, name, "sh", "-c", script, HostConfig={"Privileged": True, "Memory": 256 << 20})
    wait_until("it has ended", lambda: not state(engine, name)["Running"])
    assert state(engine, name)["ExitCode"] == 5, engine.cli("logs", name)
    assert state(engine, name)["OOMKilled"]


def test_a_kill_is_no_oom(engine, name):
    start(engine, name, "sleep", "1000", HostConfig={"Memory": 32 << 20})
    os.kill(state(engine, name)["Pid"], 9)
    wait_until("it has ended", lambda: not state(engine, name)["Running"])
    assert state(engine, name)["ExitCode"] == 137 and not state(engine, name)["OOMKilled"]


# ---- namespaces of others

def namespaces(engine, name, *kinds):
    pid = state(engine, name)["Pid"]
    return [os.readlink(f"/proc/{pid}/ns/{k}") for k in kinds]


def test_shared_namespaces(engine, name):
    start(engine, name, "sh", "-c", "echo x > /dev/shm/mark; sleep 1000", HostConfig={"IpcMode": "shareable"})
    wait_until("its mark is there", lambda: engine.cli("exec", name, "cat", "/dev/shm/mark", check=False).stdout == "x\n")
    host = {"PidMode": f"container:{name}", "IpcMode": f"container:{name}", "NetworkMode": f"container:{name}"}
    start(engine, name + "b", "sleep", "1000", HostConfig=host)
    assert namespaces(engine, name, "pid", "ipc", "net") == namespaces(engine, name + "b", "pid", "ipc", "net")
    assert namespaces(engine, name, "mnt", "uts") != namespaces(engine, name + "b", "mnt", "uts")
    assert engine.cli("exec", name + "b", "cat", "/dev/shm/mark").stdout == "x\n"
    assert "sleep 1000" in engine.cli("exec", name + "b", "ps").stdout
    # After a restart of the first, the second one joins what is there then.
    post(engine, f"/containers/{name}/restart?t=0")
    wait_until("the joined pid namespace took it along", lambda: not state(engine, name + "b")["Running"])
    assert state(engine, name + "b")["ExitCode"] == 137
    post(engine, f"/containers/{name}b/start")
    assert namespaces(engine, name, "pid", "ipc", "net") == namespaces(engine, name + "b", "pid", "ipc", "net")


@pytest.mark.parametrize("runtime", ["ours", "runc"])
def test_a_joined_shm_is_no_link(new_engine, name, tmp_path_factory, runtime):
    """A container that may unmount puts a link to a directory of the host where its /dev/shm was: who joins it gets neither that directory nor one of the other container's."""
    engine = new_engine(*(["--runtime", f"other={program('runc')}"] if runtime == "runc" else []))
    other = {"Runtime": "other"} if runtime == "runc" else {}
    host = tmp_path_factory.mktemp("host")
    (host / "secret").touch()
    start(engine, name, "sh", "-c", f"touch /dev/shm/mark; until test -e /go; do sleep 0.05; done; umount /dev/shm && rmdir /dev/shm && mkdir -p {host} && ln -s {host} /dev/shm && touch /ready; sleep 1000",
          HostConfig={"IpcMode": "shareable", "CapAdd": ["SYS_ADMIN"]})
    wait_until("its mark is there", lambda: engine.cli("exec", name, "test", "-e", "/dev/shm/mark", check=False).returncode == 0)
    create(engine, name + "b", "sh", "-c", "ls /dev/shm; touch /dev/shm/out", HostConfig={"IpcMode": f"container:{name}", **other})
    post(engine, f"/containers/{name}b/start")
    engine.api("POST", f"/containers/{name}b/wait")
    assert engine.cli("logs", name + "b").stdout == "mark\n"
    engine.cli("exec", name, "touch", "/go")
    wait_until("the link is there", lambda: engine.cli("exec", name, "test", "-e", "/ready", check=False).returncode == 0)
    reply = engine.api("POST", f"/containers/{name}b/start")
    engine.api("POST", f"/containers/{name}b/wait")
    assert [p.name for p in host.iterdir()] == ["secret"]
    assert reply.status >= 400 and "symbolic links" in reply.message, reply.body


@pytest.mark.parametrize("mode, says", [
    ({"PidMode": "container:{}"}, "can't join PID namespace of container {}: container {id} is not running"),
    ({"IpcMode": "container:{}"}, "can't join IPC of container {}: container {id} is not running"),
    ({"NetworkMode": "container:{}"}, "cannot join network of a non running container: {id}"),
])
def test_only_running_containers_are_joined(engine, name, mode, says):
    cid = create(engine, name, "sleep", "1000")
    create(engine, name + "b", "true", HostConfig={k: v.format(name) for k, v in mode.items()})
    reply = engine.api("POST", f"/containers/{name}b/start")
    assert reply.status == 409 and says.format(name, name, id=cid).replace("{id}", cid) in reply.message, reply.body
    post(engine, f"/containers/{name}/start")
    if "IpcMode" in mode:
        reply = engine.api("POST", f"/containers/{name}b/start")
        assert reply.status == 400 and "non-shareable IPC" in reply.message
    else:
        post(engine, f"/containers/{name}b/start")


def test_ipc_and_uts_modes(cli, name):
    def shown(*options):
        return cli("run", "--rm", *options, "busybox", "sh", "-c", "readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts; grep -c ' /dev/shm ' /proc/mounts; hostname").stdout.split()

    own = [os.readlink(f"/proc/self/ns/{k}") for k in ("ipc", "uts")]
    assert shown("--ipc", "host")[0] == own[0] and shown("--ipc", "host")[2] == "1"
    assert shown("--ipc", "none")[0] != own[0] and shown("--ipc", "none")[2] == "0"
    assert shown("--ipc", "private")[2] == "1"
    uts = shown("--uts", "host")
    assert uts[1] == own[1] and uts[3] == os.uname().nodename
