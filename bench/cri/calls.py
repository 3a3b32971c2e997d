# SPDX-License-Identifier: Apache-2.0
"""A kubelet for the benchmark: builds the few messages that it sends, and has caller.c send them and take the time.

A message is built of (field number, value) pairs, in the protocol's own encoding: text and bytes as they are, a list as a repeated field, a number as a varint.
"""
import itertools
import subprocess

RUNTIME, IMAGES = "/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/"
NODE = 2  # NamespaceMode
POD_STATE_READY = 0


class CallFailed(RuntimeError):
    pass


def varint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def message(*fields):
    out = b""
    for number, value in fields:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += varint(number << 3) + varint(one)
            else:
                data = one.encode() if isinstance(one, str) else one
                out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def read_varint(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return n, at


def fields(data):
    """(number, value) of a message that has varints and bytes only."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        elif key & 7:
            raise CallFailed(f"a field of wire type {key & 7} in {data[:80]!r}")
        yield key >> 3, value


def first(data, number):
    return next((v for n, v in fields(data) if n == number), None)


class Kubelet:
    def __init__(self, caller, socket, folder, cgroup, name):
        """folder: where pods have their logs; cgroup: the parent of theirs."""
        self.folder, self.cgroup, self.name = folder, cgroup, name
        self.numbers = itertools.count()
        self.p = subprocess.Popen([str(caller), str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        self.p.stdin.close()
        self.p.wait(timeout=10)
        self.p.stdout.close()

    # ---- calls
    def batch(self, calls):
        """(milliseconds of all, [(answer, milliseconds of it)]) of calls that are made at once. A failure of one is CallFailed."""
        self.p.stdin.write(b"%d\n" % len(calls) + b"".join(b"%s %d\n%s" % (path.encode(), len(data), data) for path, data in calls))
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            raise CallFailed(f"{self.name}: the caller has ended with status {self.p.wait()}")
        answers, failed = [], None
        for path, _ in calls:
            code, took, size = self.p.stdout.readline().split()
            data = self.p.stdout.read(int(size))
            if code != b"0" and not failed:
                failed = f"{self.name}: {path.rsplit('/', maxsplit=1)[1]}: status {code.decode()}: {data.decode(errors='replace')[-400:]}"
            answers.append((data, int(took) / 1e6))
        if failed:
            raise CallFailed(failed)
        return int(line) / 1e6, answers

    def call(self, path, *pairs):
        """(answer, milliseconds)"""
        return self.batch([(path, message(*pairs))])[1][0]

    # ---- what is in them
    def pod(self, host_network=False):
        """The config of another pod."""
        name = f"bench-{next(self.numbers)}"
        options = message((1, NODE)) if host_network else b""
        linux = message((1, self.cgroup), (2, message((1, options))))
        return message((1, message((1, name), (2, f"uid-{name}"), (3, "bench"))), (2, "" if host_network else name), (3, str(self.folder / name)), (6, message((1, "app"), (2, name))), (8, linux))

    def container(self, image, *command):
        return message((1, message((1, "main"))), (2, message((1, image))), (3, list(command)), (11, "main.log"), (15, message((2, b""))))

    def run(self, config):
        """(id, milliseconds)"""
        answer, took = self.call(RUNTIME + "RunPodSandbox", (1, config))
        return first(answer, 1).decode(), took

    def create(self, pod, config, pod_config):
        answer, took = self.call(RUNTIME + "CreateContainer", (1, pod), (2, config), (3, pod_config))
        return first(answer, 1).decode(), took

    def count(self, method):
        return sum(1 for n, _ in fields(self.call(RUNTIME + method)[0]) if n == 1)

    def pods(self):
        return [first(item, 1).decode() for n, item in fields(self.call(RUNTIME + "ListPodSandbox")[0]) if n == 1]

    def remove_all(self):
        for pod in self.pods():
            self.call(RUNTIME + "StopPodSandbox", (1, pod))
            self.call(RUNTIME + "RemovePodSandbox", (1, pod))
