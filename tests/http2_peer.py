# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by hand, for clients that mean ill: frames and header blocks as one likes (RFC 9113, RFC 7541), on a unix socket."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(n, prefix, first=0):
    """An integer of HPACK behind `first`'s upper bits."""
    limit = (1 << prefix) - 1
    if n < limit:
        return bytes([first | n])
    out, n = bytearray([first | limit]), n - limit
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def text(data):
    data = data.encode() if isinstance(data, str) else data
    return number(len(data), 7) + data


def literal(name, value, keep=False):
    """keep: in the dynamic table as well."""
    return (b"\x40" if keep else b"\x00") + text(name) + text(value)


def request(path, *more):
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers"), *more]
    return b"".join(literal(n, v) for n, v in fields)


def message(data, compressed=0):
    return bytes([compressed]) + struct.pack(">I", len(data)) + data


class Connection:
    """send() says whether the other side still takes something."""

    def __init__(self, path, greet=True, timeout=20):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(timeout)
        self.s.connect(str(path))
        if greet:
            self.s.sendall(PREFACE + frame(SETTINGS))

    def send(self, data):
        try:
            self.s.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            return False

    def drain(self, seconds=0.2):
        """What has come, until nothing does for a while or the other side has hung up: (bytes, whether it has)."""
        out = b""
        self.s.settimeout(seconds)
        try:
            while True:
                part = self.s.recv(1 << 16)
                if not part:
                    return out, True
                out += part
        except socket.timeout:
            return out, False
        except ConnectionResetError:
            return out, True

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def kinds(data):
    """(kind, flags, stream, payload) of each whole frame."""
    at = 0
    while at + 9 <= len(data):
        size = int.from_bytes(data[at:at + 3], "big")
        if at + 9 + size > len(data):
            return
        yield data[at + 3], data[at + 4], int.from_bytes(data[at + 5:at + 9], "big"), data[at + 9:at + 9 + size]
        at += 9 + size
