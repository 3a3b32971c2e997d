# SPDX-License-Identifier: Apache-2.0
"""No space left, and no inode left, in every part of a build: what it was doing is named, and what ran full with the remedy; afterwards the engine works and nothing of the build takes space."""
import contextlib
import json
import os
import re
import shutil

import pytest

import harness
from build_servers import Site
from compose import PLUGINS, distributions_docker
from harness import BUILD, add_file, make_tar, run, temp_folder, wait_until
from storage import check, settled

MB = 1 << 20
ROOM, BIG, FILES = 6 * MB, 12 * MB, 3000


class SmallHouse:
    """An engine, and a client's folder, on file systems of their own that are almost full."""

    def __init__(self):
        self.root = temp_folder("build full 満杯")
        self.disk, self.own, self.context = self.root / "disk", self.root / "a client's", self.root / "a context"
        for folder in (self.disk, self.own, self.context):
            folder.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=192m,nr_inodes=100000", "irk-full", self.disk)
        run("mount", "-t", "tmpfs", "-o", f"size={ROOM}", "irk-full", self.own)
        self.engine = harness.Engine("--insecure-registry", "127.0.0.0/8", root=self.root, data_root=self.disk / "data")
        self.engine.own_mounts = (str(self.disk), str(self.own))
        self.engine.start()
        self.engine.load_busybox()
        (self.root / "client").mkdir()
        (self.root / "client/config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))

    def close(self):
        try:
            self.engine.destroy(keep_files=True)
        finally:
            run("umount", self.disk)
            run("umount", self.own)
            shutil.rmtree(self.root)

    def used(self):
        s = os.statvfs(self.disk)
        return (s.f_blocks - s.f_bfree) * s.f_frsize

    def inodes(self):
        s = os.statvfs(self.disk)
        return s.f_files - s.f_ffree

    @contextlib.contextmanager
    def room(self, bytes_free=None, inodes_free=None):
        """So much more than what is used now."""
        size = (self.used() + bytes_free) // 4096 * 4096 if bytes_free else 192 * MB
        run("mount", "-o", f"remount,size={size},nr_inodes={self.inodes() + inodes_free if inodes_free else 100000}", self.disk)
        yield
        run("mount", "-o", f"remount,size={192 * MB},nr_inodes=100000", self.disk)

    def build(self, client, dockerfile, *options, check=True):
        (self.context / "Dockerfile").write_text(dockerfile)
        program = {"ireko": [BUILD / "ireko", "build", "--progress", "plain"], "docker": [distributions_docker(), "build"], "buildx": [PLUGINS / "docker-buildx", "build", "--progress", "plain"]}[client]
        env = self.engine.env(BUILDX_NO_DEFAULT_ATTESTATIONS="1", **({"DOCKER_BUILDKIT": "0"} if client == "docker" else {}))
        p = run(*program, *(options or ("-t", "full")), self.context, env=env, check=check)
        return p.returncode, p.stdout + p.stderr


@pytest.fixture
def house():
    h = SmallHouse()
    yield h
    h.close()


@pytest.fixture(scope="module")
def site():
    s = Site()
    yield s
    s.close()


BIG_FILE, MANY = "a big file", "many files"
# What a step says that fills the disk; what is named beside the disk; and whether the program of the step says so itself.
STEPS = {
    "RUN": ("RUN dd if=/dev/urandom of=/big bs=64k count=1000", "RUN dd if=", True),
    "RUN with a cache mount": ("RUN --mount=type=cache,target=/c dd if=/dev/urandom of=/c/big bs=64k count=1000", "RUN --mount=type=cache", True),
    "COPY": (f'COPY ["{BIG_FILE}", "/"]', f'COPY ["{BIG_FILE}"', False),
    "ADD of an archive": ("ADD big.tar /", "ADD big.tar", False),
    "ADD of an URL": ("ADD {site}/big /", "ADD http", False),
}
FILE_STEPS = {
    "RUN": ("RUN mkdir /m && for i in $(seq 3000); do : >/m/$i; done", "RUN mkdir /m", True),
    "COPY": (f'COPY ["{MANY}", "/m"]', f'COPY ["{MANY}"', False),
    "ADD of an archive": ("ADD many.tar /m/", "ADD many.tar", False),
}


def fill_context(house, site, sizes):
    """With files that are too large, or too many."""
    if sizes:
        (house.context / BIG_FILE).write_bytes(os.urandom(BIG))
        (house.context / "big.tar").write_bytes(make_tar(lambda t: add_file(t, "unpacked", os.urandom(BIG))))
        site.files["/big"] = os.urandom(BIG)
        return
    (house.context / MANY).mkdir()
    for i in range(FILES):
        (house.context / MANY / f"f{i}").touch()
    (house.context / "many.tar").write_bytes(make_tar(lambda t: [add_file(t, f"f{i}") for i in range(FILES)]))


def expect_as_before(house, bytes_used, inodes_used):
    """Nothing of the build is there any more, and the engine works: but for the cache that a step has filled, which is asked for when all of it goes."""
    engine = house.engine
    engine.cli("builder", "prune", "-af")
    settled(engine)
    check(engine)
    assert engine.api("GET", "/containers/json?all=1").json == []
    # The database grows by a page now and then.
    wait_until(lambda: f"space is given back: {house.used() - bytes_used} bytes and {house.inodes() - inodes_used} inodes are gone", lambda: house.used() < bytes_used + MB // 4 and house.inodes() < inodes_used + 20)
    assert engine.cli("run", "--rm", "--network", "none", "busybox", "echo", "works").stdout == "works\n"
    status, said = house.build("ireko", "FROM busybox\nRUN echo small >/small\n")
    assert status == 0, said
    engine.cli("rmi", "full")


@pytest.mark.parametrize("client", ["ireko", "docker", "buildx"])
@pytest.mark.parametrize("lack", ["bytes", "inodes"])
def test_a_step_that_fills_the_disk(house, site, client, lack):
    fill_context(house, site, lack == "bytes")
    # What a build and a run leave for good.
    expect_as_before(house, house.used() + 64 * MB, house.inodes() + 1000)
    house.engine.cli("builder", "prune", "-af")
    for what, (step, named, by_program) in (STEPS if lack == "bytes" else FILE_STEPS).items():
        wait_until("the reserve for removals is there", (house.engine.data_root / "reserve").exists)
        used, inodes = house.used(), house.inodes()
        with house.room(bytes_free=ROOM) if lack == "bytes" else house.room(inodes_free=700):
            status, said = house.build(client, f"FROM busybox\nRUN echo early >/early\n{step.format(site=site.url)}\n", check=False)
        assert status != 0 and "full:latest" not in house.engine.images(), (what, said)
        assert "o space left" in said, (what, said)
        # The classic builder takes the context before it looks at any step.
        if client == "docker" and "Step 1/" not in said:
            assert "build context" in said and "free space or move --data-root" in said, (what, said)
        elif by_program:
            assert named in said and str(house.engine.data_root) in said and "builder prune make room" in said, (what, said)
        else:
            assert named in said and re.search(rf"needed: more than [\d.]+ \w+( or \d+ files)?; free in {re.escape(str(house.engine.data_root))}: [\d.]+ \w+(, \d+ files)?; system prune and builder prune make room", said), (what, said)
        expect_as_before(house, used, inodes)


@pytest.mark.parametrize("client, to, named", [("ireko", "type=local,dest={}/o", "{}/o: a big file"), ("ireko", "type=tar,dest={}/o.tar", "{}/o.tar: its disk is full"), ("buildx", "type=local,dest={}/o", "write {}/o/a big file"),
                                               ("buildx", "type=tar,dest={}/o.tar", "write {}/o.tar"), ("ireko", "cache", "write to {}/c: ")])
def test_a_full_disk_of_the_client(house, site, client, to, named):
    """Is not taken for the engine's."""
    fill_context(house, site, True)
    options = ["--cache-to", f"type=local,dest={house.own}/c,mode=max"] if to == "cache" else ["-o", to.format(house.own)]
    status, said = house.build(client, f'FROM busybox\nCOPY ["{BIG_FILE}", "/"]\n', *options, check=False)
    told = named.format(house.own) in said and "o space left" in said
    # buildx tells what it hears of first: its own error, or that the transfer was cancelled for it.
    assert status != 0 and (told or (client == "buildx" and "the client could not store the output: context canceled" in said)), said
    assert str(house.engine.data_root) not in said
    status, said = house.build(client, f'FROM busybox\nCOPY ["{BIG_FILE}", "/"]\n')
    assert status == 0 and "CACHED" in said, said
    check(house.engine)
