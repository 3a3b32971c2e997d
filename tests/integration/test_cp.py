# SPDX-License-Identifier: Apache-2.0
"""docker cp in every direction, with the names people have, and what must not get out or in."""
import io
import tarfile

import pytest

from harness import add_file, make_tar


@pytest.fixture(params=[True, False], ids=["running", "stopped"])
def box(request, cli, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "mkdir -p '/d 一/e'; echo inside > '/d 一/f'; ln -s /etc/passwd /link; ln -s / /all; sleep 1000")
    cli("exec", name, "sh", "-c", "while ! test -L /all; do sleep 0.02; done")
    if not request.param:
        cli("kill", name)
        cli("wait", name)
    return name


def test_file_in_and_out(cli, box, folder):
    (folder / "私の 名前.txt").write_text("hello")
    cli("cp", folder / "私の 名前.txt", f"{box}:/tmp/名 前")
    cli("cp", f"{box}:/tmp/名 前", folder / "back")
    assert (folder / "back").read_text() == "hello"
    cli("cp", f"{box}:/d 一/f", folder)
    assert (folder / "f").read_text() == "inside\n"


def test_folder_in_and_out(cli, box, folder):
    (folder / "tree/sub 二").mkdir(parents=True)
    (folder / "tree/sub 二/x").write_text("x")
    cli("cp", folder / "tree", f"{box}:/tmp")
    cli("cp", f"{folder}/tree/.", f"{box}:/tmp/contents-missing", check=False)
    cli("cp", f"{box}:/tmp/tree", folder / "copy")
    assert (folder / "copy/sub 二/x").read_text() == "x"
    cli("cp", f"{box}:/d 一/.", folder / "copy")
    assert (folder / "copy/f").read_text() == "inside\n"


def test_through_pipes(cli, box):
    out = cli("cp", f"{box}:/d 一", "-", text=False).stdout
    assert "d 一/f" in tarfile.open(fileobj=io.BytesIO(out)).getnames()
    cli("cp", "-", f"{box}:/tmp", input=make_tar(lambda t: add_file(t, "piped", b"p", 0o640)), text=False)
    out = cli("cp", f"{box}:/tmp/piped", "-", text=False).stdout
    info = tarfile.open(fileobj=io.BytesIO(out)).getmember("piped")
    assert info.mode & 0o777 == 0o640 and info.size == 1


def test_links_stay_links(cli, box, folder):
    cli("cp", f"{box}:/link", folder / "l")
    assert (folder / "l").is_symlink()
    cli("cp", "-L", f"{box}:/link", folder / "followed")
    assert "A User" in (folder / "followed").read_text()


def test_errors(cli, box, folder):
    assert "Could not find the file" in cli.fails("cp", f"{box}:/no/such", folder) or "no such" in cli.fails("cp", f"{box}:/no/such", folder).lower()
    assert cli.fails("cp", folder / "missing", f"{box}:/tmp")
    assert "No such container" in cli.fails("cp", "nobody-here:/x", folder)
    (folder / "plain").write_text("")
    assert cli.fails("cp", folder / "plain", f"{box}:/no/such/folder/")


def test_links_inside_do_not_lead_to_the_host(cli, box, folder, engine):
    """/all -> /: inside the container that is the container's root."""
    cli("cp", f"{box}:/all/etc/passwd", folder / "p")
    assert (folder / "p").read_text().startswith("root:x:0:0:root:/root:/bin/sh\nuser:")
    evil = make_tar(lambda t: (add_file(t, "x", type=tarfile.SYMTYPE, linkname=str(folder)), add_file(t, "x/out", b"escaped")))
    engine.api("PUT", f"/containers/{box}/archive?path=/tmp", evil, {"Content-Type": "application/x-tar"})
    assert not (folder / "out").exists()
    climb = make_tar(lambda t: add_file(t, "../" * 20 + str(folder).lstrip("/") + "/climbed", b"escaped"))
    engine.api("PUT", f"/containers/{box}/archive?path=/tmp", climb, {"Content-Type": "application/x-tar"})
    assert not (folder / "climbed").exists()


def test_into_volumes(cli, name, folder):
    (folder / "f").write_text("v")
    cli("create", "--name", name, "-v", f"{name}:/vol", "busybox", "cat", "/vol/f")
    cli("cp", folder / "f", f"{name}:/vol/f")
    assert cli("start", "-a", name).stdout == "v"
    cli("rm", name)
    cli("volume", "rm", name)
