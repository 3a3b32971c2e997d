# SPDX-License-Identifier: Apache-2.0
"""What a container can be asked to be: every member of the request is honoured, as inspect and the container itself show, or refused by its name."""
import json
import os
import pathlib
import re
import stat

import pytest

from harness import ROOT

# Every member of ContainerConfig, HostConfig and NetworkingConfig of Engine API 1.51, one a line; [] is each item, {} each value.
MEMBERS = """
Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin StdinOnce Env Cmd
Healthcheck.Test Healthcheck.Interval Healthcheck.Timeout Healthcheck.Retries Healthcheck.StartPeriod Healthcheck.StartInterval
ArgsEscaped Image Volumes WorkingDir Entrypoint NetworkDisabled MacAddress OnBuild Labels StopSignal StopTimeout Shell
HostConfig.CpuShares HostConfig.Memory HostConfig.CgroupParent HostConfig.BlkioWeight
HostConfig.BlkioWeightDevice[].Path HostConfig.BlkioWeightDevice[].Weight
HostConfig.BlkioDeviceReadBps[].Path HostConfig.BlkioDeviceReadBps[].Rate HostConfig.BlkioDeviceWriteBps[].Path HostConfig.BlkioDeviceWriteBps[].Rate
HostConfig.BlkioDeviceReadIOps[].Path HostConfig.BlkioDeviceReadIOps[].Rate HostConfig.BlkioDeviceWriteIOps[].Path HostConfig.BlkioDeviceWriteIOps[].Rate
HostConfig.CpuPeriod HostConfig.CpuQuota HostConfig.CpuRealtimePeriod HostConfig.CpuRealtimeRuntime HostConfig.CpusetCpus HostConfig.CpusetMems
HostConfig.Devices[].PathOnHost HostConfig.Devices[].PathInContainer HostConfig.Devices[].CgroupPermissions HostConfig.DeviceCgroupRules
HostConfig.DeviceRequests[].Driver HostConfig.DeviceRequests[].Count HostConfig.DeviceRequests[].DeviceIDs HostConfig.DeviceRequests[].Capabilities
HostConfig.DeviceRequests[].Options HostConfig.KernelMemoryTCP HostConfig.MemoryReservation HostConfig.MemorySwap HostConfig.MemorySwappiness
HostConfig.NanoCpus HostConfig.OomKillDisable HostConfig.Init HostConfig.PidsLimit
HostConfig.Ulimits[].Name HostConfig.Ulimits[].Soft HostConfig.Ulimits[].Hard
HostConfig.CpuCount HostConfig.CpuPercent HostConfig.IOMaximumIOps HostConfig.IOMaximumBandwidth
HostConfig.Binds HostConfig.ContainerIDFile HostConfig.LogConfig.Type HostConfig.LogConfig.Config HostConfig.NetworkMode
HostConfig.PortBindings{}[].HostIp HostConfig.PortBindings{}[].HostPort HostConfig.RestartPolicy.Name HostConfig.RestartPolicy.MaximumRetryCount
HostConfig.AutoRemove HostConfig.VolumeDriver HostConfig.VolumesFrom
HostConfig.Mounts[].Target HostConfig.Mounts[].Source HostConfig.Mounts[].Type HostConfig.Mounts[].ReadOnly HostConfig.Mounts[].Consistency
HostConfig.Mounts[].BindOptions.Propagation HostConfig.Mounts[].BindOptions.NonRecursive HostConfig.Mounts[].BindOptions.CreateMountpoint
HostConfig.Mounts[].BindOptions.ReadOnlyNonRecursive HostConfig.Mounts[].BindOptions.ReadOnlyForceRecursive
HostConfig.Mounts[].VolumeOptions.NoCopy HostConfig.Mounts[].VolumeOptions.Labels HostConfig.Mounts[].VolumeOptions.DriverConfig.Name
HostConfig.Mounts[].VolumeOptions.DriverConfig.Options HostConfig.Mounts[].VolumeOptions.Subpath HostConfig.Mounts[].ImageOptions.Subpath
HostConfig.Mounts[].TmpfsOptions.SizeBytes HostConfig.Mounts[].TmpfsOptions.Mode HostConfig.Mounts[].TmpfsOptions.Options
HostConfig.ConsoleSize HostConfig.Annotations HostConfig.CapAdd HostConfig.CapDrop HostConfig.CgroupnsMode
HostConfig.Dns HostConfig.DnsOptions HostConfig.DnsSearch HostConfig.ExtraHosts HostConfig.GroupAdd HostConfig.IpcMode HostConfig.Cgroup HostConfig.Links
HostConfig.OomScoreAdj HostConfig.PidMode HostConfig.Privileged HostConfig.PublishAllPorts HostConfig.ReadonlyRootfs HostConfig.SecurityOpt
HostConfig.StorageOpt HostConfig.Tmpfs HostConfig.UTSMode HostConfig.UsernsMode HostConfig.ShmSize HostConfig.Sysctls HostConfig.Runtime
HostConfig.Isolation HostConfig.MaskedPaths HostConfig.ReadonlyPaths
NetworkingConfig.EndpointsConfig{}.IPAMConfig.IPv4Address NetworkingConfig.EndpointsConfig{}.IPAMConfig.IPv6Address
NetworkingConfig.EndpointsConfig{}.IPAMConfig.LinkLocalIPs NetworkingConfig.EndpointsConfig{}.Links NetworkingConfig.EndpointsConfig{}.MacAddress
NetworkingConfig.EndpointsConfig{}.Aliases NetworkingConfig.EndpointsConfig{}.DriverOpts NetworkingConfig.EndpointsConfig{}.GwPriority
NetworkingConfig.EndpointsConfig{}.NetworkID NetworkingConfig.EndpointsConfig{}.EndpointID NetworkingConfig.EndpointsConfig{}.Gateway
NetworkingConfig.EndpointsConfig{}.IPAddress NetworkingConfig.EndpointsConfig{}.IPPrefixLen NetworkingConfig.EndpointsConfig{}.IPv6Gateway
NetworkingConfig.EndpointsConfig{}.GlobalIPv6Address NetworkingConfig.EndpointsConfig{}.GlobalIPv6PrefixLen NetworkingConfig.EndpointsConfig{}.DNSNames
""".split()
MEMBERS.append("HostConfig.Mounts[].BindOptions.IDMap")  # ours, beside the API's

TABLE = dict(re.findall(r'^\t\{((?:HOST |ENDPOINT )?"[^"]+"), FIELD_(\w+)', (ROOT / "src/engine/container-fields.c").read_text(), re.M))
STATES = {re.sub('^HOST ', "HostConfig.", re.sub("^ENDPOINT ", "NetworkingConfig.EndpointsConfig{}.", k)).replace('"', ""): v for k, v in TABLE.items()}

# A value of each that is refused or discarded.
NOT_HAD = {"HostConfig.DeviceRequests[].Options": {"a": "b"}, "HostConfig.StorageOpt": {"size": "10G"}, "HostConfig.Cgroup": "container:x"}

# Requests whose members inspect shows as they were sent: one container each.
SHOWN = [
    {"Hostname": "box", "Domainname": "example.org", "User": "user", "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": True, "OpenStdin": True,
     "StdinOnce": True, "Env": ["A=1", "PATH=/bin"], "Cmd": ["sh", "-c", "true 名前"], "Entrypoint": ["env", "--"], "Volumes": {"/data x": {}}, "WorkingDir": "/new/ 名前",
     "OnBuild": ["RUN true"], "Labels": {"k": "v=w", "empty": ""}, "StopSignal": "SIGUSR1", "StopTimeout": 3, "Shell": ["/bin/sh", "-ec"], "ExposedPorts": {"80/tcp": {}}},
    {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 2000000000, "Timeout": 3000000000, "Retries": 4, "StartPeriod": 5000000000, "StartInterval": 6000000000}},
    {"ArgsEscaped": True, "NetworkDisabled": True},
    {"HostConfig": {"CpuShares": 512, "Memory": 67108864, "CgroupParent": "/irk-test", "BlkioWeight": 300, "CpuPeriod": 50000, "CpuQuota": 25000, "CpusetCpus": "0", "CpusetMems": "0",
                    "MemoryReservation": 33554432, "MemorySwap": 134217728, "MemorySwappiness": 10, "OomKillDisable": True, "PidsLimit": 50, "OomScoreAdj": 77}},
    {"HostConfig": {"NanoCpus": 500000000, "MemorySwap": -1, "Memory": 67108864}},
    {"HostConfig": {"BlkioWeightDevice": [{"Path": "/dev/loop0", "Weight": 200}], "BlkioDeviceReadBps": [{"Path": "/dev/loop0", "Rate": 1}],
                    "BlkioDeviceWriteBps": [{"Path": "/dev/loop0", "Rate": 2}], "BlkioDeviceReadIOps": [{"Path": "/dev/loop0", "Rate": 3}],
                    "BlkioDeviceWriteIOps": [{"Path": "/dev/loop0", "Rate": 4}]}},
    {"HostConfig": {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}], "DeviceCgroupRules": ["c 13:* rw"],
                    "DeviceRequests": [{"Driver": "cdi", "Count": 0, "DeviceIDs": ["a.b/c=d"], "Capabilities": None}]}},
    {"HostConfig": {"DeviceRequests": [{"Driver": "", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]]}]}},
    {"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Sysctls": {"net.ipv4.ip_forward": "1"}, "ShmSize": 1048576, "Tmpfs": {"/run": "size=1m"},
                    "Annotations": {"a": "b"}, "CapAdd": ["NET_ADMIN"], "CapDrop": ["MKNOD"], "GroupAdd": ["user", "77"], "ReadonlyRootfs": True,
                    "SecurityOpt": ["seccomp=unconfined", "no-new-privileges"], "MaskedPaths": ["/proc/x"], "ReadonlyPaths": [], "Init": True, "ConsoleSize": [40, 100]}},
    {"HostConfig": {"Binds": ["/tmp:/ t:ro"], "ContainerIDFile": "/tmp/cid", "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "NetworkMode": "none",
                    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "VolumeDriver": "local", "CgroupnsMode": "host", "IpcMode": "shareable", "PidMode": "host",
                    "UTSMode": "host", "UsernsMode": "host", "Runtime": "runc", "Isolation": "default", "Privileged": True}},
    {"HostConfig": {"AutoRemove": True, "PublishAllPorts": True, "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}, "Dns": ["192.0.2.1"],
                    "DnsOptions": ["ndots:2"], "DnsSearch": ["example.org"], "ExtraHosts": ["a:192.0.2.7", "b:host-gateway"], "IpcMode": "none"}},
    {"HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 448}},
                               {"Type": "volume", "Target": "/v", "VolumeOptions": {"NoCopy": True, "Labels": {"a": "b"}, "DriverConfig": {"Name": "local"}}},
                               {"Type": "bind", "Source": "/tmp", "Target": "/b", "ReadOnly": True, "BindOptions": {"Propagation": "rslave", "CreateMountpoint": True}}]}},
]
# Proved where they are done: test_volumes*.py, test_network*.py and here, below.
ELSEWHERE = {"Image", "MacAddress", "HostConfig.VolumesFrom", "HostConfig.Links", "HostConfig.CpuRealtimePeriod", "HostConfig.CpuRealtimeRuntime"} | \
    {m for m in MEMBERS if m.startswith("NetworkingConfig.") or m.startswith("HostConfig.Mounts[]")}


def create(engine, name, query="", **members):
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], **members}
    return engine.api("POST", f"{query or ''}/containers/create?name={name}", body)


def made(engine, name, **members):
    reply = create(engine, name, **members)
    assert reply.status == 201, reply.body
    return reply.json["Id"]


def nested(path, value):
    """A request with that value at the path."""
    name, _, rest = path.partition(".")
    inner = nested(rest, value) if rest else value
    if name.endswith("[]"):
        return {name[:-2]: [inner]}
    return {name[:-2]: {"x": inner}} if name.endswith("{}") else {name: inner}


def paths_of(value, path):
    """The members that a request has."""
    if path in MEMBERS:
        yield path
    elif isinstance(value, dict):
        keys = [f"{path}.{k}" if path else k for k in value]
        if any(m.startswith(f"{path}{{}}") for m in MEMBERS):
            keys = [f"{path}{{}}"] * len(value)
        for key, inner in zip(keys, value.values()):
            yield from paths_of(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from paths_of(inner, f"{path}[]")


def is_in(part, whole):
    """Everything of part is in whole."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and is_in(v, whole[k]) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(is_in, part, whole))
    return part == whole


# ---- every member
def test_the_table_is_of_all_members():
    assert sorted(STATES) == sorted(MEMBERS)


def test_every_member_has_its_proof():
    proved = {p for request in SHOWN for p in paths_of(request, "")} | ELSEWHERE
    kept = {m for m, state in STATES.items() if state in ("HONOURED", "SHOWN")}
    assert sorted(kept - proved) == []


@pytest.mark.parametrize("request_number", range(len(SHOWN)))
def test_members_are_shown_as_they_were_sent(engine, name, request_number):
    sent = SHOWN[request_number]
    made(engine, name, **sent)
    have = engine.inspect(name)
    assert is_in(sent.get("HostConfig", {}), have["HostConfig"]), have["HostConfig"]
    assert is_in({k: v for k, v in sent.items() if k != "HostConfig"}, have["Config"]), have["Config"]


@pytest.mark.parametrize("member", [m for m, state in STATES.items() if state == "REFUSED"])
def test_a_refused_member_is_named(engine, name, member):
    reply = create(engine, name, **nested(member, NOT_HAD.get(member, 7)))
    assert reply.status == 400 and member in reply.message, reply.body
    assert "not possible: " in reply.message and engine.api("GET", f"/containers/{name}/json").status == 404


@pytest.mark.parametrize("member", [m for m, state in STATES.items() if state == "ANSWERED"])
def test_members_of_answers_say_nothing_in_requests(engine, name, member):
    value = 7 if member.endswith("Len") else ["x"] if member.endswith("DNSNames") else "x"
    made(engine, name, **json.loads(json.dumps(nested(member, value)).replace('{"x": {', '{"bridge": {')))


def test_what_dockerd_discards_is_discarded_with_its_warning(engine, name):
    reply = create(engine, name, HostConfig={"CpuPercent": 50})
    assert reply.json["Warnings"] == ["linux does not support CPU percent. Percent discarded."]
    assert engine.inspect(name)["HostConfig"]["CpuPercent"] == 0


def test_unknown_members_are_ignored(engine, name):
    made(engine, name, NoSuchMember=1, HostConfig={"KernelMemory": 7, "Nothing": {"a": [1]}})


def test_names_of_members_are_taken_in_any_case(engine, name):
    made(engine, name, hostconfig={"memory": 67108864})
    assert engine.inspect(name)["HostConfig"]["Memory"] == 67108864
    assert create(engine, name + "2", hostconfig={"CPUCOUNT": 2}).status == 400


# ---- what is wrong
WRONG = [
    ({"HostConfig": {"Memory": 1000}}, "Minimum memory limit allowed is 6MB"),
    ({"HostConfig": {"MemorySwap": 67108864}}, "You should always set the Memory limit when using Memoryswap limit, see usage"),
    ({"HostConfig": {"Memory": 67108864, "MemorySwap": 7000000}}, "Minimum memoryswap limit should be larger than memory limit, see usage"),
    ({"HostConfig": {"MemorySwappiness": 101}}, "Invalid value: 101, valid memory swappiness range is 0-100"),
    ({"HostConfig": {"MemoryReservation": 1000}}, "Minimum memory reservation allowed is 6MB"),
    ({"HostConfig": {"Memory": 67108864, "MemoryReservation": 77108864}}, "Minimum memory limit can not be less than memory reservation limit, see usage"),
    ({"HostConfig": {"NanoCpus": 1000000000, "CpuQuota": 50000}}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"),
    ({"HostConfig": {"NanoCpus": 1000000000, "CpuPeriod": 50000}}, "Conflicting options: Nano CPUs and CPU Period cannot both be set"),
    ({"HostConfig": {"NanoCpus": -5}}, "Range of CPUs is from 0.01 to "),
    ({"HostConfig": {"CpuPeriod": 5}}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
    ({"HostConfig": {"CpuQuota": 5}}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    ({"HostConfig": {"CpusetCpus": "0-4000"}}, "Requested CPUs are not available - requested 0-4000, available: "),
    ({"HostConfig": {"CpusetCpus": "a"}}, "Invalid value a for cpuset cpus: invalid format: a"),
    ({"HostConfig": {"CpusetCpus": "0,"}}, None),
    ({"HostConfig": {"CpusetMems": "77"}}, "Requested memory nodes are not available - requested 77, available: "),
    ({"HostConfig": {"BlkioWeight": 5}}, "Range of blkio weight is from 10 to 1000"),
    ({"HostConfig": {"BlkioDeviceReadBps": [{"Path": "loop0", "Rate": 1}]}}, "HostConfig.BlkioDeviceReadBps[0]"),
    ({"HostConfig": {"ShmSize": -5}}, "SHM size can not be less than 0"),
    ({"HostConfig": {"OomScoreAdj": 2000}}, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    ({"HostConfig": {"IpcMode": "foo"}}, "invalid IPC mode: foo"),
    ({"HostConfig": {"PidMode": "foo"}}, "invalid PID mode: foo"),
    ({"HostConfig": {"PidMode": "container:"}}, "invalid PID mode: container:"),
    ({"HostConfig": {"UTSMode": "foo"}}, "invalid UTS mode: foo"),
    ({"HostConfig": {"UsernsMode": "foo"}}, "invalid userns mode: foo"),
    ({"HostConfig": {"CgroupnsMode": "foo"}}, "invalid cgroup namespace mode: foo"),
    ({"HostConfig": {"Isolation": "hyperv"}}, "invalid isolation 'hyperv' on linux"),
    ({"HostConfig": {"UTSMode": "host"}, "Hostname": "x"}, "conflicting options: hostname and the UTS mode"),
    ({"HostConfig": {"NetworkMode": "container:x"}, "Hostname": "x"}, "conflicting options: hostname and the network mode"),
    ({"HostConfig": {"NetworkMode": "container:"}}, "invalid network mode: invalid container format container:<name|id>"),
    ({"HostConfig": {"NetworkMode": "container:x", "Dns": ["192.0.2.1"]}}, "conflicting options: dns and the network mode"),
    ({"HostConfig": {"NetworkMode": "container:x", "ExtraHosts": ["a:192.0.2.1"]}}, "conflicting options: custom host-to-IP mapping and the network mode"),
    ({"HostConfig": {"NetworkMode": "container:x", "PublishAllPorts": True}}, "conflicting options: port publishing and the container type network mode"),
    ({"HostConfig": {"NetworkMode": "container:x"}, "ExposedPorts": {"80/tcp": {}}}, "conflicting options: port exposing and the container type network mode"),
    ({"HostConfig": {"NetworkMode": "host"}, "MacAddress": "02:42:ac:11:00:09"}, "conflicting options: mac-address and the network mode"),
    ({"HostConfig": {"ExtraHosts": ["foo"]}}, 'bad format for add-host: "foo"'),
    ({"HostConfig": {"ExtraHosts": ["foo:bar"]}}, 'invalid IP address in add-host: "bar"'),
    ({"HostConfig": {"CapAdd": ["foo"]}}, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
    ({"HostConfig": {"CapDrop": ["CAP_BAR"]}}, 'invalid CapDrop: unknown capability: "CAP_BAR"'),
    ({"HostConfig": {"SecurityOpt": ["foo"]}}, 'invalid --security-opt 1: "foo"'),
    ({"HostConfig": {"SecurityOpt": ["foo=bar"]}}, 'invalid --security-opt 2: "foo=bar"'),
    ({"HostConfig": {"Ulimits": [{"Name": "foo", "Soft": 1, "Hard": 1}]}}, "invalid ulimit type: foo"),
    ({"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 1}]}}, "ulimit nofile: soft limit must be less than or equal to hard limit: 5 > 1"),
    ({"HostConfig": {"DeviceCgroupRules": ["foo"]}}, "invalid device cgroup rule format: 'foo'"),
    ({"HostConfig": {"DeviceCgroupRules": ["c 1:3 rwmx"]}}, "invalid device cgroup rule format: 'c 1:3 rwmx'"),
    ({"HostConfig": {"Devices": [{"PathOnHost": "/dev/null", "CgroupPermissions": "x"}]}}, "HostConfig.Devices[0].CgroupPermissions"),
    ({"HostConfig": {"MaskedPaths": ["proc"]}}, 'HostConfig.MaskedPaths[0]: "proc" is not absolute'),
    ({"HostConfig": {"Runtime": "nope"}}, "unknown or invalid runtime name: nope"),
    ({"Env": ["=x"]}, "invalid environment variable: =x"),
    ({"Env": [""]}, "invalid environment variable: "),
    ({"WorkingDir": "rel", "StopSignal": "SIGTERM"}, "the working directory 'rel' is invalid, it needs to be an absolute path"),
    ({"StopSignal": "SIGFOO"}, "nvalid signal: SIGFOO"),
    ({"Hostname": "a" * 70}, "invalid hostname"),
    ({"Image": "UPPER"}, "invalid reference format"),
    ({"Cmd": [], "Entrypoint": [""]}, "no command specified"),
]


@pytest.mark.parametrize("request_number", range(len(WRONG)))
def test_what_is_wrong_is_told_in_dockerds_words(engine, name, request_number):
    members, text = WRONG[request_number]
    reply = create(engine, name, **members)
    if text is None:
        assert reply.status == 201, reply.body
    else:
        assert reply.status == 400 and text in reply.message, reply.body


def test_names_and_images_that_are_not_there(engine, name):
    assert create(engine, name, Image="nope").message == "No such image: nope:latest"
    assert create(engine, name, Image="localhost:5000/nope").message == "No such image: localhost:5000/nope:latest"
    assert create(engine, name, Image="sha256:" + "0" * 64).message == "No such image: sha256:" + "0" * 64
    assert create(engine, "-ab").message == "Invalid container name (-ab), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    first = made(engine, name)
    again = create(engine, name)
    assert (again.status, again.message) == (409, f'Conflict. The container name "/{name}" is already in use by container "{first}". '
                                                  "You have to remove (or rename) that container to be able to reuse that name.")


def test_the_platform_of_the_image(engine, name):
    other = engine.api("POST", f"/containers/create?name={name}&platform=linux/s390x", {"Image": "busybox", "Cmd": ["true"]})
    assert other.status == 404 and "does not match the specified platform (linux/s390x)" in other.message
    same = engine.api("POST", f"/containers/create?name={name}&platform=linux/{'arm64' if os.uname().machine == 'aarch64' else 'amd64'}", {"Image": "busybox", "Cmd": ["true"]})
    assert same.status == 201 and same.json["Warnings"] == []
    old = engine.api("POST", f"/v1.40/containers/create?name={name}2&platform=linux/s390x", {"Image": "busybox", "Cmd": ["true"]})
    assert old.status == 201  # the parameter came with 1.41


# ---- in the container
def run(engine, name, script, **members):
    made(engine, name, Cmd=["sh", "-c", script], **members)
    assert engine.api("POST", f"/containers/{name}/start").status == 204, engine.inspect(name)["State"]["Error"]
    engine.api("POST", f"/containers/{name}/wait")
    return engine.cli("logs", name).stdout.splitlines()


def test_limits_of_processes_and_kernel_parameters(engine, name):
    out = run(engine, name, "ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj; hostname; cat /proc/sys/kernel/domainname; df -k /dev/shm | tail -1",
              Hostname="box", Domainname="example.org",
              HostConfig={"Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Sysctls": {"net.ipv4.ip_forward": "1"}, "OomScoreAdj": 77, "ShmSize": 1048576})
    assert out[:6] == ["100", "200", "1", "77", "box", "example.org"] and out[6].split()[1] == "1024"


def test_capabilities_and_privileges(engine, name):
    bits = r"grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status"
    plain, more, none = (run(engine, name + str(i), bits, HostConfig=h) for i, h in enumerate(
        [{}, {"CapAdd": ["net_admin"], "CapDrop": ["MKNOD"], "SecurityOpt": ["no-new-privileges"]}, {"CapDrop": ["ALL"], "CapAdd": ["CAP_CHOWN"], "SecurityOpt": ["seccomp=unconfined"]}]))
    value = [{k: v.strip() for k, v in (line.split(":") for line in out)} for out in (plain, more, none)]
    assert int(value[1]["CapBnd"], 16) == (int(value[0]["CapBnd"], 16) | 1 << 12) & ~(1 << 27)
    assert int(value[2]["CapBnd"], 16) == 1
    assert [v["NoNewPrivs"] for v in value] == ["0", "1", "0"] and [v["Seccomp"] for v in value] == ["2", "2", "0"]


PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                                                          {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
           "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                        {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}


def test_a_seccomp_profile_in_dockers_form(engine, name):
    script = "mkdir /a 2>/dev/null && echo mkdir; ln -s x /b 2>/dev/null && echo ln"
    option = {"SecurityOpt": ["seccomp=" + json.dumps(PROFILE)]}
    assert run(engine, name, script, HostConfig=option) == ["ln"]
    assert run(engine, name + "2", script, HostConfig={**option, "CapAdd": ["SYS_ADMIN"]}) == ["mkdir"]
    made(engine, name + "3", HostConfig={"SecurityOpt": ["seccomp=/etc/profile.json"]})
    reply = engine.api("POST", f"/containers/{name}3/start")
    assert reply.status == 400 and reply.message.startswith("Decoding seccomp profile failed: ")


def test_masked_and_read_only_paths(engine, name):
    script = "wc -c </proc/keys; grep -c ' /proc/sys ' /proc/mounts"
    assert run(engine, name, script) == ["0", "1"]
    keys, read_only = run(engine, name + "2", script, HostConfig={"MaskedPaths": [], "ReadonlyPaths": []})
    assert int(keys) > 0 and read_only == "0"
    assert run(engine, name + "3", script, HostConfig={"MaskedPaths": ["/proc/keys"], "ReadonlyPaths": ["/proc/sys", "/proc/nowhere"]}) == ["0", "1"]
    assert engine.inspect(name)["HostConfig"]["ReadonlyPaths"] == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    assert "/proc/keys" in engine.inspect(name)["HostConfig"]["MaskedPaths"]


def test_users_and_groups(engine, name):
    assert run(engine, name, "id -u; id -g; id -G", User="user:77", HostConfig={"GroupAdd": ["user", "99"]})[:3] == ["1000", "77", "77 99 1000"]
    for members, text in ({"User": "nobodyhere"}, "unable to find user nobodyhere: no matching entries in passwd file"), \
                         ({"HostConfig": {"GroupAdd": ["nogroup1"]}}, "Unable to find group nogroup1: no matching entries in group file"):
        made(engine, f"{name}-{text[:6].strip()}", **members)
        reply = engine.api("POST", f"/containers/{name}-{text[:6].strip()}/start")
        assert reply.status == 400 and text in reply.message


def test_environment_of_user_and_image(engine, name):
    engine.cli("build", "-t", f"{name}:env", "-", input="FROM busybox\nENV FIRST=image SECOND=image THIRD=image\n")
    out = run(engine, name, "env | sort", Image=f"{name}:env", Env=["SECOND=user", "THIRD", "OWN=1"])
    assert "FIRST=image" in out and "SECOND=user" in out and not any(v.startswith("THIRD") for v in out)
    # As dockerd: the user's first, then those of the image that he has not named.
    assert engine.inspect(name)["Config"]["Env"][:3] == ["SECOND=user", "THIRD", "OWN=1"]
    engine.cli("rm", name)
    engine.cli("rmi", f"{name}:env")


def test_entrypoint_rules(engine, name):
    engine.cli("build", "-t", f"{name}:entry", "-", input='FROM busybox\nENTRYPOINT ["echo", "image"]\nCMD ["default"]\n')
    def parts(suffix, **members):
        body = {"Image": f"{name}:entry", **members}
        assert engine.api("POST", f"/containers/create?name={name}{suffix}", body).status == 201
        i = engine.inspect(name + suffix)
        return i["Path"], i["Args"], i["Config"]["Entrypoint"], i["Config"]["Cmd"]
    assert parts("a") == ("echo", ["image", "default"], ["echo", "image"], ["default"])
    assert parts("b", Cmd=["x"]) == ("echo", ["image", "x"], ["echo", "image"], ["x"])
    assert parts("c", Entrypoint=["sh"], Cmd=["x"]) == ("sh", ["x"], ["sh"], ["x"])
    assert parts("d", Entrypoint=["sh"]) == ("sh", [], ["sh"], None)
    assert parts("e", Entrypoint=[""], Cmd=["x"]) == ("x", [], None, ["x"])
    assert parts("f", Entrypoint="sh -x", Cmd="true") == ("sh -x", ["true"], ["sh -x"], ["true"])
    engine.remove_containers()
    engine.cli("rmi", f"{name}:entry")


# ---- devices
def test_a_device_under_another_name(engine, name):
    out = run(engine, name, "ls -l /dev/mine | cut -c1; head -c3 /dev/mine | wc -c; echo x 2>/dev/null >/dev/mine && echo written",
              HostConfig={"Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/mine", "CgroupPermissions": "r"}]})
    assert out == ["c", "3", "written"]  # zero's own rule allows all; the device is the same
    reply = engine.api("POST", f"/containers/{made(engine, name + '2', HostConfig={'Devices': [{'PathOnHost': '/dev/nope', 'PathInContainer': '/dev/x'}]})}/start")
    assert reply.status == 400 and 'custom device "/dev/nope": no such file or directory' in reply.message
    reply = engine.api("POST", f"/containers/{made(engine, name + '3', HostConfig={'Devices': [{'PathOnHost': '/etc/passwd', 'PathInContainer': '/dev/x'}]})}/start")
    assert reply.status == 400 and 'custom device "/etc/passwd": not a device node' in reply.message


def test_a_directory_of_devices(engine, name, folder):
    (folder / "deep 名前").mkdir()
    (folder / "no device").write_text("x")
    os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(folder / "deep 名前/full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    out = run(engine, name, "cd /dev/all; find . -type c | sort; find . -type f", HostConfig={"Devices": [{"PathOnHost": str(folder), "PathInContainer": "/dev/all"}]})
    assert out == ["./deep 名前/full", "./null"]


def test_device_cgroup_rules(engine, name):
    script = "mknod /tmp/n c 10 200 && head -c1 /tmp/n 2>&1 | grep -c 'not permitted'"
    assert run(engine, name, script, HostConfig={"CapAdd": ["MKNOD"]}) == ["1"]
    assert run(engine, name + "2", script, HostConfig={"DeviceCgroupRules": ["c 10:200 rwm"]}) == ["0"]


def test_a_privileged_container_has_the_hosts_devices(engine, name):
    out = run(engine, name, "ls /dev; grep -c rw, /proc/mounts", HostConfig={"Privileged": True})
    host = {d for d in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{d}").st_mode)}
    assert host and host <= set(out)
    i = engine.inspect(name)["HostConfig"]
    assert (i["MaskedPaths"], i["ReadonlyPaths"], i["SecurityOpt"]) == (None, None, ["label=disable"])


# ---- cgroups
def cgroup_file(pid, controller, file):
    """Of cgroup v1 or v2, of the container's own cgroup."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return pathlib.Path(f"/sys/fs/cgroup/{controller}{path}/{file}").read_text().strip(), path
    return None, None



def test_limits_reach_the_cgroup(engine, name):
    made(engine, name, HostConfig={"CgroupParent": f"/irk_{name}", "Memory": 67108864, "MemoryReservation": 33554432, "CpuShares": 512, "CpuPeriod": 50000, "CpuQuota": 25000,
                                   "CpusetCpus": "0", "PidsLimit": 50, "MemorySwappiness": 10, "OomKillDisable": True})
    assert engine.api("POST", f"/containers/{name}/start").status == 204
    pid = engine.inspect(name)["State"]["Pid"]
    want = {("memory", "memory.limit_in_bytes"): "67108864", ("memory", "memory.soft_limit_in_bytes"): "33554432", ("cpu", "cpu.shares"): "512", ("cpu", "cpu.cfs_period_us"): "50000",
            ("cpu", "cpu.cfs_quota_us"): "25000", ("cpuset", "cpuset.cpus"): "0", ("pids", "pids.max"): "50", ("memory", "memory.swappiness"): "10"}
    have = {key: cgroup_file(pid, *key)[0] for key in want}
    assert have == want
    assert "oom_kill_disable 1" in cgroup_file(pid, "memory", "memory.oom_control")[0]
    assert cgroup_file(pid, "memory", "memory.limit_in_bytes")[1].startswith(f"/irk_{name}/")
    engine.cli("rm", "-f", name)
    for top in pathlib.Path("/sys/fs/cgroup").iterdir():
        if (top / f"irk_{name}").is_dir():
            (top / f"irk_{name}").rmdir()


def test_a_limit_of_a_block_device_that_is_not_there(engine, name):
    made(engine, name, HostConfig={"BlkioDeviceReadBps": [{"Path": "/dev/nope", "Rate": 1000}]})
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 400 and reply.message == 'limit of block device "/dev/nope": no such block device'


# ---- CDI
CDI = {"cdiVersion": "0.6.0", "kind": "irk.test/thing", "containerEdits": {"env": ["THING=all"]}, "devices": [
    {"name": "one", "containerEdits": {"env": ["ONE=1"], "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/zero"}], "additionalGids": [4242],
                                       "mounts": [{"hostPath": "@/lib", "containerPath": "/opt/lib 名前", "options": ["ro", "bind"]}]}}]}
GPU = {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": n, "containerEdits": {"env": [f"GPU_{n}=1"]}} for n in ("0", "1", "all")]}


@pytest.fixture
def cdi(new_engine, folder):
    specs = folder / "specs"
    specs.mkdir()
    (folder / "lib").mkdir()
    (folder / "lib/file").write_text("of the vendor")
    engine = new_engine("--cdi-spec-dir", specs, "--cdi-spec-dir", folder / "not there")
    (specs / "thing.json").write_text(json.dumps(CDI).replace("@", str(folder)))
    (specs / "broken.json").write_text('{"cdiVersion": "0.6.0", "kind": "no kind", "devices": []}')
    return engine, specs


def request(*ids, **more):
    return {"HostConfig": {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": list(ids), **more}]}}


def test_a_cdi_device(cdi, name):
    engine, specs = cdi
    out = run(engine, name, "echo $THING $ONE; head -c2 /dev/thing | wc -c; cat '/opt/lib 名前/file'; echo; touch '/opt/lib 名前/x' 2>/dev/null || echo read-only; id -G", **request("irk.test/thing=one"))
    assert out == ["all 1", "2", "of the vendor", "read-only", "0 10 4242"] or out[:4] == ["all 1", "2", "of the vendor", "read-only"] and "4242" in out[4].split()
    made(engine, name + "2", **request("irk.test/thing=two", "other.com/x=y"))
    reply = engine.api("POST", f"/containers/{name}2/start")
    assert (reply.status, reply.message) == (400, "CDI device injection failed: unresolvable CDI devices irk.test/thing=two, other.com/x=y")
    info = engine.api("GET", "/info").json
    assert info["CDISpecDirs"][0] == str(specs) and info["DiscoveredDevices"] == [{"Source": "cdi", "ID": "irk.test/thing=one"}]
    assert "DiscoveredDevices" not in engine.api("GET", "/v1.49/info").json
    assert "broken.json: kind: " in engine.log_text()


def test_gpus_are_those_of_cdi(cdi, name):
    engine, specs = cdi

    def gpus(suffix, **members):
        made(engine, name + suffix, Cmd=["sh", "-c", "env | grep GPU_ | sort"], HostConfig={"DeviceRequests": [{"Driver": "", "Capabilities": [["gpu"]], **members}]})
        reply = engine.api("POST", f"/containers/{name}{suffix}/start")
        if reply.status != 204:
            return reply.message
        engine.api("POST", f"/containers/{name}{suffix}/wait")
        return engine.cli("logs", name + suffix).stdout.split()
    assert gpus("a", Count=-1) == 'could not select device driver "" with capabilities: [[gpu]]'
    (specs / "nvidia.json").write_text(json.dumps(GPU))
    assert gpus("b", Count=-1) == ["GPU_all=1"]
    assert gpus("c", Count=2) == ["GPU_0=1", "GPU_1=1"]
    assert gpus("d", Count=3) == "3 devices of nvidia.com/gpu were asked for, there are 2"
    assert gpus("e", DeviceIDs=["1"]) == ["GPU_1=1"]
    assert gpus("f", Count=1, Capabilities=[["tpu"]]) == 'could not select device driver "" with capabilities: [[tpu]]'
    assert gpus("g", Count=1, DeviceIDs=["1"]) == "cannot set both Count and DeviceIDs on device request"


def test_cdi_files_in_yaml(cdi, folder, name):
    """As nvidia-ctk writes them: quoted names, lists that are not indented, no aliases. Files that try more are left out, with a line in the log."""
    engine, specs = cdi
    (specs / "vendor.yaml").write_text(f"""---
cdiVersion: 0.5.0
kind: irk.yaml/thing
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/thing
      hostPath: /dev/zero
      fileMode: 432
      permissions: rw
  name: "0"
- name: all
  containerEdits: {{env: [ALL=1]}}
containerEdits:
  env:
  - VISIBLE=void
  mounts:
  - containerPath: /opt/lib 名前
    hostPath: {folder}/lib
    options: [ro, bind]
""")
    for kind, text in (("laughs", "a: &a [x]\nb: [*a, *a]"), ("deep", "[" * 100000), ("tags", "a: !!python/object:os.system []"), ("broken", "a: [1"), ("twice", "kind: a.b/c\nkind: a.b/d")):
        (specs / f"{kind}.yaml").write_text(text)
    out = run(engine, name, "echo $VISIBLE $ALL; head -c2 /dev/thing | wc -c; stat -c %a /dev/thing; cat '/opt/lib 名前/file'; echo", **request("irk.yaml/thing=0"))
    assert out == ["void", "2", "660", "of the vendor"]
    assert {"Source": "cdi", "ID": "irk.yaml/thing=all"} in engine.api("GET", "/info").json["DiscoveredDevices"]
    log = engine.log_text()
    for words in ("laughs.yaml: line 1: anchors, aliases and tags are not read", "deep.yaml: line 1: nested too deeply", "tags.yaml: line 1: anchors, aliases and tags", "broken.yaml: line ", 'twice.yaml: line 2: the key "kind" stands twice'):
        assert words in log, (words, log)


# ---- versions and what is not offered
def test_versions(engine, name):
    too_new, too_old = engine.api("GET", "/v1.99/version"), engine.api("GET", "/v1.23/version")
    assert (too_new.status, too_new.message) == (400, "client version 1.99 is too new. Maximum supported API version is 1.51")
    assert (too_old.status, too_old.message) == (400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version")
    for minor in range(24, 52):
        assert engine.api("GET", f"/v1.{minor}/_ping").status == 200

    def old(version, suffix, **members):
        reply = engine.api("POST", f"/v{version}/containers/create?name={name}{suffix}", {"Image": "busybox", "Cmd": ["true"], **members})
        return engine.inspect(name + suffix)["HostConfig"] if reply.status == 201 else reply.message
    assert old("1.39", "a", HostConfig={})["IpcMode"] == "shareable" and old("1.40", "b", HostConfig={})["IpcMode"] == "private"
    assert "Annotations" not in old("1.42", "c", HostConfig={"Annotations": {"a": "b"}}) and old("1.43", "d", HostConfig={"Annotations": {"a": "b"}})["Annotations"] == {"a": "b"}
    assert old("1.41", "e", HostConfig={"ConsoleSize": [5, 6]})["ConsoleSize"] == [0, 0] and old("1.42", "f", HostConfig={"ConsoleSize": [5, 6]})["ConsoleSize"] == [5, 6]
    two = {"NetworkingConfig": {"EndpointsConfig": {"bridge": {}, "other": {}}}}
    assert old("1.43", "g", **two).startswith("Container cannot be created with multiple network endpoints")


def test_a_daemon_without_swarm_and_plugins(engine):
    assert (engine.api("GET", "/plugins").status, engine.api("GET", "/plugins").json) == (200, [])
    for method, path in (("GET", "/plugins/x/json"), ("DELETE", "/plugins/x"), ("POST", "/plugins/a/b:c/enable?timeout=0"), ("POST", "/plugins/x/push"), ("POST", "/plugins/x/set")):
        assert engine.api(method, path).message.startswith('plugin "')
    for path in ("/swarm", "/services", "/services/x", "/tasks", "/nodes", "/nodes/x", "/secrets", "/configs", "/services/x/logs?stdout=1"):
        reply = engine.api("GET", path)
        assert reply.status == 503 and reply.message.startswith("This node is not a swarm manager. Use \"docker swarm init\"")
    for path in ("/services/create", "/secrets/create", "/configs/x/update?version=1", "/swarm/update?version=1", "/swarm/unlock"):
        assert engine.api("POST", path, {}).status == 503
    assert engine.api("POST", "/swarm/leave").message == "This node is not part of a swarm"
    assert engine.api("POST", "/swarm/init", {}).status == 501 and engine.api("POST", "/plugins/pull?remote=x", []).status == 501
    assert engine.api("GET", "/containers/x/checkpoints").status == 501
    assert engine.api("OPTIONS", "/version").status == 200
    assert (engine.api("POST", "/version").status, engine.api("GET", "/nope").message) == (404, "page not found")
    info = engine.api("GET", "/info").json
    assert info["Swarm"]["LocalNodeState"] == "inactive" and info["Plugins"]["Volume"] == ["local"]
