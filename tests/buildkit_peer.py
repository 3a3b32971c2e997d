# SPDX-License-Identifier: Apache-2.0
"""A client of the BuildKit door that is gRPC's own (python3-grpcio), on both ends: what it speaks over unix sockets of the test is carried to and from the engine's
upgraded connections. Messages are written by hand, by their field numbers."""
import contextlib
import socket
import threading
import uuid
from concurrent import futures

import grpc

DIR, SYMLINK, DEVICE, FIFO = 1 << 31, 1 << 27, 1 << 26, 1 << 25
STAT, REQ, DATA, FIN, ERR = range(5)


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """[(number, value)] of a packed message."""
    found, at = [], 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = message[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(message):
        key = number()
        if key & 7 == 0:
            found.append((key >> 3, number()))
        else:
            size = number()
            found.append((key >> 3, message[at:at + size]))
            at += size
    return found


def entry(path, mode=0o644, size=0, link="", mtime=1_700_000_000_000_000_000):
    return field(1, STAT) + field(2, field(1, path) + field(2, mode) + field(5, size) + field(6, mtime) + field(7, link))


END = field(1, STAT)


def data(number, content=b""):
    return field(1, DATA) + field(3, number) + field(4, content)


def upgraded(engine, path, *headers):
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(engine.socket))
    s.sendall("\r\n".join([f"POST {path} HTTP/1.1", "Host: d", "Connection: Upgrade", "Upgrade: h2c", *headers, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        byte = s.recv(1)
        assert byte, head
        head += byte
    return s, head.decode()


def carry(a, b):
    """Until one of the two ends."""
    def one_way(f, t):
        with contextlib.suppress(OSError):
            while piece := f.recv(65536):
                t.sendall(piece)
        for s in (f, t):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    for pair in ((a, b), (b, a)):
        threading.Thread(target=one_way, args=pair, daemon=True).start()


class Peer:
    """A client of the door: a channel to it, and any number of sessions that it serves."""

    def __init__(self, engine, folder):
        self.engine, self.folder, self.closers = engine, folder, []
        path = str(folder / "g")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        self.closers.append(listener.close)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    far, head = upgraded(engine, "/grpc")
                    assert head.startswith("HTTP/1.1 101 ") and "\r\nUpgrade: h2c\r\n" in head, head
                    carry(near, far)

        threading.Thread(target=serve, daemon=True).start()
        self.channel = grpc.insecure_channel(f"unix:{path}")
        self.closers.append(self.channel.close)

    def session(self, services, shared_key=""):
        """-> (id, the engine's end of the connection)."""
        session = uuid.uuid4().hex
        path = str(self.folder / session[:8])

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                return services.get(details.method)

        server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Handler()])
        server.add_insecure_port(f"unix:{path}")
        server.start()
        far, head = upgraded(self.engine, "/session", f"X-Docker-Expose-Session-Uuid: {session}", f"X-Docker-Expose-Session-Sharedkey: {shared_key}",
                             *(f"X-Docker-Expose-Session-Grpc-Method: {m}" for m in services))
        assert head.startswith("HTTP/1.1 101 "), head
        near = socket.socket(socket.AF_UNIX)
        near.connect(path)
        carry(near, far)
        self.closers += [far.close, lambda: server.stop(None)]
        return session, far

    def call(self, method, request, timeout=30, **kw):
        return self.channel.unary_unary(method)(request, timeout=timeout, **kw)

    def solve(self, session, ref=None, frontend="dockerfile.v0", timeout=30, more=b"", **options):
        pairs = b"".join(field(7, field(1, k) + field(2, v)) for k, v in options.items())
        return self.call("/moby.buildkit.v1.Control/Solve", field(1, ref or uuid.uuid4().hex) + field(5, session) + field(6, frontend) + pairs + more, timeout)

    def close(self):
        for close in reversed(self.closers):
            with contextlib.suppress(OSError):
                close()


DOCKERFILE = b"FROM busybox\nCOPY . /ctx\nRUN find /ctx | sort; cat /ctx/f\n"


def directories(context, dockerfile=DOCKERFILE):
    """The service that sends directories. context(requests): yields packets."""
    def plain(requests):
        yield entry("Dockerfile", size=len(dockerfile))
        yield END
        yield from answer(requests, {0: dockerfile})

    def none(requests):
        yield END
        yield from answer(requests, {})

    def diff_copy(requests, c):
        metadata = dict(c.invocation_metadata())
        # The rules for the context are looked for first.
        send = plain if metadata["dir-name"] == "dockerfile" else none if metadata.get("followpaths") == ".dockerignore" else context
        yield from send(requests)

    return {"/moby.filesync.v1.FileSync/DiffCopy": grpc.stream_stream_rpc_method_handler(diff_copy)}


def answer(requests, contents):
    for packet in requests:
        found = dict(fields(packet))
        kind = found.get(1, 0)
        if kind == REQ:
            content = contents[found.get(3, 0)]
            for at in range(0, len(content), 32768):
                yield data(found.get(3, 0), content[at:at + 32768])
            yield data(found.get(3, 0))
        elif kind == FIN:
            yield field(1, FIN)
            return
        else:
            return


def logs(peer, ref):
    """All that the status of a build says: its text."""
    text = b""
    for response in peer.channel.unary_stream("/moby.buildkit.v1.Control/Status")(field(1, ref), timeout=30):
        for number, value in fields(response):
            if number == 3:
                text += dict(fields(value)).get(4, b"")
    return text.decode()
