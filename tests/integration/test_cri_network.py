# SPDX-License-Identifier: Apache-2.0
"""Networks of pods by CNI's plugins as Debian has them: addresses, ports, what a plugin is told, dual stack, bandwidth, and plugins that fail, hang or lie. The network of a pod is
released exactly once."""
import concurrent.futures
import contextlib
import json
import pathlib
import sqlite3
import time

import grpc
import pytest

import cri
from harness import wait_until
from kubelet import refused

def pod_request(kubelet, name):
    return cri.pack("RunPodSandboxRequest", {"config": {"metadata": {"name": name, "uid": name, "namespace": "tests"}, "log_directory": str(kubelet.logs / name)}})


SERVER = "while :; do echo from $HOSTNAME | nc -l -p 80; done"


def serving(pod):
    pod.container("sh", "-c", SERVER, envs=[{"key": "HOSTNAME", "value": pod.name.encode()}])
    return pod


def test_addresses_and_reach(kubelet):
    one, two = serving(kubelet.run_pod()), serving(kubelet.run_pod())
    first = kubelet.subnet.rsplit(".", 1)[0]
    assert one.ip != two.ip and one.ip.startswith(first) and one.ip in "\n".join(one.run("ifconfig"))
    wait_until("it serves", lambda: kubelet.fetch(one.ip, 80, check=False) == f"from {one.name}\n")
    c = one.container()
    wait_until("from a pod to the other", lambda: c.execute("nc", "-w", "2", two.ip, "80").stdout == f"from {two.name}\n".encode())
    # Containers of one pod have one loopback.
    wait_until("by loopback", lambda: c.execute("nc", "-w", "2", "127.0.0.1", "80").stdout == f"from {one.name}\n".encode())
    assert "127.0.0.1" in "\n".join(one.run("ifconfig", "lo"))


def test_published_ports(kubelet):
    pod = serving(kubelet.run_pod(port_mappings=[{"protocol": "TCP", "container_port": 80, "host_port": 18080}, {"protocol": "TCP", "container_port": 81},
                                                 {"protocol": "UDP", "container_port": 53, "host_port": 15353, "host_ip": "127.0.0.1"}]))
    wait_until("it serves", lambda: kubelet.fetch("127.0.0.1", 18080, check=False) == f"from {pod.name}\n")
    (call,) = kubelet.cni_calls("ADD", pod=pod.id)
    told = call["conf"].get("runtimeConfig", {})
    assert "portMappings" not in told, "ours does not have the capability"
    rules = kubelet.inside("iptables-save").stdout
    assert "18080" in rules and "15353" in rules
    pod.stop()
    assert "18080" not in kubelet.inside("iptables-save").stdout
    pod.remove()


def test_what_a_plugin_is_told(kubelet):
    own = {"type": "recorder", "record": str(kubelet.root / "cni-calls-2"), "behave": str(kubelet.root / "cni-behaviour"), "capabilities": {"portMappings": True, "bandwidth": True, "dns": True, "io.kubernetes.cri.pod-annotations": True}}
    kubelet.write_cni(own)
    pod = kubelet.run_pod(port_mappings=[{"protocol": "UDP", "container_port": 53, "host_port": 15353, "host_ip": "127.0.0.1"}, {"container_port": 99}], dns_config={"servers": ["192.0.2.1"], "searches": ["a.example"], "options": ["x"]},
                          annotations={"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1Gi", "own": "1"})
    pod.stop()
    add, delete = [json.loads(line) for line in (kubelet.root / "cni-calls-2").read_text().splitlines()]
    for call in (add, delete):
        args = dict(a.split("=", 1) for a in call["ARGS"].split(";"))
        meta = pod.config["metadata"]
        assert {k: args[k] for k in ("IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID")} == {
            "IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "tests", "K8S_POD_NAME": meta["name"], "K8S_POD_INFRA_CONTAINER_ID": pod.id, "K8S_POD_UID": meta["uid"]}
        assert (call["CONTAINERID"], call["IFNAME"]) == (pod.id, "eth0") and call["netns_is_there"] and call["NETNS"].startswith("/") and str(kubelet.plugins) in call["PATH"].split(":")
        told = call["conf"]["runtimeConfig"]
        assert told["portMappings"] == [{"hostPort": 15353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}]
        assert told["bandwidth"]["ingressRate"] == 10_000_000 and told["bandwidth"]["egressRate"] == 1 << 30
        assert told["dns"] == {"servers": ["192.0.2.1"], "searches": ["a.example"], "options": ["x"]}
        assert told["io.kubernetes.cri.pod-annotations"]["own"] == "1"
        assert call["conf"]["name"] == "net-of-tests" and call["conf"]["cniVersion"] == "1.0.0"
        assert "LD_PRELOAD" not in call["environment"] and not [e for e in call["environment"] if "TOKEN" in e]
    assert delete["conf"]["prevResult"]["ips"] == add["conf"]["prevResult"]["ips"]


def test_ranges_and_cgroups_are_told(new_kubelet, folder):
    """To who has these capabilities. The ranges are those that a kubelet said last, to this engine or an earlier one."""
    kubelet = new_kubelet()
    calls = folder / "calls"
    kubelet.write_cni({"type": "recorder", "record": str(calls), "behave": str(kubelet.root / "cni-behaviour"), "capabilities": {"ipRanges": True, "cgroupPath": True}})

    def told(**linux):
        pod = kubelet.run_pod(linux_part=linux)
        said = json.loads(calls.read_text().splitlines()[-1])["conf"].get("runtimeConfig", {})
        pod.remove()
        assert json.loads(calls.read_text().splitlines()[-1])["conf"].get("runtimeConfig", {}) == said
        return said

    def ranges(cidr):
        kubelet.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": cidr}})

    parent = f"/{kubelet.room.cgroup}/told"
    assert told(cgroup_parent=parent) == {"cgroupPath": parent}
    for d in kubelet.room.cgroups():
        d.rmdir()
    assert "ipRanges" not in told()
    ranges("10.1.0.0/16,fd00:1::/64")
    both = [[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd00:1::/64"}]]
    assert told()["ipRanges"] == both
    ranges("")
    for lie in ("10.1.0.0", "10.1.0.0/33", "10.1.0.0/16,", "10.1.0.0/16,x/3", ",".join(["10.1.0.0/16"] * 9), "\"}/8"):
        with refused("INVALID_ARGUMENT", text="pod_cidr"):
            ranges(lie)
    kubelet.kill()
    kubelet.start()
    assert told()["ipRanges"] == both
    ranges("10.2.3.0/16")
    kubelet.restart()
    assert told()["ipRanges"] == [[{"subnet": "10.2.0.0/16"}]]


def test_both_families(kubelet):
    kubelet.write_cni(ranges=[[{"subnet": kubelet.subnet}], [{"subnet": "fd00:77::/64"}]])
    pod = kubelet.run_pod()
    status = pod.status().network
    assert status.ip.count(".") == 3 and [a.ip for a in status.additional_ips] and status.additional_ips[0].ip.startswith("fd00:77::")
    pod.remove()


def system_check(kubelet):
    p = kubelet.engine.cli("system", "check", "-q", check=False)
    return p.returncode, p.stdout


def test_system_check_asks_the_plugins(kubelet):
    """CHECK of every pod that runs: those of Debian miss what somebody has taken away."""
    whole, broken, ended, host = kubelet.run_pod(), kubelet.run_pod(), kubelet.run_pod(), kubelet.host_pod()
    ended.stop()
    assert system_check(kubelet)[0] == 0, system_check(kubelet)
    calls = kubelet.cni_calls("CHECK")
    assert {c["CONTAINERID"] for c in calls} == {whole.id, broken.id}
    (add,) = kubelet.cni_calls("ADD", pod=whole.id)
    (check,) = kubelet.cni_calls("CHECK", pod=whole.id)
    assert check["conf"]["prevResult"]["ips"] == add["conf"]["prevResult"]["ips"] and check["NETNS"] == add["NETNS"] and check["netns_is_there"]
    kubelet.inside("nsenter", f"--net={kubelet.cni_calls('ADD', pod=broken.id)[0]['NETNS']}", "ip", "address", "flush", "dev", "eth0")
    status, said = system_check(kubelet)
    assert status == 1 and f"pod {broken.id}: " in said and "crictl rmp" in said and whole.id not in said and host.id not in said
    broken.remove()
    assert system_check(kubelet)[0] == 0, system_check(kubelet)


@pytest.mark.parametrize("how, text", [("fail", "the plugin does not want to"), ("flood of errors", "at last"), ("crash", "recorder")])
def test_a_check_that_goes_wrong_harms_nothing(kubelet, pod, how, text):
    kubelet.behave(CHECK=how)
    status, said = system_check(kubelet)
    assert status == 1 and f"pod {pod.id}: " in said and text in said and len(said) < 8000
    kubelet.behave()
    assert system_check(kubelet)[0] == 0, system_check(kubelet)
    assert pod.status().state == "SANDBOX_READY"


def test_a_check_that_hangs_ends_with_who_asked(kubelet, pod):
    kubelet.behave(CHECK="hang")
    asking = kubelet.engine.popen("system", "check", "-q")
    wait_until("the plugin is at work", lambda: kubelet.cni_calls("CHECK"))
    asking.kill()
    asking.wait()
    kubelet.behave()
    wait_until("its processes have gone", lambda: not recorders(kubelet))
    pod.stop()


def test_networks_that_cannot_be_checked(kubelet):
    """Before 0.4.0 there is no CHECK, and a network may have it switched off."""
    for more in ({"cniVersion": "0.3.1"}, {"disableCheck": True}):
        written = json.loads((kubelet.cni / "10-test.conflist").read_text()) | more
        (kubelet.cni / "10-test.conflist").write_text(json.dumps(written))
        pod = kubelet.run_pod()
        assert system_check(kubelet)[0] == 0, system_check(kubelet)
        assert not kubelet.cni_calls("CHECK")
        pod.remove()


def test_without_a_door_no_pod_is_called_broken(new_kubelet):
    """There is nobody to ask then."""
    kubelet = new_kubelet()
    pod = kubelet.run_pod()
    usual = kubelet.engine.options
    kubelet.engine.stop()
    kubelet.engine.options = ("--insecure-registry", "127.0.0.0/8")
    kubelet.engine.start()
    assert system_check(kubelet)[0] == 0, system_check(kubelet)
    kubelet.engine.stop()
    kubelet.engine.options = usual
    kubelet.start()
    assert pod.status().state == "SANDBOX_READY"


def test_the_nodes_own_network(kubelet):
    pod = kubelet.host_pod()
    assert "irkcri" in "\n".join(pod.run("cat", "/proc/net/dev"))
    assert pod.ip == "" and not kubelet.cni_calls("ADD", "DEL")
    pod.stop()
    assert not kubelet.cni_calls("DEL")


def test_the_configuration_changes_while_a_pod_runs(kubelet):
    """It is released as it was made."""
    pod = kubelet.run_pod()
    (kubelet.cni / "10-test.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "no-such-plugin"}]}))
    pod.stop()
    pod.remove()
    (call,) = kubelet.cni_calls("DEL", pod=pod.id)
    assert call["conf"]["name"] == "net-of-tests"


def test_released_once(kubelet, pod):
    for _ in range(3):
        pod.stop()
    kubelet.restart()
    pod.stop()
    pod.remove()
    pod.remove()
    assert [c["COMMAND"] for c in kubelet.cni_calls("ADD", "DEL", pod=pod.id)] == ["ADD", "DEL"]


def test_somebody_takes_the_namespace_away(kubelet, pod):
    (add,) = kubelet.cni_calls("ADD", pod=pod.id)
    kubelet.inside("umount", add["NETNS"])
    kubelet.room.path(add["NETNS"]).unlink()
    pod.stop()
    pod.remove()


def test_somebody_unmounts_the_namespace(kubelet, pod):
    (add,) = kubelet.cni_calls("ADD", pod=pod.id)
    kubelet.inside("umount", add["NETNS"])
    pod.stop()
    (told,) = kubelet.cni_calls("DEL", pod=pod.id)
    assert told["NETNS"] == "" and not kubelet.room.path(add["NETNS"]).exists()


def test_a_pod_whose_record_is_lost(kubelet):
    """Its network goes, with the name of its namespace; others' stay."""
    kept, lost = kubelet.run_pod(), kubelet.run_pod()
    names = [kubelet.cni_calls("ADD", pod=p.id)[0]["NETNS"] for p in (kept, lost)]
    kubelet.kill()
    with contextlib.closing(sqlite3.connect(kubelet.engine.data_root / "ireko.db")) as db, db:
        assert db.execute("DELETE FROM doc WHERE key = ?", (lost.id,)).rowcount == 1
    kubelet.start()
    wait_until("it was released", lambda: len(kubelet.cni_calls("DEL", pod=lost.id)) == 1)
    wait_until("its namespace has no name", lambda: not kubelet.room.path(names[1]).exists())
    assert kubelet.pods() == {kept.id} and kubelet.room.path(names[0]).exists() and not kubelet.cni_calls("DEL", pod=kept.id)


def test_a_stop_while_the_network_is_made(kubelet):
    """It waits for that, and then all of it ends."""
    kubelet.behave(ADD="slow")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(kubelet.run_pod)
        wait_until("the plugin is at work", lambda: kubelet.cni_calls("ADD"))
        (id,) = kubelet.pods()
        began = time.monotonic()
        kubelet.StopPodSandbox(pod_sandbox_id=id)
        assert time.monotonic() - began < 10
        pod = running.result()
    assert pod.status().state == "SANDBOX_NOTREADY" and [c["COMMAND"] for c in kubelet.cni_calls("ADD", "DEL", pod=id)] == ["ADD", "DEL"]
    pod.remove()
    assert not kubelet.leftovers()


# ---- plugins that are not as they should be

@pytest.mark.parametrize("how, text", [("fail", "the plugin does not want to"), ("fail without a word", "recorder"), ("crash", "recorder"), ("say nothing", "recorder"), ("no JSON", "recorder"), ("flood of errors", "at last"),
                                       ("flood", "recorder"),
                                       ("an address that is none", "an address that is none"), ("an address that is a path", "an address that is none"), ("another version", "99.0.0"), ("a list for a result", "recorder"), ("depth", "recorder")])
def test_an_add_that_goes_wrong(kubelet, how, text):
    kubelet.behave(ADD=how)
    with pytest.raises(grpc.RpcError) as caught:
        kubelet.run_pod()
    assert text in caught.value.details(), caught.value.details()
    assert len(caught.value.details()) < 5000
    assert not kubelet.pods() and not kubelet.leftovers() and not kubelet.engine.shims()
    adds, dels = kubelet.cni_calls("ADD"), kubelet.cni_calls("DEL")
    assert len(adds) == len(dels) == 1 and adds[0]["CONTAINERID"] == dels[0]["CONTAINERID"]
    kubelet.behave()
    kubelet.run_pod()


@pytest.mark.parametrize("how", ["an index of no interface", "addresses without end", "a name with a line break"])
def test_an_answer_that_lies(kubelet, how):
    """It is believed as far as it can do no harm, or refused: nothing of ours breaks, and the network is released."""
    kubelet.behave(ADD=how)
    try:
        pod = kubelet.run_pod()
    except grpc.RpcError as e:
        assert len(e.details()) < 5000
        assert len(kubelet.cni_calls("DEL")) == 1
    else:
        status = pod.status().network
        assert len(status.additional_ips) < 1000 and "\n" not in status.ip
        assert "192.0.2.66" not in "\n".join(pod.run("cat", "/etc/resolv.conf", "/etc/hosts"))
        pod.remove()
    kubelet.behave()
    assert kubelet.Status().status.conditions


def test_an_add_that_hangs_is_given_up(kubelet):
    """With all that the plugin has started."""
    kubelet.behave(ADD="hang")
    began = time.monotonic()
    with refused("DEADLINE_EXCEEDED", "CANCELLED"):
        kubelet.run_pod(deadline=1)
    assert time.monotonic() - began < 20
    wait_until(lambda: f"nothing is left: {kubelet.leftovers()}", lambda: not kubelet.leftovers() and not kubelet.pods() and len(kubelet.cni_calls("DEL")) == 1, seconds=20)
    wait_until("its processes have gone", lambda: not recorders(kubelet))
    kubelet.behave()
    kubelet.run_pod()


def recorders(kubelet):
    found = []
    for pid in kubelet.room.processes():
        try:
            found += [pid] * (b"recorder" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            pass
    return found


def test_one_that_hangs_holds_up_nobody_else(kubelet):
    kubelet.behave(ADD="hang")
    call = kubelet.client.channel.unary_unary("/runtime.v1.RuntimeService/RunPodSandbox").future(pod_request(kubelet, "hanging"))
    try:
        wait_until("it hangs", lambda: kubelet.cni_calls("ADD"))
        kubelet.behave()
        pod = kubelet.run_pod()
        assert pod.run("echo", "x") == ["x"]
        kubelet.Status()
        pod.remove()
    finally:
        call.cancel()
    wait_until("the other is given up", lambda: not recorders(kubelet) and len(kubelet.pods()) == 0, seconds=20)


def test_a_process_that_is_left_behind(kubelet):
    kubelet.behave(ADD="leave a process")
    began = time.monotonic()
    pod = kubelet.run_pod()
    assert time.monotonic() - began < 20
    wait_until("it is ended", lambda: not recorders(kubelet))
    pod.remove()


@pytest.mark.parametrize("how", ["fail", "crash", "fail without a word"])
def test_a_del_that_fails_is_told_and_made_again(kubelet, pod, how):
    kubelet.behave(DEL=how)
    with pytest.raises(grpc.RpcError):
        pod.stop()
    # Nothing of it runs, but it is not released yet.
    assert pod.status().state == "SANDBOX_NOTREADY"
    with pytest.raises(grpc.RpcError):
        pod.remove()
    assert kubelet.pods() == {pod.id}
    kubelet.restart()
    kubelet.behave()
    pod.stop()
    done = len(kubelet.cni_calls("DEL", pod=pod.id))
    pod.remove()
    assert len(kubelet.cni_calls("DEL", pod=pod.id)) == done and not kubelet.pods()


def test_a_kill_while_a_plugin_runs(kubelet):
    """What the engine has begun is taken down by the next one: the network too, once."""
    kubelet.behave(ADD="hang")
    call = kubelet.client.channel.unary_unary("/runtime.v1.RuntimeService/RunPodSandbox").future(pod_request(kubelet, "killed"))
    wait_until("it hangs", lambda: kubelet.cni_calls("ADD"))
    kubelet.kill()
    call.cancel()
    kubelet.behave()
    assert recorders(kubelet), "the plugin is still at it"
    kubelet.start()
    wait_until(lambda: f"nothing is left: {kubelet.leftovers()} {kubelet.pods()}", lambda: not kubelet.leftovers() and not kubelet.pods(), seconds=20)
    assert [c["COMMAND"] for c in kubelet.cni_calls("ADD", "DEL")] == ["ADD", "DEL"]
    assert not recorders(kubelet)
