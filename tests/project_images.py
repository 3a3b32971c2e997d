# SPDX-License-Identifier: Apache-2.0
"""Images with the names, entry points, volumes, ports and health commands of those that people's projects use, made of busybox and shell scripts.

`postgres:16` keeps keys and values: clients send the password, then GET, PUT or KEYS. It starts as the real one does: it wants POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, fills an
empty data directory, runs /docker-entrypoint-initdb.d, hands the directory to its user, listens after a moment, and ends on SIGINT. `nginx:alpine` serves files and runs cgi-bin.
"""
from harness import BUILD, add_file, busybox_layer, docker_archive, make_tar

POSTGRES = {
    "usr/local/bin/docker-entrypoint.sh": """#!/bin/sh
set -e
[ "$1" = postgres ] || exec "$@"
[ -z "$POSTGRES_PASSWORD_FILE" ] || POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
if [ -z "$POSTGRES_PASSWORD" ]; then echo "Error: Database is uninitialized and superuser password is not specified." >&2; exit 1; fi
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA" && chown -R postgres: "$PGDATA" && chmod 700 "$PGDATA"
	export POSTGRES_PASSWORD
	exec su -m postgres -c "exec $0 postgres"
fi
if [ ! -e "$PGDATA/PG_VERSION" ]; then
	echo 16 >"$PGDATA/PG_VERSION"
	printf %s "$POSTGRES_PASSWORD" >"$PGDATA/.password"
	for f in /docker-entrypoint-initdb.d/*; do
		[ -e "$f" ] || continue
		echo "running $f"
		. "$f"
	done
	echo "PostgreSQL init process complete; ready for start up."
else
	echo "PostgreSQL Database directory appears to contain a database; Skipping initialization"
fi
trap 'echo "received fast shutdown request"; kill $listener; exit 0' INT
trap 'echo "received smart shutdown request"; kill $listener; exit 0' TERM
sleep 0.3
nc -ll -p 5432 -e /usr/local/bin/session </dev/null &
listener=$!
echo "database system is ready to accept connections" >&2
wait
""",
    "usr/local/bin/session": """#!/bin/sh
read -r password
[ "$password" = "$(cat "$PGDATA/.password")" ] || { echo "FATAL: password authentication failed"; exit 1; }
while read -r verb key value; do
	case $verb in
	PUT) printf '%s\\n' "$value" >"$PGDATA/key.$key"; echo ok ;;
	GET) cat "$PGDATA/key.$key" 2>/dev/null || echo "no such key" ;;
	KEYS) ls "$PGDATA" | sed -n 's/^key\\.//p' ;;
	esac
done
""",
    "usr/local/bin/pg_isready": """#!/bin/sh
if [ "$(echo | nc -w 1 127.0.0.1 5432)" = "FATAL: password authentication failed" ]; then echo "/var/run/postgresql:5432 - accepting connections"; exit 0; fi
echo "/var/run/postgresql:5432 - no response"; exit 2
""",
}

NGINX = {
    "docker-entrypoint.sh": """#!/bin/sh
echo "/docker-entrypoint.sh: Configuration complete; ready for start up" >&2
exec "$@"
""",
    "usr/sbin/nginx": """#!/bin/sh
httpd -f -vv -p 80 -h /usr/share/nginx/html &
trap 'echo "gracefully shutting down"; kill $!; exit 0' QUIT
trap 'kill $!; exit 0' TERM
wait
""",
    "usr/share/nginx/html/index.html": "<h1>Welcome to nginx!</h1>\n",
}

# What Ryuk does: waits for the labels of a session, and removes what carries them once the session's connection has gone.
RYUK = {
    "bin/ryuk": """#!/bin/sh
trap "exit 0" TERM
nc -ll -p 8080 -e /bin/ryuk-session &
echo "Started address=:8080"
wait
""",
    "bin/ryuk-session": """#!/bin/sh
while read -r line; do
	line=$(printf %s "$line" | tr -d '\\r')
	case $line in
	label=*) labels=$line; echo ACK; echo "added $line" >/proc/1/fd/1 ;;
	esac
done
[ -n "$labels" ] || exit 0
docker ps -aq --filter "$labels" | while read -r id; do
	[ "$(docker inspect -f '{{index .Config.Labels "org.testcontainers.ryuk"}}' "$id")" = true ] || docker rm -fv "$id"
done
docker network ls -q --filter "$labels" | xargs -r docker network rm
docker volume ls -q --filter "$labels" | xargs -r docker volume rm
echo "removed what has $labels" >/proc/1/fd/1
kill 1
""",
}


def scripts(files, *folders):
    def fill(tar):
        for folder in folders:
            add_file(tar, folder, mode=0o755, type=b"5")
        for name, text in files.items():
            add_file(tar, name, text.encode() if isinstance(text, str) else text, 0o755)
    return make_tar(fill)


def applets():
    return make_tar(lambda tar: [add_file(tar, f"bin/{a}", type=b"2", linkname="busybox", mode=0o777) for a in ("netstat", "pidof", "mktemp", "usleep", "which", "watch", "less", "ash", "bash")])


def users(*more):
    lines = ["root:x:0:0:root:/root:/bin/sh", *more]
    groups = [f"{line.split(':')[0]}:x:{line.split(':')[3]}:" for line in lines]
    return make_tar(lambda tar: [add_file(tar, "etc/passwd", ("\n".join(lines) + "\n").encode()), add_file(tar, "etc/group", ("\n".join(groups) + "\n").encode())])


CREATED = "2024-01-01T00:00:00Z"  # docker compose reads it
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def postgres(tag="postgres:16"):
    layers = [busybox_layer(), applets(), users("postgres:x:999:999::/var/lib/postgresql:/bin/sh"), scripts(POSTGRES, "var/lib", "var/lib/postgresql", "docker-entrypoint-initdb.d")]
    return docker_archive(tag, layers, created=CREATED, Env=[PATH, "PGDATA=/var/lib/postgresql/data", "PG_MAJOR=16"], Entrypoint=["docker-entrypoint.sh"], Cmd=["postgres"], ExposedPorts={"5432/tcp": {}},
                          Volumes={"/var/lib/postgresql/data": {}}, StopSignal="SIGINT")


def nginx(tag="nginx:alpine"):
    return docker_archive(tag, [busybox_layer(), applets(), scripts(NGINX)], created=CREATED, Env=[PATH, "NGINX_VERSION=1.27"], Entrypoint=["/docker-entrypoint.sh"], Cmd=["nginx", "-g", "daemon off;"],
                          ExposedPorts={"80/tcp": {}}, StopSignal="SIGQUIT", Labels={"maintainer": "the tests"})


def ryuk(tag):
    """Its docker is our command line, which is static."""
    return docker_archive(tag, [busybox_layer(), applets(), scripts({**RYUK, "bin/docker": (BUILD / "ireko").read_bytes()})], created=CREATED, Env=[PATH, "DOCKER_HOST=unix:///var/run/docker.sock"], Cmd=["/bin/ryuk"], ExposedPorts={"8080/tcp": {}},
                          Labels={"org.testcontainers.ryuk": "true"})


def load(engine, *archives):
    for archive in archives:
        reply = engine.api("POST", "/images/load?quiet=1", archive, {"Content-Type": "application/x-tar"})
        assert reply.status == 200 and b"Loaded image" in reply.body, reply.body
