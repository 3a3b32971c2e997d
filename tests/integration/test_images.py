# SPDX-License-Identifier: Apache-2.0
"""Images on this machine: list, load, save, import, commit, tag, remove, and other programs reading what we write."""
import gzip
import io
import json
import re
import tarfile

import pytest

from harness import add_file, busybox_layer, docker_archive, image_config, make_tar, program, run, sha256


def test_images_columns(cli):
    header, *rows = cli.out("images").splitlines()
    assert re.split(r"\s{2,}", header) == ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
    row = next(re.split(r"\s{2,}", r) for r in rows if r.startswith("busybox "))
    assert row[1] == "latest" and re.fullmatch(r"[0-9a-f]{12}", row[2]) and re.fullmatch(r"[\d.]+[kM]B", row[4])


def test_tag_inspect_rmi(cli, engine, name):
    cli("tag", "busybox", f"{name}:one")
    cli("tag", f"{name}:one", f"example.org:5000/{name}/x:two")
    assert {f"{name}:one", f"example.org:5000/{name}/x:two"} <= engine.images()
    ids = {json.loads(cli.out("image", "inspect", t))[0]["Id"] for t in ("busybox", f"{name}:one")}
    assert len(ids) == 1
    assert "Untagged" in cli.out("rmi", f"{name}:one")
    cli("rmi", f"example.org:5000/{name}/x:two")
    assert "busybox:latest" in engine.images()


def test_save_load_round_trip(cli, engine, folder, name):
    cli("tag", "busybox", f"{name}:saved")
    before = json.loads(cli.out("image", "inspect", f"{name}:saved"))[0]["Id"]
    file = folder / "画像 1.tar"
    cli("save", "-o", file, f"{name}:saved")
    cli("rmi", f"{name}:saved")
    assert f"{name}:saved" not in engine.images()
    assert f"Loaded image: {name}:saved" in cli.out("load", "-i", file)
    assert json.loads(cli.out("image", "inspect", f"{name}:saved"))[0]["Id"] == before
    cli("rmi", f"{name}:saved")


def test_save_to_stdout_load_from_stdin_compressed(cli, name):
    cli("tag", "busybox", f"{name}:piped")
    data = cli("save", f"{name}:piped", text=False).stdout
    cli("rmi", f"{name}:piped")
    assert f"{name}:piped" in cli("load", input=gzip.compress(data, 1), text=False).stdout.decode()
    cli("rmi", f"{name}:piped")


def test_save_is_deterministic(ireko):
    assert ireko("save", "busybox", text=False).stdout == ireko("save", "busybox", text=False).stdout


def test_other_programs_read_what_we_save(ireko, folder, name):
    skopeo = program("skopeo")
    ireko("tag", "busybox", f"{name}:x")
    ireko("save", "-o", folder / "s.tar", f"{name}:x")
    ireko("rmi", f"{name}:x")
    for kind in ("docker-archive", "oci-archive"):
        j = json.loads(run(skopeo, "inspect", f"{kind}:{folder}/s.tar").stdout)
        assert j["Os"] == "linux" and len(j["Layers"]) == 1
        run(skopeo, "--insecure-policy", "copy", f"{kind}:{folder}/s.tar", f"dir:{folder}/{kind}")


def test_we_load_what_other_programs_save(ireko, engine, folder, name):
    """docker-archive, OCI archives with gzip and zstd layers, as skopeo writes them."""
    skopeo = program("skopeo")
    ireko("save", "-o", folder / "s.tar", "busybox")
    for kind, extra in (("docker-archive", []), ("oci-archive", []), ("oci-archive", ["--dest-compress-format", "zstd"])):
        file = folder / "t.tar"
        file.unlink(missing_ok=True)
        run(skopeo, "--insecure-policy", "copy", *extra, f"docker-archive:{folder}/s.tar", f"{kind}:{file}:docker.io/library/{name}:x")
        out = ireko.out("load", "-i", file)
        m = re.search(r"Loaded image(?: ID)?: (\S+)", out)
        assert m, out
        assert ireko.out("run", "--rm", m.group(1), "echo", "loaded") == "loaded"
        ireko("rmi", "-f", m.group(1), check=False)


def test_import(cli, folder, name):
    (folder / "root.tar.gz").write_bytes(gzip.compress(busybox_layer()))
    identity = cli.out("import", "-c", 'CMD ["echo", "imported"]', "-c", "ENV A=b", "-m", "why", folder / "root.tar.gz", f"{name}:imported")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", identity)
    assert cli.out("run", "--rm", f"{name}:imported") == "imported"
    assert cli.out("run", "--rm", f"{name}:imported", "sh", "-c", "echo $A") == "b"
    cli("rmi", f"{name}:imported")
    cli("import", "-", f"{name}:stdin", input=busybox_layer(), text=False)
    cli("rmi", f"{name}:stdin")


def test_commit(cli, engine, name):
    cli("run", "--name", name, "-e", "KEPT=1", "busybox", "sh", "-c", "echo data > /made; rm /etc/group; ln -s /made /link")
    identity = cli.out("commit", "-m", "message", "-a", "Me <me@example.org>", "-c", 'CMD ["sh", "-c", "cat /link; ls /etc; echo $KEPT"]', name, f"{name}:c")
    out = cli.out("run", "--rm", f"{name}:c").split()
    assert out[0] == "data" and "group" not in out and out[-1] == "1"
    j = json.loads(cli.out("image", "inspect", f"{name}:c"))[0]
    assert j["Id"] == identity and j["Comment"] == "message" and j["Author"] == "Me <me@example.org>"
    assert len(j["RootFS"]["Layers"]) == 2
    cli("rmi", f"{name}:c")


def test_commit_of_a_running_container(cli, name):
    cli("run", "-d", "--name", name, "busybox", "sh", "-c", "echo live > /made; sleep 1000")
    cli("exec", name, "sh", "-c", "while ! test -e /made; do sleep 0.05; done")
    cli("commit", name, f"{name}:live")
    assert cli.out("run", "--rm", f"{name}:live", "cat", "/made") == "live"
    cli("rmi", f"{name}:live")


def test_export(cli, folder, name):
    cli("run", "--name", name, "busybox", "sh", "-c", "echo out > /exported")
    cli("export", "-o", folder / "e.tar", name)
    with tarfile.open(folder / "e.tar") as t:
        assert t.extractfile("exported").read() == b"out\n" and "bin/busybox" in t.getnames()


def test_history(cli, name):
    cli("build", "-t", name, "-", input="FROM busybox\nRUN echo x > /x\nCMD [\"sh\"]\n")
    out = cli.out("history", "--no-trunc", name)
    assert "echo x > /x" in out and "CMD" in out
    cli("rmi", name)


def test_rmi_of_an_image_in_use(cli, engine, name):
    cli("tag", "busybox", f"{name}:used")
    engine.cli("load", input=docker_archive(f"{name}:alone", [make_tar(lambda t: add_file(t, name, b"x")), busybox_layer()], Cmd=["sh"]), text=False)
    cli("run", "--name", name, f"{name}:alone", "true")
    assert "conflict" in cli.fails("rmi", f"{name}:alone", status=1).lower()
    cli("rmi", "-f", f"{name}:alone")
    cli("rm", name)
    cli("rmi", f"{name}:used")


def test_images_filters_digests_dangling(cli, engine, name):
    data = docker_archive(None, [make_tar(lambda t: add_file(t, name, b"dangling"))])
    out = cli("load", input=data, text=False).stdout.decode()
    identity = re.search(r"Loaded image ID: (sha256:[0-9a-f]{64})", out).group(1)
    assert identity[7:19] in cli.out("images", "-f", "dangling=true", "-q")
    assert identity[7:19] in cli.out("image", "prune", "-f") or identity not in cli.out("images", "-q", "--no-trunc")
    assert identity[7:19] not in cli.out("images", "-aq")


def test_docker_archive_with_shared_and_whiteout_layers(cli, name):
    upper = make_tar(lambda t: (add_file(t, "etc/.wh.group"), add_file(t, "home/.wh..wh..opq"), add_file(t, "home/new", b"n")))
    cli("load", input=docker_archive(f"{name}:wh", [busybox_layer(), upper], Cmd=["sh"]), text=False)
    assert cli.out("run", "--rm", f"{name}:wh", "sh", "-c", "ls /etc/group /etc/passwd /home 2>/dev/null | tr '\\n' ' '") == "/etc/passwd  /home: new"
    cli("rmi", f"{name}:wh")


def test_layer_attributes_survive(cli, name):
    def fill(t):
        add_file(t, "setuid", b"x", 0o4755, uid=1000, gid=2000, mtime=1234567890)
        add_file(t, "hard", type=tarfile.LNKTYPE, linkname="setuid")
        add_file(t, "fifo", type=tarfile.FIFOTYPE, mode=0o600)
        add_file(t, "名 前/" + "長い" * 40, b"long")
        add_file(t, "sticky", type=tarfile.DIRTYPE, mode=0o1777)

    cli("load", input=docker_archive(f"{name}:attr", [busybox_layer(), make_tar(fill)], Cmd=["sh"]), text=False)
    out = cli.out("run", "--rm", f"{name}:attr", "sh", "-c", "stat -c '%a %u %g %Y %h %F' /setuid /hard; stat -c '%F' /fifo; stat -c '%a' /sticky; cat /名*/*")
    assert out.splitlines() == ["4755 1000 2000 1234567890 2 regular file"] * 2 + ["fifo", "1777", "long"]
    cli("rmi", f"{name}:attr")


# ---- hostile archives
def _climb(t, name):
    add_file(t, f"../../../../../../../../../../tmp/irk-escaped-{name}", b"out")


def _absolute_link(t, name):
    add_file(t, "l", type=tarfile.SYMTYPE, linkname="/tmp")
    add_file(t, f"l/irk-escaped-{name}", b"out")


def _hard_link_out(t, name):
    add_file(t, "h", type=tarfile.LNKTYPE, linkname="../../../../../../../../etc/passwd")


def _whiteout_out(t, name):
    add_file(t, f"../../../../../../../../../../tmp/.wh.irk-victim-{name}")


@pytest.mark.parametrize("fill", [_climb, _absolute_link, _hard_link_out, _whiteout_out])
def test_layers_that_lead_out_do_not(ireko, engine, name, fill, tmp_path_factory):
    import pathlib

    escaped, victim = pathlib.Path(f"/tmp/irk-escaped-{name}"), pathlib.Path(f"/tmp/irk-victim-{name}")
    victim.write_text("alive")
    try:
        p = ireko("load", check=False, input=docker_archive(f"{name}:evil", [busybox_layer(), make_tar(lambda t: fill(t, name))], Cmd=["sh"]), text=False)
        assert not escaped.exists() and victim.read_text() == "alive"
        if p.returncode == 0:
            # Kept inside: the image works and holds nothing of the host's.
            out = ireko("run", "--rm", f"{name}:evil", "sh", "-c", "cat /h 2>/dev/null; true").stdout
            assert "daemon:" not in out
            ireko("rmi", f"{name}:evil")
        else:
            assert p.stderr.strip()
            assert f"{name}:evil" not in engine.images()
    finally:
        victim.unlink()
        escaped.unlink(missing_ok=True)


def test_device_laden_layer(ireko, engine, name):
    """A device that an image brings is refused, or at least cannot be opened inside."""
    def fill(t):
        add_file(t, "disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666)
        add_file(t, "kmem", type=tarfile.CHRTYPE, devmajor=1, devminor=2, mode=0o666)

    p = ireko("load", check=False, input=docker_archive(f"{name}:dev", [busybox_layer(), make_tar(fill)], Cmd=["sh"]), text=False)
    if p.returncode == 0:
        q = ireko("run", "--rm", f"{name}:dev", "sh", "-c", "cat /disk || cat /kmem", check=False)
        assert q.returncode != 0 and ("not permitted" in q.stderr or "denied" in q.stderr.lower() or "No such" in q.stderr), q
        ireko("rmi", f"{name}:dev")
    else:
        assert p.stderr.strip() and f"{name}:dev" not in engine.images()


def test_damaged_archives(ireko, engine, folder):
    # A layer that is not here yet: one that is, is not read again.
    whole = docker_archive("damaged:x", [make_tar(lambda t: add_file(t, "f", b"a text of its own" + bytes(100000)))])
    wrong = bytearray(whole)
    at = whole.find(b"a text of its own")
    wrong[at:at + 6] = b"A TEXT"
    before, blobs = engine.images(), engine.cli("images", "-aq").stdout
    for data, pattern in ((whole[:len(whole) // 2], r"truncated|unexpected end|damaged|manifest"), (b"x" * 5000, r"archive|tar|format"), (b"", r"empty|archive|tar|format|end"),
                          (bytes(wrong), r"digest|diff|hash|sha256|match"), (make_tar(lambda t: add_file(t, "hello", b"x")), r"manifest|index")):
        p = ireko("load", input=data, text=False, check=False)
        assert p.returncode == 1 and re.search(pattern, p.stderr.decode() + p.stdout.decode(), re.I), (pattern, p)
    assert engine.images() == before and engine.cli("images", "-aq").stdout == blobs


def test_manifest_that_names_files_outside(ireko, engine):
    config = image_config([])
    evil = make_tar(lambda t: (add_file(t, "c.json", config), add_file(t, "manifest.json", json.dumps([{"Config": "../../../../etc/passwd", "RepoTags": ["evil:x"], "Layers": ["/etc/shadow"]}]).encode())))
    p = ireko("load", input=evil, text=False, check=False)
    assert p.returncode == 1 and "evil:x" not in engine.images()


def test_unpacked_layer_is_reused(ireko, name):
    """Two images on one base share its layer."""
    for tag in ("a", "b"):
        ireko("load", input=docker_archive(f"{name}:{tag}", [busybox_layer(), make_tar(lambda t: add_file(t, tag, b"x"))]), text=False)
    layers = [json.loads(ireko.out("image", "inspect", f"{name}:{t}"))[0]["RootFS"]["Layers"][0] for t in "ab"]
    assert layers[0] == layers[1] == f"sha256:{sha256(busybox_layer())}"
    ireko("rmi", f"{name}:a", f"{name}:b")


def test_tar_of_save_holds_both_formats(ireko):
    data = ireko("save", "busybox", text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        assert {"manifest.json", "index.json", "oci-layout"} <= set(t.getnames())
