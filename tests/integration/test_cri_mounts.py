# SPDX-License-Identifier: Apache-2.0
"""What a pod's containers are given of the host: bind mounts with propagation and recursive read-only, images as volumes, devices, and mounts that are refused."""
import os

import pytest

from harness import wait_until
from kubelet import HOST, context, refused


@pytest.fixture
def shared(kubelet):
    """A folder of the host that is a mount of its own in the node's namespace, shared; with a mount in it."""
    folder = kubelet.root / "host 共"
    folder.mkdir()
    kubelet.inside("mount", "-t", "tmpfs", "tmpfs", folder)
    kubelet.inside("mount", "--make-rshared", folder)
    kubelet.inside("mkdir", folder / "sub")
    kubelet.inside("mount", "-t", "tmpfs", "tmpfs", folder / "sub")
    yield folder
    kubelet.inside("umount", "-R", folder)
    folder.rmdir()


def bind(folder, **more):
    return [{"host_path": str(folder), "container_path": "/given", **more}]


def test_a_bind(kubelet, pod, folder):
    (folder / "file").write_text("from the host\n")
    c = pod.container("sh", "-c", "cat /given/file; echo back > /given/made; sleep 1000", mounts=bind(folder))
    wait_until("it has written", lambda: (folder / "made").exists() and (folder / "made").read_text() == "back\n")
    c.wait_line("from the host")
    assert c.lines() == ["from the host"]
    (told,) = c.status().mounts
    assert (told.host_path, told.container_path, told.readonly, told.propagation) == (str(folder), "/given", False, "PROPAGATION_PRIVATE")
    assert pod.run("cat", "/given", mounts=bind(folder / "file")) == ["from the host"]


def test_read_only(pod, folder):
    c = pod.container("sh", "-c", "touch /given/x 2>/dev/null || echo refused", mounts=bind(folder, readonly=True))
    c.wait()
    assert c.lines() == ["refused"] and c.status().mounts[0].readonly and not os.listdir(folder)


def test_a_link_on_the_host_is_followed(pod, folder):
    (folder / "real").mkdir()
    (folder / "real/x").write_text("x\n")
    (folder / "link").symlink_to(folder / "real")
    assert pod.run("cat", "/given/x", mounts=bind(folder / "link")) == ["x"]


def test_a_folder_that_is_not_there_is_made(pod, folder):
    pod.shell("touch /given/x", mounts=bind(folder / "made/for it"))
    assert (folder / "made/for it/x").exists()


def test_propagation(kubelet, shared, folder):
    pod = kubelet.run_pod(linux_part=context(privileged=True))
    def container(how):
        return pod.container(mounts=bind(shared, propagation=f"PROPAGATION_{how}"), linux_part=context(privileged=True))
    private, follows, both = container("PRIVATE"), container("HOST_TO_CONTAINER"), container("BIDIRECTIONAL")
    assert [c.status().mounts[0].propagation for c in (private, follows, both)] == [f"PROPAGATION_{p}" for p in ("PRIVATE", "HOST_TO_CONTAINER", "BIDIRECTIONAL")]
    kubelet.inside("mkdir", shared / "later")
    kubelet.inside("mount", "-t", "tmpfs", "tmpfs", shared / "later")
    kubelet.inside("touch", shared / "later/x")
    sees = lambda c: c.execute("test", "-e", "/given/later/x").exit_code == 0
    assert (sees(private), sees(follows), sees(both)) == (False, True, True)
    for c, seen in ((private, False), (follows, False), (both, True)):
        assert c.execute("sh", "-c", "mkdir -p /given/own && mount -t tmpfs tmpfs /given/own && touch /given/own/y").exit_code == 0
        assert (kubelet.inside("test", "-e", shared / "own/y", check=False).returncode == 0) == seen
        c.execute("umount", "/given/own")


def test_propagation_of_what_is_not_shared(kubelet, folder):
    pod = kubelet.run_pod(linux_part=context(privileged=True))
    own = kubelet.root / "private"
    own.mkdir()
    kubelet.inside("mount", "-t", "tmpfs", "tmpfs", own)
    try:
        kubelet.inside("mount", "--make-rprivate", own)
        for how in ("HOST_TO_CONTAINER", "BIDIRECTIONAL"):
            with refused("INVALID_ARGUMENT", "UNKNOWN", "FAILED_PRECONDITION", text=str(own)):
                pod.container("true", mounts=bind(own, propagation=f"PROPAGATION_{how}"), linux_part=context(privileged=True))
    finally:
        kubelet.inside("umount", own)
        own.rmdir()


def test_recursive_read_only(pod, shared):
    write = "touch /given/x 2>/dev/null && echo top; touch /given/sub/x 2>/dev/null && echo sub; true"
    assert pod.shell(write, mounts=bind(shared)) == ["top", "sub"]
    assert pod.shell(write, mounts=bind(shared, readonly=True)) == ["sub"]
    c = pod.container("sh", "-c", write, mounts=bind(shared, readonly=True, recursive_read_only=True))
    c.wait()
    assert c.lines() == [] and c.status().mounts[0].recursive_read_only


RRO = {"recursive_read_only": True, "readonly": True}


@pytest.mark.parametrize("fields", [{"recursive_read_only": True}, {**RRO, "propagation": "PROPAGATION_HOST_TO_CONTAINER"}, {**RRO, "propagation": "PROPAGATION_BIDIRECTIONAL"}, {"container_path": ""},
                                    {"container_path": "relative"}, {"container_path": "/a/../.."}, {"host_path": "relative"}, {"host_path": ""}, {"propagation": 9}], ids=str)
def test_mounts_that_are_refused(pod, folder, fields):
    with refused("INVALID_ARGUMENT", "UNKNOWN"):
        pod.container("true", mounts=[{**bind(folder)[0], **fields}])


def test_images_as_volumes(kubelet, pod):
    kubelet.pull(f"{HOST}/busybox:2")
    def mount(**more):
        return [{"container_path": "/image", "image": {"image": f"{HOST}/busybox:2"}, "readonly": True, **more}]
    c = pod.container("sh", "-c", "cat /image/etc/plain-file; touch /image/x 2>/dev/null || echo refused; sleep 1000", mounts=mount())
    c.wait_line("refused")
    assert c.lines() == ["not a program", "refused"]
    (told,) = c.status().mounts
    assert told.image.image == f"{HOST}/busybox:2" and told.container_path == "/image"
    assert pod.run("cat", "/image/plain-file", mounts=mount(image_sub_path="etc")) == ["not a program"]
    for path in ("../../etc", "/etc", "no/such"):
        with refused("INVALID_ARGUMENT", "NOT_FOUND", "UNKNOWN", "FAILED_PRECONDITION"):
            pod.container("true", mounts=mount(image_sub_path=path))
    with refused("NOT_FOUND", "UNKNOWN", "INVALID_ARGUMENT", text="no-such-image"):
        pod.container("true", mounts=mount(image={"image": f"{HOST}/no-such-image:1"}))
    c.remove()
    kubelet.RemoveImage(image={"image": f"{HOST}/busybox:2"})


def test_id_mappings(kubelet, folder):
    maps = [{"host_id": 300000, "container_id": 0, "length": 65536}]
    ns = {"namespace_options": {"pid": "CONTAINER", "userns_options": {"mode": "POD", "uids": maps, "gids": maps}}}
    pod = kubelet.run_pod(linux_part=context(**ns))
    folder.chmod(0o755)
    (folder / "roots").write_text("x")
    assert pod.shell("stat -c %u /given/roots; touch /given/new; stat -c %u /given/new", linux_part=context(**ns), mounts=bind(folder, uidMappings=maps, gidMappings=maps)) == ["0", "0"]
    assert (folder / "new").stat().st_uid == 0


def test_devices(kubelet, pod):
    device = lambda permissions, container="/dev/given": [{"host_path": "/dev/zero", "container_path": container, "permissions": permissions}]
    assert pod.shell("head -c 3 /dev/given | od -An -tx1 | tr -d ' '", devices=device("rw")) == ["000000"]
    lines = pod.shell("head -c 3 /dev/given >/dev/null 2>&1 && echo read; (echo x > /dev/given) 2>/dev/null && echo written; true", devices=device("r"))
    assert "read" in lines
    assert pod.shell("ls /dev/fd0 /dev/kmsg 2>/dev/null; true") == []


def test_hosts_and_names_can_be_given(kubelet, pod, folder):
    """A kubelet mounts its own /etc/hosts."""
    (folder / "hosts").write_text("192.0.2.9 own\n")
    assert pod.run("cat", "/etc/hosts", mounts=[{"host_path": str(folder / "hosts"), "container_path": "/etc/hosts"}]) == ["192.0.2.9 own"]
