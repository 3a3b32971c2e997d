# SPDX-License-Identifier: Apache-2.0
"""kill -9 of irekod, or of the client, right before any of its steps during a build, whoever the client is and wherever the result goes.

After each: the other one notices by itself; the name is that of the image before or of the whole new one; the store is consistent; the same build succeeds, and every step that the client was
told to be finished is taken from the cache; and when image and cache are removed nothing is there that was not there before the first build. The points are spread over all kinds of
builds: one each in `make check`, 127 in all in `make check-crash`.
"""
import collections
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest

from build_servers import Repo
from compose import PLUGINS, distributions_docker
from harness import BUILD, Registry, cgroups_named, make_tar, add_file, run, temp_folder, wait_until
from storage import check, settled
from test_crash import ENGINE, POINTS, Control, kill_at, wait_dead  # noqa: F401 (kill_at is a fixture)
import harness

NAME = "crash/whole"
DOCKERFILE = """FROM busybox AS one
RUN true > /zero
RUN echo one > /one
FROM busybox
WORKDIR /w
COPY a b ./
ADD packed.tar ./
ADD {site}/file {repo} ./
RUN --mount=type=cache,target=/cache cat a b > c && echo $(cat c | wc -c) >> /cache/n
COPY --from=one /one /one
RUN --mount=type=bind,target=/ctx cat /ctx/b > d
LABEL whole=yes
"""
# What the first build makes and every one keeps.
KEPT = ("tmp", "build", "build/caches", "build/digests", "build/manifests", "build/passing")
LOOK = ("sh", "-c", "cd /w; cat a b | cmp - c && cmp b d && cat /one packed file served")
SEEN = "one\npacked\nof a site\nof a repository\n"


@dataclasses.dataclass
class Case:
    """A kind of build, and who is killed."""
    victim: str
    client: str
    to: str
    weight: int

    def __str__(self):
        return f"{self.victim}-{self.client}-{self.to}"


CASES = [Case("engine", "ireko", "image", 5), Case("engine", "ireko", "squash", 3), Case("engine", "ireko", "registry", 4), Case("engine", "ireko", "local", 2), Case("engine", "ireko", "tar", 1),
         Case("engine", "docker", "image", 3), Case("engine", "buildx", "image", 4), Case("engine", "buildx", "registry", 1), Case("engine", "buildx", "local", 1),
         Case("client", "ireko", "image", 3), Case("client", "ireko", "local", 2), Case("client", "docker", "image", 1), Case("client", "buildx", "image", 2)]
# One each is what `make check` has time for.
SHARE = max(POINTS - 40, 0) * 0.75 / sum(c.weight for c in CASES)


class House:
    """An engine that can be killed at its steps, and all that builds need: a context, a site, a repository, a registry."""

    def __init__(self, kill_at):  # noqa: F811
        self.root = temp_folder("build crash 倒れる")
        self.kill_at, self.control, self.numbers = kill_at, Control(self.root / "control"), itertools.count()
        self.of_client = Control(self.root / "control of the client")
        self.repo = Repo(self.root / "a repository")
        self.repo.commit({"served": "of a repository\n"})
        self.repo.site.files["/file"] = (200, {"ETag": '"1"'}, b"of a site\n")
        self.registry = Registry()
        self.context = self.root / "a context"
        self.context.mkdir()
        for name in "ab":
            (self.context / name).write_text(name * 5000)
        (self.context / "packed.tar").write_bytes(make_tar(lambda t: add_file(t, "packed", b"packed\n")))
        # Without `site` and `repo`, which the classic builder of a docker CLI sees as any other.
        (self.context / "Dockerfile").write_text(DOCKERFILE.format(site=self.repo.site.url, repo=self.repo.url))
        self.engine = harness.Engine("--insecure-registry", "127.0.0.0/8", root=temp_folder("crash 倒れる"), prefix=(kill_at, self.root / "control"))
        self.engine.start()
        self.engine.load_busybox()
        self.engine.cli("tag", "busybox", NAME)
        config = self.engine.root / "client"
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(PLUGINS)]}))
        self.clean = None

    def close(self):
        self.control.disarm()
        try:
            self.engine.destroy()
        finally:
            self.registry.close()
            self.repo.site.close()
            self.control.close()
            self.of_client.close()
            shutil.rmtree(self.root)

    # ---- builds
    def target(self, case):
        """Where the result goes this time, and the options that say so."""
        n = next(self.numbers)
        out = self.root / f"out {n}"
        options = {"image": ["-t", NAME], "squash": ["-t", NAME, "--squash"],
                   "registry": ["-t", f"{self.registry.host}/crash/n{n}:x", "--push"],
                   "local": ["-o", f"type=local,dest={out}"], "tar": ["-o", f"type=tar,dest={out}"]}[case.to]
        if case.client == "ireko" and case.to == "registry":
            options += ["--cache-to", f"type=registry,ref={self.registry.host}/crash/n{n}:cache,mode=max"]
        if case.client == "ireko" and case.to == "local":
            options += ["--cache-to", f"type=local,dest={out} of the cache,mode=max"]
        return n, out, options

    def begin(self, case, options, kill=False):
        program = {"ireko": [BUILD / "ireko", "build", "--progress", "plain"], "docker": [distributions_docker(), "build"], "buildx": [PLUGINS / "docker-buildx", "build", "--progress", "plain"]}[case.client]
        prefix = [self.kill_at, self.root / "control of the client"] if kill else []
        env = self.engine.env(BUILDX_NO_DEFAULT_ATTESTATIONS="1", **({"DOCKER_BUILDKIT": "0"} if case.client == "docker" else {}))
        return subprocess.Popen([str(w) for w in (*prefix, *program, *options, self.context)], env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def forget(self):
        self.engine.cli("tag", "busybox", NAME)
        for image in self.engine.api("GET", "/images/json?all=1").json:
            for tag in image["RepoTags"] or []:
                if tag not in ("busybox:latest", f"{NAME}:latest"):
                    self.engine.api("DELETE", f"/images/{tag}?force=1")
        self.engine.cli("image", "prune", "-f")
        self.engine.cli("builder", "prune", "-af")
        for path in self.root.glob("out *"):
            path.unlink() if path.is_file() else shutil.rmtree(path)

    # ---- what is left
    def remains(self):
        """What the engine has on disks, in cgroups and mounted, but for what it keeps whatever is built."""
        found = []
        for top in (self.engine.data_root, self.engine.exec_root):
            for folder, folders, files in os.walk(top):
                at = pathlib.Path(folder).relative_to(top)
                # One is kept for the next build of the same directory.
                folders[:] = sorted(folders)[1:] if str(at) == "tmp" and sorted(folders)[:1] and sorted(folders)[0].startswith("build-context-") else folders
                folders[:] = [] if at.name in ("diff", "init") or len(at.parts) > 4 else folders
                found += [str(at / n) for n in (*folders, *files) if not n.startswith(("ireko.db", "reserve")) and at.name != "seccomp" and str(at / n) not in KEPT]
        found += [str(d) for d in cgroups_named(f"ireko_{self.engine.mark}") if d.name != f"ireko_{self.engine.mark}"]
        found += self.engine.leftovers_of_containers()
        with contextlib.suppress(FileNotFoundError):
            found += [line.split()[4] for line in pathlib.Path(f"/proc/{self.engine_pid()}/mountinfo").read_text().splitlines() if str(self.engine.root) in line]
        return sorted(found)

    def is_clean(self, seen):
        """A document that no image came of is kept an hour, as what an interrupted pull has brought."""
        seen[:] = self.remains()
        documents = [p for p in set(seen) - set(self.clean) if p.startswith("content/blobs/sha256/") and (self.engine.data_root / p).stat().st_size < 8192]
        return [p for p in seen if p not in documents] == self.clean and len(documents) < 50

    def engine_pid(self):
        """The child of kill_at."""
        return int(pathlib.Path(f"/proc/{self.engine.p.pid}/task/{self.engine.p.pid}/children").read_text().split()[0])

    def descriptors(self):
        """But for files of its own: the database's, and folders that are being emptied, come and go."""
        found = []
        for path in pathlib.Path(f"/proc/{self.engine_pid()}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(path))
        return collections.Counter(re.sub(r"\d+", "N", f) for f in found if not f.startswith(str(self.engine.data_root)))

    def expect_clean(self):
        self.forget()
        settled(self.engine)
        if self.clean is None:
            self.clean = self.remains()
        seen = []
        wait_until(lambda: f"nothing is left: {set(seen) - set(self.clean)} is more, {set(self.clean) - set(seen)} less", lambda: self.is_clean(seen))


@pytest.fixture(scope="module")
def house(kill_at):  # noqa: F811
    h = House(kill_at)
    yield h
    h.close()


def finished(said):
    """The steps that were told as done, by what the client calls them."""
    if "Step 1/" in said:
        # One after the other: whatever is followed by another one is done.
        steps = re.findall(r"^Step \d+/\d+ : (.*)$", said, re.M)
        return {s for s in steps[:None if "Successfully built" in said else -1] if re.match("RUN|COPY|ADD|WORKDIR", s)}
    names = dict(re.findall(r"^#(\d+) \[(?!internal).*?\] ((?:RUN|COPY|ADD|WORKDIR) .*)$", said, re.M))
    return {names[n] for n in re.findall(r"^#(\d+) (?:DONE|CACHED)", said, re.M) if n in names}


def cached(said):
    if "Step 1/" in said:
        return {m[1] for m in re.finditer(r"^Step \d+/\d+ : (.*)\n ---> Using cache$", said, re.M)}
    names = dict(re.findall(r"^#(\d+) \[(?!internal).*?\] (.*)$", said, re.M))
    return {names[n] for n in re.findall(r"^#(\d+) CACHED", said, re.M) if n in names}


KINDS = ", ".join(f"application/vnd.{k}+json" for k in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2"))


def whole_in_registry(registry, n, reference):
    """Whether it is there; with all that it names, then."""
    status, _, text = registry.ask("GET", f"/v2/crash/n{n}/manifests/{reference}", headers={"Accept": KINDS})
    if status == 404:
        return False
    document = json.loads(text)
    for m in document.get("manifests", ()):
        assert whole_in_registry(registry, n, m["digest"]), m
    for d in (document["config"], *document["layers"]) if "layers" in document else ():
        assert registry.ask("HEAD", f"/v2/crash/n{n}/blobs/{d['digest']}")[0] == 200, d
    return True


def expect_result(house, case, n, out, said):
    """After a build that went well."""
    engine = house.engine
    if case.to in ("image", "squash"):
        assert engine.cli("run", "--rm", "--network", "none", NAME, *LOOK).stdout == SEEN
    elif case.to == "registry":
        assert whole_in_registry(house.registry, n, "x"), said
        if case.client == "ireko":
            assert whole_in_registry(house.registry, n, "cache")
            house.engine.cli("builder", "prune", "-af")
            p = engine.cli("build", "--progress", "plain", "--cache-from", f"type=registry,ref={house.registry.host}/crash/n{n}:cache", house.context)
            assert len(cached(p.stderr)) == 9, p.stderr
    elif case.to == "tar":
        with tarfile.open(out) as t:
            assert t.extractfile("w/served").read() == b"of a repository\n"
    else:
        assert (out / "w/served").read_text() == "of a repository\n" and (out / "w/c").stat().st_size == 10000
        if case.client == "ireko":
            house.engine.cli("builder", "prune", "-af")
            p = engine.cli("build", "--progress", "plain", "--cache-from", f"type=local,src={out} of the cache", house.context)
            assert len(cached(p.stderr)) == 9, p.stderr


def expect_old_or_whole(house, case, n):
    engine = house.engine
    wait_until("steps are removed", lambda: engine.api("GET", "/containers/json?all=1").json == [])
    found = engine.api("GET", f"/images/{NAME}/json")
    assert found.status == 200, "the old image lost its name"
    if found.json["Config"]["Labels"]:
        assert case.to in ("image", "squash") and engine.cli("run", "--rm", "--network", "none", NAME, *LOOK).stdout == SEEN
    for tag in ("x", "cache") if case.to == "registry" else ():
        whole_in_registry(house.registry, n, tag)


def run_to(house, case, options, step):
    """One build, killed at that step if it takes so many: (whether it was met, the steps that were taken, what the client said)."""
    client = case.victim == "client"
    control = house.of_client if client else house.control
    control.arm(ENGINE, step)
    p = house.begin(case, options, kill=client)
    # Nobody tells a client that its engine is gone, nor an engine that its client is: both see it by themselves.
    said, _ = p.communicate(timeout=60)
    met, steps = control.killed, control.counts()[ENGINE]
    control.disarm()
    if client:
        wait_until("the engine has given the build up", lambda: house.engine.api("GET", "/containers/json?all=1").json == [])
    elif met:
        assert wait_dead(house.engine)
        house.engine.start()
    assert met or p.returncode == 0, said
    return met, steps, said


@pytest.mark.seconds(120 + 8 * POINTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_build(house, case):
    house.expect_clean()
    points = 1 + int(SHARE * case.weight)
    house.begin(case, house.target(case)[2]).communicate(timeout=60)
    house.expect_clean()
    before = house.descriptors()
    _, total, said = run_to(house, case, house.target(case)[2], 0)
    steps, again, met = finished(said), 0, 0
    assert len(steps) >= 7, said
    for i in range(points):
        # The same build does not take the same number of steps each time; one that was over before its point says how many it takes now.
        for _ in range(2):
            house.expect_clean()
            n, out, options = house.target(case)
            # In the middle, if there is but one.
            was_met, took, said = run_to(house, case, options, 1 + (2 * i + 1) * total // (2 * points))
            settled(house.engine)
            check(house.engine)
            expect_old_or_whole(house, case, n)
            p = house.begin(case, options)
            now, _ = p.communicate(timeout=60)
            assert p.returncode == 0, now
            lost = finished(said) - cached(now)
            assert not lost, f"made again although it was finished: {lost}\n{said}\n---- and then\n{now}"
            again += len(finished(said))
            expect_result(house, case, n, out, now)
            check(house.engine)
            if was_met:
                break
            total = max(min(total, took), points)
        met += was_met
    assert met >= (points + 1) // 2, f"only {met} of {points} points were met"
    assert again > 0 or points < 3, "no point was behind the first step"
    house.expect_clean()
    if case.victim == "client":
        wait_until(lambda: f"descriptors are closed: {house.descriptors() - before} more", lambda: not house.descriptors() - before)
