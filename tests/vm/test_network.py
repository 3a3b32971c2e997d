# SPDX-License-Identifier: Apache-2.0
"""The network floor on Debian's own kernel, which is older than the builder's and has modules that a builder may lack: ipvlan, br_netfilter."""
import pathlib

import pytest

from harness import BUILD, run


@pytest.fixture(scope="module", autouse=True)
def modules():
    for name in ("bridge", "veth", "macvlan", "ipvlan", "nf_tables", "br_netfilter"):
        run("modprobe", name)
    yield
    run("sysctl", "-q", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")


@pytest.mark.parametrize("name", ["endpoint", "firewall", "ipv6", "sublink"])
def test_floor(name):
    p = run(BUILD / f"test-network-{name}", check=False, timeout=900)
    assert p.returncode == 0, p.stdout[-3000:] + p.stderr[-3000:]


def test_ipvlan_is_there():
    """So that the test of it was not the one of its absence."""
    assert pathlib.Path("/sys/module/ipvlan").is_dir()
