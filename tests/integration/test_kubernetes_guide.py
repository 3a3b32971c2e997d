# SPDX-License-Identifier: Apache-2.0
"""docs/kubernetes.md: the files that it shows are taken out of it and used, on an engine in a network namespace of its own, by Debian's CNI plugins."""
import ipaddress
import json
import os
import pathlib
import re
import shutil
import socket
import sys

import grpc
import pytest

from cri import Client
from harness import BUILD, ROOT, Engine, free_port, program, run, temp_folder, wait_until

GUIDE = (ROOT / "docs/kubernetes.md").read_text()
PLUGINS = pathlib.Path("/usr/lib/cni")
SOCKET = "unix:///run/ireko/cri.sock"


def shown(path):
    """The file that the guide shows under that name: the block behind the line that has the name alone."""
    head, _, rest = GUIDE.partition(f"\n`{path}`:\n\n")
    assert rest, f"the guide shows no {path}"
    lines = []
    for line in rest.splitlines():
        if line.strip() and not line.startswith("    "):
            break
        lines.append(line[4:])
    # A file ends at the first empty line that commands follow.
    return re.split(r"\n\n(?=sudo )", "\n".join(lines))[0].strip("\n") + "\n"


@pytest.fixture(scope="module")
def engine():
    assert (PLUGINS / "bridge").exists(), "no CNI plugins in /usr/lib/cni: run tools/deps test"
    root = temp_folder("node")
    (root / "net.d").mkdir()
    e = Engine("--cri", f"unix://{root}/cri.sock", "--cni-conf-dir", root / "net.d", "--cni-cache-dir", root / "cni", "--netns-dir", root / "netns", root=root,
               prefix=("unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0" "$@"')).start()
    e.load_busybox()
    yield e
    e.destroy()


@pytest.fixture
def cri(engine):
    with Client(engine.root / "cri.sock") as c:
        yield c
        for p in c.ListPodSandbox().items:
            c.RemovePodSandbox(pod_sandbox_id=p.id)


def network_ready(cri):
    return next(c for c in cri.Status().status.conditions if c.type == "NetworkReady")


def in_node(engine, *args):
    return run("nsenter", f"--net=/proc/{engine.p.pid}/ns/net", *args).stdout


def install_network(engine):
    """The guide's, with its leases below the test's root."""
    document = json.loads(shown("/etc/cni/net.d/10-pods.conflist"))
    document["plugins"][0]["ipam"]["dataDir"] = str(engine.root / "ipam")
    (engine.root / "net.d/10-pods.conflist").write_text(json.dumps(document))


def pod_config(engine, name, **more):
    return dict(metadata=dict(name=name, uid=f"uid-{name}", namespace="guide"), log_directory=str(engine.root / "logs" / name), linux_part=dict(security_context=dict(namespace_options=dict(network="POD"))), **more)


# ---- what stands in several files is one thing
def test_every_file_names_the_same_socket():
    assert json.loads(shown("/etc/ireko/daemon.json"))["cri"] == [SOCKET]
    crictl = dict(re.findall(r"^([\w-]+): (.+)$", shown("/etc/crictl.yaml"), re.M))
    assert crictl == {"runtime-endpoint": SOCKET, "image-endpoint": SOCKET, "timeout": "10"}
    kubelet = shown("/var/lib/kubelet/config.yaml")
    assert f"\ncontainerRuntimeEndpoint: {SOCKET}\n" in kubelet and "cgroupDriver" not in kubelet, "the driver is the engine's to tell"
    assert re.findall(r"criSocket: (\S+)", shown("kubeadm.yaml")) == [SOCKET]
    assert f"--cri-socket {SOCKET}" in GUIDE


def test_the_engine_takes_its_file(tmp_path):
    file = tmp_path / "daemon.json"
    file.write_text(shown("/etc/ireko/daemon.json"))
    run(BUILD / "irekod", "--validate", "--config-file", file)


def test_addresses_of_pods_are_the_clusters():
    ranges = [ipaddress.ip_network(r[0]["subnet"]) for r in json.loads(shown("/etc/cni/net.d/10-pods.conflist"))["plugins"][0]["ipam"]["ranges"]]
    cluster = ipaddress.ip_network(re.search(r"podSubnet: (\S+)", shown("kubeadm.yaml")).group(1))
    assert ranges[0].subnet_of(cluster) and ranges[1].version == 6


def test_ids_of_user_namespaces():
    for path in ("/etc/subuid", "/etc/subgid"):
        owner, first, count = shown(path).strip().split(":")
        # A kubelet gives each pod 65536 of them, beginning with a multiple of that.
        assert owner == "kubelet" and int(first) % 65536 == 0 and int(count) % 65536 == 0 and int(first) >= 65536
        assert int(first) + int(count) < 2**31


def test_settings_of_the_kernel_exist():
    for line in shown("/etc/sysctl.d/99-kubernetes.conf").splitlines():
        name, value = line.split(" = ")
        # Those of bridges come with the module br_netfilter.
        assert value == "1" and (name.startswith("net.bridge.") or pathlib.Path("/proc/sys", *name.split(".")).exists()), line
    assert shown("/etc/modules-load.d/kubernetes.conf").split() == ["overlay", "br_netfilter"]


def test_units(tmp_path):
    """The units as they are installed, and the guide's addition, are what systemd takes them for."""
    units = tmp_path / "units"
    (units / "kubelet.service.d").mkdir(parents=True)
    source = ROOT / "src/cmd/irekod/systemd"
    (units / "ireko.service").write_text((source / "ireko.service.in").read_text().replace("@bindir@", str(BUILD.resolve())))
    shutil.copy(source / "ireko.socket", units)
    (units / "kubelet.service").write_text("[Service]\nExecStart=/bin/true\n")
    (units / "kubelet.service.d/20-ireko.conf").write_text(shown("/etc/systemd/system/kubelet.service.d/20-ireko.conf"))
    for unit in ("ireko.service", "ireko.socket"):
        assert unit in GUIDE
    p = run(program("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", "kubelet.service", "ireko.service", "ireko.socket", env=dict(os.environ, SYSTEMD_UNIT_PATH=f"{units}:"), cwd=units, check=False)
    ours = [line for line in p.stderr.splitlines() if str(units) in line or line.startswith(("ireko.", "kubelet."))]
    assert not ours, p.stderr


def test_settings():
    """The table has all that is for pods and their door, under the names and with the defaults that the engine knows, and so does the manual page, which is made of the help."""
    said = " ".join(run(BUILD / "irekod", "--help").stdout.split())
    rows = re.findall(r"^\| (`[^|]+`) \|[^|]+\| ([^|]+) \|$", GUIDE.partition("\n## Settings\n")[2].partition("\n## ")[0], re.M)
    flags = {}
    for keys, default in rows:
        for key in re.findall(r"`([\w-]+)`", keys):
            flags["cni-bin-dir" if key == "cni-bin-dirs" else key] = default
    assert set(re.findall(r"--((?:cri|cni|netns|sandbox)[\w-]*)", said)) | {"cgroup-driver"} == set(flags)
    for flag, default in flags.items():
        help_ = said.partition(f" --{flag} ")[2].partition(" --")[0]
        assert all(d in help_ for d in re.findall(r"`([^`]+)`", default)), (flag, default, help_)


# ---- and it works
def test_the_kubelet_is_told_the_driver(cri):
    """This engine's is the one without a setting; the guide's has one, and kubeadm's file says the same for kubelets that do not ask."""
    assert cri.RuntimeConfig().linux_part.cgroup_driver == "CGROUPFS"
    assert json.loads(shown("/etc/ireko/daemon.json"))["cgroup-driver"] == re.search(r"cgroupDriver: (\S+)", shown("kubeadm.yaml")).group(1) == "systemd"


def test_a_node_is_ready_when_its_network_is(engine, cri):
    (engine.root / "net.d/10-pods.conflist").unlink(missing_ok=True)
    said = network_ready(cri)
    assert not said.status and said.reason == "NetworkPluginNotReady" and str(engine.root / "net.d") in said.message
    with pytest.raises(grpc.RpcError) as caught:
        cri.RunPodSandbox(config=pod_config(engine, "early"))
    assert "no CNI configuration" in caught.value.details()
    install_network(engine)
    assert network_ready(cri).status


def test_a_pod_on_the_guides_network(engine, cri):
    install_network(engine)
    port = free_port()
    pod = cri.RunPodSandbox(config=pod_config(engine, "web", port_mappings=[dict(protocol="TCP", container_port=80, host_port=port)], annotations={"kubernetes.io/ingress-bandwidth": "10M"})).pod_sandbox_id
    network = cri.PodSandboxStatus(pod_sandbox_id=pod).status.network
    assert ipaddress.ip_address(network.ip) in ipaddress.ip_network("10.244.0.0/24")
    assert [ipaddress.ip_address(a.ip) in ipaddress.ip_network("fd00:10:244::/64") for a in network.additional_ips] == [True]
    config = dict(metadata=dict(name="main"), image=dict(image="busybox"), command=["sh", "-c", "echo hello >/index.html; exec httpd -f -p 80 -h /"], log_path="main.log")
    container = cri.CreateContainer(pod_sandbox_id=pod, config=config).container_id
    cri.StartContainer(container_id=container)
    fetch = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).read().decode())"
    for address in (f"{network.ip}:80", f"[{network.additional_ips[0].ip}]:80", f"10.244.0.1:{port}"):
        wait_until(f"{address} answers", lambda a=address: run("nsenter", f"--net=/proc/{engine.p.pid}/ns/net", sys.executable, "-c", fetch, f"http://{a}/", check=False).stdout == "hello\n\n")
    assert "tbf" in in_node(engine, "tc", "qdisc"), "bandwidth limits it"
    cri.StopPodSandbox(pod_sandbox_id=pod)
    cri.RemovePodSandbox(pod_sandbox_id=pod)
    assert "veth" not in in_node(engine, "ip", "-o", "link")
    assert str(port) not in in_node(engine, "iptables-save", "-t", "nat")
    assert not list((engine.root / "cni/results").iterdir()) and not list((engine.root / "netns").iterdir())
    assert not [f for f in (engine.root / "ipam/pods").iterdir() if re.match(r"10\.|fd", f.name)]


def test_a_pod_of_two_files(engine, cri):
    """Those for crictl, with their log below the test's root: crictl sends what they say, and messages have the same names."""
    install_network(engine)
    pod, config = (json.loads(shown(f"{what}.json")) for what in ("pod", "container"))
    pod["log_directory"] = str(engine.root / "logs/try")
    for document in (pod, config):
        document["linux_part"] = document.pop("linux")
    sandbox = cri.RunPodSandbox(config=pod).pod_sandbox_id
    container = cri.CreateContainer(pod_sandbox_id=sandbox, config=config, sandbox_config=pod).container_id
    cri.StartContainer(container_id=container)
    log = engine.root / "logs/try/main.log"
    wait_until("its log is there", lambda: log.exists() and log.read_text().endswith(" stdout F hello\n"))
    for verb in ("restart", "rename?name=other", "update"):
        assert engine.api("POST", f"/containers/{container}/{verb}", {}).status == 409, f"the guide says that the engine refuses {verb}"
    cri.StopContainer(container_id=container)
    assert engine.api("POST", f"/containers/{container}/start").status == engine.api("DELETE", f"/containers/{container}").status == 409
    assert engine.api("POST", "/containers/prune").json["ContainersDeleted"] in (None, []) and cri.ContainerStatus(container_id=container).status.state == "CONTAINER_EXITED"


def test_what_is_said_of_trouble(engine, cri):
    """The table at the end of the guide."""
    (engine.root / "net.d/05-broken.conflist").write_text('{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "no-such-plugin"}]}')
    try:
        assert "no program of CNI plugin no-such-plugin" in network_ready(cri).message and str(PLUGINS) in network_ready(cri).message
        (engine.root / "net.d/05-broken.conflist").write_text("{")
        assert "05-broken.conflist" in network_ready(cri).message, "the next one by name is not taken for it"
    finally:
        (engine.root / "net.d/05-broken.conflist").unlink()


def test_the_socket_is_nobody_elses(engine):
    st = os.stat(engine.root / "cri.sock")
    assert st.st_uid == 0 and st.st_mode & 0o007 == 0
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(engine.root / "cri.sock"))
