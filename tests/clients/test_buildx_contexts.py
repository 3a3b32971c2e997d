# SPDX-License-Identifier: Apache-2.0
"""Where docker buildx takes a build from: archives and Dockerfiles on standard input, named contexts of each kind in each place, targets of bake that begin with one another."""
import bz2
import gzip
import lzma

import pytest

from build_servers import Repo
from harness import add_file, make_tar
from test_buildx import Buildx, buildx  # noqa: F401 (a fixture)

PACKED = {"plain": lambda data: data, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


def archive(path, dockerfile, packed="plain", name="Dockerfile"):
    path.write_bytes(PACKED[packed](make_tar(lambda t: (add_file(t, name, dockerfile), add_file(t, "dir/x", b"packed\n"), add_file(t, "no", b"n"), add_file(t, ".dockerignore", b"no\n")))))
    return path


@pytest.mark.parametrize("packed", PACKED)
def test_an_archive_on_standard_input(buildx, tmp_path, packed):
    with archive(tmp_path / "c.tar", b"FROM busybox\nCOPY . /c\n", packed).open("rb") as f:
        buildx.build(where="-", stdin=f)
    assert buildx.says("sh", "-c", "cat /c/dir/x; ls /c") == "packed\nDockerfile\ndir\n"


def test_a_dockerfile_within_the_archive(buildx, tmp_path):
    archive(tmp_path / "c.tar", b"FROM busybox\nCOPY dir/x /x\nRUN cat /x\n", name="sub/Some.Dockerfile")
    with (tmp_path / "c.tar").open("rb") as f:
        assert "packed" in buildx.build("-f", "sub/Some.Dockerfile", where="-", stdin=f)
    with (tmp_path / "c.tar").open("rb") as f:
        assert "failed to read dockerfile" in buildx.fails(where="-", stdin=f)


def test_a_dockerfile_on_standard_input(buildx):
    """Alone, it has no files beside it; with a context it has that, as far as it may be seen."""
    assert "no file at all" in buildx.build(where="-", input="FROM busybox\nRUN echo no file at all\n")
    assert "not found" in buildx.fails(where="-", input="FROM busybox\nCOPY x /\n")
    buildx.files(x="beside\n", no="n", **{".dockerignore": "no\n", "Dockerfile": "FROM nosuch\n"})
    buildx.build("-f", "-", input="FROM busybox\nCOPY . /c\n")
    assert buildx.says("sh", "-c", "cat /c/x; ls /c") == "beside\nDockerfile\nx\n"


@pytest.fixture
def kinds(tmp_path):
    local = tmp_path / "a dir"
    local.mkdir()
    (local / "f").write_text("local")
    repo = Repo(tmp_path / "a repo")
    repo.commit({"f": "repo"})
    (repo.served / "c.tgz").write_bytes(gzip.compress(make_tar(lambda t: add_file(t, "f", b"archive"))))
    yield {"local": str(local), "repo": repo.url, "archive": f"{repo.site.url}/c.tgz"}
    repo.site.close()


@pytest.mark.parametrize("kind", ["local", "repo", "archive"])
def test_named_contexts_wherever_a_stage_may_be_named(buildx, kinds, kind):
    text = "FROM it AS x\nENV a=1\nFROM busybox AS hidden\nRUN exit 1\nFROM busybox\nCOPY --from=x f /a\nCOPY --from=it f /b\nCOPY --from=hidden f /c\nRUN --mount=from=it,target=/m cp /m/f /d && ! touch /m/g\n"
    options = ["--build-context", f"it={kinds[kind]}", "--build-context", f"hidden={kinds[kind]}"]
    buildx.build(*options, dockerfile=text)
    assert buildx.says("cat", "/a", "/b", "/c", "/d") == kind * 4
    assert buildx.build(*options).count("CACHED") >= 4


def test_a_repository_and_a_dockerfile_from_here(buildx, kinds):
    buildx.build("-f", "-", where=kinds["repo"], input="FROM busybox\nCOPY f /f\n")
    assert buildx.says("cat", "/f") == "repo"


@pytest.fixture
def bake(engine, tmp_path, name):
    b = Buildx(engine, tmp_path, name)

    def run(text, *targets, check=True):
        b.files(**{"docker-bake.hcl": text.replace("NAME", name)})
        return b.docker("buildx", "bake", "--progress", "plain", *targets, check=check)

    run.buildx = b
    yield run
    engine.api("DELETE", f"/images/{name}?force=1")


def test_a_chain_of_targets(bake):
    """Each is built once, with its own arguments and context, whether it is asked for or not."""
    bake.buildx.files(one__f="first", two__f="second")
    p = bake("""
target "one" {
  context = "one"
  args = { word = "given" }
  dockerfile-inline = "FROM busybox\\nARG word\\nCOPY f /one\\nRUN echo $word in one >/word\\n"
}
target "two" {
  context = "two"
  contexts = { one = "target:one" }
  dockerfile-inline = "FROM one\\nCOPY f /two\\nONBUILD RUN echo triggered >/trigger\\n"
}
target "three" {
  contexts = { one = "target:one", two = "target:two" }
  dockerfile-inline = "FROM two\\nCOPY --from=one /word /again\\n"
  tags = ["NAME"]
}
""", "three")
    assert bake.buildx.says("cat", "/one", "/two", "/word", "/again", "/trigger") == "firstsecondgiven in one\ngiven in one\ntriggered\n"
    assert p.stderr.count("RUN echo $word in one") >= 1 and p.stderr.count("given in one") == 0


def test_a_target_that_fails_ends_those_that_begin_with_it(bake):
    p = bake("""
target "one" { dockerfile-inline = "FROM busybox\\nRUN echo gone wrong; exit 7\\n" }
target "two" {
  contexts = { one = "target:one" }
  dockerfile-inline = "FROM one\\nRUN true\\n"
}
""", "two", check=False)
    assert p.returncode != 0 and "exit code: 7" in p.stderr and "gone wrong" in p.stderr


def test_a_stage_of_a_linked_file(bake):
    p = bake("""
target "one" {
  target = "first"
  dockerfile-inline = "FROM busybox AS first\\nRUN echo of the first >/f\\nFROM busybox\\nRUN exit 1\\n"
}
target "two" {
  contexts = { first = "target:one" }
  dockerfile-inline = "FROM busybox AS first\\nRUN exit 1\\nFROM busybox\\nCOPY --from=first /f /f\\n"
  tags = ["NAME"]
}
""", "two")
    assert p.returncode == 0 and bake.buildx.says("cat", "/f") == "of the first\n"
