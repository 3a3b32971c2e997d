#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for criu where the kernel at hand is not one that criu can work on: `criu swrk 3` as it meets its caller.

It speaks the RPC (protobuf messages on a seqpacket socket), looks at what it was given as criu would (descriptors by number in the process that made the
socket, its root, its cgroup), and does what $FAKE_CRIU/plan.json says. Every request goes to $FAKE_CRIU/calls.jsonl, with what was seen.
"""
import array
import ctypes
import json
import os
import pathlib
import platform
import signal
import socket
import struct
import sys

DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
CLONE_PARENT = 0x8000
SYS_CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]

# number: (name, type); a list is a repeated field. As in criu's rpc.proto.
PAGE_SERVER = {1: ("address", str), 2: ("port", int), 3: ("pid", int), 4: ("fd", int)}
MOUNT = {1: ("key", str), 2: ("val", str)}
JOIN = {1: ("ns", str), 2: ("ns_file", str), 3: ("extra_opt", str)}
INHERIT = {1: ("key", str), 2: ("fd", int)}
CGROUP = {1: ("ctrl", str), 2: ("path", str)}
OPTIONS = {
    1: ("images_dir_fd", int), 2: ("pid", int), 3: ("leave_running", bool), 4: ("ext_unix_sk", bool), 5: ("tcp_established", bool),
    6: ("evasive_devices", bool), 7: ("shell_job", bool), 8: ("file_locks", bool), 9: ("log_level", int), 10: ("log_file", str),
    11: ("ps", PAGE_SERVER), 12: ("notify_scripts", bool), 13: ("root", str), 14: ("parent_img", str), 15: ("track_mem", bool),
    16: ("auto_dedup", bool), 17: ("work_dir_fd", int), 18: ("link_remap", bool), 23: ("ext_mnt", [MOUNT]), 24: ("manage_cgroups", bool),
    25: ("cg_root", [CGROUP]), 26: ("rst_sibling", bool), 27: ("inherit_fd", [INHERIT]), 34: ("manage_cgroups_mode", int),
    37: ("external", [str]), 38: ("empty_ns", int), 39: ("join_ns", [JOIN]), 44: ("freeze_cgroup", str), 46: ("tcp_skip_in_flight", bool),
    48: ("lazy_pages", bool), 49: ("status_fd", int), 50: ("orphan_pts_master", bool), 51: ("config_file", str), 53: ("lsm_profile", str),
    63: ("lsm_mount_context", str),
}
FEATURES = {1: ("mem_track", bool), 2: ("lazy_pages", bool)}
REQUEST = {1: ("type", int), 2: ("opts", OPTIONS), 3: ("notify_success", bool), 5: ("features", FEATURES)}


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def convert(kind, raw):
    if isinstance(kind, dict):
        return decode(kind, raw)
    return {str: lambda: raw.decode(), int: lambda: raw - (1 << 64) if raw >> 63 else raw, bool: lambda: bool(raw)}[kind]()


def decode(schema, data):
    """A message as a dictionary; a field that is in no table is an error, since nobody then knows what was asked for."""
    out, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        name, kind = schema[tag >> 3]
        raw, at = varint(data, at)
        if tag & 7 == 2:
            raw, at = data[at:at + raw], at + raw
        if isinstance(kind, list):
            out.setdefault(name, []).append(convert(kind[0], raw))
        else:
            out[name] = convert(kind, raw)
    return out


def put_varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def encode(*fields):
    """(number, value)...; text and bytes are length-delimited."""
    out = b""
    for number, value in fields:
        if isinstance(value, (str, bytes)):
            value = value.encode() if isinstance(value, str) else value
            out += put_varint(number << 3 | 2) + put_varint(len(value)) + value
        else:
            out += put_varint(number << 3) + put_varint(int(value))
    return out


class Fake:
    def __init__(self):
        self.dir = pathlib.Path(os.environ["FAKE_CRIU"])
        self.plan = json.loads((self.dir / "plan.json").read_text())
        assert sys.argv[1:] == ["swrk", "3"], sys.argv
        self.sock = socket.socket(fileno=3)
        self.peer = struct.unpack("iii", self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.request = decode(REQUEST, self.sock.recv(1 << 20))
        self.options = self.request.get("opts", {})
        self.seen = {"answers": []}

    def record(self):
        with open(self.dir / "calls.jsonl", "a", encoding="utf-8") as f:
            f.write(json.dumps({**self.request, "seen": self.seen}) + "\n")

    def answer(self, kind, success, *more):
        self.sock.send(encode((1, kind), (2, success), *more))

    def opened(self, number):
        return f"/proc/{self.peer}/fd/{number}"

    def notify(self, script, pid=0, fds=()):
        """True if the caller did its part."""
        message = encode((1, NOTIFY), (2, True), (5, encode((1, script), (2, pid))))
        self.sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        reply = decode(REQUEST, self.sock.recv(1 << 20))
        assert reply["type"] == NOTIFY
        self.seen["answers"].append([script, reply["notify_success"]])
        return reply["notify_success"]

    def look_at_files(self):
        images = self.opened(self.options["images_dir_fd"])
        work = self.opened(self.options["work_dir_fd"]) if "work_dir_fd" in self.options else images
        self.seen.update(images=os.path.realpath(images), work=os.path.realpath(work), descriptors={
            n: os.readlink(f"/proc/self/fd/{n}") for n in sorted(os.listdir("/proc/self/fd"), key=int) if os.path.lexists(f"/proc/self/fd/{n}")})
        pathlib.Path(work, self.options["log_file"]).write_text(self.plan.get("log", "(00.01) all is well\n"), encoding="utf-8")
        # criu mounts things in there, which takes a directory of its own mount namespace.
        libc = ctypes.CDLL(None, use_errno=True)
        yard = os.path.join(work, "yard")
        os.mkdir(yard)
        assert libc.mount(b"none", yard.encode(), b"tmpfs", 0, None) == 0, os.strerror(ctypes.get_errno())
        assert libc.umount2(yard.encode(), 2) == 0
        os.rmdir(yard)
        return images

    def fail(self):
        error = self.plan["error"]
        self.answer(self.request["type"], False, (7, error.get("errno", 0)), *([(9, error["text"])] if "text" in error else []))
        self.record()
        sys.exit(1)

    def dump(self):
        images = self.look_at_files()
        if self.plan.get("die"):
            self.record()
            os.kill(os.getpid(), signal.SIGKILL)
        for script in self.plan.get("notices", ["pre-dump", "network-lock", "post-dump", "network-unlock"]):
            if not self.notify(script):
                self.plan["error"] = {}
        if self.plan.get("error") is not None:
            self.fail()
        pathlib.Path(images, "inventory.img").write_text("frozen", encoding="utf-8")
        pre = self.request["type"] == PRE_DUMP
        if not pre and not self.options["leave_running"]:
            os.kill(self.options["pid"], signal.SIGKILL)
        self.record()
        self.answer(self.request["type"], True)
        if pre and self.sock.recv(10) == b"":
            sys.exit(1)

    def spawn(self):
        """A child of the caller, not of ours (CLONE_PARENT), as criu makes what it restores with rst_sibling."""
        command = self.plan.get("command", ["sleep", "100"])
        pid = ctypes.CDLL(None).syscall(SYS_CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os.closerange(3, 64)
            os.execvp(command[0], command)
        return pid

    def restore(self):
        self.look_at_files()
        root = self.options["root"]
        points = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        self.seen.update(root_is_mount=root in points, root=sorted(os.listdir(root)), cgroup=pathlib.Path("/proc/self/cgroup").read_text(),
                         mount_namespace=os.readlink("/proc/self/ns/mnt"), points={p: os.path.lexists(root + p) for p in self.plan.get("points", [])})
        if self.plan.get("error") is not None:
            self.fail()
        pid = self.spawn()
        notices = [("pre-restore", pid, ()), ("setup-namespaces", pid, ()), ("post-setup-namespaces", pid, ())]
        if self.plan.get("terminal"):
            master, self.slave = os.openpty()
            notices.append(("orphan-pts-master", 0, (master,)))
        notices.append(("post-restore", pid, ()))
        for notice in notices:
            if not self.notify(*notice):
                os.kill(pid, signal.SIGKILL)
                self.plan["error"] = {}
                self.fail()
        self.record()
        if self.plan.get("late_error"):
            self.plan["error"] = {"text": "too late"}
            self.fail()
        self.answer(RESTORE, True, (4, encode((1, pid))))

    def serve(self):
        kind = self.request["type"]
        if kind == VERSION:
            major, minor, sub = self.plan.get("version", [4, 2, 1])
            self.record()
            self.answer(VERSION, True, (10, encode((1, major), (2, minor), (4, sub))))
        elif kind == FEATURE_CHECK:
            has = {"mem_track": True, "lazy_pages": True, **self.plan.get("features", {})}
            self.record()
            self.answer(FEATURE_CHECK, True, (8, encode((1, has["mem_track"]), (2, has["lazy_pages"]))))
        elif kind == RESTORE:
            self.restore()
        else:
            self.dump()


if __name__ == "__main__":
    Fake().serve()
