# SPDX-License-Identifier: Apache-2.0
"""critest's specs of AppArmor, which need a kernel that has it. Collected where the program is there: tools/deps cri builds it."""
import json
import pathlib
import re

from harness import busybox_layer, docker_archive

from layout import run
from service import api
from test_apparmor import SOCKET, door  # noqa: F401

CRITEST = pathlib.Path("/srv/critest")
IMAGE = "registry.k8s.io/e2e-test-images/busybox:1.29-2"
# A pod's network is not what these are about.
PLUGIN = """#!/bin/sh
cat >/dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "'"$CNI_NETNS"'"}], "ips": [{"address": "192.0.2.7/24", "interface": 0}]}' ;;
esac
"""
PROGRAMS = {"/opt/cni/bin/nothing": PLUGIN, "/usr/local/bin/sudo": "#!/bin/sh\nexec \"$@\"\n"}  # by which critest loads its profiles
NETWORK = {"cniVersion": "1.0.0", "name": "nothing", "plugins": [{"type": "nothing"}]}


def test_specs_of_apparmor(door):  # noqa: F811
    for path, text in PROGRAMS.items():
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(path).write_text(text)
        pathlib.Path(path).chmod(0o755)
    network = pathlib.Path("/etc/cni/net.d/10-nothing.conflist")
    network.parent.mkdir(parents=True, exist_ok=True)
    network.write_text(json.dumps(NETWORK))
    api("POST", "/images/load?quiet=1", docker_archive(IMAGE, [busybox_layer()], Cmd=["sh"]))
    endpoint = f"unix://{SOCKET}"
    p = run(CRITEST, "-runtime-endpoint", endpoint, "-image-endpoint", endpoint, "-ginkgo.no-color", "-ginkgo.focus", "AppArmor", check=False, timeout=600)
    assert re.search(r"SUCCESS! -- 9 Passed \| 0 Failed", p.stdout), p.stdout[-5000:] + p.stderr[-1000:]
