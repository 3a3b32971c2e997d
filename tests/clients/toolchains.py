# SPDX-License-Identifier: Apache-2.0
"""Base images that real Dockerfiles name, small: busybox, and scripts that leave the files that pip, npm, go, make and apt-get would leave, the same each time."""
from harness import add_file, busybox_layer, docker_archive, make_tar

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
APPLETS = ("addgroup", "adduser", "chgrp", "mkfifo", "awk", "sha256sum", "find", "sort", "mktemp", "which")

PIP = """#!/bin/sh
# pip install [-r FILE]...
set -e
site=${VIRTUAL_ENV:-/usr/local}/lib/python3.12/site-packages
mkdir -p "$site" "${VIRTUAL_ENV:-/usr/local}/bin"
while [ $# -gt 0 ]; do
	[ "$1" = -r ] && shift && cat "$1"
	shift
done | while IFS='=' read -r name _ version; do
	mkdir -p "$site/$name" "$site/$name-$version.dist-info"
	echo "version = '$version'" >"$site/$name/__init__.py"
	printf 'Name: %s\\nVersion: %s\\n' "$name" "$version" >"$site/$name-$version.dist-info/METADATA"
	printf '#!/bin/sh\\n' >"${VIRTUAL_ENV:-/usr/local}/bin/$name"
	chmod 755 "${VIRTUAL_ENV:-/usr/local}/bin/$name"
	[ -d /root/.cache/pip ] && [ -w /root/.cache/pip ] && echo wheel >"/root/.cache/pip/$name.whl"
	:
done
"""
PYTHON = """#!/bin/sh
set -e
case "$1 $2" in
"-m pip") shift 2; exec pip "$@" ;;
"-m venv") mkdir -p "$3/bin" "$3/lib/python3.12/site-packages" && ln -s /usr/local/bin/python "$3/bin/python" && ln -s lib "$3/lib64" && echo "home = /usr/local/bin" >"$3/pyvenv.cfg" ;;
"-m compileall") find "$4" -name '*.py' | while read -r f; do mkdir -p "${f%/*}/__pycache__" && echo code >"${f%/*}/__pycache__/$(basename "$f" .py).cpython-312.pyc"; done ;;
esac
"""
NPM = """#!/bin/sh
# npm ci [--omit=dev] | npm run build
set -e
if [ "$1" = ci ]; then
	rm -rf node_modules && mkdir -p node_modules/.bin
	tr ',{}' '\\n\\n\\n' <package.json | sed -n 's/^ *"\\([a-z]*\\)": "\\([0-9]\\)".*/\\1 \\2/p' | while read -r name version; do
		[ "$2" = --omit=dev ] && [ "$name" = typescript ] && continue
		mkdir -p "node_modules/$name/lib" && echo "exports.version = $version" >"node_modules/$name/lib/index.js" && ln -s "../$name/lib/index.js" "node_modules/.bin/$name"
		[ ! -d /root/.npm ] || echo "$version" >"/root/.npm/$name.tgz"
	done
else
	find src -type f | while read -r f; do mkdir -p "dist/$(dirname "${f#src/}")" && cp "$f" "dist/$(echo "${f#src/}" | sed 's/ts$/js/')"; done
fi
"""
GO = """#!/bin/sh
set -e
case "$1" in
mod) mkdir -p /go/pkg/mod/cache && touch /go/pkg/mod/cache/lock ;;
build) shift
	while [ $# -gt 1 ]; do [ "$1" = -o ] && out=$2; [ "$1" = -ldflags ] && flags=$2; shift; done
	mkdir -p "$(dirname "$out")" && printf '#!/bin/sh\\n# %s %s %s\\n' "$GOOS" "$GOARCH" "$flags" >"$out" && cat "$1"/*.go >>"$out" && chmod 755 "$out" ;;
esac
"""
MAKE = """#!/bin/sh
set -e
test -f Makefile
if [ "$1" = install ]; then
	d=${2#DESTDIR=}${3#PREFIX=}
	mkdir -p "$d/bin" "$d/lib" "$d/include" && cp tool "$d/bin/tool" && cp include/*.h "$d/include" && cat src/lib/*.c >"$d/lib/libtool.so.1.0" && ln -s libtool.so.1.0 "$d/lib/libtool.so.1" && ln -s libtool.so.1 "$d/lib/libtool.so"
else
	{ echo '#!/bin/sh'; sed 's/^/# /' src/*.c; } >tool && chmod 755 tool
fi
"""
APT = """#!/bin/sh
set -e
if [ "$1" = update ]; then
	mkdir -p /var/lib/apt/lists/partial && echo lists >/var/lib/apt/lists/packages
	exit
fi
[ "$1" = install ] && test -f /var/lib/apt/lists/packages
mkdir -p /var/cache/apt/archives /var/lib/dpkg/info /usr/share/doc /var/log/apt
for p; do
	case "$p" in install | -*) continue ;; esac
	mkdir -p "/usr/share/doc/$p" && echo "$p" >"/usr/share/doc/$p/copyright" && printf '#!/bin/sh\\n' >"/usr/bin/$p" && chmod 755 "/usr/bin/$p"
	printf 'Package: %s\\nStatus: install ok installed\\n\\n' "$p" >>/var/lib/dpkg/status
	printf '/usr/bin/%s\\n' "$p" >"/var/lib/dpkg/info/$p.list"
	echo deb >"/var/cache/apt/archives/$p.deb"
done
[ ! -e /etc/apt/apt.conf.d/docker-clean ] || rm -f /var/cache/apt/archives/*.deb
echo "installed" >>/var/log/apt/history.log
"""
# As Debian's: long options, and no question is asked.
ADDUSER = """#!/bin/sh
set -e
group= home= uid= name=
while [ $# -gt 0 ]; do
	case "$1" in
	--uid | --gid | --ingroup | --home | --gecos | --shell) eval "$(echo "${1#--}" | tr -d -)=\\$2"; shift ;;
	-*) ;;
	*) name=$1 ;;
	esac
	shift
done
case "$0" in
*addgroup) echo "$name:x:${gid:-1000}:" >>/etc/group ;;
*) [ -z "$ingroup" ] && echo "$name:x:$uid:" >>/etc/group && g=$uid || g=$(sed -n "s/^$ingroup:x:\\([0-9]*\\):.*/\\1/p" /etc/group)
	echo "$name:x:$uid:$g::${home:-/home/$name}:${shell:-/bin/sh}" >>/etc/passwd
	[ "${0##*/}" != useradd ] || { mkdir -p "/home/$name" && chown "$uid:$g" "/home/$name"; } ;;
esac
"""
TRUE = "#!/bin/sh\n"


def _layer(scripts, folders=(), files=(), accounts=()):
    def fill(tar):
        for name in folders:
            add_file(tar, name, mode=0o755, type=b"5")
        for name in APPLETS:
            add_file(tar, f"bin/{name}", type=b"2", linkname="busybox", mode=0o777)
        for name, text in scripts.items():
            add_file(tar, f"usr/local/bin/{name}", text.encode(), 0o755)
        for name, text in dict(files).items():
            add_file(tar, name, text.encode())
        names = ["root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/bin/false", *accounts]
        add_file(tar, "etc/passwd", ("\n".join(names) + "\n").encode())
        add_file(tar, "etc/group", "".join(f"{n.split(':')[0]}:x:{n.split(':')[3]}:\n" for n in names).encode())

    return make_tar(fill)


USR = ("usr/bin", "usr/local", "usr/local/bin", "usr/share")
DEBIAN = {"apt-get": APT, "useradd": ADDUSER, "adduser": ADDUSER, "addgroup": ADDUSER, "ldconfig": TRUE}


def archives():
    """docker-archives, by name."""
    apt = {"etc/apt/apt.conf.d/docker-clean": "DPkg::Post-Invoke\n"}
    debian = [busybox_layer(), _layer(DEBIAN, (*USR, "etc/apt", "etc/apt/apt.conf.d", "var/lib", "var/lib/dpkg", "var/lib/apt", "var/cache", "var/cache/apt", "var/log"), apt)]
    images = {
        "debian:bookworm-slim": (debian, {"Cmd": ["bash"]}),
        "python:3.12-slim": ([*debian, _layer({**DEBIAN, "python": PYTHON, "pip": PIP}, ("usr/local/lib",))], {"Cmd": ["python3"], "Env": [PATH, "PYTHON_VERSION=3.12.4", "LANG=C.UTF-8"]}),
        "gcc:13": ([*debian, _layer({**DEBIAN, "make": MAKE, "gcc": TRUE})], {"Cmd": ["bash"]}),
        "golang:1.22": ([*debian, _layer({**DEBIAN, "go": GO}, ("go",))], {"Env": ["PATH=/go/bin:/usr/local/go/bin:" + PATH[5:], "GOPATH=/go"], "WorkingDir": "/go"}),
        "node:22-alpine": ([busybox_layer(), _layer({"node": TRUE, "npm": NPM}, USR, accounts=["node:x:1000:1000::/home/node:/bin/sh"])], {"Cmd": ["node"], "Entrypoint": ["docker-entrypoint.sh"], "Env": [PATH, "NODE_VERSION=22.3.0"]}),
        "nginx:alpine": ([busybox_layer(), _layer({"nginx": TRUE}, (*USR, "usr/share/nginx", "usr/share/nginx/html", "etc/nginx", "etc/nginx/conf.d"), {"usr/share/nginx/html/index.html": "welcome", "etc/nginx/conf.d/default.conf": ""},
                                                 ["nginx:x:101:101::/var/cache/nginx:/sbin/nologin"])], {"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGTERM"}),
    }
    return {name: docker_archive(name, layers, created="2024-01-01T00:00:00Z", **{"Env": [PATH], **config}) for name, (layers, config) in images.items()}
