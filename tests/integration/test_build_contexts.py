# SPDX-License-Identifier: Apache-2.0
"""Contexts that are no directory of the client: repositories, archives and Dockerfiles behind URLs, and named contexts of all kinds."""
import io
import json
import tarfile
import urllib.parse

import pytest

from build_servers import Repo, Site
from harness import add_file, make_tar


@pytest.fixture
def site():
    s = Site()
    yield s
    s.close()


@pytest.fixture
def repo(tmp_path):
    r = Repo(tmp_path / "a repo")
    yield r
    r.site.close()


@pytest.fixture
def image(ireko, name):
    yield name
    ireko("rmi", "-f", name, check=False)


def out(ireko, name, *command):
    return ireko.out("run", "--rm", "--network", "none", name, *command)


def test_a_repository(ireko, repo, image):
    repo.commit({"Dockerfile": "FROM busybox\nCOPY . /c\n", "f": "one", "sub/Dockerfile": "FROM busybox\nCOPY g /g\n", "sub/g": "sub", ".dockerignore": "no\n", "no": "x"})
    ireko("build", "-t", image, repo.url)
    assert out(ireko, image, "sh", "-c", "cd /c; find . -type f | sort").split() == ["./.dockerignore", "./Dockerfile", "./f", "./sub/Dockerfile", "./sub/g"]
    ireko("build", "-t", image, f"{repo.url}#main:sub")
    assert out(ireko, image, "cat", "/g") == "sub"
    p = ireko("build", "-t", image, f"{repo.url}#nosuch", check=False)
    assert p.returncode != 0 and "repository does not contain ref nosuch" in p.stdout + p.stderr


def test_an_archive_and_a_dockerfile_behind_urls(ireko, site, image):
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w:gz") as t:
        add_file(t, "Dockerfile", b"FROM busybox\nCOPY f /f\n")
        add_file(t, "f", b"packed")
    site.files["/c.tar.gz"] = buf.getvalue()
    ireko("build", "-t", image, f"{site.url}/c.tar.gz")
    assert out(ireko, image, "cat", "/f") == "packed"
    site.files["/Dockerfile"] = b"FROM busybox\nRUN echo alone > /f\n"
    ireko("build", "-t", image, f"{site.url}/Dockerfile")
    assert out(ireko, image, "cat", "/f") == "alone"
    p = ireko("build", "-t", image, f"{site.url}/missing", check=False)
    assert p.returncode != 0 and "invalid response status 404" in p.stdout + p.stderr


def test_a_dockerfile_of_our_own_for_what_lies_elsewhere(ireko, repo, image):
    repo.commit({"Dockerfile": "FROM nosuch\n", "f": "theirs"})
    ireko("build", "-t", image, "-f", "-", repo.url, input="FROM busybox\nCOPY f /f\n")
    assert out(ireko, image, "cat", "/f") == "theirs"
    p = ireko("build", "-f", "-", repo.url, input="FROM busybox\n", env=dict(ireko.engine.env(), DOCKER_BUILDKIT="0"), check=False)
    assert p.returncode != 0 and "-f - with a URL cannot be used with DOCKER_BUILDKIT=0" in p.stderr


def test_the_classic_door_takes_remotes(engine, repo, ireko, image):
    repo.commit({"Dockerfile": "FROM busybox\nCOPY f /f\n", "f": "classic"})
    reply = engine.api("POST", f"/build?t={image}&remote={urllib.parse.quote(repo.url, safe='')}")
    assert reply.status == 200 and b"Successfully built" in reply.body, reply.body
    assert out(ireko, image, "cat", "/f") == "classic"


@pytest.mark.parametrize("entry", ["../../../tmp/ireko-escaped", "/tmp/ireko-escaped"])
def test_an_archive_stays_in_its_directory(ireko, site, image, entry):
    import os
    site.files["/c.tar"] = make_tar(lambda t: (add_file(t, "Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n"), add_file(t, entry, b"x")))
    ireko("build", "-t", image, f"{site.url}/c.tar", check=False)
    assert not os.path.exists("/tmp/ireko-escaped")


def test_links_of_a_context_from_elsewhere(ireko, repo, image):
    repo.commit({"Dockerfile": "FROM busybox\nCOPY out/passwd /x\n"}, [("out", "/etc")])
    p = ireko("build", "-t", image, repo.url, check=False)
    assert p.returncode != 0 and "not found" in p.stdout + p.stderr
    (repo.work / "Dockerfile").unlink()
    repo.commit({"Dockerfile.x": "FROM scratch\n"}, [("Dockerfile", "/etc/passwd")])
    p = ireko("build", "-t", image, repo.url, check=False)
    assert p.returncode != 0 and "root:" not in p.stdout + p.stderr


def test_named_contexts(ireko, repo, site, image, folder):
    repo.commit({"r": "repo"})
    other = folder / "other dir"
    other.mkdir()
    (other / "f").write_text("local")
    (other / "no").write_text("x")
    (other / ".dockerignore").write_text("no\n")
    (folder / "main").mkdir()
    (folder / "main/Dockerfile").write_text("""FROM base AS made
COPY --from=dir . /d
COPY --from=git /r /r
COPY --from=img /etc/group /group
FROM busybox AS hidden
RUN exit 1
FROM made
COPY --from=hidden /etc/passwd /p
""")
    ireko("build", "-t", image, "--build-context", "base=docker-image://busybox", "--build-context", f"dir={other}", "--build-context", f"git={repo.url}", "--build-context",
          "img=docker-image://busybox:latest", "--build-context", "hidden=docker-image://busybox", folder / "main")
    assert out(ireko, image, "sh", "-c", "cat /d/f /r; echo; ls -A /d; ls /p /group").split() == ["localrepo", ".dockerignore", "f", "/group", "/p"]


@pytest.fixture
def kinds(folder, site, repo):
    """What the file f of a named context holds, for each kind of context that is files alone."""
    local = folder / "a dir"
    local.mkdir()
    (local / "f").write_text("local")
    (local / "sub").mkdir()
    (local / "sub/g").write_text("below")
    (local / "no").write_text("left out")
    (local / ".dockerignore").write_text("no\n")
    repo.commit({"f": "repo", "sub/g": "below"})
    site.files["/c.tgz"] = make_tar(lambda t: (add_file(t, "f", b"archive"), add_file(t, "sub/g", b"below")))
    return {"local": str(local), "repo": repo.url, "archive": f"{site.url}/c.tgz"}


USES = {
    "FROM": "FROM it AS x\nENV a=1\nFROM busybox\nCOPY --from=x / /x\n",
    "the stage of that name": "FROM busybox AS it\nRUN exit 1\nFROM busybox\nCOPY --from=it / /x\n",
    "a mount": "FROM busybox\nRUN --mount=from=it,target=/m cp -r /m /x && ! touch /m/t\n",
    "a part of it, mounted to be written": "FROM busybox\nRUN --mount=from=it,target=/m,rw echo more >/m/sub/h && test -f /m/sub/h && rm /m/sub/h && cp -r /m /x\n",
    "a new cache": "FROM busybox\nRUN --mount=type=cache,id={id},from=it,target=/m cp -r /m /x\n",
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ["local", "repo", "archive"])
def test_files_wherever_a_stage_may_be_named(ireko, kinds, image, folder, use, kind):
    (folder / "Dockerfile").write_text(USES[use].replace("{id}", image))
    ireko("build", "-t", image, "--build-context", f"it={kinds[kind]}", folder)
    assert out(ireko, image, "cat", "/x/f", "/x/sub/g") == kind + "below"
    assert "no" not in out(ireko, image, "ls", "/x").split()
    assert ireko("build", "--progress=plain", "-t", image, "--build-context", f"it={kinds[kind]}", folder).stderr.count("CACHED") >= 1


def test_from_files_has_the_configuration_of_scratch(ireko, kinds, image, folder):
    (folder / "Dockerfile").write_text("FROM it\nLABEL a=b\n")
    ireko("build", "-t", image, "--build-context", f"it={kinds['local']}", folder)
    found = json.loads(ireko.out("image", "inspect", image))[0]
    assert found["Config"]["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] and not found["Config"].get("Cmd") and len(found["RootFS"]["Layers"]) == 1
    # Its files are root's, whoever's they are, and one that is different makes another image.
    (folder / "a dir/f").write_text("else")
    ireko("build", "-t", image, "--build-context", f"it={kinds['local']}", folder)
    assert json.loads(ireko.out("image", "inspect", image))[0]["RootFS"]["Layers"] != found["RootFS"]["Layers"]


def test_a_target_as_a_context(ireko, image, folder):
    (folder / "Dockerfile").write_text("FROM busybox AS other\nRUN echo made >/f\nFROM busybox\nCOPY --from=it /f /f\nRUN --mount=from=it,target=/m cp /m/f /g\n")
    ireko("build", "-t", image, "--build-context", "it=target:other", folder)
    assert out(ireko, image, "cat", "/f", "/g").split() == ["made", "made"]
    p = ireko("build", "--build-context", "it=target:nosuch", folder, check=False)
    assert p.returncode != 0 and "failed to find target nosuch for context it" in p.stdout + p.stderr


def test_a_mounted_context_leads_nowhere(ireko, image, folder):
    """Links in it are those of its own tree, whatever they are called."""
    other = folder / "other"
    other.mkdir()
    (other / "out").symlink_to("/etc")
    (other / "up").symlink_to("../../../../etc")
    (folder / "Dockerfile").write_text("FROM busybox\nRUN --mount=from=it,source=out,target=/m cat /m/shadow\n")
    p = ireko("build", "-t", image, "--build-context", f"it={other}", folder, check=False)
    assert p.returncode != 0 and "root:" not in p.stdout + p.stderr
    (folder / "Dockerfile").write_text("FROM busybox\nRUN --mount=from=it,source=up,target=/m cat /m/shadow\n")
    p = ireko("build", "-t", image, "--build-context", f"it={other}", folder, check=False)
    assert p.returncode != 0 and "root:" not in p.stdout + p.stderr


def test_keys_of_contexts_from_elsewhere_are_contents(ireko, repo, image):
    repo.commit({"Dockerfile": "FROM busybox\nCOPY f /f\n", "f": "one"})
    ireko("build", "-t", image, repo.url)
    first = json.loads(ireko.out("image", "inspect", image))[0]["Id"]
    repo.commit({"other": "x"})
    ireko("build", "-t", image, repo.url)
    assert json.loads(ireko.out("image", "inspect", image))[0]["Id"] == first
