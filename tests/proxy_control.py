# SPDX-License-Identifier: Apache-2.0
"""ireko-proxy without an engine: started as src/proxy/client.c does it, and asked in its own words (src/proxy/protocol.h)."""
import errno
import fcntl
import os
import select
import signal
import socket
import struct

import harness

VERSION, QUIT, ADD, REMOVE, LIST = 1, 0, 1, 2, 3
TCP, UDP = 1, 2
KEY_MAX, ERROR_MAX = 128, 320
REQUEST = struct.Struct("=IIQ128s16sHH4x")
PORT = struct.Struct("=128s16sHH")
REPLY = struct.Struct("=IIiIQ320s")


class Refused(Exception):
    pass


def mapped(address):
    return socket.inet_pton(socket.AF_INET6, address if ":" in address else f"::ffff:{address}")


class Proxy:
    def __init__(self, *options, prefix=()):
        self.folder = harness.temp_folder("proxy ö")
        self.path = str(self.folder / "proxy.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
        listener.listen(8)
        told, tell = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (listener.fileno(), tell)]
        words = [*prefix, str(harness.BUILD / "ireko-proxy"), *options]
        pid = os.posix_spawnp(words[0], words, {}, file_actions=[(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)])
        for fd in [*high, tell]:
            os.close(fd)
        listener.close()
        with os.fdopen(told, "rb") as f:
            error = f.read()
        status = os.waitpid(pid, 0)[1]
        if error or status:
            os.unlink(self.path)
            self.folder.rmdir()
        assert not error and status == 0, error[60:].split(b"\0")[0].decode()
        self.control = self.connect()
        self.pid = struct.unpack("3i", self.control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.pidfd = os.pidfd_open(self.pid)
        self.keys()  # it has taken the connection

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(20)
        s.connect(self.path)
        return s

    def raw(self, message, fds=(), control=None):
        """The answer to whatever bytes: (errno, error, ports, last); None if it hung up."""
        control = control or self.control
        socket.send_fds(control, [message], list(fds))
        reply = control.recv(65536)
        if not reply:
            return None
        version, _, no, n, last, error = REPLY.unpack_from(reply)
        assert version == VERSION and len(reply) == REPLY.size + n * PORT.size
        ports = [PORT.unpack_from(reply, REPLY.size + i * PORT.size) for i in range(n)]
        return no, error.split(b"\0")[0].decode(), ports, last

    def ask(self, op, key="", target="::", port=0, protocol=0, after=0, fds=()):
        answer = self.raw(REQUEST.pack(VERSION, op, after, key.encode(), mapped(target), port, protocol), fds)
        if answer[0]:
            raise Refused(answer[1])
        return answer

    def add(self, key, sock, target, protocol=TCP):
        self.ask(ADD, key, target[0], target[1], protocol, fds=[sock.fileno()])

    def remove(self, key):
        self.ask(REMOVE, key)

    def keys(self):
        found, after = [], 0
        while True:
            _, _, ports, after = self.ask(LIST, after=after)
            found += [p[0].split(b"\0")[0].decode() for p in ports]
            if not after:
                return found

    def n_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_s(self):
        with open(f"/proc/{self.pid}/stat", encoding="utf-8") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def status(self, field):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith(field + ":"))

    def has_ended(self, seconds=10):
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def kill(self):
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except OSError as e:
            assert e.errno == errno.ESRCH
        assert self.has_ended()

    def close(self):
        self.control.close()
        self.kill()
        os.close(self.pidfd)
        os.unlink(self.path)
        self.folder.rmdir()


def listening(address="::1", kind=socket.SOCK_STREAM, backlog=1):
    """A socket as the engine makes it for a published port."""
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    if s.family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, 0))
    if kind == socket.SOCK_STREAM:
        s.listen(backlog)
    return s
