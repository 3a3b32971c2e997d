# SPDX-License-Identifier: Apache-2.0
"""A client of the kubelet's door that is gRPC's own (python3-grpcio). Messages are packed by the door's .proto files, read here: a message is given as keyword arguments
(dicts, lists, numbers or names of enums), and comes back as a Message, whose fields are attributes."""
import pathlib
import re
import struct

import grpc

PROTOS = pathlib.Path(__file__).resolve().parent.parent / "src/api/cri"
VARINTS = {"int32", "int64", "uint32", "uint64", "bool"}
IMAGE_SERVICE = {"ListImages", "StreamImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo"}
OTHER_NAMES = {"GetContainerEvents": ("GetEventsRequest", "ContainerEventResponse")}


class Message:
    """Fields that were not sent have their zero; a message that was not sent is None."""

    def __init__(self, type_, values):
        self.__dict__.update(values, type_=type_)

    def __repr__(self):
        told = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items() if k != "type_" and v not in (None, "", b"", 0, [], {}))
        return f"{self.type_}({told})"


class Schema:
    def __init__(self):
        self.messages, self.enums = {}, {}
        for path in sorted(PROTOS.glob("*.proto")):
            if path.name != "note.proto":
                self._read(re.sub(r"//[^\n]*", "", path.read_text()))

    def _read(self, text):
        stack = []
        for token in re.finditer(r"(message|enum)\s+(\w+)\s*\{|\}|([\w.<>, ]+?)\s+(\w+)\s*=\s*(\d+)\s*;|(\w+)\s*=\s*(\d+)\s*;", text):
            kind, name, type_, field, number, value, value_number = token.groups()
            if kind:
                stack.append((kind, name))
                (self.messages if kind == "message" else self.enums)[name] = {}
            elif token.group() == "}":
                stack.pop()
            elif field:
                self.messages[stack[-1][1]][int(number)] = (field, *self._kind(type_.strip()))
            elif stack:
                self.enums[stack[-1][1]][value] = int(value_number)

    @staticmethod
    def _kind(type_):
        if type_.startswith("map<"):
            return "map", "string"
        return ("repeated", type_[9:].strip()) if type_.startswith("repeated ") else ("one", type_)


SCHEMA = Schema()


def _varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def _delimited(number, data):
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _pack_value(number, type_, value):
    if type_ in SCHEMA.messages:
        return _delimited(number, pack(type_, value))
    if type_ in ("string", "bytes"):
        return _delimited(number, value.encode() if isinstance(value, str) else bytes(value))
    if type_ == "double":
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    if type_ in SCHEMA.enums and isinstance(value, str):
        value = SCHEMA.enums[type_][value]
    return _varint(number << 3) + _varint(int(value)) if value else b""


def pack(type_, values):
    if isinstance(values, Message):
        values = {k: v for k, v in vars(values).items() if k != "type_"}
    known, out = {f[0]: (n, *f[1:]) for n, f in SCHEMA.messages[type_].items()}, b""
    for name, value in values.items():
        number, kind, of = known[name]
        if value is None:
            continue
        if kind == "map":
            for k, v in value.items():
                out += _delimited(number, _delimited(1, k.encode()) + _delimited(2, v.encode()))
        elif kind == "one":
            out += _pack_value(number, of, value)
        elif of in VARINTS or of in SCHEMA.enums:
            out += _delimited(number, b"".join(_varint(v) for v in value)) if value else b""
        else:
            out += b"".join(_pack_value(number, of, v) for v in value)
    return out


def _read_varint(data, at):
    n = shift = 0
    while True:
        byte = data[at]
        at += 1
        n |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return n, at


def raw_fields(data):
    """(number, value) of each field: an integer, or bytes."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        if key & 7 == 0:
            value, at = _read_varint(data, at)
        elif key & 7 == 2:
            size, at = _read_varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = 8 if key & 7 == 1 else 4
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def _signed(of, n):
    bits = 64 if of == "int64" else 32
    return n - (1 << 64) if of in ("int32", "int64") and n >= 1 << 63 else n & ((1 << bits) - 1) if of == "int32" else n


def _value(of, raw):
    if of in SCHEMA.messages:
        return unpack(of, raw)
    if of == "string":
        return raw.decode()
    if of == "bytes":
        return bytes(raw)
    if of == "double":
        return struct.unpack("<d", raw)[0]
    if of == "bool":
        return bool(raw)
    if of in SCHEMA.enums:
        return next((k for k, v in SCHEMA.enums[of].items() if v == raw), raw)
    return _signed(of, raw)


def _zero(kind, of):
    if kind != "one":
        return {} if kind == "map" else []
    if of in SCHEMA.messages:
        return None
    return {"string": "", "bytes": b"", "bool": False, "double": 0.0}.get(of, _value(of, 0) if of in SCHEMA.enums else 0)


def unpack(type_, data):
    known = SCHEMA.messages[type_]
    values = {name: _zero(kind, of) for name, kind, of in known.values()}
    for number, raw in raw_fields(data):
        if number not in known:
            continue
        name, kind, of = known[number]
        if kind == "map":
            entry = dict(raw_fields(raw))
            values[name][entry.get(1, b"").decode()] = entry.get(2, b"").decode()
        elif kind == "one":
            values[name] = _value(of, raw)
        elif isinstance(raw, bytes) and (of in VARINTS or of in SCHEMA.enums):
            at = 0
            while at < len(raw):
                n, at = _read_varint(raw, at)
                values[name].append(_value(of, n))
        else:
            values[name].append(_value(of, raw))
    return Message(type_, values)


class ClosedHere(grpc.RpcError):
    """A call on a connection that another thread has just closed; those that were under way then are CANCELLED."""

    def code(self):
        return grpc.StatusCode.UNAVAILABLE

    def details(self):
        return "the client's own connection is closed"


class Client:
    """Every method of both services is one of this, with the request's fields as keyword arguments. Those that stream give an iterator."""

    def __init__(self, path, timeout=60):
        self.timeout = timeout
        self.channel = grpc.insecure_channel(f"unix://{path}", options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)])

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, method, request, timeout=None, path=None):
        """request: packed. The packed answer, or an iterator of them."""
        service = "ImageService" if method in IMAGE_SERVICE else "RuntimeService"
        streams = method.startswith("Stream") or method in OTHER_NAMES
        make = self.channel.unary_stream if streams else self.channel.unary_unary
        try:
            return make(path or f"/runtime.v1.{service}/{method}")(request, timeout=timeout or (None if streams else self.timeout))
        except ValueError as e:
            if "closed channel" not in str(e):
                raise
            raise ClosedHere from e

    def __getattr__(self, method):
        asked, answered = OTHER_NAMES.get(method, (method + "Request", method + "Response"))
        if asked not in SCHEMA.messages:
            raise AttributeError(method)

        def ask(timeout=None, **fields):
            # Some requests have a field of that name: the deadline of the call itself is rpc_timeout then.
            known = {name for name, *_ in SCHEMA.messages[asked].values()}
            deadline = fields.pop("rpc_timeout", None)
            if "timeout" in known and timeout is not None:
                fields["timeout"] = timeout
            elif timeout is not None:
                deadline = timeout
            answer = self.call(method, pack(asked, fields), deadline)
            return unpack(answered, answer) if isinstance(answer, bytes) else Stream(answered, answer)

        return ask


class Stream:
    def __init__(self, type_, call):
        self.type_, self.call = type_, call

    def __iter__(self):
        return self

    def __next__(self):
        return unpack(self.type_, next(self.call))

    def cancel(self):
        self.call.cancel()
