# SPDX-License-Identifier: Apache-2.0
"""Who a container runs as and what it may do, by the kubelet's door: users and groups, capabilities, privileged, no_new_privs, seccomp, paths that are hidden, user namespaces."""
import json
import os

import pytest

from kubelet import HOST, context, refused

WHO = "id -u; id -g; grep ^Groups /proc/self/status"
CAPS = "grep ^Cap /proc/self/status"
CHOWN, NET_RAW, NET_ADMIN, SYS_ADMIN = 1 << 0, 1 << 13, 1 << 12, 1 << 21


def who(pod, **fields):
    image = fields.pop("image", None)
    uid, gid, groups = pod.shell(WHO, linux_part=context(**fields), **({"image": image} if image else {}))
    return int(uid), int(gid), sorted(int(g) for g in groups.split()[1:])


def capabilities(pod, **fields):
    return {line.split(":")[0]: int(line.split()[1], 16) for line in pod.shell(CAPS, linux_part=context(**fields))}


# ---- users

def test_users_and_groups(pod):
    number = lambda n: {"value": n}
    assert who(pod)[:2] == (0, 0)
    assert who(pod, run_as_user=number(1000)) == (1000, 1000, [1000, 2000])
    assert who(pod, run_as_username="user") == (1000, 1000, [1000, 2000])
    assert who(pod, run_as_user=number(1234))[:2] == (1234, 0)
    assert who(pod, run_as_user=number(1000), run_as_group=number(77))[:2] == (1000, 77)
    assert who(pod, run_as_username="user", run_as_group=number(77))[:2] == (1000, 77)
    assert who(pod, run_as_user=number(0), run_as_group=number(5))[:2] == (0, 5)


def test_supplemental_groups(pod):
    number = lambda n: {"value": n}
    assert {50, 60, 2000} <= set(who(pod, run_as_user=number(1000), supplemental_groups=[50, 60])[2])
    assert set(who(pod, run_as_user=number(1000), supplemental_groups=[50, 60], supplemental_groups_policy="Strict")[2]) - {1000} == {50, 60}
    assert set(who(pod, run_as_user=number(1000), supplemental_groups_policy="Strict")[2]) - {1000} == set()


def test_users_are_told(pod):
    c = pod.container(linux_part=context(run_as_user={"value": 1000}, run_as_group={"value": 77}, supplemental_groups=[50], supplemental_groups_policy="Strict"))
    user = c.status().user.linux_part
    assert (user.uid, user.gid) == (1000, 77) and set(user.supplemental_groups) - {77} == {50}
    assert c.output("id", "-u") == "1000\n"


@pytest.mark.parametrize("what, user", [("uid", (1002, 0)), ("name", (1000, 1000)), ("uid-group", (1003, 2000)), ("name-group", (1000, 2000))])
def test_users_of_images(kubelet, pod, what, user):
    image = f"{HOST}/user-{what}:1"
    kubelet.pull(image)
    assert who(pod, image=image)[:2] == user


@pytest.mark.parametrize("fields", [{"run_as_group": {"value": 5}}, {"run_as_user": {"value": -1}}, {"run_as_user": {"value": 1 << 31}}, {"run_as_user": {"value": 1 << 32}}, {"run_as_user": {"value": 5}, "run_as_group": {"value": -5}},
                                    {"run_as_username": "nobody-of-that-name"}, {"run_as_username": "a:b"}, {"supplemental_groups": [-1]}, {"supplemental_groups": [1 << 40]}], ids=str)
def test_users_that_are_refused(kubelet, pod, fields):
    with refused("INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN", "FAILED_PRECONDITION"):
        pod.container("true", linux_part=context(**fields))


# ---- capabilities and privileges

def test_capabilities(pod):
    usual = capabilities(pod)
    assert usual["CapEff"] & CHOWN and not usual["CapEff"] & (NET_ADMIN | SYS_ADMIN) and usual["CapAmb"] == 0
    assert capabilities(pod, capabilities={"add_capabilities": ["NET_ADMIN"]})["CapEff"] == usual["CapEff"] | NET_ADMIN
    assert capabilities(pod, capabilities={"add_capabilities": ["CAP_NET_ADMIN"]})["CapEff"] == usual["CapEff"] | NET_ADMIN
    assert capabilities(pod, capabilities={"drop_capabilities": ["CHOWN"]})["CapBnd"] == usual["CapBnd"] & ~CHOWN
    assert capabilities(pod, capabilities={"drop_capabilities": ["ALL"]})["CapBnd"] == 0
    assert capabilities(pod, capabilities={"drop_capabilities": ["ALL"], "add_capabilities": ["CHOWN"]})["CapEff"] == CHOWN
    everything = capabilities(pod, capabilities={"add_capabilities": ["ALL"]})["CapEff"]
    assert everything & SYS_ADMIN and everything & NET_ADMIN
    assert not capabilities(pod, capabilities={"add_capabilities": ["ALL"], "drop_capabilities": ["SYS_ADMIN"]})["CapEff"] & SYS_ADMIN


def test_capabilities_of_who_is_not_root(pod):
    assert capabilities(pod, run_as_user={"value": 1000}, capabilities={"add_capabilities": ["NET_ADMIN"]})["CapEff"] == 0
    ambient = capabilities(pod, run_as_user={"value": 1000}, capabilities={"add_ambient_capabilities": ["NET_RAW"]})
    assert ambient["CapEff"] == ambient["CapAmb"] == NET_RAW


def test_a_capability_that_is_none(pod):
    with pytest.raises(Exception, match="(?i)NO_SUCH"):
        pod.container("true", linux_part=context(capabilities={"add_capabilities": ["NO_SUCH"]}))


def test_no_new_privileges(pod):
    said = lambda **kw: pod.shell("grep NoNewPrivs /proc/self/status", linux_part=context(**kw))[0].split()[1]
    assert (said(), said(no_new_privs=True)) == ("0", "1")


def test_privileged(kubelet, pod):
    with refused("INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNKNOWN", "PERMISSION_DENIED", text="privileged"):
        pod.container("true", linux_part=context(privileged=True))
    trusted = kubelet.run_pod(linux_part=context(privileged=True))
    caps = capabilities(trusted, privileged=True)
    with open("/proc/self/status", encoding="ascii") as f:
        bounding = next(int(line.split()[1], 16) for line in f if line.startswith("CapBnd"))
    assert caps["CapEff"] == caps["CapBnd"] == bounding
    lines = trusted.shell("grep Seccomp: /proc/self/status; test -w /proc/sys/kernel/shm_rmid_forced && echo writable; ls /dev | wc -l", linux_part=context(privileged=True, seccomp={"profile_type": "RuntimeDefault"}))
    assert lines[0].split()[1] == "0" and "writable" in lines and int(lines[-1]) > len(os.listdir("/dev")) // 2
    # A privileged pod's other containers are as ever.
    assert not capabilities(trusted)["CapEff"] & SYS_ADMIN


def test_a_root_that_is_read_only(pod):
    assert pod.shell("touch /x 2>&1 || echo refused; touch /dev/shm/y && echo shm", linux_part=context(readonly_rootfs=True))[-2:] == ["refused", "shm"]
    assert pod.shell("touch /x && echo written") == ["written"]


# ---- what is hidden

def test_masked_and_read_only_paths(pod):
    masked = context(masked_paths=["/etc/passwd", "/home"], readonly_paths=["/tmp", "/no/such/path"])
    assert pod.shell("wc -c < /etc/passwd; ls /home | wc -l; touch /tmp/x 2>/dev/null || echo refused; touch /var/x && echo ok", linux_part=masked) == ["0", "0", "refused", "ok"]
    assert pod.shell("wc -c < /etc/passwd")[0] != "0"


def test_usual_paths_are_masked(pod):
    """A kubelet names them; a list that is empty is unconfined."""
    assert pod.shell("cat /proc/timer_list 2>/dev/null | wc -c; (echo 1 > /proc/sys/kernel/shm_rmid_forced) 2>/dev/null || echo refused",
                     linux_part=context(masked_paths=["/proc/timer_list"], readonly_paths=["/proc/sys"])) == ["0", "refused"]


# ---- seccomp

def seccomp(pod, **fields):
    return pod.shell("grep Seccomp: /proc/self/status; mkdir -p /m; chmod 711 /m && echo changed", linux_part=context(**fields))


def test_seccomp(kubelet, pod, tmp_path):
    assert seccomp(pod)[0].split()[1] == "0"
    assert seccomp(pod, seccomp={"profile_type": "Unconfined"})[0].split()[1] == "0"
    assert seccomp(pod, seccomp={"profile_type": "RuntimeDefault"}) == ["Seccomp:\t2", "changed"]
    assert seccomp(pod, seccomp={})[0].split()[1] == "2"
    profile = tmp_path / "block.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO"}]}))
    c = pod.container("sh", "-c", "mkdir /m; chmod 711 /m; echo $?", linux_part=context(seccomp={"profile_type": "Localhost", "localhost_ref": str(profile)}))
    c.wait()
    assert c.lines("stdout") == ["1"]
    for text, told in (("{", "block.json"), ("[]", "block.json"), ('{"defaultAction":"NO_SUCH"}', "NO_SUCH")):
        profile.write_text(text)
        with refused("INVALID_ARGUMENT", "UNKNOWN", text=told):
            pod.container("true", linux_part=context(seccomp={"profile_type": "Localhost", "localhost_ref": str(profile)}))
    for ref in ("", "/no/such/profile.json", "relative.json"):
        with refused("INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN"):
            pod.container("true", linux_part=context(seccomp={"profile_type": "Localhost", "localhost_ref": ref}))


def test_the_default_profile_keeps_something_out(pod):
    usual = pod.shell("unshare -U true 2>&1; echo $?; true", linux_part=context(seccomp={"profile_type": "RuntimeDefault"}))
    assert usual[-1] != "0"


# ---- user namespaces

MAPS = [{"host_id": 300000, "container_id": 0, "length": 65536}]


def userns(mode="POD", uids=MAPS, gids=MAPS):
    return {"namespace_options": {"pid": "CONTAINER", "userns_options": {"mode": mode, "uids": uids, "gids": gids}}}


def test_a_user_namespace(kubelet):
    pod = kubelet.run_pod(linux_part=context(**userns()))
    part = context(**userns())
    c = pod.container("sh", "-c", "cat /proc/self/uid_map; touch /made; stat -c %u:%g /made /etc/passwd; id -u; sleep 1000", linux_part=part)
    c.wait_line("0\n")
    assert c.lines()[0].split() == ["0", "300000", "65536"] and c.lines()[1:] == ["0:0", "0:0", "0"]
    assert os.stat(f"/proc/{c.info()['pid']}").st_uid == 300000
    other = pod.container(linux_part=part)
    assert len({os.readlink(f"/proc/{x.info()['pid']}/ns/user") for x in (pod, c, other)}) == 1
    assert pod.status().linux_part.namespaces.options.userns_options.mode == "POD"


def test_privileged_in_a_user_namespace(kubelet):
    """Every capability, over what is the pod's: none over the host."""
    pod = kubelet.run_pod(linux_part=context(privileged=True, **userns()))
    part = context(privileged=True, **userns())
    caps = capabilities(pod, privileged=True, **userns())
    assert caps["CapEff"] == caps["CapBnd"] and caps["CapEff"] & SYS_ADMIN and caps["CapEff"] & NET_ADMIN
    does = lambda command: pod.shell(f"mkdir -p /mnt; ({command}) >/dev/null 2>&1 && echo done || echo refused", linux_part=part)
    for command in ("mount -t tmpfs t /mnt", "mount -t proc p /mnt", "mount -t sysfs s /mnt", "ip address add 192.0.2.1/32 dev lo", "echo 1 > /proc/sys/net/ipv4/ip_forward", "hostname other"):
        assert does(command) == ["done"], command
    for command in ("mknod /x b 254 0", "echo 0 > /proc/sys/kernel/panic", f"mount -t ext4 {root_device()} /mnt", f"dd if={root_device()} of=/x count=1", "mkdir $(grep -lx 1 /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids/cgroup.procs 2>/dev/null | head -n 1 | xargs dirname)/x"):
        assert does(command) == ["refused"], command
    # The machine's devices are there; it may use those that are everybody's.
    assert int(pod.shell("ls /dev | wc -l", linux_part=part)[0]) > len(os.listdir("/dev")) // 2
    assert pod.shell("cut -d: -f3 /proc/self/cgroup | sort -u", linux_part=part) == ["/"]
    assert pod.shell("grep Seccomp: /proc/self/status", linux_part=part)[0].split()[1] == "0"
    # Where the pod is not privileged, none of its containers is.
    usual = kubelet.run_pod(linux_part=context(**userns()))
    with refused("INVALID_ARGUMENT", text="privileged"):
        usual.container("true", linux_part=part)
    assert not capabilities(usual, **userns())["CapEff"] & SYS_ADMIN


def root_device():
    """A block device of this machine's, by its name in /dev."""
    return next(f"/dev/{d}" for d in sorted(os.listdir("/sys/class/block"), key=lambda d: d.startswith(("loop", "zram"))) if os.path.exists(f"/dev/{d}"))


def one(length=10, inside=0):
    return [{"host_id": 300000, "container_id": inside, "length": length}]


@pytest.mark.parametrize("options", [userns(mode="CONTAINER"), userns(mode="TARGET"), userns(uids=[]), userns(uids=MAPS + MAPS, gids=MAPS + MAPS), userns(uids=one(inside=1), gids=one(inside=1)), userns(gids=one(length=0))], ids=str)
def test_user_namespaces_that_are_refused(kubelet, options):
    with refused("INVALID_ARGUMENT"):
        kubelet.run_pod(linux_part=context(**options))
    assert not kubelet.cni_calls("ADD")


# ---- what is not on this machine

@pytest.mark.parametrize("profile", [{"profile_type": "RuntimeDefault"}, {"profile_type": "Unconfined"}])
def test_apparmor_where_there_is_none(pod, profile):
    assert pod.run("echo", "x", linux_part=context(apparmor=profile)) == ["x"]


def test_a_profile_of_apparmor_where_there_is_none(pod):
    if os.path.exists("/sys/kernel/security/apparmor"):
        return
    with refused("INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNKNOWN", "UNIMPLEMENTED", text="AppArmor"):
        pod.container("true", linux_part=context(apparmor={"profile_type": "Localhost", "localhost_ref": "own"}))
