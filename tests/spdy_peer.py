# SPDX-License-Identifier: Apache-2.0
"""Clients of the kubelet's streaming server: SPDY/3.1 and WebSocket, as far as exec, attach and port-forward need them, and as far as tests break them.

Both read in a thread of their own, so that a test can look at what has come whenever it likes. A url is what the door's Exec, Attach or PortForward has answered; `connect`
makes the connection (it may be in another network namespace).
"""
import base64
import contextlib
import ctypes
import json
import os
import pathlib
import re
import socket
import ssl
import struct
import threading
import urllib.parse
import zlib

from harness import wait_until

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CHANNELS = ["stdin", "stdout", "stderr", "error", "resize"]
V4 = "v4.channel.k8s.io"
DICTIONARY = pathlib.Path(__file__).resolve().parent.parent / "src/wire/spdy/dictionary.c"


def dictionary():
    """As the draft has it; the words and the text behind them are in one place of the tree."""
    words, text = DICTIONARY.read_text().split("static const char text[]")
    strings = lambda part: re.findall(r'"([^"]*)"', part)
    known = strings(words.split("words[] =")[1])
    return b"".join(struct.pack(">I", len(w)) + w.encode() for w in known) + "".join(strings(text.split("void ")[0])).encode()


def in_netns(pid, make):
    """What make() returns in the network namespace of a process: a socket belongs to the one that it was made in."""
    made = []

    def run():
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) < 0:
                raise OSError(ctypes.get_errno(), "setns")
            made.append(make())
        except OSError as e:
            made.append(e)
        finally:
            os.close(fd)

    t = threading.Thread(target=run)
    t.start()
    t.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def in_namespace(pid):
    """A connect for servers that are in the network namespace of a process."""
    return lambda host, port: in_netns(pid, lambda: socket.create_connection((host, port), timeout=20))


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def upgrade(url, headers, connect=None, method="POST"):
    """The socket behind the answer, what came behind its head, and its headers."""
    u = urllib.parse.urlsplit(url)
    s = (connect or (lambda host, port: socket.create_connection((host, port), timeout=20)))(u.hostname, u.port)
    if u.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        s = context.wrap_socket(s)
    lines = [f"{method} {u.path} HTTP/1.1", *([] if "Host" in dict(headers) else [f"Host: {u.netloc}"]), *(f"{k}: {v}" for k, v in headers), "Connection: Upgrade", "Content-Length: 0", "", ""]
    s.sendall("\r\n".join(lines).encode())
    got = b""
    while b"\r\n\r\n" not in got:
        piece = s.recv(65536)
        if not piece:
            break
        got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    answer = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head.decode().split("\r\n")[1:])}
    if status != 101:
        while len(rest) < int(answer.get("content-length", 0)) and (piece := s.recv(65536)):
            rest += piece
        s.close()
        raise Refused(status, rest.decode(errors="replace"))
    return s, rest, answer


class Session:
    """What exec and attach look like whatever carries them: out[CHANNEL] is what has come."""

    def __init__(self):
        self.out = {c: b"" for c in range(-1, 256)}
        self.ended = set()  # channels
        self.over = False
        self.lock = threading.Lock()

    def _start(self):
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            self.read()
        except (OSError, EOFError, ssl.SSLError):
            pass
        self.over = True

    def wait(self, channel, text, seconds=20):
        text = text.encode() if isinstance(text, str) else text
        wait_until(lambda: f"{text!r} on {channel}: {self.out[channel][-200:]!r}", lambda: text in self.out[channel], seconds=seconds)
        return self

    def wait_over(self, seconds=20):
        wait_until("the session ends", lambda: self.over, seconds=seconds)
        return self

    def status(self, seconds=20):
        """The document at the end."""
        wait_until(lambda: f"a status: {self.out}", lambda: self.out[ERROR].endswith(b"}") or self.over, seconds=seconds)
        return json.loads(self.out[ERROR])

    def code(self, seconds=20):
        status = self.status(seconds)
        if status["status"] == "Success":
            return 0
        return next(int(c["message"]) for c in status["details"]["causes"] if c.get("reason") == "ExitCode")

    def close(self):
        # Another thread reads: without shutdown its call would keep the socket.
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class Spdy(Session):
    def __init__(self, url, streams=(), connect=None, protocols=(V4,), headers=(), wait=True):
        super().__init__()
        self.sock, self.rest, self.answer = upgrade(url, [("Upgrade", "SPDY/3.1"), *(("X-Stream-Protocol-Version", p) for p in protocols), *headers], connect)
        self.sock.settimeout(None)
        self.z = zlib.compressobj(9, zdict=dictionary())
        self.replies, self.resets, self.pings, self.goaway, self.windows, self.ids = set(), {}, [], False, {}, {}
        self.next_id, self.channel_of = 1, {}
        self._start()
        for name in streams:
            self.open(name, wait=wait)

    # ---- frames
    def send(self, data):
        with self.lock:
            self.sock.sendall(data)

    def control(self, type_, payload=b"", flags=0):
        self.send(struct.pack(">HHI", 0x8003, type_, flags << 24 | len(payload)) + payload)

    def compress(self, headers):
        block = struct.pack(">I", len(headers)) + b"".join(struct.pack(">I", len(x)) + x for pair in headers.items() for x in (pair[0].encode(), pair[1].encode()))
        return self.z.compress(block) + self.z.flush(zlib.Z_SYNC_FLUSH)

    def syn(self, headers, flags=0):
        stream, self.next_id = self.next_id, self.next_id + 2
        self.channel_of[stream] = stream
        self.control(SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + self.compress(headers), flags)
        return stream

    def replied(self, stream):
        wait_until(lambda: f"an answer to stream {stream}: {self.resets}", lambda: stream in self.replies or stream in self.resets or self.over, seconds=20)
        return stream in self.replies

    def open(self, name, wait=True):
        """As kubectl does: the next one when this one was answered."""
        stream = self.syn({"streamtype": name})
        self.channel_of[stream] = CHANNELS.index(name)
        self.ids[name] = stream
        assert not wait or self.replied(stream), (name, self.resets)
        return stream

    def data(self, stream, data=b"", fin=False):
        self.send(struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data)

    def read(self):
        buf = self.rest
        while True:
            while len(buf) < 8 or len(buf) < 8 + (struct.unpack(">I", buf[4:8])[0] & 0xffffff):
                piece = self.sock.recv(262144)
                if not piece:
                    raise EOFError
                buf += piece
            first, second = struct.unpack(">II", buf[:8])
            size = second & 0xffffff
            self.frame(first, second >> 24, buf[8:8 + size])
            buf = buf[8 + size:]

    def frame(self, first, flags, payload):
        if not first >> 31:
            channel = self.channel_of.get(first, first)
            self.out[channel] = self.out.get(channel, b"") + payload
            if flags & FIN:
                self.ended.add(channel)
            return
        number = struct.unpack(">I", payload[:4])[0]
        type_ = first & 0xffff
        if type_ == SYN_REPLY:
            self.replies.add(number)
        elif type_ == RST_STREAM:
            self.resets[number] = struct.unpack(">I", payload[4:8])[0]
        elif type_ == PING:
            self.pings.append(number)
        elif type_ == GOAWAY:
            self.goaway = True
        elif type_ == WINDOW_UPDATE:
            self.windows[number] = self.windows.get(number, 0) + struct.unpack(">I", payload[4:8])[0]

    # ---- a session
    def write(self, data):
        self.data(self.ids["stdin"], data.encode() if isinstance(data, str) else data)
        return self

    def end_input(self):
        self.data(self.ids["stdin"], fin=True)
        return self

    def resize(self, cols, rows):
        self.data(self.ids["resize"], json.dumps({"Width": cols, "Height": rows}).encode() + b"\n")
        return self


class WebSocket(Session):
    def __init__(self, url, protocol="v5.channel.k8s.io", connect=None, headers=(), offer=None):
        super().__init__()
        key = base64.b64encode(os.urandom(16)).decode()
        offer = offer if offer is not None else protocol
        self.sock, self.rest, self.answer = upgrade(url, [("Upgrade", "websocket"), ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13"),
                                                          *([("Sec-WebSocket-Protocol", offer)] if offer else []), *headers], connect, method="GET")
        assert self.answer.get("sec-websocket-protocol", "") == protocol, self.answer
        self.sock.settimeout(None)
        self.base64, self.protocol, self.pongs, self.messages, self.closed = "base64" in protocol, protocol, [], [], None
        self._start()

    def frame(self, opcode, data, fin=True):
        mask = os.urandom(4)
        size = len(data)
        head = struct.pack(">BB", opcode | (0x80 if fin else 0), 0x80 | size) if size < 126 else \
            struct.pack(">BBH", opcode | (0x80 if fin else 0), 0xfe, size) if size < 65536 else struct.pack(">BBQ", opcode | (0x80 if fin else 0), 0xff, size)
        whole = bytes(b ^ m for b, m in zip(data, (mask * (size // 4 + 1))[:size])) if size < 4096 else \
            (int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(size, "big")
        with self.lock:
            self.sock.sendall(head + mask + whole)

    def send(self, channel, data=b""):
        data = data.encode() if isinstance(data, str) else data
        if self.base64:
            self.frame(1, bytes([ord("0") + channel]) + base64.b64encode(data))
        else:
            self.frame(2, bytes([channel]) + data)
        return self

    def _take(self, n):
        while len(self.rest) < n:
            piece = self.sock.recv(262144)
            if not piece:
                raise EOFError
            self.rest += piece
        out, self.rest = self.rest[:n], self.rest[n:]
        return out

    def read(self):
        while True:
            first, second = self._take(2)
            size = second & 127
            size = struct.unpack(">H", self._take(2))[0] if size == 126 else struct.unpack(">Q", self._take(8))[0] if size == 127 else size
            data, opcode = self._take(size), first & 15
            if opcode == 8:
                self.closed = struct.unpack(">H", data[:2])[0]
                self.frame(8, data[:2])
            elif opcode == 10:
                self.pongs.append(data)
            elif data:
                self.messages.append(data)
                channel = data[0] - ord("0") if self.base64 else data[0]
                self.out[channel] += base64.b64decode(data[1:], validate=True) if self.base64 else data[1:]

    # ---- a session
    def write(self, data):
        return self.send(STDIN, data)

    def end_input(self):
        self.frame(2, bytes([255, STDIN]))
        return self

    def resize(self, cols, rows):
        return self.send(RESIZE, json.dumps({"Width": cols, "Height": rows}))
