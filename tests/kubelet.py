# SPDX-License-Identifier: Apache-2.0
"""What a kubelet does, for tests of its door: an engine with --cri in a Room (a network and a /run of its own), a CNI configuration of Debian's plugins with ours behind them
(tests/cni_plugin.py, which counts), pods, containers and their logs.

A Pod or Container is what a test has made; what a call answers is a cri.Message. Fields are given as the protocol has them, and laid over what is usual.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import uuid

import grpc
import pytest

import harness
from cri import Client
from harness import Engine, Registry, program, run, wait_until
from room import Room

CNI_PLUGINS = pathlib.Path("/usr/lib/cni")
BRIDGE = "irkcri"
HOST = "127.0.0.1:5000"  # the registry, in the room's network
SEEDED = f"{HOST}/busybox:1"
USERS = {"uid": "1002", "name": "user", "uid-group": "1003:2000", "name-group": "user:extra"}


def over(usual, given):
    """`given` laid over `usual`; None takes a field away."""
    out = dict(usual)
    for k, v in given.items():
        if v is None:
            out.pop(k, None)
        else:
            out[k] = over(out.get(k, {}), v) if isinstance(v, dict) and isinstance(out.get(k, {}), dict) else v
    return out


def context(**fields):
    """linux_part of a container or pod with that in its security context."""
    return {"security_context": fields}


@contextlib.contextmanager
def refused(*codes, text=""):
    """The call inside fails with one of these codes, and says that."""
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    said = caught.value
    assert said.code().name in codes and text in said.details(), said


class Kubelet:
    def __init__(self, *options, under=()):
        assert (CNI_PLUGINS / "bridge").exists(), f"{CNI_PLUGINS}/bridge is missing: run tools/deps test"
        self.room = Room("kubelet")
        try:
            self._make(options, under)
        except BaseException:
            self._abandon()
            raise

    def _make(self, options, under):
        root = self.root = self.room.root
        self.subnet = harness.free_subnet()
        self.plugins, self.cni, self.logs = root / "plugins", root / "cni", root / "ログ 1"
        for d in (self.plugins, self.cni, self.logs, root / "engine"):
            d.mkdir()
        for plugin in CNI_PLUGINS.iterdir():
            (self.plugins / plugin.name).symlink_to(plugin)
        shutil.copy(harness.ROOT / "tests/cni_plugin.py", self.plugins / "recorder")
        self.behave()
        self.write_cni()
        self.socket = root / "cri.sock"
        self.engine = Engine("--cri", f"unix://{self.socket}", "--cni-conf-dir", self.cni, "--cni-bin-dir", self.plugins, "--cni-cache-dir", root / "cni-cache", "--insecure-registry", "127.0.0.0/8",
                             *options, root=root / "engine", prefix=(*self.room.prefix, *under))
        self.client = None
        self.start()

    def start(self):
        self.engine.start()
        self.connect()
        return self

    def connect(self):
        if self.client:
            self.client.close()
        self.client = Client(self.socket)

    def kill(self):
        self.engine.kill()

    def restart(self):
        self.engine.stop()
        return self.start()

    def __getattr__(self, method):
        if method.startswith("_") or method == "client":
            raise AttributeError(method)
        return getattr(self.client, method)

    # ---- CNI
    def write_cni(self, *more, name="10-test.conflist", version="1.0.0", ranges=None, **first):
        """The bridge, port mapping and our own plugin; `more`: plugins before ours."""
        ranges = ranges or [[{"subnet": self.subnet}]]
        bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": True, "hairpinMode": True,
                  "ipam": {"type": "host-local", "dataDir": str(self.root / "ipam"), "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}, **first}
        own = {"type": "recorder", "record": str(self.root / "cni-calls"), "behave": str(self.root / "cni-behaviour")}
        text = json.dumps({"cniVersion": version, "name": "net-of-tests", "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}, *more, own]})
        new = self.root / "conflist.new"
        new.write_text(text)
        new.rename(self.cni / name)

    def behave(self, **how):
        (self.root / "cni-behaviour").write_text(json.dumps(how))

    def cni_calls(self, *commands, pod=None):
        path = self.root / "cni-calls"
        calls = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [c for c in calls if (not commands or c["COMMAND"] in commands) and (pod is None or c["CONTAINERID"] == pod)]

    def forget_calls(self):
        (self.root / "cni-calls").unlink(missing_ok=True)

    def addresses(self):
        """That host-local has given out."""
        return sorted(p.name for p in (self.root / "ipam/net-of-tests").glob("[0-9]*"))

    def leftovers(self):
        """What pods that are no more have left: ports of the bridge, addresses, rules, network namespaces, results of CNI, cgroups."""
        links = run(*self.room.prefix, "ip", "-o", "link").stdout
        rules = run(*self.room.prefix, program("iptables-save"), check=False).stdout
        mounts = [m for m in self.room.mounts() if "/netns/" in m or "/containers/" in m]
        # Half a record of an engine that was killed (.tmp-) goes with a later start.
        results = [str(p) for p in (self.root / "cni-cache/results").glob("[!.]*")]
        cgroups = [str(d) for d in harness.cgroups_named(f"ireko_{self.engine.mark}") if re.search(r"[0-9a-f]{64}", d.name)]
        return [*re.findall(r"veth\w+", links), *self.addresses(), *re.findall(r"-A CNI-DN-\w+ .*", rules), *mounts, *results, *cgroups]

    # ---- images
    def serve_images(self):
        """A registry in the room's network, with busybox in it and images that say who their user is."""
        data = self.root / "registry"
        data.mkdir()
        seed = Registry(data=data)
        try:
            self.digest, _ = seed.push_image("busybox", "1", [harness.busybox_layer()], Cmd=["sh"], Env=["PATH=/usr/bin:/bin", "FROM_IMAGE=yes"])
            seed.push_image("busybox", "2", [harness.busybox_layer()], Cmd=["sh"], Env=["PATH=/usr/bin:/bin", "TWO=2"])
            for what, user in USERS.items():
                seed.push_image(f"user-{what}", "1", [harness.busybox_layer()], Cmd=["sh"], Env=["PATH=/usr/bin:/bin"], User=user)
            seed.push_image("entry", "1", [harness.busybox_layer()], Entrypoint=["echo", "entry"], Cmd=["word", "of", "image"], WorkingDir="/tmp", Env=["PATH=/usr/bin:/bin", "FROM_IMAGE=yes"])
        finally:
            seed.close()
        config = self.root / "registry.yml"
        config.write_text(f"version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: '{data}'}}\nhttp:\n  addr: {HOST}\n")
        self.room.daemon(program("docker-registry"), "serve", config)
        wait_until("the registry answers", lambda: self.room.run(program("busybox"), "wget", "-qO", "-", f"http://{HOST}/v2/", check=False).returncode == 0)
        return self

    def pull(self, image=SEEDED, **fields):
        return self.PullImage(image={"image": image}, **fields).image_ref

    # ---- pods
    def run_pod(self, handler="", deadline=None, **fields):
        uid = str(uuid.uuid4())
        name = f"pod-{uid[:8]}"
        usual = {"metadata": {"name": name, "uid": uid, "namespace": "tests", "attempt": 0}, "hostname": name, "log_directory": str(self.logs / uid),
                 "labels": {"made-by": "tests"}, "annotations": {}, "linux_part": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}}
        config = over(usual, fields)
        pathlib.Path(config["log_directory"]).mkdir(exist_ok=True)
        answer = self.RunPodSandbox(config=config, runtime_handler=handler, rpc_timeout=deadline)
        return Pod(self, answer.pod_sandbox_id, config)

    def host_pod(self, **fields):
        """With the node's network."""
        return self.run_pod(**over({"hostname": "", "linux_part": context(namespace_options={"network": "NODE", "pid": "CONTAINER"})}, fields))

    def pods(self):
        return {p.id for p in self.ListPodSandbox().items}

    def containers(self):
        return {c.id for c in self.ListContainers().containers}

    def remove_pods(self):
        for pod in self.ListPodSandbox().items:
            self.StopPodSandbox(pod_sandbox_id=pod.id)
            self.RemovePodSandbox(pod_sandbox_id=pod.id)

    # ---- ends
    def after_test(self):
        """Everything that a test has made goes, and leaves nothing; the door and CNI are as at first."""
        self.behave()
        for name in os.listdir(self.cni):
            (self.cni / name).unlink()
        self.write_cni()
        self.remove_pods()
        assert not self.containers(), "containers stayed when their pods went"
        with contextlib.suppress(AssertionError):
            wait_until("nothing is left", lambda: not self.leftovers() and not self.engine.shims())
        left = [*self.leftovers(), *self.engine.shims()]
        self.forget_calls()
        for d in self.logs.iterdir():
            shutil.rmtree(d)
        assert not left, f"left behind: {left}\n{self.engine.log_text()}"

    def close(self):
        try:
            if self.engine.p is not None:
                self.remove_pods()
            if self.client:
                self.client.close()
            self.engine.destroy(keep_files=True)
        except BaseException:
            self._abandon()
            raise
        # The bridge's plugin leaves its bridge, as everywhere.
        self.room.close()

    def _abandon(self):
        if hasattr(self, "engine"):
            self.engine._force_clean()
        self.room._tear_down()

    def inside(self, *args, **kw):
        """A program in the node's namespaces."""
        return self.room.run(*args, **kw)

    def fetch(self, address, port, check=True):
        """What somebody on the node is told at that port."""
        p = self.inside(program("busybox"), "nc", "-w", "2", address, str(port), check=False, timeout=10)
        assert not check or p.returncode == 0, p.stderr
        return p.stdout

    def log_text(self):
        return self.engine.log_text()


class Pod:
    def __init__(self, kubelet, pod_id, config):
        self.kubelet, self.id, self.config = kubelet, pod_id, config

    @property
    def name(self):
        return self.config["metadata"]["name"]

    def status(self, **kw):
        return self.kubelet.PodSandboxStatus(pod_sandbox_id=self.id, **kw).status

    @property
    def ip(self):
        return self.status().network.ip

    def stop(self):
        self.kubelet.StopPodSandbox(pod_sandbox_id=self.id)
        return self

    def remove(self):
        self.kubelet.RemovePodSandbox(pod_sandbox_id=self.id)

    def info(self):
        return json.loads(self.kubelet.PodSandboxStatus(pod_sandbox_id=self.id, verbose=True).info["info"])

    def container(self, *command, start=True, image=SEEDED, **fields):
        """Runs the command, or sleeps."""
        name = f"c-{uuid.uuid4().hex[:8]}"
        usual = {"metadata": {"name": name, "attempt": 0}, "image": {"image": image}, "command": list(command or ("sleep", "1000")), "log_path": f"{name}.log", "labels": {"made-by": "tests"},
                 "linux_part": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}}
        config = over(usual, fields)
        answer = self.kubelet.CreateContainer(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        c = Container(self, answer.container_id, config)
        return c.start() if start else c

    def run(self, *command, code=0, **fields):
        """Until it ends; its lines on both streams."""
        c = self.container(*command, **fields)
        status = c.wait()
        assert status.exit_code == code, f"{command}: {status}\n{c.log_text()}"
        return c.lines()

    def shell(self, text, **fields):
        return self.run("sh", "-c", text, **fields)


class Container:
    def __init__(self, pod, container_id, config):
        self.pod, self.kubelet, self.id, self.config = pod, pod.kubelet, container_id, config

    def start(self):
        self.kubelet.StartContainer(container_id=self.id)
        return self

    def stop(self, timeout=0):
        self.kubelet.StopContainer(container_id=self.id, timeout=timeout)
        return self

    def remove(self):
        self.kubelet.RemoveContainer(container_id=self.id)

    def status(self):
        return self.kubelet.ContainerStatus(container_id=self.id).status

    def info(self):
        return json.loads(self.kubelet.ContainerStatus(container_id=self.id, verbose=True).info["info"])

    @property
    def state(self):
        return self.status().state

    def wait(self, seconds=20):
        """Its status when it has ended."""
        return wait_until(lambda: f"{self.id} ends: {self.status()}", lambda: (s := self.status()).state == "CONTAINER_EXITED" and s, seconds=seconds)

    def execute(self, *command, timeout=0):
        return self.kubelet.ExecSync(container_id=self.id, cmd=list(command), timeout=timeout)

    def output(self, *command, code=0):
        """Of a command in it, that ends with that code."""
        answer = self.execute(*command)
        assert answer.exit_code == code, answer
        return answer.stdout.decode()

    @property
    def log_file(self):
        return pathlib.Path(self.pod.config["log_directory"]) / self.config["log_path"]

    def log_text(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def records(self):
        """(time, stream, tag, text) of each line of its log."""
        return [tuple(line.split(" ", 3)) for line in self.log_text().splitlines()]

    def lines(self, stream=None):
        """Whole lines, put together from their parts."""
        out, part = [], {}
        for _, where, tag, text in self.records():
            if stream not in (None, where):
                continue
            part[where] = part.get(where, "") + text
            if tag == "F":
                out.append(part.pop(where))
        return out

    def wait_line(self, text, seconds=15):
        wait_until(lambda: f"{text!r} in the log: {self.log_text()!r}", lambda: text in self.log_text(), seconds=seconds)
        return self
