#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""systemd_double.py ROOT RECORD   what ireko-scope asks of a systemd, on its own socket (/run/systemd/private): transient units, as directories below the cgroup ROOT. Every call is a
line of RECORD. It stands where no systemd runs; what a systemd itself makes of the same calls is seen in tests/vm."""
import json
import os
import pathlib
import socket
import struct
import sys
import threading

FIELDS = {1: "path", 2: "interface", 3: "member", 5: "reply", 6: "destination", 7: "sender", 8: "signature", 9: "fds"}
FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
ALIGN = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8}


def one(signature):
    """The first complete type, and the rest."""
    if signature[0] == "a":
        first, rest = one(signature[1:])
        return "a" + first, rest
    if signature[0] == "(":
        end = signature.index(")") + 1
        while signature[:end].count("(") != signature[:end].count(")"):
            end = signature.index(")", end) + 1
        return signature[:end], signature[end:]
    return signature[0], signature[1:]


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def align(self, n):
        self.at = (self.at + n - 1) // n * n

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def value(self, t):
        self.align(ALIGN.get(t[0], 4))
        if t in FIXED:
            return struct.unpack("<" + FIXED[t], self.take(struct.calcsize(FIXED[t])))[0]
        if t == "g":
            return self.take(self.take(1)[0] + 1)[:-1].decode()
        if t in "so":
            return self.take(self.value("u") + 1)[:-1].decode()
        if t == "v":
            return self.value(self.value("g"))
        if t[0] == "(":
            return self.values(t[1:-1])
        size = self.value("u")
        self.align(ALIGN.get(t[1], 4))
        end, items = self.at + size, []
        while self.at < end:
            items.append(self.value(t[1:]))
        return items

    def values(self, signature):
        out = []
        while signature:
            t, signature = one(signature)
            out.append(self.value(t))
        return out


def text(s, at):
    """A string, at that place of a body."""
    pad = -at % 4
    return bytes(pad) + struct.pack("<I", len(s)) + s.encode() + b"\0"


def message(kind, serial, fields, signature="", body=b""):
    if signature:
        fields = {**fields, 8: ("g", signature)}
    head = b""
    for code, (t, v) in fields.items():
        head += bytes(-len(head) % 8) + bytes([code, 1]) + t.encode() + b"\0"
        head += bytes([len(v)]) + v.encode() + b"\0" if t == "g" else struct.pack("<I", v) if t == "u" else struct.pack("<I", len(v)) + v.encode() + b"\0"
    out = struct.pack("<cBBBIII", b"l", kind, 0, 1, len(body), serial, len(head)) + head
    return out + bytes(-len(out) % 8) + body


def slice_path(name):
    parts = name.removesuffix(".slice").split("-")
    return "/".join("-".join(parts[:i + 1]) + ".slice" for i in range(len(parts)))


class Manager:
    def __init__(self, root, record):
        self.root, self.record, self.lock, self.jobs, self.units = root, pathlib.Path(record), threading.Lock(), 0, {}

    def folders(self, path):
        """In the hierarchies that systemd has for itself."""
        top = pathlib.Path("/sys/fs/cgroup")
        own = [top] if (top / "cgroup.controllers").exists() else [d for d in (top / "systemd", top / "unified") if d.is_dir()]
        return [d / self.root.lstrip("/") / path for d in own]

    def start(self, unit, properties):
        place = slice_path(unit) if unit.endswith(".slice") else f"{slice_path(properties['Slice'])}/{unit}"
        self.units[unit] = place
        for folder in self.folders(place):
            folder.mkdir(parents=True, exist_ok=True)
            for pid in properties.get("PIDs", []):
                (folder / "cgroup.procs").write_text(str(pid))

    def stop(self, unit):
        for folder in self.folders(self.units.pop(unit, "none")):
            if folder.is_dir():
                folder.rmdir()

    def call(self, member, args):
        """(signature, body) of the answer; (job's number, unit) for what is one."""
        with self.lock, self.record.open("a") as f:
            self.jobs += 1
            properties = {p[0]: p[1] for p in args[2]} if member in ("StartTransientUnit", "SetUnitProperties") else {}
            f.write(json.dumps({"call": member, "unit": args[0] if args else None, "properties": {k: v for k, v in properties.items() if not isinstance(v, bytes)}}) + "\n")
            if member == "Get":
                value = {"Version": "252", "ControlGroup": self.root}[args[1]]
                return "v", b"\1s\0" + text(value, 3), None
            if member == "StartTransientUnit":
                self.start(args[0], properties)
            elif member == "StopUnit":
                self.stop(args[0])
            elif member in ("Subscribe", "ResetFailedUnit", "SetUnitProperties"):
                return "", b"", None
            return "o", text(f"/job/{self.jobs}", 0), (self.jobs, args[0])


def lines(sock):
    buffer = b""
    while True:
        while b"\r\n" not in buffer:
            more = sock.recv(1)
            if not more:
                return
            buffer += more
        line, _, buffer = buffer.partition(b"\r\n")
        yield line.lstrip(b"\0")


def serve(sock, manager):
    for line in lines(sock):
        word = line.split(b" ")[0]
        if word == b"BEGIN":
            break
        sock.sendall({b"AUTH": b"DATA\r\n", b"DATA": b"OK " + b"0" * 31 + b"1\r\n", b"NEGOTIATE_UNIX_FD": b"AGREE_UNIX_FD\r\n"}[word])
    stream, serial = sock.makefile("rb"), 0
    while head := stream.read(16):
        _, kind, flags, _, size, number, fields_size = struct.unpack("<cBBBIII", head)
        rest = stream.read(fields_size + -fields_size % 8)
        r, fields = Reader(head + rest, 16), {}
        while r.at < 16 + fields_size:
            r.align(8)
            code = r.value("y")
            fields[FIELDS.get(code)] = r.value("v")
        body = stream.read(size)
        if kind != 1:
            continue
        signature, answer, job = manager.call(fields["member"], Reader(body).values(fields.get("signature", "")))
        serial += 1
        if not flags & 1:
            sock.sendall(message(2, serial, {5: ("u", number)}, signature, answer))
        if job:
            serial += 1
            told = struct.pack("<I", job[0]) + text(f"/job/{job[0]}", 4)
            told += text(job[1], len(told))
            told += text("done", len(told))
            sock.sendall(message(4, serial, {1: ("o", "/org/freedesktop/systemd1"), 2: ("s", "org.freedesktop.systemd1.Manager"), 3: ("s", "JobRemoved")}, "uoss", told))


def main():
    manager = Manager(*sys.argv[1:])
    os.makedirs("/run/systemd/system", exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("/run/systemd/private")
    listener.listen()
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, manager), daemon=True).start()


if __name__ == "__main__":
    main()
