# SPDX-License-Identifier: Apache-2.0
"""What the tests of mounts, volumes and copies share: containers made by the API, and its events."""
import json
import time
import urllib.parse


def create(engine, name, script="true", version="", image="busybox", **host):
    """The answer to POST /containers/create; host: members of HostConfig, or config={...} for those beside it."""
    config = host.pop("config", {})
    return engine.api("POST", f"{version}/containers/create?name={name}", {"Image": image, "Cmd": ["sh", "-c", script], "HostConfig": host, **config})


def script(engine, name, text, **host):
    """Runs it in a new container that is removed again, and gives its exit status and what it printed."""
    reply = create(engine, name, text, **host)
    assert reply.status == 201, reply.body
    try:
        return run_created(engine, name)
    finally:
        assert engine.api("DELETE", f"/containers/{name}?force=1&v=1").status == 204


def run_created(engine, name):
    reply = engine.api("POST", f"/containers/{name}/start")
    assert reply.status == 204, reply.body
    status = engine.api("POST", f"/containers/{name}/wait").json["StatusCode"]
    return status, engine.cli("logs", name).stdout.strip()


def refused(engine, name, words, status=400, **host):
    reply = create(engine, name, **host)
    if reply.status == 201:
        assert engine.api("DELETE", f"/containers/{name}?force=1&v=1").status == 204
    assert reply.status == status and words in reply.message, (reply.status, reply.body)


def bind(source, target="/m", **options):
    top = {k: options.pop(k) for k in ("ReadOnly", "Consistency") if k in options}
    return {"Type": "bind", "Source": str(source), "Target": target, **top, **({"BindOptions": options} if options else {})}


def events(engine, since, **filters):
    """(action, id, attributes) since then, in their order."""
    chosen = urllib.parse.quote(json.dumps({k: [v] for k, v in filters.items()}))
    lines = engine.api("GET", f"/events?since={since}&until={time.time():.9f}&filters={chosen}").lines
    return [(e["Action"], e["Actor"]["ID"], e["Actor"]["Attributes"]) for e in lines]
