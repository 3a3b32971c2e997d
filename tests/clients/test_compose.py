# SPDX-License-Identifier: Apache-2.0
"""docker compose with projects as people have them: a shop of a database, a migration, a scaled web service and jobs, and everything that a service may ask for.

Version 2 runs in `make check`; `make check-clients` (IREKO_CLIENTS=all) runs version 1 as well.
"""
import contextlib
import json
import re
import signal

import pytest

import project_images
from compose import ALL, Compose
from harness import free_subnet, lines_of, tcp_ask, wait_until

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


@pytest.fixture(params=["v2", "v2 by ireko", "v1"] if ALL else ["v2"])
def compose(request, engine, folder, name):
    with project(engine, request.param, folder, name) as made:
        yield made


@pytest.fixture
def compose2(engine, folder, name):
    with project(engine, "v2", folder, name) as made:
        yield made


def test_images_that_do_not_say_when_they_were_made(compose):
    compose.write({"compose.yml": "services:\n  a: {image: busybox, command: 'true'}\n"})
    compose("up")
    assert "busybox" in compose.out("images")
    compose("down")


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


def test_shop(compose):
    """Up from nothing, and everything is as the file says."""
    up_shop(compose)
    assert [s["Status"] for s in states(compose, "db")] == ["running"] and states(compose, "db")[0]["Health"]["Status"] == "healthy"
    assert [(s["Status"], s["ExitCode"]) for s in states(compose, "migrate")] == [("exited", 0)]
    ports = web_ports(compose)
    assert len(set(ports)) == 3
    for port in ports:
        assert ask(port, "/cgi-bin/app?schema") == "hello $HOME|from the file|one|schema of the shop"
        assert ask(port, "/cgi-bin/app?init").endswith("|initial")
        assert ask(port, "/static/name.txt") == "static 日本"
    web = compose.engine.inspect(compose.container("web", 2))
    assert web["Config"]["Labels"]["role"] == 'web "quoted" = $5, 日本' and web["Config"]["Hostname"] == "webhost" and web["HostConfig"]["Init"] is True
    assert sorted(web["NetworkSettings"]["Networks"]) == sorted(f"{compose.name}_{n}" for n in ("front", "back"))
    assert {m["Destination"]: m["Type"] for m in web["Mounts"]}["/scratch"] == "volume"
    wait_until("all of web are healthy", lambda: all(s["Health"]["Status"] == "healthy" for s in states(compose, "web")))
    assert compose.containers("job") == []
    # A service's name gives all of its addresses; an alias only where it was given.
    found = set(re.findall(r"^Address.*?(\d+\.\d+\.\d+\.\d+)$", compose.out("exec", "-T", "db", "nslookup", "web", "127.0.0.11").partition("Name:")[2], re.M))
    assert len(found) == 3
    assert "pa ss" in compose.out("exec", "-T", "web", "cat", "/run/secrets/db_password")
    assert compose.out("exec", "-T", "web", "sh", "-c", "ulimit -n; cat /proc/1/comm") .split()[0] == "1000"


def test_shop_day(compose):
    """What is done to a project that runs: look at it, work in it, change it, stop and start it."""
    up_shop(compose)
    engine = compose.engine
    # looking
    text = compose.out("ps", "-a")
    assert all(c in text for c in compose.containers()) and "(healthy)" in text
    assert sorted(compose.out("ps", "-q").split()) == sorted(engine.inspect(c)["Id"] for c in compose.containers(state=None if compose.kind == "v1" else "running"))
    assert compose.out("port", "--index", "2", "web", "80") == f"127.0.0.1:{engine.inspect(compose.container('web', 2))['NetworkSettings']['Ports']['80/tcp'][0]['HostPort']}"
    logs = compose.out("logs", "--no-color", "db")
    assert "PostgreSQL init process complete" in logs and "database system is ready" in logs
    assert len(compose.out("logs", "--no-color", "--tail", "1", "-t", "db").splitlines()) <= 2
    assert "httpd" in compose.out("top", "web")
    assert "postgres" in compose.out("images")
    # working in it
    p = compose("exec", "-T", "-e", "A=b c", "-w", "/tmp", "-u", "1000", "web", "sh", "-c", "echo $A; pwd; id -u; cat; exit 7", input="in", check=False)
    assert (p.returncode, p.stdout) == (7, "b c\n/tmp\n1000\nin")
    p = compose("exec", "-T", "--index", "3", "web", "nosuch", check=False)
    assert p.returncode in (126, 127) and "nosuch" in p.stdout + p.stderr
    p = compose("run", "--rm", "-T", "--no-deps", "-e", "X=1", "web", "sh", "-c", "echo $X $FROM_FILE; exit 9", check=False)
    assert p.returncode == 9 and p.stdout.splitlines()[-1] == "1 from the file"
    out = compose.out("run", "--rm", "-T", "migrate", "sh", "-c", "printf '%s\\nPUT run yes\\nGET run\\n' \"$(cat /run/secrets/db_password)\" | nc database 5432")
    assert out.splitlines()[-2:] == ["ok", "yes"]
    p = compose("run", "--rm", "-T", "job", check=False)
    assert p.returncode == 4 and "job of someone" in p.stdout
    # pausing, killing, restarting
    compose("pause", "web")
    assert {s["Status"] for s in states(compose, "web")} == {"paused"}
    compose("unpause", "web")
    before = states(compose, "web")
    compose("restart", "-t", "5", "web")
    assert all(a["StartedAt"] > b["StartedAt"] for a, b in zip(states(compose, "web"), before))
    assert all(ask(port, "/cgi-bin/app?run").endswith("|yes") for port in web_ports(compose))
    compose("kill", "-s", "KILL", "web")
    wait_until("web is killed", lambda: {s["Status"] for s in states(compose, "web")} == {"exited"})
    assert {s["ExitCode"] for s in states(compose, "web")} == {137}
    # stopping: the database hears its own signal
    compose("stop")
    assert compose.containers(state="running") == [] and "received fast shutdown request" in compose.out("logs", "db")
    assert states(compose, "db")[0]["ExitCode"] == 0
    compose("start")
    wait_until("the data is there", lambda: all(ask(port, "/cgi-bin/app?run").endswith("|yes") for port in web_ports(compose)) and web_ports(compose))
    # down leaves the volume, another up finds it, -v takes it
    compose("down", "-t", "3")
    assert compose.leftovers() == [f"{compose.name}_db-data"]
    compose("up", "-d", "db")
    wait_until("the database is healthy", lambda: states(compose, "db")[0]["Health"]["Status"] == "healthy")
    assert "Skipping initialization" in compose.out("logs", "db")
    compose("down", "-v", "-t", "3")
    assert compose.leftovers() == []


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


def test_everything_a_service_may_ask_for(compose):
    subnet = free_subnet().rsplit(".", 1)[0]
    compose.write({"docker-compose.yml": f"""
services:
  s:
    image: busybox
    container_name: {compose.name}-fixed
    entrypoint: ["sh", "-c"]
    command: ["trap 'echo usr2; exit 0' USR2; while :; do sleep 0.1; done"]
    stop_signal: SIGUSR2
    working_dir: /made/for it
    user: "1000:1000"
    group_add: ["2000"]
    hostname: host-name
    domainname: example.org
    extra_hosts: ["one.example:192.0.2.1", "host.docker.internal:host-gateway"]
    dns: [192.0.2.53]
    dns_search: [example.org]
    dns_opt: ["ndots:3"]
    sysctls: {{net.core.somaxconn: "321"}}
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    read_only: true
    tmpfs: ["/tmp:size=1m,mode=1777"]
    shm_size: 8m
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 77
    oom_score_adj: 300
    devices: ["/dev/null:/dev/nothing:r"]
    tty: true
    stdin_open: true
    labels: ["one=1", "empty"]
    expose: ["7000"]
    networks:
      net: {{ipv4_address: {subnet}.77, aliases: [nick]}}
  sidecar:
    image: busybox
    command: sleep 1000
    network_mode: "service:s"
    pid: "service:s"
    stop_grace_period: 0s
networks:
  net:
    driver: bridge
    driver_opts: {{com.docker.network.driver.mtu: "1400"}}
    ipam: {{config: [{{subnet: {subnet}.0/24, gateway: {subnet}.1, ip_range: {subnet}.64/26}}]}}
"""})
    compose("up", "-d")
    name = f"{compose.name}-fixed"
    script = """pwd; id -u; id -G; hostname; cat /etc/hosts /etc/resolv.conf; cat /proc/sys/net/core/somaxconn; grep -E 'CapBnd|NoNewPrivs' /proc/self/status
        touch /x 2>&1; df -k /tmp /dev/shm | tail -2; cat /proc/self/oom_score_adj; ls -l /dev/nothing; cat /sys/class/net/eth0/mtu; ip -4 addr show eth0"""
    said = compose.out("exec", "-T", "s", "sh", "-c", script)
    for expected in ("/made/for it\n1000\n1000 2000\nhost-name\n", "192.0.2.1\tone.example", "host.docker.internal", "search example.org", "ndots:3", "\n321\n", "NoNewPrivs:\t1",
                     "Read-only file system", "\n300\n", "1, ", "\n1400\n", f"{subnet}.77/24"):
        assert expected in said, (expected, said)
    found = compose.engine.inspect(name)
    h = found["HostConfig"]
    assert (h["Memory"], h["NanoCpus"], h["PidsLimit"], h["ShmSize"]) == (64 << 20, 500000000, 77, 8 << 20)
    assert found["Config"]["Labels"]["one"] == "1" and found["Config"]["Labels"]["empty"] == ""
    assert f"{subnet}.77" in compose.out("exec", "-T", "sidecar", "ip", "-4", "addr", "show", "eth0")
    assert "trap" in compose.out("exec", "-T", "sidecar", "cat", "/proc/1/cmdline")
    assert f"{subnet}.77" in compose.out("exec", "-T", "sidecar", "nslookup", "nick", "127.0.0.11")
    compose("stop", "-t", "5", "s")
    assert compose.engine.inspect(name)["State"]["ExitCode"] == 0 and "usr2" in compose.out("logs", "s")


def test_up_in_the_foreground(compose):
    compose.write({"docker-compose.yml": """
services:
  talker: {image: busybox, command: sh -c 'echo first; sleep 0.3; echo second >&2; sleep 0.3; exit 5'}
  other: {image: busybox, command: "sh -c 'trap \\"echo bye; exit 0\\" TERM; echo ready; while :; do sleep 0.05; done'"}
"""})
    p = compose("up", "--no-color", "--abort-on-container-exit", "--exit-code-from", "talker", check=False)
    assert p.returncode == 5 and re.search(r"talker.*\| first", p.stdout) and re.search(r"talker.*\| second", p.stdout + p.stderr), (p.stdout, p.stderr)
    assert states(compose, "other")[0]["Status"] == "exited"
    p = compose.popen("up", "--no-color", "other")
    said, reader = lines_of(p)
    # It was ready once before.
    wait_until("other heeds signals, and compose attends to it", lambda: any("Attaching" in line for line in said) and compose.out("logs", "other").count("ready") == 2, seconds=30)
    p.send_signal(signal.SIGINT)
    p.wait(timeout=30)
    reader.join(10)
    assert compose.containers("other", "running") == [], said
    assert states(compose, "other")[0]["ExitCode"] == 0 and "bye" in compose.out("logs", "other")


def test_logs_follow_and_events(compose):
    compose.write({"docker-compose.yml": "services:\n  s: {image: busybox, command: \"sh -c 'i=0; while [ $$i -lt 400 ]; do i=$$((i+1)); echo line $$i; sleep 0.002; done'\", labels: {a: 'b=c,d'}}\n"})
    with compose.engine.followed():
        watcher = compose.popen("events", "--json")
    said, reader = lines_of(watcher)
    compose("up", "-d")
    out, _ = compose.popen("logs", "--no-color", "-f").communicate(timeout=60)
    assert [int(n) for n in re.findall(r"line (\d+)", out)] == list(range(1, 401))
    compose("up", "-d")
    compose("down", "-t", "0")
    wait_until("all is told", lambda: any('"action": "destroy"' in line or '"action":"destroy"' in line for line in said))
    watcher.send_signal(signal.SIGINT)
    watcher.wait(timeout=20)
    reader.join(10)
    events = [json.loads(line) for line in said if line.startswith("{")]
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
