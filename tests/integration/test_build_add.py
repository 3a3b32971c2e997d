# SPDX-License-Identifier: Apache-2.0
"""ADD: files over http, repositories over git, archives; and what must not be reached that way. Servers of the tests' own, on loopback."""
import gzip
import hashlib
import io
import os
import re
import tarfile

import pytest

from build_servers import Repo, Site, git


@pytest.fixture
def box(ireko, folder, name):
    def build(dockerfile, files=None, *options, check=True):
        for path, data in (files or {}).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
        (folder / "Dockerfile").write_text(dockerfile)
        p = ireko("build", "-t", name, *options, folder, check=check)
        return p.stdout + p.stderr

    yield build
    ireko("rmi", "-f", name, check=False)


@pytest.fixture
def look(ireko, name):
    return lambda command: ireko.out("run", "--rm", "--network", "none", name, "sh", "-c", command)


@pytest.fixture
def site():
    s = Site()
    yield s
    s.close()


def refused(box, line, pattern, files=None):
    out = box(f"FROM busybox\n{line}\n", files, check=False)
    assert re.search(pattern, out) and "uccessfully built" not in out, out


# ---- http ----

def test_a_file_from_an_url(box, look, site):
    site.files["/dir/file%20name.txt?x=1"] = (200, {"Last-Modified": "Sun, 09 Sep 2001 01:46:40 GMT"}, b"content")
    site.files["/plain.bin"] = b"plain"
    site.files["/"] = b"root"
    site.files["/named"] = (302, {"Location": "/plain.bin"}, b"")
    box(f"""FROM busybox
ARG SITE={site.url}
ADD $SITE/dir/file%20name.txt?x=1 /a/
ADD --chown=3:4 --chmod=644 $SITE/plain.bin /b
ADD $SITE/named /c/
ADD $SITE/ /d
""")
    assert look("cat /a/* /b /c/named /d; echo; stat -c '%n %a %u:%g %Y' /a/* /b").split("\n") == [
        "contentplainplainroot", "/a/file%20name.txt 600 0:0 1000000000", "/b 644 3:4 0"]
    refused(box, f"ADD {site.url}/missing /x", r"ADD: .*/missing: invalid response status 404")
    refused(box, f"COPY {site.url}/plain.bin /x", r"source can't be a URL for COPY")


def test_checksums_of_urls(box, look, site):
    site.files["/f"] = b"data"
    good = hashlib.sha256(b"data").hexdigest()
    box(f"FROM busybox\nADD --checksum=sha256:{good} {site.url}/f /f\n")
    assert look("cat /f") == "data"
    asked = len(site.asked)
    box(f"FROM busybox\nADD --checksum=sha256:{good} {site.url}/f /f\n")
    assert len(site.asked) == asked
    refused(box, f"ADD --checksum=sha256:{'0' * 64} {site.url}/f /g", rf"digest mismatch sha256:{good}: sha256:0+")
    refused(box, f"ADD --checksum=md5:00 {site.url}/f /g", r"invalid checksum digest format")
    refused(box, f"ADD --checksum=sha256:{good} local /g", r"checksum requires HTTP\(S\) or Git sources", {"local": "x"})
    refused(box, f"ADD --checksum=sha256:{good} {site.url}/f {site.url}/g /g/", r"checksum can't be specified for multiple sources")


def test_an_url_is_fetched_again_only_when_it_has_changed(box, look, site):
    text = f"FROM busybox\nADD {site.url}/f /f\n"
    site.files["/f"] = (200, {"ETag": '"1"'}, b"one")
    box(text)
    del site.asked[:]
    box(text)
    assert site.asked == ["HEAD /f"]
    site.files["/f"] = (200, {"ETag": '"2"'}, b"two")
    box(text)
    assert look("cat /f") == "two"
    # A server that says nothing about its files: by contents.
    site.files["/f"] = b"two"
    box(text)
    site.files["/f"] = b"six"
    box(text)
    assert look("cat /f") == "six"


def test_archives_from_urls_are_unpacked_when_asked_for(box, look, site):
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w:gz") as t:
        entry = tarfile.TarInfo("in/side")
        entry.size, entry.uid = 2, 7
        t.addfile(entry, io.BytesIO(b"ok"))
    site.files["/a.tar.gz"] = buf.getvalue()
    box(f"FROM busybox\nADD {site.url}/a.tar.gz /kept/\nADD --unpack {site.url}/a.tar.gz /un/\nADD --unpack=false a.tar.gz /local/\n", {"a.tar.gz": buf.getvalue()})
    assert look("ls /kept /local; cat /un/in/side; stat -c %u /un/in/side").split("\n") == ["/kept:", "a.tar.gz", "", "/local:", "a.tar.gz", "ok7"]


def test_what_looks_like_an_archive_and_is_none(box, look):
    box("FROM busybox\nADD text.gz /a\nADD empty.tar /b\nADD short.gz /c\n", {"text.gz": gzip.compress(b"text" * 1000), "empty.tar": b"", "short.gz": b"\x1f\x8b\x08\x00garbage"})
    assert look("stat -c %F /a /b /c; zcat /a | head -c 4").split("\n") == ["regular file", "regular empty file", "regular file", "text"]


def test_owners_of_archives_are_kept(box, look):
    buf = io.BytesIO()
    with tarfile.open(fileobj=buf, mode="w") as t:
        entry = tarfile.TarInfo("f")
        entry.uid, entry.gid, entry.mode = 12, 34, 0o4755
        t.addfile(entry, io.BytesIO(b""))
    box("FROM busybox\nADD a.tar /a\nADD --chown=5:6 a.tar /b\n", {"a.tar": buf.getvalue()})
    assert look("stat -c '%u:%g %a' /a/f /b/f").split("\n")[0] == "12:34 4755"
    assert look("stat -c %u:%g /b/f") == "5:6"


def test_proxies_are_the_builds(box, look, site):
    proxy = Site()
    try:
        proxy.files["http://registry.invalid/f"] = b"by proxy"
        box("FROM busybox\nADD http://registry.invalid/f /f\n", None, "--build-arg", f"http_proxy={proxy.url}")
        assert look("cat /f") == "by proxy"
    finally:
        proxy.close()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/x", "unix:///run/docker.sock", "//user:pw@127.0.0.1/"])
def test_redirects_lead_to_no_other_scheme(box, site, target):
    site.files["/r"] = (302, {"Location": target}, b"")
    refused(box, f"ADD {site.url}/r /x", r"refused|no http or https URL|is no URL")


def test_redirects_have_an_end(box, site):
    site.files["/loop"] = (302, {"Location": "/loop"}, b"")
    refused(box, f"ADD {site.url}/loop /x", r"more than 5 redirects")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ext::sh -c id", "unix:///run/docker.sock", "gopher://x/", "/etc/passwd", "ftp://127.0.0.1/x"])
def test_other_schemes_are_names_in_the_context(box, url):
    refused(box, f'ADD ["{url}", "/x"]', r"not found")


def test_an_answer_that_is_too_long(new_engine, site, folder):
    site.files["/f"] = (200, {"Content-Length": str(1 << 40)}, b"x" * 100)
    engine = new_engine(busybox=False)
    (folder / "Dockerfile").write_text(f"FROM scratch\nADD {site.url}/f /f\n")
    p = engine.cli("build", folder, check=False)
    assert p.returncode != 0 and re.search(r"larger than the limit|transfer closed|closed in the middle", p.stdout + p.stderr), p


# ---- git ----

@pytest.fixture
def repo(tmp_path):
    r = Repo(tmp_path / "a repo")
    yield r
    r.site.close()


def test_a_repository(box, look, repo):
    first = repo.commit({"a.txt": "one", "sub/b.txt": "b", "run": "x"})
    git("tag", "-a", "v1", "-m", "t", cwd=repo.work)
    second = repo.commit({"a.txt": "two"})
    box(f"""FROM busybox
ADD {repo.url} /head
ADD {repo.url}#v1 /tag
ADD {repo.url}?branch=main&subdir=sub /sub/
ADD --checksum={first[:10]} {repo.url}#v1:sub /sum
ADD --keep-git-dir=true --chown=5 {repo.url}#{first} /kept
""")
    assert look("cat /head/a.txt /tag/a.txt /sub/b.txt /sum/b.txt /kept/a.txt; echo; ls -A /head /kept; stat -c %u /head/a.txt /kept/a.txt; cat /kept/.git/HEAD").split() == [
        "twoonebbone", "/head:", "a.txt", "run", "sub", "/kept:", ".git", "a.txt", "run", "sub", "0", "5", first]
    refused(box, f"ADD {repo.url}#nosuch /x", r"repository does not contain ref nosuch")
    refused(box, f"ADD {repo.url}#main:nosuch /x", r"subdir nosuch is no directory of the repository")
    refused(box, f"ADD --checksum={first} {repo.url}#main /x", rf"expected checksum to match {first}, got {second}")
    refused(box, f"COPY {repo.url} /x", r"source can't be a git ref for COPY")
    refused(box, f"ADD {repo.url}#--upload-pack=id /x", r"invalid git ref")


def test_a_commit_is_fetched_once(box, repo):
    commit = repo.commit({"a": "1"})
    text = f"FROM busybox\nADD {repo.url} /x\n"
    box(text)
    del repo.site.asked[:]
    box(text)
    assert repo.site.asked and not any("objects" in a for a in repo.site.asked)
    box(f"FROM busybox\nADD {repo.url}#{commit} /y\n")
    del repo.site.asked[:]
    box(f"FROM busybox\nADD {repo.url}#{commit} /y\n")
    assert repo.site.asked == []
    repo.commit({"a": "2"})
    box(text)
    assert any("objects" in a for a in repo.site.asked)


def test_submodules(box, look, repo, tmp_path):
    other = Repo(tmp_path / "other")
    try:
        other.commit({"in": "side"})
        repo.commit({"top": "t"})
        git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.served / "repo.git"), "mod", cwd=repo.work)
        git("config", "-f", ".gitmodules", "submodule.mod.url", other.url, cwd=repo.work)
        repo.commit({})
        box(f"FROM busybox\nADD {repo.url} /with\nADD {repo.url}?submodules=false /without\n")
        assert look("cat /with/mod/in; echo; ls -A /with/mod /without/mod").split() == ["side", "/with/mod:", "in", "/without/mod:"]
    finally:
        other.site.close()


@pytest.mark.parametrize("url, why", [("file:///etc", "transport 'file' not allowed"), ("/etc", "transport 'file' not allowed|'/etc' does not exist"),
                                      ("ext::sh -c 'touch /tmp/ireko-was-here'", "transport 'ext' not allowed"), ("../../../../../../../etc", "cannot strip one component")])
def test_submodules_lead_to_no_file_of_the_host(box, repo, tmp_path, url, why):
    other = Repo(tmp_path / "other")
    other.site.close()
    other.commit({"in": "side"})
    repo.commit({"top": "t"})
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.served / "repo.git"), "mod", cwd=repo.work)
    git("config", "-f", ".gitmodules", "submodule.mod.url", url, cwd=repo.work)
    repo.commit({})
    refused(box, f"ADD {repo.url} /x", why)
    assert not os.path.exists("/tmp/ireko-was-here")


def test_links_of_a_repository_stay_links(box, look, repo):
    repo.commit({"a": "x"}, [("out", "/etc"), ("dir", "../../../../../../etc")])
    box(f"FROM busybox\nADD {repo.url} /x\n")
    assert look("readlink /x/out; readlink /x/dir").split() == ["/etc", "../../../../../../etc"]
    refused(box, f"ADD {repo.url}#main:out /y", r"subdir out is no directory of the repository")
    refused(box, f"ADD {repo.url}#main:dir /y", r"subdir dir is no directory of the repository")


def test_hooks_and_attributes_of_a_repository_do_nothing(box, repo, tmp_path, look):
    mark = tmp_path / "mark"
    repo.commit({"a": "x", ".gitattributes": "* filter=evil\n", ".gitconfig": f"[filter \"evil\"]\n\tsmudge = touch {mark}\n", "hooks/post-checkout": f"#!/bin/sh\ntouch {mark}\n"})
    box(f"FROM busybox\nADD {repo.url} /x\n")
    assert look("cat /x/a") == "x" and not mark.exists()


@pytest.mark.seconds(40)
def test_a_server_that_never_answers_goes_with_its_client(engine, folder):
    import socket
    import time
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        for line in (f"ADD http://127.0.0.1:{s.getsockname()[1]}/repo.git /x", f"ADD http://127.0.0.1:{s.getsockname()[1]}/file /x"):
            (folder / "Dockerfile").write_text(f"FROM busybox\n{line}\n")
            p = engine.popen("build", folder)
            c, _ = s.accept()
            p.kill()
            p.communicate()
            c.settimeout(20)
            begun = time.monotonic()
            while c.recv(4096):
                pass
            c.close()
            assert time.monotonic() - begun < 15
    assert not list(engine.data_root.glob("tmp/build-fetch-*"))
