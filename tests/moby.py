# SPDX-License-Identifier: Apache-2.0
"""docker 28 of Debian unstable with its BuildKit, in a room of its own (room.py): what our builds are compared with. Its runc is the machine's."""
import json
import os

from compose import CURRENT, PLUGINS, current_docker
from harness import program, wait_until
from room import Room



class Moby(Room):
    def __init__(self):
        for path in ("usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/libexec/docker/cli-plugins/docker-buildx"):
            assert (CURRENT / path).exists(), f"{CURRENT / path} is missing: run tools/deps test"
        super().__init__("moby")
        self.own_mounts = (f"{self.root}/data", "/run/docker")
        self.socket, containerd = self.root / "docker.sock", self.root / "containerd.sock"
        (self.root / "client").mkdir()
        (self.root / "client/config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
        try:
            self._start(containerd)
        except BaseException:
            self._tear_down()
            raise

    def _start(self, containerd):
        config = self.root / "containerd.toml"
        config.write_text(f'version = 2\nroot = "{self.root}/containerd"\nstate = "{self.root}/containerd-run"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{containerd}"\n')
        self.daemon(CURRENT / "usr/bin/containerd", "-c", config)
        wait_until("containerd listens", containerd.exists, seconds=30)
        # In the room's network namespace its bridge is nobody else's; there is no way out of the room.
        self.daemon(CURRENT / "usr/sbin/dockerd", "--containerd", containerd, "--data-root", self.root / "data", "--exec-root", self.root / "run", "--pidfile", self.root / "pid",
                    "-H", f"unix://{self.socket}", "--userland-proxy=false", "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--exec-opt", "native.cgroupdriver=cgroupfs",
                    "--cgroup-parent", f"/{self.cgroup}")
        wait_until(lambda: f"dockerd answers:\n{self.log_text()}", lambda: self.docker("version", check=False).returncode == 0, seconds=40, step=0.1)

    def env(self, **more):
        env = super().env(**more)
        return dict(env, PATH=f"{CURRENT}/usr/bin{os.pathsep}{env['PATH']}", DOCKER_CONFIG=str(self.root / "client"), DOCKER_BUILDKIT="1") if CURRENT.exists() else env

    def daemon(self, *args):
        # The machine's runc comes before the one of unstable, which wants a newer C library.
        return super().daemon("env", f"PATH={os.path.dirname(program('runc'))}:{self.env()['PATH']}", *args)

    def docker(self, *args, **kw):
        return self.run(current_docker(), "-H", f"unix://{self.socket}", *args, **kw)

    def finish(self):
        try:
            self.stop_daemons()
        finally:
            self._tear_down()
