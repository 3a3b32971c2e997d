# SPDX-License-Identifier: Apache-2.0
"""More hostile layers against ireko-unpack: numbers that lie, headers that contradict one another, bombs, floods, and odd whiteouts."""
import bz2
import contextlib
import gzip
import lzma
import os
import re
import resource
import stat
import struct
import subprocess
import tarfile
import threading
import zlib
from pathlib import Path

import pytest

from harness import program as tool
from harness import wait_until
from unpack_box import BLK, CHR, DIR, END, FIFO, LNK, SYM, Box, entry, finish, pax, raw, start, tar


@pytest.fixture
def box(tmp_path):
    b = Box(tmp_path)
    yield b
    b.check_outside()


def tree(root):
    """Every name below root, sorted; directories end in a slash."""
    return sorted(str((Path(at) / n).relative_to(root)) + ("/" if n in folders else "") for at, folders, files in os.walk(root) for n in [*folders, *files])


def base256(value, length):
    return (value % (1 << 8 * length)).to_bytes(length, "big") if value < 0 else bytes([0x80]) + value.to_bytes(length - 1, "big")


# ---- numbers ----

@pytest.mark.parametrize("size,words", [
    (base256(5, 12), None), (base256(1 << 62, 12), "larger than the limit"), (base256((1 << 63) - 1, 12), "impossible size"), (base256(-1, 12), "impossible size"),
    (base256(-(1 << 63), 12), "impossible size"), (b"\x80" + b"\xff" * 11, "size is not a number"), (b"777777777777", "larger than the limit"),
    (b"5          \0", None), (b"          5\0", None), (b"0x5\0\0\0\0\0\0\0\0\0", "not a number"), (b"-0000000005\0", "not a number"), (b"00000000 5\0\0", "not a number"),
], ids=["base-256", "2^62", "2^63-1", "-1", "-2^63", "96 bits", "all sevens", "blank behind", "blank before", "hexadecimal", "minus", "blank inside"])
def test_sizes(box, size, words):
    data = raw(b"f", size=size) + b"hello" + b"\0" * 507 + END
    if words:
        box.bad(data, words)
        assert not (box.root / "f").exists() or (box.root / "f").stat().st_size == 0
    else:
        box.good(data)
        assert (box.root / "f").read_bytes() == b"hello"


@pytest.mark.parametrize("mtime,seconds", [(base256(-1, 12), -1), (base256(1 << 40, 12), 1 << 40), (base256(-(1 << 63), 12), None), (base256((1 << 63) - 1, 12), None)])
def test_times_in_base_256(box, mtime, seconds):
    box.good(raw(b"f", mtime=mtime) + END)
    if seconds is not None and seconds < 1 << 33:  # what every file system can hold
        assert (box.root / "f").stat().st_mtime_ns == seconds * 10**9


@pytest.mark.parametrize("field", ["uid", "gid", "mtime", "mode"])
def test_numbers_that_are_none(box, field):
    box.bad(raw(b"f", **{field: b"zzzzzzz\0" if field != "mtime" else b"zzzzzzzzzzz\0"}) + END, f"field {field} is not a number")


@pytest.mark.parametrize("key", [b"size", b"uid", b"gid", b"mtime"])
@pytest.mark.parametrize("value", [b"99999999999999999999", b"1e9", b"0x10", b"+1", b" 1", b"1 ", b"--1", b"nan"])
def test_pax_numbers_that_are_none(box, key, value):
    box.bad(pax((key, value)) + raw(b"f") + END, f"bad PAX header: {key.decode()}")


def test_wrong_checksums(box):
    good = bytearray(raw(b"f", data=b"x"))
    good[0] ^= 1
    box.bad(bytes(good) + END, "not a tar archive: the first header has a wrong checksum")
    box.bad(raw(b"a") + bytes(good) + END, "damaged tar archive")


# ---- headers that contradict one another ----

def test_pax_size_counts(box):
    """Both ways: a header that says less, and one that says more, than the record."""
    box.good(pax((b"size", b"5")) + raw(b"f", size=b"00000000000\0") + b"hello" + b"\0" * 507 + raw(b"g", data=b"x") + END)
    assert (box.root / "f").read_bytes() == b"hello" and (box.root / "g").read_bytes() == b"x"
    box.good(pax((b"size", b"0")) + raw(b"f", size=b"77777777777\0") + raw(b"g", data=b"y") + END)
    assert (box.root / "f").read_bytes() == b"" and (box.root / "g").read_bytes() == b"y"
    box.bad(pax((b"size", b"%d" % (1 << 62))) + raw(b"f") + END, "larger than the limit")


def test_of_records_the_last_counts(box):
    box.good(pax((b"path", b"first"), (b"path", b"last")) + raw(b"header") + END)
    assert tree(box.root) == ["last"]


def test_a_second_header_takes_the_place_of_the_first(box):
    box.good(pax((b"path", b"first"), (b"uid", b"7")) + pax((b"path", b"second")) + raw(b"header") + END)
    assert tree(box.root) == ["second"] and (box.root / "second").stat().st_uid == 0


def test_pax_path_counts_before_a_long_name(box):
    box.good(raw(b"././@LongLink", b"L", b"gnu\0") + pax((b"path", b"pax")) + raw(b"header") + END)
    assert tree(box.root) == ["pax"]


@pytest.mark.parametrize("record", [(b"path", b"../../outside/evil"), (b"path", b"../outside/secret"), (b"GNU.sparse.name", b"../outside/evil")])
def test_paths_of_records_climb_no_better(box, record):
    sparse = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"0")] if record[0].startswith(b"GNU") else []
    box.bad(pax(*sparse, record) + raw(b"harmless", data=b"0\n" + b"\0" * 510 if sparse else b"x") + END, "outside its root")


def test_link_paths_of_records_climb_no_better(box):
    box.bad(pax((b"linkpath", b"../outside/secret")) + raw(b"h", b"1", link=b"harmless") + END, "hard link h points")


def test_global_headers_say_nothing(box):
    box.good(raw(b"g", b"g", b"23 path=../outside/evil\n") + raw(b"f", data=b"x") + raw(b"h") + END)
    assert tree(box.root) == ["f", "h"]
    box.bad(raw(b"g", b"g", size=b"77777777777\0") + END, "truncated")


@pytest.mark.parametrize("text", [b"0 a=b\n", b"3 a\n", b"5 a=b\n", b"6 a=bc", b"99 a=b\n", b"a=b\n", b" 6 a=b\n", b"6\ta=b\n", b"-6 a=b\n", b"5 =b\n", b"18446744073709551622 a=b\n", b"7 \0=b\n\n"])
def test_damaged_records(box, text):
    box.bad(raw(b"pax", b"x", text) + raw(b"f") + END, "bad PAX header")


def test_headers_at_the_end_belong_to_nothing(box):
    for last in (pax((b"path", b"x")), raw(b"././@LongLink", b"L", b"name\0"), raw(b"././@LongLink", b"K", b"link\0")):
        box.bad(raw(b"f") + last + END, "truncated")


def test_contents_of_what_has_none(box):
    """Links, devices and directories have no contents whatever their size says: the next header follows at once."""
    for kind, link in ((b"1", b"f"), (b"2", b"f"), (b"5", b""), (b"6", b"")):
        box.good(raw(b"f", data=b"x") + raw(b"n" + kind, kind, link=link, size=b"00000001000\0") + raw(b"next", data=b"y") + END)
        assert (box.root / "next").read_bytes() == b"y"


def test_two_entries_in_all_kinds(box):
    """Whatever an entry is, the next one of its name takes its place, and nothing is written through."""
    kinds = {"file": entry("x", data=b"1"), "dir": entry("x", DIR), "link": entry("x", SYM, link="../outside/secret"), "fifo": entry("x", FIFO),
             "char": entry("x", CHR, devmajor=1, devminor=3), "block": entry("x", BLK, devmajor=7, devminor=0), "hard": entry("x", LNK, link="other")}
    tests = {"file": stat.S_ISREG, "dir": stat.S_ISDIR, "link": stat.S_ISLNK, "fifo": stat.S_ISFIFO, "char": stat.S_ISCHR, "block": stat.S_ISBLK, "hard": stat.S_ISREG}
    for first, a in kinds.items():
        for second, b in kinds.items():
            box.good(tar(entry("other", data=b"o"), a, b))
            assert tests[second](os.lstat(box.root / "x").st_mode), (first, second)
            subprocess.run(["rm", "-r", box.root / "x", box.root / "other"], check=True)


def test_an_entry_that_replaces_its_own_parent(box):
    box.bad(tar(entry("a/b/c", data=b"x"), entry("a", SYM, link="../outside"), entry("a/b/evil", data=b"x")), "")
    assert not (box.outside / "b").exists()


def test_a_hard_link_that_replaces_the_directory_of_its_target(box):
    box.bad(tar(entry("d/f", data=b"x"), entry("d", LNK, link="d/f")), "")


# ---- names ----

@pytest.mark.parametrize("name", [b"a\0b", b"\0", b"x" * 100])
def test_names_that_fill_or_cut_the_field(box, name):
    if name[:1] == b"\0":
        box.bad(raw(name) + END, "without a name")
    else:
        box.good(raw(name) + END)
        assert tree(box.root) == [name.split(b"\0")[0].decode()]


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "/".join(["d"] * 2047)])
def test_longest_names(box, name):
    box.good(tar(entry(name, data=b"x")))
    subprocess.run(["rm", "-rf", box.root], check=True)
    box.root.mkdir()


@pytest.mark.parametrize("name,words", [("n" * 256, "name of more than"), ("é" * 128, "name of more than"), ("/".join(["d"] * 2049), "path of more than")])
def test_names_that_are_too_long(box, name, words):
    box.bad(tar(entry(name, data=b"x")), words)


def test_names_that_differ_in_case(box):
    box.good(tar(entry("A", data=b"1"), entry("a", data=b"2")))
    assert tree(box.root) == ["A", "a"] and (box.root / "A").read_bytes() == b"1"


def test_errors_do_not_speak_to_the_terminal(box):
    """A name of control characters in an error is the reader's to escape: it comes through as it is, and cut to a length."""
    r = box.bad(raw(b"\x1b[2J/../..", data=b"x") + END, "outside its root")
    assert len(r.error) < 1000


# ---- whiteouts ----

@pytest.mark.parametrize("kind,more", [(SYM, {"link": "/etc"}), (LNK, {"link": "f"}), (CHR, {"devmajor": 1, "devminor": 3}), (FIFO, {})])
@pytest.mark.parametrize("name", [".wh.gone", "d/.wh.gone"])
def test_whiteouts_of_any_kind(box, name, kind, more):
    """A whiteout is told by its name; what kind of entry it is says nothing."""
    box.good(tar(entry("f", data=b"x"), entry("d", DIR), entry(name, kind, **more)))
    gone = os.lstat(box.root / name.replace(".wh.", ""))
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert not os.path.lexists(box.root / name)


@pytest.mark.parametrize("kind,more", [(DIR, {}), (SYM, {"link": "/etc"}), (LNK, {"link": "f"}), (FIFO, {})])
def test_opaque_marks_of_any_kind(box, kind, more):
    r = box.good(tar(entry("f", data=b"x"), entry("o", DIR), entry("o/.wh..wh..opq", kind, **more)))
    assert r.opaque == [b"o"] and os.listdir(box.root / "o") == []


@pytest.mark.parametrize("name", [".wh.x/y", "a/.wh.x/y", ".wh.x/.wh.y", ".wh.x/../z/.wh.w/v", ".wh..wh..opq/.wh.x"])
def test_nothing_lies_below_a_whiteout(box, name):
    r = box.unpack(tar(entry(name, data=b"x")))
    assert r.status == 0
    assert not any(".wh." in n for n in tree(box.root))
    assert r.error is None or "no directory" in r.error


@pytest.mark.parametrize("name,left", [(".WH.x", [".WH.x"]), (".wh", [".wh"]), (".whx", [".whx"]), ("x.wh.y", ["x.wh.y"]), (".wh..wh..opqx", []), (".wh..wh.", [])])
def test_almost_whiteouts(box, name, left):
    r = box.good(tar(entry(name, data=b"x")))
    assert tree(box.root) == left and r.opaque == []


def test_a_whiteout_with_contents(box):
    box.good(tar(entry(".wh.gone", data=b"x" * 5000), entry("next", data=b"y")))
    assert stat.S_ISCHR(os.lstat(box.root / "gone").st_mode) and (box.root / "next").read_bytes() == b"y"


def test_whiteouts_again_and_again(box):
    box.good(tar(entry(".wh.x"), entry(".wh.x"), entry("x", data=b"1"), entry(".wh.x"), entry("d/.wh..wh..opq"), entry("d/.wh..wh..opq"), entry(".wh.d")))
    assert (box.root / "x").read_bytes() == b"1" and (box.root / "d").is_dir()


def test_a_whiteout_of_a_whole_path(box):
    """The name is one component: what would climb from it is a directory of a whiteout, or cleaned away."""
    box.bad(tar(entry(".wh.a/../../outside/secret", data=b"x")), "outside its root")
    box.bad(tar(entry("a/b/.wh..", data=b"x")), "names nothing")


def test_a_whiteout_of_a_long_name(box):
    box.good(tar(entry(".wh." + "n" * 251)))
    assert stat.S_ISCHR(os.lstat(box.root / ("n" * 251)).st_mode)


def test_a_file_below_a_whiteout_of_this_layer(box):
    """First the whiteout, then an undescribed directory in its place: what was below stays hidden."""
    r = box.unpack(tar(entry(".wh.d"), entry("d/f", data=b"x")))
    assert r.status == 0
    if r.error is None:
        assert b"d" in r.opaque


def test_whiteouts_where_links_lead(box):
    r = box.unpack(tar(entry("l", SYM, link="../outside"), entry("l/.wh.secret"), entry("l/.wh.another"), entry("l/.wh..wh..opq")))
    assert r.status == 0
    assert all(not o.startswith((b"/", b"..")) for o in r.opaque)


# ---- bombs ----

def zstd(data):
    return subprocess.run([tool("zstd"), "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACKERS = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstd}


@pytest.mark.parametrize("kind", PACKERS)
def test_bombs(box, kind):
    """1.3 GB of zeros in less than two megabytes, behind the archive: cut off by the budget of the plain stream, with the memory of a decoder and no more."""
    pack = PACKERS[kind]
    bomb = pack(tar(entry("f"))) + pack(b"\0" * (1 << 24)) * 80
    assert len(bomb) < 2 << 20
    r = box.bad(bomb, "larger than the limit", max_bytes=1 << 20)
    assert r.error.endswith("when unpacked") and 0 < r.peak < 64 << 20, r.peak


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress], ids=["gzip", "xz", "bzip2"])
def test_a_file_larger_than_the_budget(box, pack):
    box.bad(pack(raw(b"f", size=b"%011o\0" % (1 << 24)) + b"\0" * (1 << 24) + END), "larger than the limit of 1048576 bytes", max_bytes=1 << 20)
    assert (box.root / "f").stat().st_size == 0 if (box.root / "f").exists() else True


def test_many_files_that_are_small_enough_each(box):
    data = b"".join(raw(b"f%d" % i, data=b"x" * 1000) for i in range(2000)) + END
    box.bad(data, "larger than the limit of 1048576 bytes", max_bytes=1 << 20)
    assert sum(f.stat().st_size for f in box.root.iterdir()) <= 1 << 20


# ---- floods ----

def flood(line, times):
    """A gzip of one header, over and over."""
    z = zlib.compressobj(1, zlib.DEFLATED, 31)
    piece = line * 1000
    return b"".join([*(z.compress(piece) for _ in range(times // 1000)), z.compress(END), z.flush()])


@pytest.mark.parametrize("kind,link", [(b"5", b""), (b"0", b""), (b"2", b"t"), (b"1", b"first"), (b"6", b"")], ids=["directory", "file", "symlink", "hard link", "fifo"])
def test_entries_without_end(box, kind, link):
    box.bad(raw(b"first") + raw(b"again", kind, link=link) * 3000 + END, "more than 2000 files", max_files=2000)
    assert len(tree(box.root)) <= 2


def test_a_million_empty_files_are_too_many_for_a_smaller_limit(box):
    """The limit is on entries, so a flood of one name is one too; what it costs until then is bounded."""
    box.bad(flood(raw(b"./", b"5", mode=b"0000755\0"), 1000000), "more than 200000 files", max_files=200000)
    assert tree(box.root) == []


def test_headers_without_entries(box):
    for line in (pax((b"path", b"x")), raw(b"g", b"g", b"9 a=bcde\n"), raw(b"././@LongLink", b"L", b"x\0"), raw(b"v", b"V")):
        r = box.unpack(flood(line, 20000) , max_files=1000)
        assert r.status == 0 and tree(box.root) == []


def test_memory_that_runs_out_is_an_error(box):
    """Remembering directories is the one thing that grows with an archive: with little memory it fails with a word."""
    r, w = os.pipe()
    pid, report = start(r, box.root, max_files=1000000)
    os.close(r)
    data = flood(raw(b"d" * 90 + b"/", b"5", mode=b"0000755\0"), 300000)
    os.write(w, data[:10])
    status = Path(f"/proc/{pid}/status")
    wait_until("it waits for its input", lambda: "Seccomp:\t2" in status.read_text())
    seen = []

    def settled():
        seen.append(int(re.search(r"VmSize:\s+(\d+)", status.read_text()).group(1)) * 1024)
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    wait_until("its memory is what it begins with", settled)
    size = seen[-1] + (4 << 20)
    resource.prlimit(pid, resource.RLIMIT_AS, (size, size))

    def feed():
        with open(w, "wb") as f, contextlib.suppress(BrokenPipeError):
            f.write(data[10:])

    feeder = threading.Thread(target=feed)
    feeder.start()
    got = finish(pid, report)
    feeder.join()
    assert got.status == 0 and got.error and "memory" in got.error, got.error


# ---- streams ----

def test_a_zstd_frame_with_a_dictionary(box):
    box.bad(b"\x28\xb5\x2f\xfd\x21\x07\x01\x09\0\0x", "ictionary")


def test_a_zstd_frame_with_a_huge_window(box):
    box.bad(b"\x28\xb5\x2f\xfd\0" + bytes([(31 - 10) << 3]) + b"\x09\0\0x", "requires too much memory")


def test_skippable_frames_only(box):
    """Nothing in it, so no archive; and no endless loop."""
    r = box.unpack((b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip") * 1000)
    assert r.status == 0 and tree(box.root) == []


def test_compression_within_compression(box):
    box.bad(gzip.compress(gzip.compress(tar(entry("f")))), "not a tar")


def test_gzip_with_every_field(box):
    """Extra field, name, comment and header checksum (RFC 1952), each of them hostile in length."""
    plain = tar(entry("f", data=b"x"))
    body = zlib.compress(plain)[2:-4]
    tail = struct.pack("<II", zlib.crc32(plain), len(plain))
    head = b"\x1f\x8b\x08" + bytes([4 | 8 | 16]) + b"\0" * 6 + struct.pack("<H", 65535) + b"e" * 65535 + b"n" * 100000 + b"\0" + b"c" * 100000 + b"\0"
    r = box.unpack(head + body + tail)
    assert r.status == 0 and (r.error is None and (box.root / "f").read_bytes() == b"x" or "gzip" in r.error)
    box.bad(head[:-1], "truncated")


@pytest.mark.seconds(400)
def test_damage_anywhere_in_a_small_archive(box):
    """Each byte of a small tar set wrong once: refused, or read, but never a crash and never outside."""
    data = tar(entry("d", DIR), entry("d/f", data=b"contents"), entry("d/l", SYM, link="../outside"), fmt=tarfile.USTAR_FORMAT)[:2048]
    for i in range(0, len(data), 7):
        for value in (0, 0xFF, ord("/")):
            broken = bytearray(data)
            broken[i] = value
            assert box.unpack(bytes(broken)).status == 0, (i, value)
