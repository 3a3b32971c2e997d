# SPDX-License-Identifier: Apache-2.0
"""What the tests of hostile layers share: ireko-unpack started as the store would (src/store/unpack-protocol.h), and tars made by hand."""
import contextlib
import fcntl
import io
import json
import os
import pathlib
import select
import struct
import tarfile

from harness import BUILD

PROGRESS, OPAQUE, IMPLIED, DESCRIBED, DONE, FAILED = range(1, 7)


def program():
    p = BUILD / "ireko-unpack"
    if not p.is_file():
        raise FileNotFoundError(f"no {p}: build it, or set IREKO_BUILD")
    return str(p)


class Result:
    """The exit status, the highest resident set in bytes, and what the report says."""

    def __init__(self, status, peak, report):
        self.status, self.peak, self.error, self.diff_id = status, peak, None, None
        self.opaque, self.implied, at = [], set(), 0
        while at + 8 <= len(report):
            kind, length = struct.unpack_from("II", report, at)
            data, at = report[at + 8:at + 8 + length], at + 8 + length
            if kind == OPAQUE:
                self.opaque.append(data)
            elif kind == IMPLIED:
                self.implied.add(data)
            elif kind == DESCRIBED:
                self.implied.discard(data)
            elif kind == DONE:
                self.diff_id = data[:71].decode()
                self.stream, self.contents, self.inodes = struct.unpack_from("qqq", data, 72)
            elif kind == FAILED:
                self.error = data[12 + 48:].split(b"\0")[0].decode(errors="replace")


def start(source, target, env=None, **job):
    """Starts the helper with the tar from descriptor `source`; its pid and the report's pipe."""
    job = {"layer": True, "whiteouts": True, "devices": True, "keep_owner": True,
           "max_bytes": 1 << 30, "max_files": 100000, **job}
    directory = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    report, out = os.pipe()
    exe = program()
    pid = os.fork()
    if pid == 0:
        try:
            fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (source, directory, out)]
            for fd, number in zip(fds, (0, 3, 4)):
                os.dup2(fd, number)
            os.execve(exe, ["ireko-unpack", json.dumps(job)], env or {})
        finally:
            os._exit(127)
    os.close(directory)
    os.close(out)
    return pid, report


def peak_of(pid):
    """The highest resident set so far, of the program: what wait4(2) tells counts ours too, in the moment between fork and execve."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:") and os.readlink(f"/proc/{pid}/exe").endswith("/ireko-unpack"):
            return int(line.split()[1]) << 10
    return 0


def finish(pid, report):
    data, peak = b"", 0
    while True:
        if not select.select([report], [], [], 0.02)[0]:
            with contextlib.suppress(OSError):  # it has just ended
                peak = max(peak, peak_of(pid))
            continue
        piece = os.read(report, 65536)
        data += piece
        if not piece:
            break
    os.close(report)
    _, status = os.waitpid(pid, 0)
    return Result(status, peak, data)


class Box:
    """A directory to unpack into, and one beside it that nothing may ever touch."""

    def __init__(self, folder):
        self.folder, self.root, self.outside = folder, folder / "layer", folder / "outside"
        self.root.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_text("untouched")

    def unpack(self, data, env=None, **job):
        with open(self.folder / "archive", "wb") as f:
            f.write(data)
        with open(self.folder / "archive", "rb") as f:
            return finish(*start(f.fileno(), self.root, env=env, **job))

    def good(self, data, **job):
        r = self.unpack(data, **job)
        assert r.status == 0 and r.error is None, r.error
        return r

    def bad(self, data, words, **job):
        r = self.unpack(data, **job)
        assert r.status == 0, f"killed or crashed: {r.status}"
        assert r.error is not None, "it was accepted"
        assert words in r.error, r.error
        return r

    def check_outside(self):
        assert sorted(os.listdir(self.outside)) == ["secret"]
        assert (self.outside / "secret").read_text() == "untouched"
        assert (self.outside / "secret").stat().st_nlink == 1


def entry(name, kind=tarfile.REGTYPE, data=b"", link="", **more):
    i = tarfile.TarInfo(name)
    i.type, i.linkname, i.size, i.mtime = kind, link, len(data), 1000
    i.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for k, v in more.items():
        setattr(i, k, v)
    return i, data


def tar(*entries, fmt=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as t:
        for i, data in entries:
            t.addfile(i, io.BytesIO(data))
    return out.getvalue()


def raw(name, kind=b"0", data=b"", size=None, link=b"", magic=b"ustar\0" b"00", **fields):
    """One header and its contents with every field free to lie."""
    h = bytearray(512)
    h[0:len(name)] = name
    h[100:108] = fields.get("mode", b"0000644\0")
    h[108:116] = fields.get("uid", b"0000000\0")
    h[116:124] = fields.get("gid", b"0000000\0")
    h[124:136] = size if size is not None else b"%011o\0" % len(data)
    h[136:148] = fields.get("mtime", b"00000001750\0")
    h[156:157] = kind
    h[157:157 + len(link)] = link
    h[257:265] = magic
    h[329:337] = fields.get("major", b"0000000\0")
    h[337:345] = fields.get("minor", b"0000000\0")
    for at, value in fields.get("at", {}).items():
        h[at:at + len(value)] = value
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h) + data + b"\0" * (-len(data) % 512)


def pax(*records):
    text = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        n = len(body) + 1
        while len(b"%d" % n) + len(body) != n:
            n += 1
        text += b"%d" % n + body
    return raw(b"pax", b"x", text)


END = b"\0" * 1024
DIR, SYM, LNK, CHR, BLK, FIFO = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                 tarfile.BLKTYPE, tarfile.FIFOTYPE)
