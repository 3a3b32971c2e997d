# SPDX-License-Identifier: Apache-2.0
"""inspect and ps have every member in every state, of the type that dockerd gives it: clients with types fail on what is missing."""
import json
import urllib.parse

import pytest

# What dockerd shows of a container that was asked for nothing, by type: () is null or a list.
CONFIG = {"Hostname": str, "Domainname": str, "User": str, "AttachStdin": bool, "AttachStdout": bool, "AttachStderr": bool, "Tty": bool, "OpenStdin": bool, "StdinOnce": bool,
          "Env": list, "Cmd": list, "Image": str, "Volumes": None, "WorkingDir": str, "Entrypoint": None, "OnBuild": None, "Labels": dict}
HOST = {"Binds": None, "ContainerIDFile": str, "LogConfig": dict, "NetworkMode": str, "PortBindings": dict, "RestartPolicy": dict, "AutoRemove": bool, "VolumeDriver": str,
        "VolumesFrom": None, "ConsoleSize": list, "CapAdd": None, "CapDrop": None, "CgroupnsMode": str, "Dns": None, "DnsOptions": None, "DnsSearch": None, "ExtraHosts": None,
        "GroupAdd": None, "IpcMode": str, "Cgroup": str, "Links": None, "OomScoreAdj": int, "PidMode": str, "Privileged": bool, "PublishAllPorts": bool, "ReadonlyRootfs": bool,
        "SecurityOpt": None, "UTSMode": str, "UsernsMode": str, "ShmSize": int, "Runtime": str, "Isolation": str, "CpuShares": int, "Memory": int, "NanoCpus": int, "CgroupParent": str,
        "BlkioWeight": int, "BlkioWeightDevice": None, "BlkioDeviceReadBps": None, "BlkioDeviceWriteBps": None, "BlkioDeviceReadIOps": None, "BlkioDeviceWriteIOps": None,
        "CpuPeriod": int, "CpuQuota": int, "CpuRealtimePeriod": int, "CpuRealtimeRuntime": int, "CpusetCpus": str, "CpusetMems": str, "Devices": None, "DeviceCgroupRules": None,
        "DeviceRequests": None, "MemoryReservation": int, "MemorySwap": int, "MemorySwappiness": None, "OomKillDisable": bool, "PidsLimit": None, "Ulimits": None, "CpuCount": int,
        "CpuPercent": int, "IOMaximumIOps": int, "IOMaximumBandwidth": int, "MaskedPaths": list, "ReadonlyPaths": list}
STATE = {"Status": str, "Running": bool, "Paused": bool, "Restarting": bool, "OOMKilled": bool, "Dead": bool, "Pid": int, "ExitCode": int, "Error": str, "StartedAt": str, "FinishedAt": str}
NETWORK = {"Bridge": str, "SandboxID": str, "SandboxKey": str, "Ports": dict, "HairpinMode": bool, "LinkLocalIPv6Address": str, "LinkLocalIPv6PrefixLen": int, "SecondaryIPAddresses": None,
           "SecondaryIPv6Addresses": None, "EndpointID": str, "Gateway": str, "GlobalIPv6Address": str, "GlobalIPv6PrefixLen": int, "IPAddress": str, "IPPrefixLen": int, "IPv6Gateway": str,
           "MacAddress": str, "Networks": dict}
WHOLE = {"Id": str, "Created": str, "Path": str, "Args": list, "State": dict, "Image": str, "ResolvConfPath": str, "HostnamePath": str, "HostsPath": str, "LogPath": str, "Name": str,
         "RestartCount": int, "Driver": str, "Platform": str, "MountLabel": str, "ProcessLabel": str, "AppArmorProfile": str, "ExecIDs": None, "HostConfig": dict, "GraphDriver": dict,
         "Mounts": list, "Config": dict, "NetworkSettings": dict}
ITEM = {"Id": str, "Names": list, "Image": str, "ImageID": str, "Command": str, "Created": int, "Ports": list, "Labels": dict, "State": str, "Status": str, "HostConfig": dict,
        "NetworkSettings": dict, "Mounts": list}


def test_shared_sizes_are_counted_when_asked_for(engine, name):
    engine.cli("build", "-t", name, "-", input="FROM busybox\nRUN echo 1234567890 >/own\n")
    try:
        asked = {t: (i["SharedSize"], i["Size"]) for i in engine.api("GET", "/images/json?shared-size=1").json for t in i["RepoTags"]}
        shared, size = asked[f"{name}:latest"]
        assert shared == asked["busybox:latest"][0] and 0 < shared < size
        assert {i["SharedSize"] for i in engine.api("GET", "/images/json").json} == {-1} == {i["SharedSize"] for i in engine.api("GET", "/v1.41/images/json?shared-size=1").json}
    finally:
        engine.cli("rmi", name)
    reply = engine.api("GET", "/images/busybox/json?manifests=1&platform=%7B%22os%22:%22linux%22%7D")
    assert reply.status == 400 and "conflicting options" in reply.message
    assert engine.api("POST", "/containers/x/start?checkpoint=y").status == 400


def test_an_image_that_does_not_say_when_it_was_made(engine):
    """Go's zero time, which clients parse."""
    for version in ("1.43", "1.51"):
        assert engine.api("GET", f"/v{version}/images/busybox/json").json["Created"] == "0001-01-01T00:00:00Z"


def wrong(have, want, where):
    """Members that are missing or of another type."""
    return [f"{where}.{k}: {have.get(k, 'missing')!r}" for k, t in want.items() if k not in have or (have[k] is not None if t is None else type(have[k]) is not t)]


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_every_member_in_every_state(engine, name, state):
    made = engine.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["sleep", "1000"]})
    assert made.status == 201
    if state != "created":
        assert engine.api("POST", f"/containers/{name}/start").status == 204
    if state == "exited":
        assert engine.api("POST", f"/containers/{name}/kill").status == 204
    i = engine.inspect(name)
    assert i["State"]["Status"] == state
    faults = wrong(i, WHOLE, "") + wrong(i["Config"], CONFIG, "Config") + wrong(i["HostConfig"], HOST, "HostConfig") + wrong(i["State"], STATE, "State") + \
        wrong(i["NetworkSettings"], NETWORK, "NetworkSettings")
    assert faults == []
    assert (i["Name"], i["Platform"], i["Path"], i["Args"]) == (f"/{name}", "linux", "sleep", ["1000"])
    files = [i[k] != "" for k in ("ResolvConfPath", "HostnamePath", "HostsPath", "LogPath")]
    assert files == [state != "created"] * 4
    assert (i["State"]["StartedAt"] == "0001-01-01T00:00:00Z") == (state == "created")
    assert (i["State"]["FinishedAt"] == "0001-01-01T00:00:00Z") == (state != "exited")
    assert "SizeRw" not in i
    sized = engine.api("GET", f"/containers/{name}/json?size=1").json
    assert type(sized["SizeRw"]) is int and sized["SizeRootFs"] > 100000
    item = next(c for c in engine.api("GET", "/containers/json?all=1").json if c["Id"] == i["Id"])
    assert wrong(item, ITEM, "") == [] and item["Names"] == [f"/{name}"] and item["State"] == state and "SizeRw" not in item


def test_null_and_empty_are_kept_apart(engine, name):
    lists = ["Binds", "Dns", "Devices", "Ulimits", "CapAdd", "Links", "ExtraHosts", "GroupAdd", "SecurityOpt", "DeviceRequests", "BlkioDeviceReadBps"]
    for suffix, value in (("a", []), ("b", None)):
        body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {k: value for k in lists}}
        assert engine.api("POST", f"/containers/create?name={name}{suffix}", body).status == 201
        have = engine.inspect(name + suffix)["HostConfig"]
        assert {k: have[k] for k in lists} == {k: value for k in lists}


# ---- ps
@pytest.fixture
def three(engine, name):
    def make(suffix, **members):
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], **members}
        assert engine.api("POST", f"/containers/create?name={name}-{suffix}", body).status == 201
        return engine.inspect(f"{name}-{suffix}")["Id"]
    ids = {"a": make("a", Labels={"k": "v", "only": ""}, ExposedPorts={"90/udp": {}},
                     HostConfig={"Binds": ["/tmp:/t", f"{name}:/v"], "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}}),
           "b": make("b", Labels={"k": "w"}, Cmd=["sh", "-c", "exit 3"]), "c": make("c")}
    for s in "ab":
        assert engine.api("POST", f"/containers/{name}-{s}/start").status == 204
    engine.api("POST", f"/containers/{name}-b/wait")
    yield ids
    engine.remove_containers()
    engine.api("DELETE", f"/volumes/{name}")


def test_filters_of_the_list(engine, name, three):
    names = {v: k for k, v in three.items()}
    port = str(engine.inspect(f"{name}-a")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])

    def ls(query="all=1", **filters):
        reply = engine.api("GET", f"/containers/json?{query}&filters={urllib.parse.quote(json.dumps(filters))}")
        return "".join(names[c["Id"]] for c in reply.json) if reply.status == 200 else (reply.status, reply.message)
    assert [ls(""), ls(), ls("limit=2"), ls("limit=-1"), ls("all=1&limit=1")] == ["a", "cba", "cb", "a", "c"]
    wanted = [({"status": ["exited"]}, "b"), ({"status": ["created", "running"]}, "ca"), ({"status": ["foo"]}, (400, "invalid filter 'status=foo'")), ({"exited": ["3"]}, "b"),
              ({"exited": ["0"]}, ""), ({"label": ["k"]}, "ba"), ({"label": ["k=v"]}, "a"), ({"label": ["k=v", "only"]}, "a"), ({"label!": ["k"]}, (400, "invalid filter 'label!'")),
              ({"name": [f"{name}-"]}, "cba"), ({"name": [f"^/{name}-a$"]}, "a"), ({"name": [f"^{name}-a$"]}, "a"), ({"id": [three["a"][:9]]}, "a"), ({"id": ["zz"]}, ""),
              ({"health": ["none"]}, "cba"), ({"health": ["foo"]}, (400, "Unrecognised filter value for health: foo")), ({"is-task": ["true"]}, ""), ({"is-task": ["false"]}, "cba"),
              ({"is-task": ["x"]}, (400, "invalid filter 'is-task=[x]'")), ({"volume": [name]}, "a"), ({"volume": ["/v"]}, "a"), ({"volume": ["/tmp"]}, "a"), ({"volume": ["nope"]}, ""),
              ({"network": ["nope"]}, ""), ({"publish": [port]}, "a"), ({"publish": ["1-2/udp"]}, ""), ({"publish": ["x"]}, (400, "invalid filter 'publish=x': expected PORT[-PORT][/PROTOCOL]")),
              ({"expose": ["90/udp"]}, "a"), ({"expose": ["85-95/udp"]}, "a"), ({"expose": ["90"]}, ""), ({"ancestor": ["busybox"]}, "cba"), ({"ancestor": ["busybox:latest"]}, "cba"),
              ({"ancestor": ["nope"]}, ""), ({"before": [f"{name}-b"]}, "a"), ({"since": [f"{name}-a"]}, "cb"), ({"since": [f"{name}-b"], "before": [f"{name}-c"]}, ""),
              ({"before": ["nope"]}, (404, "No such container: nope")), ({"foo": ["x"]}, (400, "invalid filter 'foo'")), ({"status": []}, "cba"), ({"status": ["running"], "label": ["k"]}, "a")]
    assert [(f, ls(**f)) for f, _ in wanted] == wanted
    assert [ls("", exited=["3"]), ls("", status=["exited"]), ls("", before=[f"{name}-c"]), ls("", name=[f"{name}-c"])] == ["", "b", "a", ""]


def test_prune_and_rename(engine, name, three):
    def prune(**filters):
        reply = engine.api("POST", f"/containers/prune?filters={urllib.parse.quote(json.dumps(filters))}")
        return reply.json["ContainersDeleted"] if reply.status == 200 else reply.message
    assert [prune(foo=["x"]), prune(until=["1h"]), prune(label=["k=nope"])] == ["invalid filter 'foo'", None, None]
    assert prune(**{"label!": ["k=w"]}) == [three["c"]]
    assert prune() == [three["b"]]

    def rename(ref, to):
        reply = engine.api("POST", f"/containers/{ref}/rename?name={to}")
        return reply.status if reply.status == 204 else (reply.status, reply.message)
    assert engine.api("POST", f"/containers/create?name={name}-d", {"Image": "busybox", "Cmd": ["true"]}).status == 201
    assert rename(f"{name}-d", f"{name}-e") == 204
    assert rename(f"{name}-e", f"{name}-e") == (400, "Renaming a container with the same name as its current name")
    assert rename(f"{name}-e", f"{name}-a") == (409, f'Error when allocating new name: Conflict. The container name "/{name}-a" is already in use by container "{three["a"]}". '
                                                     "You have to remove (or rename) that container to be able to reuse that name.")
    assert rename(f"{name}-e", "") == (400, "Neither old nor new names may be empty")
    assert rename(f"{name}-e", "-x") == (400, "Error when allocating new name: Invalid container name (-x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    assert rename("nope", "x1") == (404, "No such container: nope")
    assert rename(f"{name}-e", f"/{name}-f") == 204 and engine.inspect(f"{name}-f")["Name"] == f"/{name}-f"
    assert engine.api("GET", "/containers/nope/changes").message == "No such container: nope"
