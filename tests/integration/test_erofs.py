# SPDX-License-Identifier: Apache-2.0
"""Layers as EROFS images: ireko-unpack makes a directory and an image of the same tar, the kernel mounts the image, and the two must be the same
to the last attribute; what the one refuses, the other refuses too. Then engines that keep their layers so.
"""
import ctypes
import hashlib
import io
import json
import os
import pathlib
import random
import stat
import struct
import subprocess
import tarfile

import pytest
import unpack_box as u

import harness

DIR, SYM, LNK, CHR, BLK, FIFO = u.DIR, u.SYM, u.LNK, u.CHR, u.BLK, u.FIFO
IMPLIED_AT, HEAD = 7, 4096
entry, tar, raw, pax, END = u.entry, u.tar, u.raw, u.pax, u.END


def frames(report):
    at = 0
    while at + 8 <= len(report):
        kind, length = struct.unpack_from("II", report, at)
        yield kind, report[at + 8:at + 8 + length]
        at += 8 + length


def start_image(source, image, empty, **job):
    """As the store starts the helper for an image; its pid and the report's pipe."""
    job = {"image": True, "layer": True, "max_bytes": 1 << 30, "max_files": 100000, **job}
    directory = os.open(empty, os.O_RDONLY | os.O_DIRECTORY)
    out = os.open(image, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.lseek(out, HEAD, os.SEEK_SET)
    report, tell = os.pipe()
    exe = u.program()
    pid = os.fork()
    if pid == 0:
        try:
            fds = [os.dup2(fd, 50 + i) for i, fd in enumerate((source, out, directory, tell))]
            for fd, number in zip(fds, (0, 1, 3, 4)):
                os.dup2(fd, number)
            os.execve(exe, ["ireko-unpack", json.dumps(job)], {})
        finally:
            os._exit(127)
    for fd in (directory, out, tell):
        os.close(fd)
    return pid, report


def unpack_image(source, image, empty, **job):
    """Its result, and where the inodes of implied directories are."""
    pid, report = start_image(source, image, empty, **job)
    data = b"".join(iter(lambda: os.read(report, 65536), b""))
    os.close(report)
    implied = {d[8:]: struct.unpack_from("Q", d)[0] for kind, d in frames(data) if kind == IMPLIED_AT}
    _, status, usage = os.wait4(pid, 0)
    return u.Result(status, usage, data), implied


class Mounted:
    """An image where it can be walked, by way of its file (fsopen(2)) or of a loop device."""

    def __init__(self, image, where, loop=False):
        self.where = where
        if loop:
            harness.run("mount", "-t", "erofs", "-o", "ro,loop", image, where)
            return
        call = ctypes.CDLL(None, use_errno=True).syscall
        fs = call(430, b"erofs", 1)
        for command, key, value in ((1, b"source", os.fsencode(image)), (0, b"ro", None), (6, None, None)):
            assert call(431, fs, command, key, value, 0) == 0, os.strerror(ctypes.get_errno())
        fd = call(432, fs, 1, 1)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        assert call(429, fd, b"", -100, os.fsencode(where), 4) == 0, os.strerror(ctypes.get_errno())
        os.close(fd)
        os.close(fs)

    def __enter__(self):
        return self.where

    def __exit__(self, *_):
        harness.run("umount", self.where)


def attributes(path):
    """Those that a layer may have; a security module may add its own."""
    names = [n for n in os.listxattr(path, follow_symlinks=False) if n.startswith(("user.", "security.capability", "system.posix_acl", "trusted."))]
    return {n: os.getxattr(path, n, follow_symlinks=False) for n in names}


def describe(path, implied):
    s = os.lstat(path)
    d = {"mode": oct(s.st_mode), "owner": (s.st_uid, s.st_gid), "attributes": attributes(path)}
    if not implied:
        d["mtime"] = s.st_mtime_ns
    if stat.S_ISREG(s.st_mode):
        d["size"], d["contents"] = s.st_size, hashlib.sha256(pathlib.Path(os.fsdecode(path)).read_bytes()).hexdigest()
    elif stat.S_ISLNK(s.st_mode):
        d["target"] = os.readlink(path)
    elif stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode):
        d["device"] = s.st_rdev
    whiteout = stat.S_ISCHR(s.st_mode) and s.st_rdev == 0
    if not stat.S_ISDIR(s.st_mode):
        d["links"] = s.st_nlink
    if whiteout:
        d = {"whiteout": True}
    return d, (s.st_ino, s.st_nlink, stat.S_ISDIR(s.st_mode))


def walk(top, implied=()):
    """Everything below a directory: path to description, and the names that belong to one file."""
    top = os.fsencode(top)
    found, files = {}, {}
    paths = [b""]
    while paths:
        path = paths.pop()
        found[path], (ino, _, is_dir) = describe(os.path.join(top, path) if path else top, path in implied)
        if is_dir:
            names = os.listdir(os.path.join(top, path))
            assert len(names) == len(set(names))
            paths += [os.path.join(path, n) for n in names]
            found[path]["names"] = sorted(names)
        else:
            files.setdefault(ino, set()).add(path)
    return found, sorted(sorted(f) for f in files.values() if len(f) > 1)


@pytest.fixture
def pair(tmp_path):
    class Pair:
        def unpack(self, data, **job):
            self.n = getattr(self, "n", 0) + 1
            self.folder = tmp_path / f"層 {self.n}"
            for name in ("dir", "empty", "mount"):
                (self.folder / name).mkdir(parents=True)
            self.image, archive = self.folder / "layer image", self.folder / "archive"
            archive.write_bytes(data)
            with archive.open("rb") as f:
                self.dir = u.finish(*u.start(f.fileno(), self.folder / "dir", **job))
            with archive.open("rb") as f:
                self.img, self.implied = unpack_image(f.fileno(), self.image, self.folder / "empty", **job)
            assert self.dir.status == 0 and self.img.status == 0, (self.dir.status, self.img.status)
            assert (self.dir.error is None) == (self.img.error is None), (self.dir.error, self.img.error)
            return self.dir.error

        def same(self, data, loop=False, **job):
            """Both accept it, and make the same of it; the walk of the mounted image."""
            error = self.unpack(data, **job)
            assert error is None, error
            self.compare(data, loop)

        def compare(self, data, loop=False):
            for path in self.dir.opaque:
                where = os.path.join(os.fsencode(self.folder / "dir"), path)
                if path and os.path.isdir(where) and not os.path.islink(where):
                    os.setxattr(where, "trusted.overlay.opaque", b"y")
            assert (self.img.diff_id, self.img.stream, self.img.contents) == (self.dir.diff_id, self.dir.stream, self.dir.contents)
            assert self.img.inodes == 1, "one file"
            with Mounted(self.image, self.folder / "mount", loop) as where:
                want, want_links = walk(self.folder / "dir", self.implied)
                have, have_links = walk(where, self.implied)
                # The mark on the root says nothing to overlayfs and is not set on a directory.
                have[b""]["attributes"].pop("trusted.overlay.opaque", None)
                assert have.keys() == want.keys()
                for path in want:
                    assert have[path] == want[path], path
                assert have_links == want_links
            assert self.image.read_bytes()[HEAD:HEAD + self.img.stream] == data[:self.img.stream]

        def both_refuse(self, data, words, **job):
            error = self.unpack(data, **job)
            assert error is not None, "it was accepted"
            assert words in error and words in self.img.error, (error, self.img.error)

    return Pair()


# ---- one tar, both ways ----

def test_plain_files(pair):
    sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 70000, 3 << 20]
    pair.same(tar(*[entry(f"f{n}", data=random.Random(n).randbytes(n)) for n in sizes]))
    with Mounted(pair.image, pair.folder / "mount") as where:
        # In pieces, through a mapping, and behind the end.
        with (where / "f70000").open("rb") as f:
            f.seek(69999)
            assert len(f.read(10)) == 1
        assert os.statvfs(where).f_bsize == 512


@pytest.mark.parametrize("loop", [False, True], ids=["by its file", "by a loop device"])
def test_names_in_any_order(pair, loop):
    names = ["-", "!", "+a", "..a", "...", ".a", "a", "a" * 255, "日本" * 40, "\x01", "z z", "new\nline", "~", "%2F"]
    many = [f"d/{'x' * (i % 200)}{i}" for i in range(3000)]
    random.Random(1).shuffle(many)
    pair.same(tar(*[entry(n, data=n.encode()) for n in names], *[entry(n) for n in many]), loop=loop)
    with Mounted(pair.image, pair.folder / "mount") as where:
        for n in [*names, *random.Random(2).sample(many, 300)]:
            assert (where / n).exists()
        assert not (where / "d/x").exists() and not (where / "nothing").exists()
        assert os.lstat(where / "d").st_nlink == 2 and os.lstat(where).st_nlink == 3


def test_deep_and_long_paths(pair):
    pair.same(tar(entry("/".join(["d" * 60] * 60), data=b"x"), entry("/".join(["e"] * 400))))


def test_no_entries(pair):
    pair.same(END)
    pair.same(tar(entry("./", DIR, mode=0o1711, uid=5)))


@pytest.mark.parametrize("length", [1, 59, 60, 300, 400, 440, 448, 449, 511, 512, 513, 1000, 4095])
def test_symlinks(pair, length):
    pair.same(tar(*[entry(f"l{i}", SYM, link="t" * length) for i in range(9)]))


def test_too_long_a_symlink(pair):
    pair.both_refuse(tar(entry("l", SYM, link="t" * 4096)), "File name too long")


def test_hard_links(pair):
    pair.same(tar(entry("a", data=b"abc"), entry("d/b", LNK, link="a"), entry("c", LNK, link="./d/b"), entry("s", SYM, link="a"), entry("t", LNK, link="s"),
                  entry("fifo", FIFO), entry("fifo2", LNK, link="fifo"), entry("a", data=b"new"), entry("x", data=b"1"), entry("y", LNK, link="x"), entry("x", DIR)))


def test_kinds_and_devices(pair):
    pair.same(tar(entry("null", CHR, devmajor=1, devminor=3, mode=0o666), entry("wide", CHR, devmajor=4095, devminor=1048575), entry("zero", CHR, devmajor=0, devminor=1),
                  entry("loop", BLK, devmajor=7, devminor=0), entry("fifo", FIFO, mode=0o4600), entry("block0", BLK, devmajor=0, devminor=0)))
    pair.both_refuse(tar(entry("zero", CHR, devmajor=0, devminor=0)), "0/0")


def test_owners_modes_times(pair):
    times = [b"0", b"1.5", b"-1.5", b"1700000000.123456789", b"-2147483648", b"2147483648", b"4294967296.000000001"]
    pair.same(b"".join(pax((b"mtime", t), (b"uid", b"4294967294"), (b"gid", b"%d" % i)) + raw(b"f%d" % i, mode=b"000%d777\0" % i) for i, t in enumerate(times)) + END)


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


NO_ID = 0xFFFFFFFF
ACL = acl((1, 7, NO_ID), (2, 5, 1000), (4, 5, NO_ID), (0x10, 4, NO_ID), (0x20, 0, NO_ID))
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def with_attributes(name, *attributes, kind=b"0", **fields):
    return pax(*[(b"SCHILY.xattr." + k, v) for k, v in attributes]) + raw(name, kind, **fields)


def test_attributes(pair):
    pair.same(with_attributes(b"f", (b"user.a", b"1"), (b"user.empty", b""), (b"user.binary", bytes(range(1, 9)) + b"\0=x")) +
              with_attributes(b"ping", (b"security.capability", CAPABILITY), mode=b"0000755\0") +
              with_attributes(b"again", (b"user.a", b"1"), (b"user.b", b"2"), (b"user.a", b"3")) +
              with_attributes(b"forbidden", (b"trusted.overlay.redirect", b"/etc"), (b"trusted.x", b"1"), (b"user.overlay.opaque", b"y"), (b"security.selinux", b"s")) +
              with_attributes(b"d/", (b"user.dir", b"x" * 300), kind=b"5", mode=b"0000755\0") + raw(b"d/f") + raw(b"d/.wh..wh..opq") +
              with_attributes(b"link", (b"user.link", b"dropped"), kind=b"2", link=b"f") +
              b"".join(with_attributes(b"n%d" % n, (b"user.%s" % (b"n" * n), b"v" * n)) for n in range(1, 250, 7)) + END)


def test_access_control_lists(pair):
    pair.same(with_attributes(b"f", (b"system.posix_acl_access", ACL), mode=b"0000640\0") +
              with_attributes(b"plain", (b"system.posix_acl_access", acl((1, 6, NO_ID), (4, 4, NO_ID), (0x20, 1, NO_ID))), mode=b"0004777\0") +
              with_attributes(b"empty", (b"system.posix_acl_access", acl()), mode=b"0000640\0") +
              with_attributes(b"d/", (b"system.posix_acl_default", ACL), (b"system.posix_acl_access", ACL), kind=b"5", mode=b"0002755\0") +
              with_attributes(b"link", (b"system.posix_acl_access", ACL), kind=b"2", link=b"f") + END)


@pytest.mark.parametrize("name,value", [
    (b"system.posix_acl_access", b"\2\0"), (b"system.posix_acl_access", acl((1, 7, NO_ID))), (b"system.posix_acl_access", acl((4, 7, NO_ID), (1, 7, NO_ID), (0x20, 0, NO_ID))),
    (b"system.posix_acl_access", acl((1, 8, NO_ID), (4, 0, NO_ID), (0x20, 0, NO_ID))), (b"system.posix_acl_access", acl((1, 7, NO_ID), (2, 7, 5), (4, 0, NO_ID), (0x20, 0, NO_ID))),
    (b"system.posix_acl_default", ACL), (b"security.capability", b"short"), (b"security.capability", struct.pack("<IIIII", 0x07000001, 0, 0, 0, 0)), (b"user.", b"x")])
def test_impossible_attributes(pair, name, value):
    pair.both_refuse(with_attributes(b"f", (name, value)) + END, os.fsdecode(name))


def test_whiteouts(pair):
    pair.same(tar(entry("a/.wh.gone", data=b""), entry("b", DIR), entry("b/.wh..wh..opq"), entry("b/own"), entry("c/.wh.kept"), entry("c/kept", data=b"1"), entry("d/kept", data=b"1"),
                  entry("d/.wh.kept"), entry("e/f", data=b"1"), entry(".wh.e"), entry(".wh.g"), entry("g", DIR), entry(".wh..wh.plnk/x"), entry(".wh..wh.aufs")))
    pair.both_refuse(tar(entry(".wh.a"), entry("a/b")), "not a directory")


def test_last_entry_wins(pair):
    pair.same(tar(entry("a", DIR), entry("a/b", data=b"1"), entry("a", data=b"file"), entry("c", data=b"1"), entry("c", DIR, mode=0o700), entry("c/d"), entry("l", SYM, link="c"),
                  entry("l", DIR), entry("l/x"), entry("d/e/f"), entry("d/e", SYM, link="/c"), entry("d/e/g"), entry("c", DIR, mode=0o711, mtime=77), entry("d", DIR, uid=4)))


def test_parents_by_way_of_links(pair):
    pair.same(tar(entry("real/deep", DIR), entry("abs", SYM, link="/real/deep"), entry("abs/x", data=b"x"), entry("up", SYM, link="real/../../../real"), entry("up/deep/y"),
                  entry("dot", SYM, link="./real/./deep/"), entry("dot/new/z"), entry("h", LNK, link="dot/new/z"), entry("root", SYM, link="/"), entry("root/at-the-top")))
    pair.both_refuse(tar(entry("l", SYM, link="l2"), entry("l2", SYM, link="l"), entry("l/x")), "Too many levels")
    pair.both_refuse(tar(entry("l", SYM, link="nowhere"), entry("l/x")), "No such file")
    pair.both_refuse(tar(*[entry(f"l{i}", SYM, link=f"l{i + 1}") for i in range(41)], entry("l41", DIR), entry("l0/x")), "Too many levels")


@pytest.mark.parametrize("words,data", [("outside its root", tar(entry("../x"))), ("without a name", raw(b"") + END), ("name of more than", tar(entry("n" * 300))),
                                        ("path of more than", tar(entry("d/" * 2100 + "f"))), ("not in this archive", tar(entry("h", LNK, link="b"))), ("no target", raw(b"l", b"2") + END),
                                        ("root", tar(entry("./", SYM, link="/"))), ("truncated", tar(entry("f", data=b"x" * 2000))[:1500])], ids=lambda v: v if isinstance(v, str) else "")
def test_refused_alike(pair, words, data):
    pair.both_refuse(data, words)


def test_limits(pair):
    pair.both_refuse(tar(*[entry(f"f{i}") for i in range(20)]), "more than 10 files", max_files=10)
    pair.both_refuse(tar(entry("f", data=b"x" * 2000)), "larger than the limit", max_bytes=1000)


def test_the_cage_of_images_is_smaller(tmp_path):
    """Whoever takes ireko-unpack over while it makes an image has no capability at all, and no file but its own few descriptors."""
    (tmp_path / "empty").mkdir()
    r, w = os.pipe()
    pid, report = start_image(r, tmp_path / "image", tmp_path / "empty")
    os.close(r)
    try:
        def status():
            return dict(line.split(":\t") for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)

        harness.wait_until("the filter is loaded", lambda: status()["Seccomp"] == "2")
        for which in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
            assert int(status()[which], 16) == 0, which
        assert os.readlink(f"/proc/{pid}/root") == str(tmp_path / "empty")
        assert {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")} == {0, 1, 2, 3, 4}
    finally:
        os.write(w, tar(entry("f", data=b"x")))
        os.close(w)
    data = b"".join(iter(lambda: os.read(report, 65536), b""))
    os.close(report)
    assert os.waitpid(pid, 0)[1] == 0 and u.DONE in [kind for kind, _ in frames(data)]


# ---- sparse files ----

@pytest.mark.parametrize("form", ["--format=gnu", "--format=posix --sparse-version=1.0", "--format=posix --sparse-version=0.1", "--format=posix --sparse-version=0.0"])
def test_sparse_files(pair, tmp_path, form):
    where = tmp_path / "sparse"
    where.mkdir()
    for name, size, pieces in (("hole", 1 << 20, []), ("start", 1 << 20, [(0, 5000)]), ("end", (1 << 20) + 77, [((1 << 20) - 100, 177)]),
                               ("many", 1 << 22, [(i * 65536 + i, 3000 + i) for i in range(60)]), ("big", 3 << 30, [(1 << 30, 8192), ((1 << 31) + 5, 1)])):
        with (where / name).open("wb") as f:
            f.truncate(size)
            for at, length in pieces:
                f.seek(at)
                f.write(random.Random(at).randbytes(length))
    data = subprocess.run(["tar", "-C", where, "-cS", *form.split(), "."], stdout=subprocess.PIPE, check=True).stdout
    assert len(data) < 8 << 20
    error = pair.unpack(data, max_bytes=1 << 34)
    assert error is None
    for r in (pair.dir, pair.img):
        assert r.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    with Mounted(pair.image, pair.folder / "mount") as mounted:
        for name in ("hole", "start", "end", "many"):
            assert (mounted / name).read_bytes() == (where / name).read_bytes()
        with (mounted / "big").open("rb") as have, (where / "big").open("rb") as want:
            for at in (0, (1 << 30) - 10, (1 << 31) - 10, (3 << 30) - 100):
                have.seek(at)
                want.seek(at)
                assert have.read(20000) == want.read(20000)
        assert os.stat(mounted / "big").st_size == 3 << 30
    assert os.stat(pair.image).st_blocks * 512 < 24 << 20, "the holes are not stored"


def sparse_by_hand(name, size, pieces):
    text = b"".join(b"%d,%d," % (at, len(d)) for at, d in pieces)[:-1]
    return pax((b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.map", text), (b"GNU.sparse.numblocks", b"%d" % len(pieces))) + raw(name, data=b"".join(d for _, d in pieces))


def test_sparse_pieces_that_are_not_aligned(pair):
    rng = random.Random(5)
    cases = [(b"odd", 100000, [(3, b"a" * 5), (8, b"b"), (4095, b"cc"), (8191, b"d" * 10000), (99999, b"e")]), (b"whole", 5000, [(0, b"w" * 5000)]), (b"none", 5000, [(0, b"")])]
    for i in range(20):
        size, at, pieces = rng.randrange(1, 1 << 18), 0, []
        while at < size:
            at += rng.randrange(0, 1 << 14)
            d = rng.randbytes(rng.randrange(0, 9000))[:max(0, size - at)]
            if at > size:
                break
            pieces.append((at, d))
            at += len(d)
        cases.append((b"random%d" % i, size, pieces or [(0, b"")]))
    pair.same(b"".join(sparse_by_hand(*c) for c in cases) + END)


def page_of(path):
    """The first page of a file as a mapping shows it, with what lies behind the file's end."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with path.open("rb") as f:
        at = libc.mmap(None, 4096, 1, 2, f.fileno(), 0)
    assert at != ctypes.c_void_p(-1).value
    page = ctypes.string_at(at, 4096)
    assert libc.munmap(at, 4096) == 0
    return page


def test_behind_the_end_of_a_file_are_zeros(pair):
    """Whatever the tar has to fill the last block of a file, which is used where it lies."""
    dirty = bytearray(raw(b"f", data=b"x" * 700) + raw(b"g", data=b"y" * 512) + raw(b"h", data=b"z") + END)
    for at, length in ((512 + 700, 324), (512 + 1024 + 1024 + 512 + 1, 511)):
        dirty[at:at + length] = b"!" * length
    pair.same(bytes(dirty))
    with Mounted(pair.image, pair.folder / "mount") as where:
        for name, data in (("f", b"x" * 700), ("g", b"y" * 512), ("h", b"z")):
            assert page_of(where / name) == data.ljust(4096, b"\0"), name


# ---- anything ----

def random_entry(rng):
    name = "/".join(rng.choice(["a", "b", "c", "a.b", ".wh.a", ".wh..wh..opq", "..", "longer-name"] if rng.random() < 0.2 else ["a", "b", "c", "d"]) for _ in range(rng.randrange(1, 5)))
    kind = rng.choice([tarfile.REGTYPE] * 4 + [DIR] * 3 + [SYM, SYM, LNK, LNK, CHR, FIFO])
    link = "/".join(rng.choice(["a", "b", "c", "d", "..", "."]) for _ in range(rng.randrange(1, 4)))
    if kind == SYM and rng.random() < 0.3:
        link = "/" + link
    data = rng.randbytes(rng.choice([0, 0, 3, 600])) if kind == tarfile.REGTYPE else b""
    return entry(name, kind, data=data, link=link if kind in (SYM, LNK) else "", devmajor=1, devminor=rng.randrange(9), mode=rng.choice([0o644, 0o755, 0o4711, 0o1777]),
                 uid=rng.randrange(3), mtime=rng.randrange(10**9))


def test_random_tars(pair):
    """Each entry that the directory refuses is left out, so that what follows is tried too."""
    accepted = refused = 0
    for seed in range(60):
        rng = random.Random(seed)
        entries = []
        for _ in range(rng.randrange(1, 14)):
            entries.append(random_entry(rng))
            if pair.unpack(tar(*entries)) is not None:
                entries.pop()
                refused += 1
        pair.same(tar(*entries))
        accepted += len(entries)
    assert accepted > 200 and refused > 50, (accepted, refused)


# ---- the image ----

def test_same_tar_same_image(pair):
    data = tar(*[entry(f"d/{i}", data=b"x" * i) for i in range(300)], entry("l", SYM, link="d"))
    pair.same(data)
    first = pair.image.read_bytes()
    pair.same(data)
    assert first == pair.image.read_bytes()


def test_small(pair):
    """What an image costs beside the tar in it, for files of an ordinary image."""
    data = tar(*[entry(f"usr/share/doc/package-{i // 9}/file-{i}.html", data=b"x" * 900) for i in range(9000)])
    pair.same(data)
    assert pair.image.stat().st_size - len(data) < 9000 * 180


# ---- engines ----

KINDS = ["erofs", "overlayfs", "vfs"]


def odd_layers():
    """An image whose upper layer replaces, hides and half describes what the lower one has."""
    low = tar(entry("bin", DIR, mode=0o755), entry("bin/busybox", data=pathlib.Path(harness.program("busybox")).read_bytes(), mode=0o755),
              *[entry(f"bin/{a}", SYM, link="busybox") for a in harness.APPLETS], entry("gone", data=b"1"), entry("hidden", DIR), entry("hidden/old", data=b"1"),
              entry("sticky", DIR, mode=0o1777, uid=7, gid=8, mtime=12345), entry("sticky/kept", data=b"kept"), entry("becomes-file", DIR), entry("becomes-file/x"),
              entry("becomes-dir", data=b"file"), entry("one", data=b"linked"), entry("two", LNK, link="one"), entry("etc", DIR, mode=0o755), entry("tmp", DIR, mode=0o1777))
    top = tar(entry("sticky/new", data=b"new"), entry(".wh.gone"), entry("hidden/.wh..wh..opq"), entry("hidden/own", data=b"2"), entry("becomes-file", data=b"now a file"),
              entry("becomes-dir", DIR, mode=0o700), entry("becomes-dir/y", data=b"y"), entry("none/was/here", data=b"z"))
    return [low, with_attributes(b"etc/attributes", (b"user.color", b"green"), (b"security.capability", CAPABILITY)) + top]


def contents(tar_bytes):
    """What a tar says, without the times of directories that no layer describes."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tar_bytes)) as t:
        for m in t:
            data = t.extractfile(m).read() if m.isreg() else b""
            found[m.name.rstrip("/")] = (m.type, oct(m.mode), m.uid, m.gid, m.linkname, data, {k: v for k, v in m.pax_headers.items() if k.startswith("SCHILY")},
                                         None if m.name.startswith(("none", "dev", "etc", "proc", "sys", ".")) else m.mtime)
    return found


@pytest.fixture
def engines(new_engine):
    def make(kind, **kw):
        e = new_engine("--snapshotter", kind, busybox=False, **kw)
        reply = e.api("POST", "/images/load?quiet=1", harness.docker_archive("odd:1", odd_layers(), Cmd=["sh"]), {"Content-Type": "application/x-tar"})
        assert reply.status == 200 and b"odd:1" in reply.body, reply.body
        return e

    return make


def images_of(e):
    return sorted((e.data_root / "layers").glob("*/layer.erofs"))


def test_the_three_kinds_behave_alike(engines):
    exports, changes, commits, saves = [], [], [], []
    for kind in KINDS:
        e = engines(kind)
        info = e.api("GET", "/info").json
        assert info["Driver"] == kind and info["DriverStatus"]
        assert len(images_of(e)) == (2 if kind == "erofs" else 0)
        e.cli("create", "--name", "c1", "odd:1")
        reply = e.api("GET", "/containers/c1/export")
        exports.append(contents(reply.body))
        assert e.cli("diff", "c1").stdout == ""
        e.cli("run", "--name", "d1", "odd:1", "sh", "-c", "rm /sticky/kept; echo x > /sticky/new; mkdir -p /made/deep; ln /one /three; chmod 600 /becomes-file; rm -r /hidden; mkdir /hidden; "
              "echo 1 > /hidden/fresh; mv /two /four; ln -s a /link; mkfifo /pipe; cat /etc/attributes")
        changes.append(sorted(e.cli("diff", "d1").stdout.splitlines()))
        e.cli("commit", "d1", "odd:2")
        said = e.cli("run", "--rm", "odd:2", "sh", "-c", "ls /sticky /hidden; cat /sticky/new /hidden/fresh /four; test ! -e /two; stat -c '%a %s' /becomes-file /one /three").stdout
        commits.append(said)
        e.cli("cp", "d1:/hidden/fresh", e.root / "fresh")
        assert (e.root / "fresh").read_text() == "1\n"
        saves.append(contents(e.api("GET", "/images/odd:1/get").body).keys())
        if kind == "vfs":
            assert not (e.data_root / "containers" / e.inspect("d1")["Id"] / "work").exists()
    assert exports[0].keys() == exports[1].keys() == exports[2].keys()
    for name in exports[0]:
        assert exports[0][name] == exports[1][name] == exports[2][name], name
    assert exports[0]["sticky"][1:4] == ("0o1777", 7, 8) and "hidden/old" not in exports[0] and exports[0]["two"][4] == "one"
    assert changes[0] == changes[1] == changes[2] and "D /sticky/kept" in changes[0] and "A /made/deep" in changes[0], changes
    assert commits[0] == commits[1] == commits[2], commits
    assert saves[0] == saves[1] == saves[2]


@pytest.mark.parametrize("kind", KINDS)
def test_build_on_top(engines, folder, kind):
    e = engines(kind)
    (folder / "Dockerfile").write_text("FROM odd:1\nCOPY file /copied\nRUN rm /one && echo built > /built && chown 5:6 /sticky/kept\nFROM odd:1\nCOPY --from=0 /built /sticky/kept /got/\n")
    (folder / "file").write_text("from the context")
    e.cli("build", "-t", "built", folder)
    assert e.cli("run", "--rm", "built", "sh", "-c", "cat /got/built /got/kept; ls /one").stdout == "built\nkept/one\n"


def test_save_gives_the_tar_that_came(engines):
    e = engines("erofs")
    with tarfile.open(fileobj=io.BytesIO(e.api("GET", "/images/odd:1/get").body)) as t:
        blobs = {hashlib.sha256(data).hexdigest() for data in (t.extractfile(m).read() for m in t if m.isreg())}
    assert {hashlib.sha256(d).hexdigest() for d in odd_layers()} <= blobs


def test_a_root_that_hides_all_below_becomes_a_directory(new_engine):
    e = new_engine("--snapshotter", "erofs", busybox=False)
    layers = [odd_layers()[0], tar(entry(".wh..wh..opq"), entry("only", data=b"1"))]
    assert e.api("POST", "/images/load?quiet=1", harness.docker_archive("bare:1", layers, Cmd=["x"]), {"Content-Type": "application/x-tar"}).status == 200
    e.cli("create", "--name", "c1", "bare:1")
    assert {n for n in contents(e.api("GET", "/containers/c1/export").body) if "/" not in n} <= {"only", "dev", "etc", "proc", "sys", ".", ""}
    assert len(images_of(e)) == 1


def test_containers_outlive_the_engine_and_their_image_goes_after_them(engines):
    e = engines("erofs")
    before = harness.run("losetup", "-a").stdout
    e.cli("run", "-d", "--name", "c1", "odd:1", "sleep", "1000")
    e.kill()
    e.start()
    assert e.cli("exec", "c1", "cat", "/sticky/kept").stdout == "kept"
    e.cli("exec", "c1", "sh", "-c", "echo more >> /sticky/kept; cat /sticky/kept")
    assert "container" in e.cli("rmi", "odd:1", check=False).stderr and e.images() == {"odd:1"}
    e.cli("run", "--rm", "odd:1", "true")
    e.cli("rm", "-f", "c1")
    e.cli("rmi", "odd:1")
    harness.wait_until("the layers go", lambda: not images_of(e))
    assert harness.run("losetup", "-a").stdout == before
    assert not [line for line in pathlib.Path(f"/proc/{e.p.pid}/mountinfo").read_text().splitlines() if " - erofs " in line]


def test_a_lost_image_comes_back(new_engine, registry, name):
    e = new_engine("--snapshotter", "erofs", "--insecure-registry", "127.0.0.0/8", busybox=False)
    registry.push_image(name, "1", odd_layers(), Cmd=["sh"])
    reference = f"{registry.host}/{name}:1"
    e.cli("pull", reference)
    made = images_of(e)
    assert len(made) == 2
    e.stop()
    for image in made:
        image.unlink()
    e.start()
    assert e.cli("run", "--rm", reference, "cat", "/sticky/kept").stdout == "kept"
    assert len(images_of(e)) == 2


def test_a_damaged_image_is_not_saved(engines):
    e = engines("erofs")
    e.cli("save", "-o", e.root / "good.tar", "odd:1")
    for image in images_of(e):
        with image.open("r+b") as f:
            f.seek(HEAD + 600)
            f.write(b"\xff" * 16)
    p = e.cli("save", "-o", e.root / "bad.tar", "odd:1", check=False)
    assert p.returncode != 0 and "incomplete" in p.stderr and not (e.root / "bad.tar").exists(), p.stderr


def test_an_unknown_snapshotter(folder):
    p = harness.run(harness.BUILD / "irekod", "--data-root", folder / "data", "--exec-root", folder / "run", "--snapshotter", "zfs", check=False)
    assert p.returncode != 0 and "unknown snapshotter \"zfs\": auto, erofs, overlayfs or vfs" in p.stderr


LIAR = """#!/usr/bin/python3
# What an archive that has taken ireko-unpack over could do: an image as it should be, but for {size} bytes.
import os, subprocess, sys
subprocess.run([{real!r}, sys.argv[1]], stdin=0, stdout=1, pass_fds=(3, 4), env={{}})
data = os.pread(1, 1 << 26, 0)
os.pwrite(1, {new!r}, data.rindex({old!r}))
"""


@pytest.mark.parametrize("old,new", [(b"\x0c\x01\x05\0some-special", b"\x0c\x04\x05\0some-special"), (b"odd-name-here", b"odd/name/here"), (b"ireko layer\n", b"ireko-layer\n")],
                         ids=["an attribute for overlayfs", "a name with slashes", "no image"])
def test_a_taken_over_helper_is_not_believed(new_engine, tmp_path, old, new):
    """The kernel never sees its image, and the pull says why."""
    helpers = tmp_path / "helpers"
    helpers.mkdir()
    for name in ("ireko-shim", "ireko-scope"):
        (helpers / name).symlink_to(harness.BUILD / name)
    liar = helpers / "ireko-unpack"
    layer = with_attributes(b"odd-name-here", (b"user.some-special", b"green")) + END
    archive = harness.docker_archive("odd:1", [layer], Cmd=["sh"])
    for lie in (old, new):
        liar.write_text(LIAR.format(real=u.program(), old=old, new=lie, size=len(old)))
        liar.chmod(0o755)
        if lie == old:
            e = new_engine("--snapshotter", "erofs", "--helper-dir", helpers, busybox=False)
        reply = e.api("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
        if lie == old:
            # The rest of this test would prove nothing without this.
            assert b"odd:1" in reply.body, reply.body
            e.cli("rmi", "odd:1")
    assert b"damaged layer image" in reply.body, reply.body
    assert not e.images() and not images_of(e)
