# SPDX-License-Identifier: Apache-2.0
"""Which engine the command line talks to: contexts (shared with docker's own CLI, both ways), TLS, ssh, command-line plugins; and what it takes out of config.json."""
import contextlib
import io
import json
import os
import select
import socket
import ssl
import stat
import tarfile
import threading

import pytest

from harness import BUILD, add_file, make_tar, program, run
from hostile_registry import authority, server_context

IREKO = BUILD / "ireko"


@pytest.fixture
def home(folder, engine):
    """An environment with a configuration of its own, that names no engine."""
    env = {k: v for k, v in engine.env().items() if k != "DOCKER_HOST"}
    (folder / "config").mkdir()
    return dict(env, DOCKER_CONFIG=str(folder / "config"), HOME=str(folder))


def ours(env, *args, **kw):
    return run(IREKO, *args, env=env, **kw)


def theirs(env, *args, **kw):
    return run(program("docker"), *args, env=env, **kw)


# ---- contexts

def test_contexts_are_shared_with_docker(home, engine):
    host = f"unix://{engine.socket}"
    for make, read, name in ((ours, theirs, "own"), (theirs, ours, "docker-made")):
        make(home, "context", "create", name, "--description", "an engine", "--docker", f"host={host}")
        meta = json.loads(read(home, "context", "inspect", name).stdout)[0]
        assert (meta["Name"], meta["Metadata"]["Description"], meta["Endpoints"]["docker"]["Host"]) == (name, "an engine", host)
        assert read(home, "--context", name, "ps").stdout.startswith("CONTAINER ID")
        make(home, "context", "use", name)
        assert json.loads(read(home, "context", "inspect").stdout)[0]["Name"] == name
        assert read(home, "ps").stdout.startswith("CONTAINER ID")
        read(home, "context", "update", name, "--description", "another")
        assert json.loads(make(home, "context", "inspect", name).stdout)[0]["Metadata"]["Description"] == "another"
        make(home, "context", "use", "default")
        read(home, "context", "rm", name)
        assert name not in make(home, "context", "ls", "-q").stdout.split()


def test_lists_of_contexts(home):
    ours(home, "context", "create", "one", "--description", "the first", "--docker", "host=ssh://user@host")
    ours(home, "context", "create", "two", "--from", "one")
    ours(home, "context", "use", "two")
    lines = ours(home, "context", "ls").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "default", "one", "two"] and lines[3].startswith("two * ")
    assert ours(home, "context", "ls", "-q").stdout == "default\none\ntwo\n"
    assert [json.loads(line)["Current"] for line in ours(home, "context", "ls", "--format", "json").stdout.splitlines()] == [False, False, True]
    p = ours(home | {"DOCKER_HOST": "unix:///elsewhere"}, "context", "ls")
    assert "default *" in p.stdout and "DOCKER_HOST environment variable overrides the active context" in p.stderr
    p = ours(home, "context", "rm", "two", "one", "nope", check=False)
    assert p.stdout == "one\n" and p.returncode == 1
    assert 'context "two" is in use, set -f flag to force remove' in p.stderr and 'context "nope" does not exist' in p.stderr
    ours(home, "context", "rm", "-f", "two")
    assert ours(home, "context", "show").stdout == "default\n"


def test_refusals_are_dockers(home):
    ours(home, "context", "create", "here", "--docker", "host=unix:///x")
    for args in (["create", "x"], ["create", "default"], ["create", "a b"], ["create", "here"], ["create", "cc", "--docker", "foo=bar"], ["create", "cc", "--docker", "host=tcp://h,skip-tls-verify=x"],
                 ["create", "cc", "--from", "here", "--docker", "host=unix:///y"], ["inspect", "nope"], ["use", "nope"], ["rm", "default"], ["rm", "nope"], ["update", "default"], ["export", "nope", "-"]):
        p, q = ours(home, "context", *args, check=False), theirs(home, "context", *args, check=False)
        assert (p.returncode, p.stdout) == (q.returncode, q.stdout), args
        # Older ones say some of it in other words.
        if "28." in theirs(home, "--version").stdout:
            assert p.stderr == q.stderr, args
        assert p.stderr
    p = ours(home, "-H", "unix:///x", "--context", "here", "ps", check=False)
    assert "conflicting options: cannot specify both --host and --context" in p.stderr
    p = ours(home | {"DOCKER_CONTEXT": "nope"}, "ps", check=False)
    assert p.returncode == 1 and 'context "nope": context not found' in p.stderr


def test_archives_of_contexts(home, folder):
    for f in ("ca", "cert", "key"):
        (folder / f).write_text(f"-----BEGIN {f}-----\n")
    ours(home, "context", "create", "full", "--docker", f"host=tcp://h:2376,ca={folder}/ca,cert={folder}/cert,key={folder}/key")
    ours(home, "context", "export", "full", cwd=folder)
    assert "file exists" in ours(home, "context", "export", "full", cwd=folder, check=False).stderr
    for read, name in ((ours, "again"), (theirs, "theirs")):
        read(home, "context", "import", name, folder / "full.dockercontext")
        assert json.loads(ours(home, "context", "inspect", name).stdout)[0]["TLSMaterial"] == {"docker": ["ca.pem", "cert.pem", "key.pem"]}
    keys = list((folder / "config/contexts/tls").rglob("key.pem"))
    assert len(keys) == 3 and all(k.read_text() == "-----BEGIN key-----\n" and stat.S_IMODE(k.stat().st_mode) == 0o600 for k in keys)
    data = run(IREKO, "context", "export", "full", "-", env=home, text=False).stdout
    assert sorted(tarfile.open(fileobj=io.BytesIO(data)).getnames()) == ["meta.json", "tls", "tls/docker", "tls/docker/ca.pem", "tls/docker/cert.pem", "tls/docker/key.pem"]
    ours(home, "context", "update", "full", "--docker", "from=full")
    assert len(list((folder / "config/contexts/tls").rglob("key.pem"))) == 3


META = json.dumps({"Name": "x", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///x"}}}).encode()


@pytest.mark.parametrize("what, fill", [
    ("no metadata", lambda tar: add_file(tar, "tls/docker/ca.pem", b"x")),
    ("a way out", lambda tar: [add_file(tar, "meta.json", META), add_file(tar, "../../../../escaped", b"x")]),
    ("a way out below tls", lambda tar: [add_file(tar, "tls/../../../escaped", b"x"), add_file(tar, "meta.json", b"[]")]),
    ("a link", lambda tar: add_file(tar, "meta.json", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    ("twice", lambda tar: [add_file(tar, "meta.json", META), add_file(tar, "meta.json", META)]),
    ("too large", lambda tar: add_file(tar, "meta.json", b" " * (2 << 20))),
    ("no JSON", lambda tar: add_file(tar, "meta.json", b"{")),
    ("no endpoint", lambda tar: add_file(tar, "meta.json", b"{}")),
])
def test_hostile_archives_of_contexts(home, folder, what, fill):
    p = ours(home, "context", "import", "bad", "-", input=make_tar(fill), text=False, check=False)
    assert p.returncode == 1 and p.stderr, what
    assert not list(folder.rglob("escaped")) and not list(folder.rglob("meta.json"))


# ---- TLS

class TlsDoor:
    """TLS in front of an engine's socket, for holders of a certificate of the CA's."""

    def __init__(self, context, path):
        self.path, self.context = str(path), context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client):
        with contextlib.suppress(OSError), self.context.wrap_socket(client, server_side=True) as tls, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self.path)
            threading.Thread(target=self._back, args=(engine, tls), daemon=True).start()
            while data := tls.recv(65536):
                engine.sendall(data)
            engine.shutdown(socket.SHUT_WR)
            while select.select([engine], [], [], 0.05)[0] == [] and tls.fileno() >= 0 and engine.fileno() >= 0:
                pass
            self.done.wait(10)

    def _back(self, engine, tls):
        with contextlib.suppress(OSError, ValueError):
            while data := engine.recv(65536):
                tls.sendall(data)
            tls.shutdown(socket.SHUT_WR)

    done = threading.Event()

    def close(self):
        self.listener.close()
        self.done.set()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("鍵 束")
    openssl = authority(folder)
    server = server_context(folder, openssl, "server", "IP:127.0.0.1,DNS:localhost")
    server_context(folder, openssl, "client", "DNS:client")
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(folder / "ca.crt")
    for ours_, dockers in (("ca.crt", "ca.pem"), ("client.crt", "cert.pem"), ("client.key", "key.pem")):
        (folder / dockers).write_bytes((folder / ours_).read_bytes())
    return folder, server


@pytest.fixture
def door(certificates, engine):
    d = TlsDoor(certificates[1], engine.socket)
    yield d
    d.close()


def test_tls_by_flags_variables_and_context(home, certificates, door, name):
    pems, url = certificates[0], f"tcp://127.0.0.1:{door.port}"
    files = ["--tlscacert", pems / "ca.pem", "--tlscert", pems / "cert.pem", "--tlskey", pems / "key.pem"]
    assert ours(home, "-H", url, "--tlsverify", *files, "ps").stdout.startswith("CONTAINER ID")
    env = home | {"DOCKER_HOST": url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(pems)}
    assert ours(env, "ps").stdout.startswith("CONTAINER ID")
    # A body, a stream with input that ends, an exit status.
    p = ours(env, "run", "-i", "--rm", "--name", name, "busybox", "sh", "-c", "wc -c; exit 7", input="x" * 300000, check=False)
    assert (p.stdout.strip(), p.returncode) == ("300000", 7)
    data = b"y" * 3000000
    p = run(IREKO, "run", "-i", "--rm", "busybox", "cat", env=env, input=data, text=False)
    assert p.stdout == data
    ours(home, "context", "create", "secure", "--docker", f"host={url},ca={pems}/ca.pem,cert={pems}/cert.pem,key={pems}/key.pem")
    assert ours(home, "-c", "secure", "version", "-f", "{{.Server.Version}}").stdout.strip()
    assert theirs(home, "-c", "secure", "version", "-f", "{{.Server.Version}}").stdout.strip()


def test_tls_that_is_not_good(home, certificates, door):
    pems, url = certificates[0], f"tcp://127.0.0.1:{door.port}"
    key = ["--tlscert", pems / "cert.pem", "--tlskey", pems / "key.pem"]
    # Not signed by what the system trusts, or by the CA that is named.
    p = ours(home, "-H", url, "--tlsverify", *key, "ps", check=False)
    assert p.returncode == 1 and "certificate" in p.stderr and url in p.stderr
    p = ours(home, "-H", url, "--tlsverify", "--tlscacert", pems / "client.crt", *key, "ps", check=False)
    assert p.returncode == 1 and "certificate" in p.stderr
    # Whoever is there is fine without --tlsverify, but they want our certificate.
    assert ours(home, "-H", url, "--tls", *key, "ps").stdout.startswith("CONTAINER ID")
    assert ours(home, "-H", url, "--tls", "--tlscacert", pems / "ca.pem", "ps", check=False).returncode == 1
    # A file that was named is missing; the other side speaks no TLS.
    p = ours(home, "-H", url, "--tlsverify", "--tlscacert", "/nonexistent/ca.pem", "ps", check=False)
    assert "/nonexistent/ca.pem" in p.stderr
    with socket.create_server(("127.0.0.1", 0)) as plain:
        def hang_up():
            with contextlib.suppress(OSError):
                c, _ = plain.accept()
                c.recv(10)
                c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                c.close()
        threading.Thread(target=hang_up, daemon=True).start()
        p = ours(home, "-H", f"tcp://127.0.0.1:{plain.getsockname()[1]}", "--tls", "ps", check=False)
        assert p.returncode == 1 and "error during connect" in p.stderr


def test_certificate_for_another_name(home, certificates, engine, tmp_path):
    folder = certificates[0]

    def openssl(*args):
        run("openssl", *args, cwd=folder)

    wrong = server_context(folder, openssl, "wrong", "DNS:elsewhere.example,IP:192.0.2.1")
    d = TlsDoor(wrong, engine.socket)
    try:
        p = ours(home, "-H", f"tcp://127.0.0.1:{d.port}", "--tlsverify", "--tlscacert", folder / "ca.pem", "ps", check=False)
        assert p.returncode == 1 and "mismatch" in p.stderr
    finally:
        d.close()


# ---- ssh

@pytest.fixture
def far(home, folder, engine):
    """An "ssh" that runs the command here, and notes how it was called."""
    bin_ = folder / "bin"
    bin_.mkdir()
    (bin_ / "ssh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{folder}/called"\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nDOCKER_HOST=unix://{engine.socket} PATH="{folder}/far:$PATH" exec sh -c "$*"\n')
    (bin_ / "ssh").chmod(0o755)
    (folder / "far").mkdir()
    (folder / "far/ireko").symlink_to(IREKO)
    return home | {"PATH": f"{bin_}:{home['PATH']}"}


def test_ssh(far, folder, name, engine):
    env = far | {"DOCKER_HOST": "ssh://somebody@far.example:2222"}
    assert ours(env, "ps").stdout.startswith("CONTAINER ID")
    called = (folder / "called").read_text().splitlines()
    assert called[:-1] == ["-o", "ConnectTimeout=30", "-T", "-l", "somebody", "-p", "2222", "--", "far.example"] and called[-1].endswith("system dial-stdio")
    p = ours(env, "run", "-i", "--rm", "--name", name, "busybox", "sh", "-c", "cat; exit 5", input="over ssh\n" * 20000, check=False)
    assert (p.stdout, p.returncode) == ("over ssh\n" * 20000, 5)
    # The path of the socket is one word for the shell there, whatever is in it.
    p = ours(far, "-H", f"ssh://[::1]{engine.socket}';exit;'", "ps", check=False)
    assert p.returncode == 1 and (folder / "called").read_text().splitlines()[-2] == "::1"
    assert ours(far, "-H", f"ssh://[::1]{engine.socket}", "ps").stdout.startswith("CONTAINER ID")


def test_ssh_addresses(far):
    for url in ("ssh://", "ssh://user:password@host", "ssh://host:99999", "ssh://@host", "ssh://host?x=1"):
        p = ours(far | {"DOCKER_HOST": url}, "ps", check=False)
        assert p.returncode == 1 and "invalid address" in p.stderr, url


def test_dockers_ssh_reaches_us(far, folder):
    """docker's own CLI runs "docker system dial-stdio" at the far end, which is ours."""
    (folder / "far/docker").symlink_to(IREKO)
    assert theirs(far | {"DOCKER_HOST": "ssh://far.example"}, "ps").stdout.startswith("CONTAINER ID")


# ---- plugins of the command line

def test_plugins_get_our_command_line_and_engine(home, folder, engine):
    plugins = folder / "config/cli-plugins"
    plugins.mkdir()
    (plugins / "docker-compose").write_text('#!/bin/sh\necho "$DOCKER_HOST|$DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND|$*"\nexit 9\n')
    (plugins / "docker-compose").chmod(0o755)
    p = ours(home, "-D", "compose", "up", "--build", check=False)
    assert (p.stdout, p.returncode) == (f"unix:///run/ireko/ireko.sock|{IREKO}|-D compose up --build\n", 9)
    p = ours(home | {"DOCKER_HOST": "tcp://a:1"}, "compose", check=False)
    assert p.stdout.startswith("tcp://a:1|")
    p = ours(home, "-H", "tcp://b:2", "compose", check=False)
    assert p.stdout == f"|{IREKO}|-H tcp://b:2 compose\n"
    for name in ("../compose", "nope", "Compose"):
        p = ours(home, name, check=False)
        assert p.returncode == 1 and "unknown command" in p.stderr


# ---- config.json

def test_formats_proxies_keys_and_filters_of_config(home, folder, engine, ireko, name):
    config = {"psFormat": "table {{.Names}}", "imagesFormat": "{{.Repository}}", "networksFormat": "{{.Name}}:{{.Driver}}", "volumesFormat": "vol {{.Name}}", "detachKeys": "ctrl-e,e",
              "pruneFilters": ["label!=keep"], "proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "localhost"}, "tcp://other": {"httpProxy": "http://q:2"}}}
    (folder / "config/config.json").write_text(json.dumps(config))
    env = home | {"DOCKER_HOST": f"unix://{engine.socket}"}
    ours(env, "run", "-d", "-it", "--name", name, "-e", "http_proxy=own", "busybox", "sh")
    assert ours(env, "ps").stdout == f"NAMES\n{name}\n"
    assert ours(env, "ps", "--format", "{{.Image}}").stdout == "busybox\n"
    assert len(ours(env, "ps", "-q").stdout) == 13
    assert "busybox\n" in ours(env, "images").stdout and "bridge:bridge\n" in ours(env, "network", "ls").stdout
    variables = dict(v.split("=", 1) for v in engine.inspect(name)["Config"]["Env"])
    assert (variables["HTTP_PROXY"], variables["http_proxy"], variables["NO_PROXY"], variables["no_proxy"]) == ("http://p:1", "own", "localhost", "localhost")
    # What docker makes of the same file.
    theirs(env, "run", "-d", "--name", name + "2", "-e", "http_proxy=own", "busybox", "true")
    assert dict(v.split("=", 1) for v in engine.inspect(name + "2")["Config"]["Env"]) == variables
    from harness import Pty

    with Pty([IREKO, "attach", name], env=env | {"TERM": "xterm"}) as t:
        t.send("echo a$((1+1))b\n")
        t.expect("a2b")
        t.send("\x05e")
        t.expect("read escape sequence")
        assert t.wait() == 0
    assert engine.inspect(name)["State"]["Running"]
    for n in ("kept", "gone"):
        ours(env, "volume", "create", f"{name}-{n}", *(["--label", "keep"] if n == "kept" else []))
    ours(env, "volume", "prune", "-af")
    left = ours(env, "volume", "ls", "-q").stdout.split()
    assert f"{name}-kept" in left and f"{name}-gone" not in left
    ireko("volume", "rm", f"{name}-kept")


def test_proxies_reach_a_build(home, folder, engine, name, ireko):
    (folder / "config/config.json").write_text(json.dumps({"proxies": {"default": {"httpsProxy": "http://p:1"}}}))
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo \"<$HTTPS_PROXY>\" >/told\n")
    ours(home | {"DOCKER_HOST": f"unix://{engine.socket}"}, "build", "-q", "-t", name, folder)
    assert ireko.out("run", "--rm", name, "cat", "/told") == "<http://p:1>"
    ireko("rmi", "-f", name)


# ---- verbs that need what the engine is not

def test_swarm_and_plugins_say_the_engines_words(engine):
    both = [engine.cli(*args, client=client, check=False) for client in ("ireko", "docker") for args in (["node", "ls"], ["service", "ls"], ["plugin", "ls"])]
    for p, q in zip(both[:3], both[3:]):
        assert (p.returncode, p.stdout, p.stderr) == (q.returncode, q.stdout, q.stderr)
    p = engine.cli("swarm", "init", "--advertise-addr", "lo", check=False)
    assert p.returncode == 1 and "swarm" in p.stderr
    p = engine.cli("plugin", "enable", "nope", check=False)
    assert p.returncode == 1 and p.stderr.startswith("Error response from daemon: ")


def test_no_helper_is_left(home, certificates, door):
    pems, url = certificates[0], f"tcp://127.0.0.1:{door.port}"
    ours(home | {"DOCKER_HOST": url, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(pems)}, "ps")

    def helpers():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                if words[0].endswith(b"ireko-dial-tls") and str(door.port).encode() in words:
                    found.append(pid)
        return found

    from harness import wait_until

    wait_until("ireko-dial-tls ends", lambda: not helpers())
