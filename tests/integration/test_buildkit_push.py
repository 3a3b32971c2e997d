# SPDX-License-Identifier: Apache-2.0
"""The engine pushes what it has built where a client of the BuildKit door asks it to (push=true of an image), with the accounts of the client's session."""
import uuid
from concurrent import futures

import grpc
import pytest

from buildkit_peer import END, Peer, directories, field, fields
from harness import PasswordRegistry

CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"


@pytest.fixture
def peer(engine, tmp_path):
    p = Peer(engine, tmp_path)
    yield p
    p.close()


def image(**attrs):
    """An exporter of a Solve."""
    return field(13, field(1, "image") + b"".join(field(2, field(1, k.replace("_", "-")) + field(2, v)) for k, v in attrs.items()))


def accounts(password, asked):
    def credentials(request, _):
        asked.append(dict(fields(request))[1].decode())
        return field(1, "anna") + field(2, password)

    return {CREDENTIALS: grpc.unary_unary_rpc_method_handler(credentials)}


def test_push(peer, name):
    registry, asked = PasswordRegistry("anna", "geheim42"), []
    tags = [f"{registry.host}/{name}:{t}" for t in ("one", "two")]
    files = directories(lambda requests: iter([END]), b"FROM busybox\nRUN echo pushed > /f\n")
    try:
        session, _ = peer.session({**files, **accounts("geheim42", asked)})
        ref = uuid.uuid4().hex
        with futures.ThreadPoolExecutor(1) as pool:
            told = pool.submit(lambda: b"".join(peer.channel.unary_stream("/moby.buildkit.v1.Control/Status")(field(1, ref), timeout=30)))
            answer = peer.solve(session, ref, more=image(name=",".join(tags), push="true"))
            assert f"pushing manifest for {tags[1]}".encode() in told.result(30)
        pairs = dict((dict(fields(p))[1].decode(), dict(fields(p))[2].decode()) for _, p in fields(answer))
        assert registry.digest(name, "one") == registry.digest(name, "two") == pairs["containerimage.digest"]
        assert pairs["containerimage.config.digest"] == peer.engine.api("GET", f"/images/{tags[0]}/json").json["Id"] and set(asked) == {registry.host}
        session, _ = peer.session({**files, **accounts("falsch99", [])})
        with pytest.raises(grpc.RpcError) as failed:
            peer.solve(session, more=image(name=f"{registry.host}/{name}:three", push="true"))
        assert f"failed to push {registry.host}/{name}:three" in failed.value.details() and "unauthorized" in failed.value.details() and "falsch99" not in failed.value.details(), failed.value.details()
        session, _ = peer.session(files)
        with pytest.raises(grpc.RpcError) as failed:
            peer.solve(session, more=image(push="true"))
        assert "has no name" in failed.value.details()
    finally:
        for tag in [*tags, f"{registry.host}/{name}:three"]:
            peer.engine.api("DELETE", f"/images/{tag}?force=1")
        registry.close()
    assert "falsch99" not in peer.engine.log_text() and "geheim42" not in peer.engine.log_text()
