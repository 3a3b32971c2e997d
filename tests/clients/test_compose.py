# SPDX-License-Identifier: Apache-2.0
"""docker compose with projects as people have them: a shop of a database, a migration, a scaled web service and jobs, and everything that a service may ask for.

Version 2 runs in `make check`; `make check-clients` (IREKO_CLIENTS=all) runs version 1 as well.
"""
import contextlib
import json
import re
import signal
import time

import pytest

import project_images
from compose import ALL, Compose
from harness import free_subnet, tcp_ask, wait_until

SHOP = """
x-common: &common
  logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
services:
  db:
    <<: *common
    image: postgres:16
    environment:
      POSTGRES_PASSWORD_FILE: /run/secrets/db_password
    secrets: [db_password]
    volumes:
      - db-data:/var/lib/postgresql/data
      - ./init scripts/10-init.sh:/docker-entrypoint-initdb.d/10-init.sh:ro
    healthcheck: {test: ["CMD-SHELL", "pg_isready -U postgres"], interval: 200ms, timeout: 5s, retries: 30}
    networks:
      back: {aliases: [database]}
    stop_grace_period: 5s
    restart: unless-stopped
  migrate:
    <<: *common
    build: {context: ./migrate, args: {WHAT: schema}}
    image: ${COMPOSE_PROJECT_NAME}-migrate:x
    environment: [DATABASE_HOST=database]
    secrets: [db_password]
    depends_on: {db: {condition: service_healthy}}
    networks: [back]
  web:
    extends: {file: common/base.yml, service: base}
    build: ./web
    image: ${COMPOSE_PROJECT_NAME}-web:x
    env_file: [web.env]
    environment:
      GREETING: ${GREETING:-hello} $$HOME
    secrets: [db_password]
    depends_on:
      migrate: {condition: service_completed_successfully}
      db: {condition: service_healthy}
    ports: ["127.0.0.1::80"]
    networks: [front, back]
    volumes: ["./static files:/usr/share/nginx/html/static:ro", "/scratch"]
    tmpfs: [/run/web]
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://127.0.0.1/static/name.txt"], interval: 200ms, retries: 30}
  job:
    <<: *common
    image: busybox
    profiles: [jobs]
    command: sh -c "echo job of $$WHO; exit 4"
    environment: {WHO: someone}
    networks: [back]
networks:
  front: {labels: {part: front}}
  back: {internal: true}
volumes:
  db-data: {labels: {keep: "yes"}}
secrets:
  db_password: {file: ./secrets/db password.txt}
"""

BASE = """
services:
  base:
    init: true
    user: "0:0"
    cap_drop: [NET_RAW]
    ulimits: {nofile: {soft: 1000, hard: 2000}}
    labels: {role: "web \\"quoted\\" = $$5, 日本"}
    hostname: webhost
"""

CGI = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
secret=$(cat /run/secrets/db_password)
printf '%s|%s|%s|%s\\n' "$GREETING" "$FROM_FILE" "$BUILT" "$(printf '%s\\nGET %s\\n' "$secret" "$QUERY_STRING" | nc database 5432)"
"""

MIGRATE = """FROM busybox
ARG WHAT=nothing
ENV BUILT_WITH=$WHAT
COPY migrate.sh /usr/local/bin/
CMD ["/usr/local/bin/migrate.sh"]
"""

MIGRATE_SH = """#!/bin/sh
printf '%s\\nPUT schema %s of the shop\\n' "$(cat /run/secrets/db_password)" "$BUILT_WITH" | nc "$DATABASE_HOST" 5432
"""

SHOP_FILES = {
    "docker-compose.yml": SHOP, "common/base.yml": BASE, "web.env": "FROM_FILE=from the file\nGREETING=overridden\n", "secrets/db password.txt": "pa ss",
    "init scripts/10-init.sh": "echo initial >\"$PGDATA/key.init\"\n", "static files/name.txt": "static 日本\n", "migrate/Dockerfile": MIGRATE, "migrate/migrate.sh": MIGRATE_SH,
    "web/Dockerfile": "FROM nginx:alpine\nENV BUILT=one\nCOPY app.sh /usr/share/nginx/html/cgi-bin/app\n", "web/app.sh": CGI,
}


@contextlib.contextmanager
def project(engine, kind, folder, name):
    project_images.load(engine, project_images.postgres(), project_images.nginx())
    made = Compose(engine, kind, folder, name)
    yield made
    made.remove()
    for image in engine.images():
        if image.startswith(name):
            assert engine.api("DELETE", f"/images/{image}").status == 200


@pytest.fixture(params=["v2", "v1"] if ALL else ["v2"])
def compose(request, engine, folder, name):
    with project(engine, request.param, folder, name) as made:
        yield made


@pytest.fixture
def compose2(engine, folder, name):
    with project(engine, "v2", folder, name) as made:
        yield made


def states(compose, service):
    return [compose.engine.inspect(c)["State"] for c in compose.containers(service)]


def web_ports(compose):
    found = []
    for c in compose.containers("web", "running"):
        bindings = compose.engine.inspect(c)["NetworkSettings"]["Ports"]["80/tcp"]
        assert [b["HostIp"] for b in bindings] == ["127.0.0.1"]
        found.append(int(bindings[0]["HostPort"]))
    return found


def ask(port, path):
    return tcp_ask("127.0.0.1", port, f"GET {path} HTTP/1.0\r\n\r\n".encode()).decode().partition("\r\n\r\n")[2].strip()


def up_shop(compose, *args):
    compose.write(SHOP_FILES)
    compose("up", "-d", "--build", "--scale", "web=3", *args)




def test_changes_recreate_what_they_concern(compose):
    text = """
services:
  a: {image: nginx:alpine, environment: {V: "1"}, volumes: [/data]}
  b: {image: nginx:alpine}
"""
    compose.write({"docker-compose.yml": text})
    compose("up", "-d")
    ids = lambda: {s: [compose.engine.inspect(c)["Id"] for c in compose.containers(s)] for s in "ab"}  # noqa: E731
    first = ids()
    compose("exec", "-T", "a", "sh", "-c", "echo kept >/data/file")
    compose("up", "-d")
    assert ids() == first
    compose.write({"docker-compose.yml": text.replace('V: "1"', 'V: "2"')})
    compose("up", "-d", "-t", "2")
    assert ids()["b"] == first["b"] and ids()["a"] != first["a"]
    # The anonymous volume goes along, under the name that the container had.
    assert compose.out("exec", "-T", "a", "sh", "-c", "echo $V; cat /data/file").split() == ["2", "kept"]
    assert compose.containers("a") == [compose.container("a")]
    compose("up", "-d", "--force-recreate", "-V", "-t", "2")
    assert compose.out("exec", "-T", "a", "ls", "/data") == "" and ids()["b"] != first["b"]
    compose("up", "-d", "--scale", "b=3", "-t", "2")
    assert len(compose.containers("b")) == 3
    compose("up", "-d", "--scale", "b=1", "-t", "2")
    assert compose.containers("b") == [compose.container("b")]
    compose.write({"docker-compose.yml": "services:\n  a: {image: nginx:alpine}\n"})
    compose("up", "-d", "--remove-orphans", "-t", "2")
    assert compose.containers("b") == []


def test_conditions_that_are_not_met(compose):
    compose.write({"docker-compose.yml": """
services:
  sick: {image: busybox, command: sleep 1000, stop_grace_period: 0s, healthcheck: {test: ["CMD", "false"], interval: 100ms, retries: 2}}
  after-sick: {image: busybox, command: "true", depends_on: {sick: {condition: service_healthy}}}
  fails: {image: busybox, command: sh -c 'exit 3'}
  after-fails: {image: busybox, command: "true", depends_on: {fails: {condition: service_completed_successfully}}}
"""})
    said = compose.fails("up", "-d", "after-sick")
    assert "unhealthy" in said and states(compose, "sick")[0]["Health"]["Status"] == "unhealthy"
    assert all(s["Status"] == "created" for s in states(compose, "after-sick"))
    said = compose.fails("up", "-d", "after-fails")
    assert re.search(r"didn't complete successfully: exit 3|exit.*3|unsuccessful", said), said
    assert all(s["Status"] == "created" for s in states(compose, "after-fails"))



def test_up_in_the_foreground(compose):
    compose.write({"docker-compose.yml": """
services:
  talker: {image: busybox, command: sh -c 'echo first; sleep 0.3; echo second >&2; sleep 0.3; exit 5'}
  other: {image: busybox, command: "sh -c 'trap \\"echo bye; exit 0\\" TERM; while :; do sleep 0.05; done'"}
"""})
    p = compose("up", "--no-color", "--abort-on-container-exit", "--exit-code-from", "talker", check=False)
    assert p.returncode == 5 and re.search(r"talker.*\| first", p.stdout) and re.search(r"talker.*\| second", p.stdout + p.stderr), (p.stdout, p.stderr)
    assert states(compose, "other")[0]["Status"] == "exited"
    p = compose.popen("up", "--no-color", "other")
    wait_until("other runs", lambda: compose.containers("other", "running"))
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=30)
    assert compose.containers("other", "running") == [], out
    assert states(compose, "other")[0]["ExitCode"] == 0 and "bye" in compose.out("logs", "other")


def test_logs_follow_and_events(compose):
    compose.write({"docker-compose.yml": "services:\n  s: {image: busybox, command: \"sh -c 'i=0; while [ $$i -lt 400 ]; do i=$$((i+1)); echo line $$i; sleep 0.002; done'\", labels: {a: 'b=c,d'}}\n"})
    watcher = compose.popen("events", "--json")
    time.sleep(1)
    compose("up", "-d")
    out, _ = compose.popen("logs", "--no-color", "-f").communicate(timeout=60)
    assert [int(n) for n in re.findall(r"line (\d+)", out)] == list(range(1, 401))
    compose("up", "-d")
    compose("down", "-t", "0")
    time.sleep(0.3)
    watcher.send_signal(signal.SIGINT)
    events = [json.loads(line) for line in watcher.communicate(timeout=20)[0].splitlines() if line.startswith("{")]
    actions = [e["action"] for e in events if e["service"] == "s"]
    assert actions[:2] == ["create", "start"] and "die" in actions and actions[-1] == "destroy", actions
    assert all(e["attributes"]["name"] == compose.container("s") and e["attributes"]["image"] == "busybox" for e in events)


def test_what_version_2_adds(compose2, folder):
    compose = compose2
    compose.write({"docker-compose.yml": """
include: [more.yml]
services:
  app:
    image: nginx:alpine
    deploy: {replicas: 2, resources: {limits: {memory: 32M, pids: 50}}}
    configs:
      - {source: inline, target: /etc/app/inline.conf, uid: "1000", gid: "1000", mode: 0440}
      - {source: from_env, target: /etc/app/env}
    secrets: [{source: token, target: token, mode: 0400}]
    volumes:
      - {type: volume, source: data, target: /data, volume: {nocopy: true}}
      - {type: bind, source: ./made, target: /made, bind: {create_host_path: true}}
      - {type: tmpfs, target: /ram, tmpfs: {size: 1048576, mode: 0770}}
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://127.0.0.1/"], interval: 5s, start_period: 5s, start_interval: 100ms}
    annotations: {com.example.note: "x"}
    post_start: [{command: [sh, -c, "echo started >/data/hook"], user: root}]
    depends_on: {once: {condition: service_completed_successfully, required: true}}
configs:
  inline: {content: "user = $${USER}\\n"}
  from_env: {environment: APP_SETTING}
secrets:
  token: {environment: TOKEN}
volumes: {data: }
""", "more.yml": "services:\n  once: {image: busybox, command: 'true'}\n"})
    env = {"APP_SETTING": "set 日本", "TOKEN": "t0ken"}
    compose("up", "-d", "--wait", env=env)
    app = compose.container("app", 2)
    assert compose.out("exec", "-T", "--index", "2", "app", "sh", "-c", "cat /etc/app/env; echo; cat /run/secrets/token; echo; cat /data/hook; stat -c '%u %g %a' /etc/app/inline.conf; df -k /ram | tail -1",
                       env=env).splitlines()[:4] == ["set 日本", "t0ken", "started", "1000 1000 440"]
    assert compose.engine.inspect(app)["HostConfig"]["Memory"] == 32 << 20 and (folder / "made").is_dir()
    found = [json.loads(line) for line in compose.out("ps", "-a", "--format", "json", env=env).splitlines()]
    assert {(f["Service"], f["State"], f["Health"], f["ExitCode"]) for f in found} == {("app", "running", "healthy", 0), ("once", "exited", "", 0)}
    assert [p["Name"] for p in json.loads(compose.out("ls", "--format", "json", env=env)) if p["Name"] == compose.name] == [compose.name]
    (folder / "up load").write_text("copied\n")
    compose("cp", "up load", "app:/tmp/there", env=env)
    compose("cp", "--index", "1", "app:/tmp/there", "back", env=env)
    assert (folder / "back").read_text() == "copied\n"
    config = json.loads(compose.out("config", "--format", "json", env=env))
    assert sorted(config["services"]) == ["app", "once"]
    assert len(compose.out("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", env=env).splitlines()) == 2
    compose("export", "-o", "root.tar", "app", env=env)
    assert (folder / "root.tar").stat().st_size > 1 << 20
    compose("commit", "app", f"{compose.name}-committed:x", env=env)
    assert f"{compose.name}-committed:x" in compose.engine.images()
    waiter = compose.popen("wait", "app")
    compose("up", "-d", "--no-recreate", env=env)
    compose("stop", "app", "-t", "3", env=env)
    assert waiter.communicate(timeout=20)[0].strip() and waiter.returncode == 0
    compose("rm", "-fsv", "app", env=env)
    assert compose.containers("app") == []
    compose("down", "-v", env=env)
