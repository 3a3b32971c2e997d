# SPDX-License-Identifier: Apache-2.0
"""The engine as a service of the guest, as `make install` has put it there: what systemd says of it, its API, its containers."""
import json

from harness import Reply, UnixConnection

from layout import run

SOCKET = "/run/ireko/ireko.sock"
UNITS = "/run/systemd/system"
OUT = "/run/out"


def show(*names, unit="ireko.service"):
    lines = run("systemctl", "show", unit, *(f"-p{n}" for n in names)).stdout.splitlines()
    values = dict(line.split("=", 1) for line in lines)
    return tuple(values[n] for n in names)


def api(method, path, body=None, status=200):
    is_json = isinstance(body, dict)
    connection = UnixConnection(SOCKET)
    try:
        headers = {"Content-Type": "application/json" if is_json else "application/x-tar"}
        connection.request(method, path, body=json.dumps(body) if is_json else body, headers=headers)
        reply = Reply(connection.getresponse())
    finally:
        connection.close()
    assert reply.status == status, reply.body
    return reply


def start(name, command, **host):
    """A container that may write to /out, the host's OUT. `stop` gives it a second."""
    body = {"Image": "busybox", "Cmd": ["sh", "-c", command], "StopTimeout": 1, "HostConfig": {"Binds": [f"{OUT}:/out"], **host}}
    api("POST", f"/containers/create?name={name}", body, 201)
    api("POST", f"/containers/{name}/start", status=204)


def inspect(name):
    return api("GET", f"/containers/{name}/json").json


def state(name):
    return inspect(name)["State"]


def remove(name):
    api("DELETE", f"/containers/{name}?force=1", status=204)
