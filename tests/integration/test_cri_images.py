# SPDX-License-Identifier: Apache-2.0
"""ImageService of the kubelet's door: pulls, what is told of images, removal, and images that the other door sees as well."""
import concurrent.futures

import pytest

from harness import busybox_archive, busybox_layer, docker_archive, wait_until
from kubelet import HOST, SEEDED, refused

DIGEST = "sha256:" + "0" * 64


def names(kubelet):
    return {t for i in kubelet.ListImages().images for t in i.repo_tags}


def image(kubelet, name):
    return kubelet.ImageStatus(image={"image": name}).image


def test_pull_and_status(kubelet):
    name = f"{HOST}/busybox:2"
    assert image(kubelet, name) is None
    ref = kubelet.pull(name)
    got = image(kubelet, name)
    assert got.id.startswith("sha256:") and got.repo_tags == [name] and len(got.repo_digests) == 1 and got.repo_digests[0].startswith(f"{HOST}/busybox@sha256:")
    assert ref in (got.id, *got.repo_digests) and got.size > 100000 and not got.pinned
    assert image(kubelet, got.id).id == image(kubelet, got.id[7:]).id == image(kubelet, got.repo_digests[0]).id == got.id
    assert kubelet.pull(name) == ref
    assert str(got) in map(str, kubelet.ListImages().images)
    assert [i.id for i in kubelet.ListImages(filter={"image": {"image": name}}).images] == [got.id] and not kubelet.ListImages(filter={"image": {"image": "none"}}).images
    assert {i.id for m in kubelet.StreamImages() for i in m.images} == {i.id for i in kubelet.ListImages().images}
    verbose = kubelet.ImageStatus(image={"image": name}, verbose=True)
    assert verbose.info and not kubelet.ImageStatus(image={"image": name}).info
    kubelet.RemoveImage(image={"image": name})
    assert image(kubelet, name) is None and name not in names(kubelet)
    kubelet.RemoveImage(image={"image": name})


def test_by_digest(kubelet):
    name = f"{HOST}/user-uid"
    kubelet.pull(f"{name}:1")
    (digest,) = image(kubelet, f"{name}:1").repo_digests
    kubelet.RemoveImage(image={"image": f"{name}:1"})
    kubelet.pull(digest)
    got = image(kubelet, digest)
    assert got.repo_tags == [] and got.repo_digests == [digest]
    kubelet.RemoveImage(image={"image": digest})
    assert image(kubelet, digest) is None


@pytest.mark.parametrize("what, uid, name", [("uid", 1002, ""), ("name", None, "user"), ("uid-group", 1003, ""), ("name-group", None, "user")])
def test_users(kubelet, what, uid, name):
    kubelet.pull(f"{HOST}/user-{what}:1")
    got = image(kubelet, f"{HOST}/user-{what}:1")
    assert (got.uid.value if got.uid else None, got.username) == (uid, name)


def test_no_user_is_root(kubelet):
    """Which is what a kubelet takes it for if it is told nothing."""
    got = image(kubelet, SEEDED)
    assert got.uid is None and got.username == ""


def test_removal_takes_all_names(kubelet):
    kubelet.pull(f"{HOST}/busybox:2")
    got = image(kubelet, f"{HOST}/busybox:2")
    for tag in ("a", "b"):
        assert kubelet.engine.api("POST", f"/images/{got.id}/tag?repo={HOST}/other&tag={tag}").status == 201
    assert set(image(kubelet, got.id).repo_tags) == {f"{HOST}/busybox:2", f"{HOST}/other:a", f"{HOST}/other:b"}
    kubelet.RemoveImage(image={"image": f"{HOST}/other:b"})
    assert image(kubelet, got.id) is None and not {f"{HOST}/busybox:2", f"{HOST}/other:a", f"{HOST}/other:b"} & names(kubelet)


def test_removal_by_many(kubelet):
    kubelet.pull(f"{HOST}/busybox:2")
    got = image(kubelet, f"{HOST}/busybox:2")
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: kubelet.RemoveImage(image={"image": got.id}), range(5)))
    assert image(kubelet, got.id) is None


@pytest.mark.parametrize("name", [f"{HOST}/no-such:1", f"{HOST}/busybox:no-such", f"{HOST}/busybox@{DIGEST}"])
def test_pull_of_what_is_not_there(kubelet, name):
    with refused("NOT_FOUND", "UNKNOWN", text=name.split("/")[1].split("@")[0].split(":")[0]):
        kubelet.pull(name)


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "../x", "x:y:z", "a@sha256:1", "x" * 5000, "a\nb"])
def test_names_that_are_none(kubelet, name):
    with refused("INVALID_ARGUMENT"):
        kubelet.pull(name)
    if name:
        assert image(kubelet, name) is None or True


def test_a_registry_that_is_not_there(kubelet):
    with refused("UNAVAILABLE", "UNKNOWN", text="127.0.0.1:9"):
        kubelet.pull("127.0.0.1:9/x:1")


def test_a_pull_is_given_up(kubelet):
    with refused("DEADLINE_EXCEEDED"):
        kubelet.PullImage(image={"image": f"{HOST}/busybox:2"}, rpc_timeout=0.001)
    kubelet.pull(f"{HOST}/busybox:2")
    kubelet.RemoveImage(image={"image": f"{HOST}/busybox:2"})


def test_pulls_of_one_image_at_once(kubelet):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(lambda _: kubelet.pull(f"{HOST}/busybox:2"), range(6)))) == 1
    kubelet.RemoveImage(image={"image": f"{HOST}/busybox:2"})


def test_names_are_whole(kubelet):
    """docker's short names are told as the long ones that they stand for, and both are understood."""
    data = busybox_archive().read_bytes()
    assert kubelet.engine.api("POST", "/images/load?quiet=1", data, {"Content-Type": "application/x-tar"}).status == 200
    for name in ("busybox", "busybox:latest", "docker.io/library/busybox", "docker.io/library/busybox:latest", "index.docker.io/library/busybox"):
        assert "docker.io/library/busybox:latest" in image(kubelet, name).repo_tags
    kubelet.engine.api("DELETE", "/images/busybox:latest")
    assert image(kubelet, "busybox") is None


def test_images_are_those_of_the_other_door(kubelet):
    assert SEEDED in kubelet.engine.images()
    layer = docker_archive("127.0.0.1:5000/loaded:1", [busybox_layer()], Cmd=["true"], Labels={"own": "1"})
    assert kubelet.engine.api("POST", "/images/load?quiet=1", layer, {"Content-Type": "application/x-tar"}).status == 200
    assert "127.0.0.1:5000/loaded:1" in names(kubelet)
    kubelet.RemoveImage(image={"image": "127.0.0.1:5000/loaded:1"})
    assert "127.0.0.1:5000/loaded:1" not in kubelet.engine.images()


def test_an_image_in_use_stays(kubelet, pod):
    kubelet.pull(f"{HOST}/busybox:2")
    c = pod.container(image=f"{HOST}/busybox:2")
    with refused("FAILED_PRECONDITION", text=c.id[:12]):
        kubelet.RemoveImage(image={"image": f"{HOST}/busybox:2"})
    assert c.state == "CONTAINER_RUNNING" and image(kubelet, f"{HOST}/busybox:2").id == c.status().image_id
    c.remove()
    kubelet.RemoveImage(image={"image": f"{HOST}/busybox:2"})
    assert image(kubelet, f"{HOST}/busybox:2") is None


def test_the_image_of_sandboxes(new_kubelet):
    """It is fetched with the first pod, its command keeps the pods, and kubelets are told to leave it."""
    name = f"{HOST}/keeps:1"
    kubelet = new_kubelet("--sandbox-image", name)
    assert [i.pinned for i in kubelet.ListImages().images] == [False]
    with refused("NOT_FOUND", "UNKNOWN", "UNAVAILABLE", text=name):
        kubelet.run_pod()
    assert not kubelet.pods() and not kubelet.leftovers()
    (kubelet.root / "Dockerfile").write_text(f'FROM {SEEDED}\nRUN echo of the image > /mark\nENTRYPOINT ["sleep", "100000"]\n')
    kubelet.engine.cli("build", "-q", "-t", name, "-f", kubelet.root / "Dockerfile", kubelet.cni)
    kubelet.engine.cli("push", name)
    kubelet.RemoveImage(image={"image": name})
    assert image(kubelet, name) is None
    pod = kubelet.run_pod()
    pid = pod.info()["pid"]
    assert open(f"/proc/{pid}/cmdline").read() == "sleep\x00100000\x00" and open(f"/proc/{pid}/root/mark").read() == "of the image\n"
    assert pod.ip and pod.run("echo", "beside it") == ["beside it"]
    assert image(kubelet, name).pinned and not image(kubelet, SEEDED).pinned
    assert {t: i.pinned for i in kubelet.ListImages().images for t in i.repo_tags} == {name: True, SEEDED: False}
    pod.remove()
    assert image(kubelet, name).pinned


def inodes_of_images(kubelet):
    """On the disk: those of layers, and a file for each blob."""
    root = kubelet.engine.data_root
    places = [d for d in (root / "layers").iterdir() if not d.name.startswith(".")]
    inodes = {p.lstat().st_ino for d in places for p in [d, *d.rglob("*")]}
    return len(inodes) + sum(1 for p in (root / "content/blobs").rglob("*") if p.is_file())


def test_file_systems(kubelet, pod):
    said = kubelet.ImageFsInfo()
    (one,) = said.image_filesystems
    assert one.inodes_used.value == inodes_of_images(kubelet)
    assert one.timestamp > 0 and one.used_bytes.value > 100000 and str(kubelet.engine.data_root) in one.fs_id.mountpoint
    (before,) = said.container_filesystems
    assert before.fs_id.mountpoint == one.fs_id.mountpoint and before.used_bytes.value < one.used_bytes.value
    c = pod.container("sh", "-c", "mkdir /d; for i in $(seq 20); do echo > /d/$i; done; dd if=/dev/zero of=/file bs=1M count=5; sleep 1000").wait_line("5+0 records out")
    kubelet.ContainerStats(container_id=c.id)  # looks at it now

    def now():
        (of_containers,) = kubelet.ImageFsInfo().container_filesystems
        return of_containers

    wait_until("what it has written is counted", lambda: now().used_bytes.value >= before.used_bytes.value + (5 << 20) and now().inodes_used.value >= 22)
    images = kubelet.ImageFsInfo().image_filesystems[0]
    assert images.used_bytes.value < one.used_bytes.value + (1 << 20), "what containers write is not the images'"


@pytest.mark.parametrize("auth", [{"username": "u", "password": "p"}, {"auth": "dTpw"}, {"identity_token": "t"}, {"registry_token": "t"}, {"username": "u", "password": "p", "server_address": HOST}])
def test_credentials_that_nobody_asks_for(kubelet, auth):
    kubelet.pull(f"{HOST}/busybox:2", auth=auth)
    kubelet.RemoveImage(image={"image": f"{HOST}/busybox:2"})


@pytest.mark.parametrize("auth", ["!!!", "bm8tY29sb24=", "A" * 100000])
def test_credentials_that_are_none(kubelet, auth):
    with refused("INVALID_ARGUMENT"):
        kubelet.pull(f"{HOST}/busybox:2", auth={"auth": auth})
