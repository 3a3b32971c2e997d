# SPDX-License-Identifier: Apache-2.0
"""Hostile layers against ireko-unpack (threats.md, class 1).

Each test builds a tar, often by hand, gives it to the helper as the store would (src/store/unpack-protocol.h)
and looks at what came of it: in the target, and in a directory beside it that nothing may ever touch.
"""
import bz2
import gzip
import hashlib
import lzma
import os
import stat
import struct
import subprocess
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from unpack_box import BLK, CHR, DIR, END, FIFO, LNK, SYM, Box, entry, finish, pax, program, raw, start, tar


@pytest.fixture
def box(tmp_path):
    b = Box(tmp_path)
    yield b
    b.check_outside()


# ---- names ----

@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x", "./../../../../tmp/x", "a/b/../../../x", ".."])
def test_dotdot_is_refused(box, name):
    r = box.bad(tar(entry(name, data=b"x")), "layer tries to write outside its root")
    assert name in r.error
    assert os.listdir(box.root) == []


@pytest.mark.parametrize("name,place", [("/abs/x", "abs/x"), ("./a//b/./c", "a/b/c"), ("a/../b", "b"), ("//x", "x")])
def test_odd_names_stay_inside(box, name, place):
    box.good(tar(entry(name, data=b"hello")))
    assert (box.root / place).read_text() == "hello"


def test_empty_name(box):
    box.bad(raw(b"") + END, "without a name")


def test_nul_in_pax_path(box):
    box.bad(pax((b"path", b"a\0b")) + raw(b"x") + END, "NUL")


def test_long_names(box):
    box.bad(tar(entry("d/" * 2100 + "f")), "path of more than")
    box.bad(tar(entry("n" * 300)), "name of more than")
    deep = "/".join(["d" * 60] * 60)
    box.good(tar(entry(deep, data=b"x")))
    assert (box.root / deep).read_text() == "x"


@pytest.mark.parametrize("name", [b"\xff\xfe", "私の 名前".encode(), b"\x1b[31mred\x07", b"new\nline"])
def test_names_are_bytes(box, name):
    box.good(raw(name, data=b"x") + END)
    assert os.listdir(os.fsencode(box.root)) == [name]


def test_nothing_may_replace_the_root(box):
    box.bad(tar(entry("./", SYM, link="/")), "root")
    box.bad(tar(entry("./", data=b"x")), "root")
    box.good(tar(entry("./", DIR, mode=0o700)))
    assert stat.S_IMODE(box.root.stat().st_mode) == 0o700


# ---- links ----

@pytest.mark.parametrize("target", ["/", "..", "../outside", "/../../outside", "../../../../../../../.."])
def test_write_through_symlinked_directory(box, target):
    t = str(box.outside) if target == "/" else target
    r = box.unpack(tar(entry("l", SYM, link=t), entry("l/evil", data=b"x")))
    assert r.status == 0
    # Inside the root is where such a link leads, if anywhere.
    for where in (box.outside, box.outside.parent, Path("/")):
        assert not (where / "evil").exists()


def test_symlink_of_an_earlier_layer_in_the_directory(box):
    os.symlink(box.outside, box.root / "old")
    box.unpack(tar(entry("old/evil", data=b"x"), entry("old/secret", data=b"x")))


def test_file_replaces_symlink_and_is_not_written_through(box):
    box.good(tar(entry("l", SYM, link="../outside/secret"), entry("l", data=b"new")))
    assert not (box.root / "l").is_symlink() and (box.root / "l").read_text() == "new"


def test_link_inside_is_followed_inside(box):
    box.good(tar(entry("real", DIR), entry("l", SYM, link="/real"), entry("l/f", data=b"x")))
    assert (box.root / "real/f").read_text() == "x"


def test_symlink_loop(box):
    box.bad(tar(entry("a", SYM, link="b"), entry("b", SYM, link="a"), entry("a/x", data=b"x")), "")


@pytest.mark.parametrize("target", ["/proc/self/root", "/proc/1/root/tmp", "/proc/self/fd/3", "/dev/fd/0"])
def test_magic_links_lead_nowhere(box, target):
    box.unpack(tar(entry("l", SYM, link=target), entry("l/evil", data=b"x")))
    assert not Path("/evil").exists() and not Path("/tmp/evil").exists()


@pytest.mark.parametrize("target", ["../outside/secret", "/etc/passwd", "a/../../outside/secret"])
def test_hardlink_to_outside(box, target):
    box.bad(tar(entry("h", LNK, link=target)), "hard link h points")
    assert not (box.root / "h").exists()


def test_hardlink_through_symlink(box):
    box.bad(tar(entry("l", SYM, link=str(box.outside)), entry("h", LNK, link="l/secret")), "hard link")


def test_hardlink_to_symlink_links_the_link(box):
    box.good(tar(entry("l", SYM, link=str(box.outside / "secret")), entry("h", LNK, link="l"), entry("h", data=b"x")))
    assert (box.root / "h").read_text() == "x" and not (box.root / "h").is_symlink()


def test_hardlink_to_later_or_directory_or_itself(box):
    box.bad(tar(entry("h", LNK, link="later"), entry("later", data=b"x")), "not in this archive")
    box.bad(tar(entry("d", DIR), entry("h2", LNK, link="d")), "not a file")
    box.good(tar(entry("f", data=b"kept"), entry("f", LNK, link="f"), entry("g", LNK, link="./f"), entry("f", LNK, link="g")))
    assert (box.root / "f").read_text() == "kept"


def test_empty_symlink(box):
    box.bad(raw(b"l", b"2") + END, "no target")


# ---- kinds ----

def test_devices(box):
    box.good(tar(entry("null", CHR, devmajor=1, devminor=3, mode=0o666), entry("loop", BLK, devmajor=7, devminor=0),
                 entry("fifo", FIFO)))
    s = (box.root / "null").stat()
    assert stat.S_ISCHR(s.st_mode) and s.st_rdev == os.makedev(1, 3) and stat.S_IMODE(s.st_mode) == 0o666
    assert stat.S_ISFIFO((box.root / "fifo").stat().st_mode)
    box.bad(tar(entry("zero", CHR, devmajor=0, devminor=0)), "0/0")
    box.bad(tar(entry("dev", CHR, devmajor=1, devminor=3)), "not allowed", devices=False)
    box.bad(raw(b"big", b"3", major=b"7777777\0") + END, "out of range")


def test_modes_and_owners(box):
    box.good(tar(entry("su", data=b"x", mode=0o4755, uid=12, gid=34), entry("sticky", DIR, mode=0o1777),
                 entry("sg", DIR, mode=0o2775, gid=77), entry("sg/f", data=b"x"), entry("sg/d", DIR)))
    s = (box.root / "su").stat()
    assert (stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid) == (0o4755, 12, 34)
    assert stat.S_IMODE((box.root / "sticky").stat().st_mode) == 0o1777
    # The group is the archive's, whatever the directory hands on.
    assert (box.root / "sg/f").stat().st_gid == 0
    s = (box.root / "sg/d").stat()
    assert s.st_gid == 0 and stat.S_IMODE(s.st_mode) == 0o755


@pytest.mark.parametrize("uid,good", [(2**31, True), (2**32 - 2, True), (2**32 - 1, False), (2**33, False), (2**63, False)])
def test_owner_ids(box, uid, good):
    data = pax((b"uid", b"%d" % uid)) + raw(b"f") + END
    if good:
        box.good(data)
        assert (box.root / "f").stat().st_uid == uid
    else:
        box.bad(data, "")


def test_negative_numbers(box):
    box.bad(raw(b"f", uid=b"\xff" * 8) + END, "out of range")
    box.bad(raw(b"f", size=b"\xff" * 12) + END, "impossible size")
    box.bad(pax((b"size", b"-1")) + raw(b"f") + END, "PAX")
    box.bad(raw(b"f", size=b"\x80" + b"\x7f" * 11) + END, "")


@pytest.mark.parametrize("mtime", [b"-9223372036854775808", b"9223372036854775807", b"-1.5", b"99999999999.999999999"])
def test_extreme_times(box, mtime):
    box.good(pax((b"mtime", mtime)) + raw(b"f") + END)


def test_nanoseconds(box):
    box.good(pax((b"mtime", b"1700000000.123456789")) + raw(b"f") +
             pax((b"mtime", b"1600000000.000000001")) + raw(b"d/", b"5", mode=b"0000755\0") + raw(b"d/f") + END)
    assert (box.root / "f").stat().st_mtime_ns == 1700000000123456789
    assert (box.root / "d").stat().st_mtime_ns == 1600000000000000001


def test_last_entry_wins(box):
    box.good(tar(entry("x", data=b"1"), entry("x", DIR), entry("x/y", data=b"2"), entry("x", SYM, link="nowhere"),
                 entry("x", DIR), entry("x/z", data=b"3"), entry("f", data=b"long contents"), entry("f", data=b"s")))
    assert sorted(os.listdir(box.root / "x")) == ["z"]
    assert (box.root / "f").read_text() == "s"


def test_directory_becomes_symlink_under_our_feet(box):
    box.good(tar(entry("d", DIR), entry("d/f", data=b"1"), entry("e", DIR), entry("d", SYM, link="e"), entry("d/g", data=b"2")))
    assert (box.root / "e/g").read_text() == "2" and os.listdir(box.root / "e") == ["g"]


def test_links_keep_no_stale_parent(box):
    box.good(tar(entry("a", DIR), entry("b", DIR), entry("l", SYM, link="a"), entry("l/1", data=b"x"),
                 entry("l", SYM, link="b"), entry("l/2", data=b"x")))
    assert os.listdir(box.root / "a") == ["1"] and os.listdir(box.root / "b") == ["2"]


def test_file_as_directory(box):
    box.bad(tar(entry("f", data=b"x"), entry("f/g", data=b"x")), "not a directory")


def test_unknown_type(box):
    box.bad(raw(b"x", b"Q") + END, "unknown type")


# ---- whiteouts ----

def is_whiteout(path):
    s = os.lstat(path)
    return stat.S_ISCHR(s.st_mode) and s.st_rdev == 0


def test_whiteouts(box):
    r = box.good(tar(entry("d", DIR), entry("d/.wh.gone"), entry("o", DIR), entry("o/.wh..wh..opq"), entry("o/new", data=b"x")))
    assert is_whiteout(box.root / "d/gone")
    assert r.opaque == [b"o"] and os.listdir(box.root / "o") == ["new"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh..."])
def test_whiteout_of_nothing(box, name):
    box.bad(tar(entry(name)), "names nothing")


def test_whiteout_as_directory(box):
    box.bad(tar(entry(".wh.x", DIR), entry(".wh.x/y", data=b"x")), "no directory")


def test_whiteout_and_own_file(box):
    r = box.good(tar(entry("f", data=b"mine"), entry(".wh.f"), entry("d", DIR), entry(".wh.d"), entry(".wh.e"), entry("e", DIR),
                     entry(".wh.g"), entry("g", data=b"mine")))
    assert (box.root / "f").read_text() == "mine" and (box.root / "g").read_text() == "mine"
    assert sorted(r.opaque) == [b"d", b"e"]


def test_whiteout_through_symlink(box):
    box.unpack(tar(entry("l", SYM, link=str(box.outside)), entry("l/.wh.secret")))


def test_hardlink_to_whiteout(box):
    box.bad(tar(entry(".wh.x"), entry("y", LNK, link="x")), "not a file")


def test_aufs_leftovers(box):
    box.good(tar(entry(".wh..wh.plnk", DIR), entry(".wh..wh.plnk/1.2", data=b"x"), entry(".wh..wh.aufs")))
    assert os.listdir(box.root) == []


def test_opaque_root_is_told(box):
    assert box.good(tar(entry(".wh..wh..opq"))).opaque == [b""]


def test_whiteouts_are_plain_files_elsewhere(box):
    box.good(tar(entry(".wh.x", data=b"x")), layer=False, whiteouts=False)
    assert (box.root / ".wh.x").read_text() == "x"


def test_implied_directories_are_told(box):
    r = box.good(tar(entry("a/b/c", data=b"x"), entry("a", DIR), entry("d/e", data=b"x")))
    assert r.implied == {b"", b"a/b", b"d"}
    assert box.good(tar(entry("./", DIR))).implied == set()


# ---- extended attributes ----

def test_attributes_that_would_speak_to_overlayfs_are_dropped(box):
    smuggled = {f"SCHILY.xattr.{n}": "y" for n in
                ("trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "user.overlay.opaque",
                 "user.overlay.redirect", "trusted.x", "security.selinux", "security.ima", "system.nothing")}
    box.good(tar(entry("d", DIR, pax_headers={**smuggled, "SCHILY.xattr.user.kept": "1"}),
                 entry("f", data=b"x", pax_headers=smuggled)))
    assert os.listxattr(box.root / "d") == ["user.kept"]
    assert os.listxattr(box.root / "f") == []


@pytest.mark.parametrize("cap", [b"\1\0\0\2\0\4\0\0" + b"\0" * 12, b"\1\0\0\3\0\4\0\0" + b"\0" * 12 + b"\xe8\3\0\0"])
def test_file_capabilities(box, cap):
    box.good(pax((b"SCHILY.xattr.security.capability", cap)) + raw(b"ping", data=b"x", uid=b"0000001\0") + END)
    assert os.getxattr(box.root / "ping", "security.capability") == cap


def test_attribute_flood(box):
    box.bad(pax(*[(b"SCHILY.xattr.user.%d" % i, b"v" * 100) for i in range(20000)]) + raw(b"f") + END, "extended tar header")
    box.bad(pax((b"SCHILY.xattr.user.big", b"v" * 70000)) + raw(b"f") + END, "user.big f")


def test_user_attribute_on_symlink(box):
    box.good(pax((b"SCHILY.xattr.user.a", b"1")) + raw(b"l", b"2", link=b"x") + END)


# ---- bombs ----

def test_plain_size_limit(box):
    data = gzip.compress(raw(b"f", size=b"%011o\0" % (1 << 24)) + b"\0" * (1 << 24) + END)
    assert len(data) < 1 << 20
    box.bad(data, "larger than the limit", max_bytes=1 << 20)


def test_endless_padding_is_cut_off(box):
    # All behind the end marker, where no file accounts for it.
    data = gzip.compress(tar(entry("f")) + b"\0" * (1 << 20), 9)
    z = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(z.compress(b"\0" * (1 << 24)) for _ in range(80)) + z.flush()
    assert len(data) < 1 << 20 and len(bomb) < 4 << 20
    box.bad(gzip.compress(tar(entry("f"))) + bomb, "larger than the limit", max_bytes=1 << 20)


def test_huge_sparse_file(box):
    data = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"giant"),
               (b"GNU.sparse.realsize", b"%d" % (1 << 62))) + raw(b"x", data=b"0\n" + b"\0" * 510) + END
    box.bad(data, "larger than the limit")


def test_sparse_file(box):
    m = b"2\n4096\n3\n1048576\n2\n"
    data = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"holes"),
               (b"GNU.sparse.realsize", b"2000000")) + raw(b"x", data=m + b"\0" * (512 - len(m)) + b"abcde") + END
    box.good(data)
    got = (box.root / "holes").read_bytes()
    assert len(got) == 2000000 and got[4096:4099] == b"abc" and got[1048576:1048578] == b"de" and got.count(0) == 1999995
    assert (box.root / "holes").stat().st_blocks * 512 < 100000


@pytest.mark.parametrize("text", [b"99999999999999999999\n", b"-1\n", b"2\n0\n1\n", b"1\n0\n9999\n", b"x", b"1\n5\n3\n" + b"\0"])
def test_sparse_map_lies(box, text):
    data = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"n"),
               (b"GNU.sparse.realsize", b"5")) + raw(b"x", data=text + b"\0" * (512 - len(text))) + END
    box.bad(data, "")


def test_too_many_files(box):
    box.bad(b"".join(raw(b"f%d" % i) for i in range(200)) + END, "more than 100 files", max_files=100)


def test_header_loops(box):
    # Long names that announce long names, and none of them an entry.
    box.bad(raw(b"././@LongLink", b"L", b"x" * 600) * 2000, "truncated")
    box.bad((raw(b"././@LongLink", b"L", b"x" * 100) * 9 + raw(b"f")) * 60 + END, "more than 100 files", max_files=100)


def test_deep_nesting(box):
    box.good(tar(entry("d/" * 2000 + "f", data=b"x")))
    subprocess.run(["rm", "-rf", box.root], check=True)  # pytest's own clean-up is recursive
    box.root.mkdir()


def test_deep_directory_is_replaced(box):
    box.good(tar(entry("d/" * 1500 + "f", data=b"x"), entry("d", data=b"now a file")))
    assert (box.root / "d").read_text() == "now a file"


def test_one_small_disk(box):
    """ENOSPC: a clear message. The directory itself is the store's to remove."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", box.root], check=True)
    try:
        r = box.bad(tar(entry("f", data=b"x" * 200000)), "no space left on device")
        assert "free space or move --data-root" in r.error
    finally:
        subprocess.run(["umount", box.root], check=True)


# ---- streams ----

def frame(data):
    """A zstd frame of raw blocks: magic, single segment with a 4-byte size, blocks."""
    blocks = [data[i:i + 100000] for i in range(0, len(data), 100000)]
    out = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data))
    for i, b in enumerate(blocks):
        out += struct.pack("<I", len(b) << 3 | (i == len(blocks) - 1))[:3] + b
    return out


SAMPLE = tar(entry("d", DIR), entry("d/f", data=os.urandom(3000) + b"a" * 5000), entry("l", SYM, link="d/f"))
SKIPPABLE = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 7) + b"skipped"


@pytest.mark.parametrize("pack", [
    lambda d: d, gzip.compress, bz2.compress, lzma.compress, frame,
    lambda d: gzip.compress(d[:1000]) + gzip.compress(d[1000:]),
    lambda d: gzip.compress(d) + b"\0" * 1000,
    lambda d: bz2.compress(d[:1000]) + bz2.compress(d[1000:]),
    lambda d: lzma.compress(d[:1000]) + lzma.compress(d[1000:]),
    lambda d: frame(d[:1000]) + frame(d[1000:]),
    lambda d: SKIPPABLE + frame(d) + SKIPPABLE,
], ids=["plain", "gzip", "bzip2", "xz", "zstd", "gzip-members", "gzip-padding", "bzip2-streams", "xz-streams", "zstd-frames",
        "zstd-skippable"])
def test_compressions(box, pack):
    r = box.good(pack(SAMPLE))
    assert r.diff_id == "sha256:" + hashlib.sha256(SAMPLE).hexdigest()
    assert (box.root / "d/f").read_bytes().endswith(b"a" * 5000)
    assert r.stream == len(SAMPLE) and r.contents == 8000


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, frame])
def test_truncated_compressed(box, pack):
    data = pack(SAMPLE)
    points = set(range(6, len(data), 97)) | set(range(len(data) - 12, len(data)))
    for n in sorted(points):
        r = box.unpack(data[:n])
        assert r.status == 0 and r.error, f"accepted with {n} of {len(data)} bytes"
        assert "truncated" in r.error or "damaged" in r.error or "not a tar" in r.error, (n, r.error)


@pytest.mark.seconds(300)
def test_truncated_plain(box):
    body = SAMPLE[:SAMPLE.rindex(b"ustar") + 512 - 257]
    for n in range(1, len(body) - 600, 53):
        if n % 512:
            box.bad(body[:n], "t")
    box.bad(raw(b"f", data=b"x" * 1000)[:-1], "truncated layer")
    # As others do: an archive may end between two entries without its end marker, and right behind the contents of the last one.
    box.good(raw(b"f", data=b"x"))
    box.good(raw(b"f", data=b"x" * 1000)[:-24])
    assert (box.root / "f").read_bytes() == b"x" * 1000


@pytest.mark.parametrize("tail", [b"garbage", b"\0\0garbage", b"\x1f\x8c"])
def test_something_behind_the_gzip_stream(box, tail):
    box.bad(gzip.compress(SAMPLE) + tail, "gzip")


def test_damaged_streams(box):
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        data = bytearray(pack(SAMPLE))
        data[-6] ^= 0xFF
        box.bad(bytes(data), "damaged")


def test_garbage_behind_the_archive_is_hashed(box):
    r = box.good(SAMPLE + b"garbage")
    assert r.diff_id == "sha256:" + hashlib.sha256(SAMPLE + b"garbage").hexdigest()


@pytest.mark.parametrize("data", [b"x" * 5000, b"\x1f\x8b" + b"x" * 100, b"PK\3\4" + b"x" * 600, b"BZh9" + b"x" * 100,
                                  b"\xfd7zXZ\0" + b"x" * 100, b"\x28\xb5\x2f\xfd" + b"x" * 100])
def test_no_archive_at_all(box, data):
    box.bad(data, "")
    assert os.listdir(box.root) == []


def test_dialects_agree(box):
    for fmt in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        box.good(tar(entry("a" * 90 + "/" + "b" * 60, data=b"x", uid=100, mtime=7), fmt=fmt))
        s = (box.root / ("a" * 90) / ("b" * 60)).stat()
        assert s.st_uid == 100 and s.st_mtime == 7
    box.good(tar(entry("g" * 250, data=b"x"), entry("l", SYM, link="t" * 3000), fmt=tarfile.GNU_FORMAT))
    assert os.readlink(box.root / "l") == "t" * 3000


# ---- in directories that are in use ----

def test_no_overwrite(box):
    job = {"layer": False, "whiteouts": False, "no_overwrite_dir_non_dir": True}
    (box.root / "d").mkdir()
    (box.root / "f").write_text("old")
    box.bad(tar(entry("d", data=b"x")), 'cannot overwrite directory "d" with non-directory "d"', **job)
    box.bad(tar(entry("f", DIR)), 'cannot overwrite non-directory "f" with directory "f"', **job)
    box.good(tar(entry("f", data=b"new"), entry("d", DIR), entry("d/x", data=b"x")), **job)
    assert (box.root / "f").read_text() == "new"


def test_given_owner(box):
    box.good(tar(entry("a/b", data=b"x", uid=7), entry("l", SYM, link="x")), layer=False, keep_owner=False, uid=1000, gid=1001)
    for p in ("a", "a/b", "l"):
        s = (box.root / p).lstat()
        assert (s.st_uid, s.st_gid) == (1000, 1001)


def test_existing_hardlink_is_not_written_through(box):
    (box.root / "data").write_text("shared")
    os.link(box.root / "data", box.root / "other")
    box.good(tar(entry("data", data=b"new")), layer=False)
    assert (box.root / "other").read_text() == "shared"


# ---- the cage ----

def test_the_cage_is_closed(box):
    """While it waits for its input: no capability too many, no way out, no network, nothing open but what it needs."""
    r, w = os.pipe()
    pid, report = start(r, box.root)
    os.close(r)
    try:
        deadline = time.monotonic() + 10
        while True:
            status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
            if status["Seccomp"] == "2":
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        allowed = sum(1 << c for c in (0, 1, 3, 4, 27, 31))  # CHOWN DAC_OVERRIDE FOWNER FSETID MKNOD SETFCAP
        assert int(status["CapEff"], 16) & ~allowed == 0
        assert int(status["CapPrm"], 16) & ~allowed == 0
        assert int(status["CapBnd"], 16) == 0 and int(status["CapAmb"], 16) == 0 and int(status["CapInh"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert os.readlink(f"/proc/{pid}/root") == str(box.root)
        assert os.readlink(f"/proc/{pid}/cwd") == str(box.root)
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        assert {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")} <= {0, 1, 2, 3, 4}
        for task in os.listdir(f"/proc/{pid}/task"):
            assert "Seccomp:\t2" in Path(f"/proc/{pid}/task/{task}/status").read_text()
    finally:
        os.write(w, SAMPLE)
        os.close(w)
    assert finish(pid, report).error is None


def test_without_job_it_explains_itself():
    p = subprocess.run([program()], capture_output=True, text=True, close_fds=True)
    assert p.returncode == 2 and "irekod" in p.stderr
