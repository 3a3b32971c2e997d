# SPDX-License-Identifier: Apache-2.0
"""login and logout, where credentials are kept, and that each goes to the host it is for: Debian's docker-registry with a password file, and with a
token server of our own; helpers on PATH; docker, skopeo and podman reading what we keep."""
import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import pytest

from harness import BUILD, PasswordRegistry, Pty, add_file, busybox_layer, make_tar, program, run, temp_folder, wait_until
from token_server import PASSWORD, USER, TokenServer


@pytest.fixture(scope="module")
def private():
    r = PasswordRegistry(USER, PASSWORD)
    r.push_image("secret", "v1", [busybox_layer(), make_tar(lambda t: add_file(t, "private", b"private"))], Cmd=["cat", "/private"])
    yield r
    r.close()


@pytest.fixture
def tokens(request):
    t = TokenServer(refresh=getattr(request, "param", None))
    r = t.registry()
    r.push_image("secret", "v1", [busybox_layer(), make_tar(lambda t: add_file(t, "private", b"private"))], Cmd=["cat", "/private"])
    t.asked.clear()
    t.private = r
    yield t
    r.close()
    t.close()


class Home:
    """Folders of a user of their own, and what commands find in them."""

    def __init__(self, engine):
        self.engine = engine
        self.root = temp_folder("home näme")
        self.config = self.root / "docker config" / "config.json"
        self.bin = self.root / "bin"
        self.bin.mkdir()

    @property
    def env(self):
        env = dict(self.engine.env(), HOME=str(self.root), DOCKER_CONFIG=str(self.config.parent), XDG_DATA_HOME=str(self.root / "data"), XDG_STATE_HOME=str(self.root / "state"),
                   DOCKER_BUILDKIT="0")
        return dict(env, PATH=f"{self.bin}:{BUILD}:{env['PATH']}")

    def write(self, document, mode=0o600):
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(document if isinstance(document, str) else json.dumps(document))
        self.config.chmod(mode)

    @property
    def document(self):
        return json.loads(self.config.read_text())

    def helper(self, name="fake"):
        """A helper that keeps everything in a file beside it, and a log of what it was asked."""
        path = self.bin / f"docker-credential-{name}"
        path.write_text(f"""#!/usr/bin/python3
import json, pathlib, sys
kept = pathlib.Path({str(self.root / (name + '.kept'))!r})
all = json.loads(kept.read_text()) if kept.exists() else {{}}
said = sys.stdin.read() if sys.argv[1] != "list" else ""
with open({str(self.root / (name + '.log'))!r}, "a") as log:
    print(sys.argv[1], said.strip() if sys.argv[1] != "store" else "", file=log)
if sys.argv[1] == "store":
    one = json.loads(said)
    all[one["ServerURL"]] = one
    kept.write_text(json.dumps(all))
elif sys.argv[1] == "list":
    print(json.dumps({{k: v["Username"] for k, v in all.items()}}))
elif said.strip() not in all:
    print("credentials not found in native keychain")
    sys.exit(1)
elif sys.argv[1] == "get":
    print(json.dumps(all[said.strip()]))
else:
    del all[said.strip()]
    kept.write_text(json.dumps(all))
""")
        path.chmod(0o755)
        return self.root / f"{name}.kept"

    def asked(self, name="fake"):
        log = self.root / f"{name}.log"
        return log.read_text().splitlines() if log.exists() else []

    def __call__(self, *args, client="ireko", **kw):
        return self.engine.cli(*args, client=client, env=self.env, **kw)

    def fails(self, *args, **kw):
        p = self(*args, check=False, **kw)
        assert p.returncode == 1, p
        return p.stderr

    def login(self, host, client="ireko", password=PASSWORD, **kw):
        return self("login", "-u", USER, "--password-stdin", host, client=client, input=password + "\n", **kw)

    def pulls(self, reference, client="ireko"):
        self("pull", reference, client=client)
        self("rmi", reference)

    def is_refused(self, reference, client="ireko"):
        return re.search(r"denied|unauthorized|no basic auth", self.fails("pull", reference, client=client))

    def files_with(self, *texts):
        return [str(f) for f in self.root.rglob("*") if f.is_file() and any(t.encode() in f.read_bytes() for t in texts)]


@pytest.fixture
def home(engine):
    h = Home(engine)
    yield h
    shutil.rmtree(h.root)


@pytest.fixture(params=["ireko", "docker"])
def client(request):
    return request.param


# ---- with the engine's word
def test_login_pull_logout(home, private, client):
    reference = f"{private.host}/secret:v1"
    assert home.is_refused(reference, client)
    p = home.login(private.host, client)
    assert "Login Succeeded" in p.stdout
    home.pulls(reference, client)
    assert f"Removing login credentials for {private.host}" in home("logout", private.host, client=client).stdout
    assert home.is_refused(reference, client)
    again = home("logout", private.host, client=client).stdout  # the docker CLI does not look
    assert f"Not logged in to {private.host}" in again or client == "docker"


def test_wrong_password(home, private, client):
    p = home.login(private.host, client, password="falsch", check=False)
    assert p.returncode == 1 and "unauthorized: incorrect username or password" in p.stderr and "falsch" not in p.stderr + p.stdout
    assert not home.config.exists() or "auth" not in home.config.read_text()


def test_kept_encrypted(home, private):
    """What our login leaves: a mark in config.json, and a file that nobody can read without the key in another folder."""
    home.write({"currentContext": "default", "psFormat": "x", "HttpHeaders": {}}, 0o640)
    p = home.login(private.host)
    assert p.stdout == "Login Succeeded\n" and p.stderr == ""
    assert home.document == {"currentContext": "default", "psFormat": "x", "HttpHeaders": {}, "auths": {private.host: {}}}
    assert home.config.stat().st_mode & 0o777 == 0o640
    kept = home.root / "data/ireko/credentials"
    keys = list((home.root / "state/ireko").iterdir())
    assert [f.stat().st_mode & 0o777 for f in (kept, *keys)] == [0o600, 0o600] and kept.parent.stat().st_mode & 0o777 == 0o700
    coded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert not home.files_with(PASSWORD, "geheim", coded, coded[:10])
    home.pulls(f"{private.host}/secret:v1")
    # Without the key it is not there, and that is said.
    keys[0].rename(home.root / "away")
    said = home.fails("pull", f"{private.host}/secret:v1")
    assert "is gone" in said and "log in again" in said
    home.login(private.host)
    home.pulls(f"{private.host}/secret:v1")
    home("logout", private.host)
    assert not kept.exists() and not list((home.root / "state/ireko").iterdir())


def test_existing_credentials(home, private):
    home.login(private.host)
    p = home("login", private.host)
    assert "Authenticating with existing credentials" in p.stdout and p.stdout.endswith("Login Succeeded\n")
    # They are no good any more, and nobody is there to be asked.
    home.login(private.host)
    private_users = private.file / "users"
    before = private_users.read_text()
    try:
        private_users.write_text("other:" + before.partition(":")[2])
        os.utime(private_users, (time.time() + 5, time.time() + 5))
        assert "unauthorized" in home.fails("login", private.host)
    finally:
        private_users.write_text(before)
        os.utime(private_users, (time.time() + 10, time.time() + 10))


def test_plain_only_where_it_is_plain(home, private):
    """An entry that is readable already stays so, with docker's warning; --store ends that."""
    coded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    home.write({"auths": {f"https://{private.host}/v1/": {"auth": base64.b64encode(b"old:old").decode()}}})
    p = home.login(private.host)
    assert "stored unencrypted in" in p.stderr and "Login Succeeded" in p.stdout
    assert home.document == {"auths": {private.host: {"auth": coded}}}
    home.pulls(f"{private.host}/secret:v1")
    home("login", "-u", USER, "--password-stdin", "--store", "file", private.host, input=PASSWORD)
    assert home.document == {"auths": {private.host: {}}} and not home.files_with(coded)
    home("logout", private.host)
    home.write({"credsStore": ""})
    assert "stored unencrypted in" in home.login(private.host).stderr
    assert home.document["auths"] == {private.host: {"auth": coded}}
    assert "names another one" in home.fails("login", "-u", USER, "--password-stdin", "--store", "file", private.host, input=PASSWORD)


def test_link_and_mode_stay(home, private):
    real = home.root / "dotfiles"
    real.mkdir()
    (real / "docker.json").write_text('{"other": {"deep": [1, 2.5, "ä"]}}')
    (real / "docker.json").chmod(0o644)
    home.config.parent.mkdir()
    home.config.symlink_to("../dotfiles/docker.json")
    home.login(private.host)
    assert home.config.is_symlink() and home.document == {"other": {"deep": [1, 2.5, "ä"]}, "auths": {private.host: {}}}
    assert (real / "docker.json").stat().st_mode & 0o777 == 0o644 and [p.name for p in real.iterdir()] == ["docker.json"]


def test_many_logins_at_once(home, private):
    """None undoes another's."""
    hosts = [f"127.0.0.{n}:{private.port}" for n in range(1, 2)] + [private.host] * 3
    ps = [subprocess.Popen([BUILD / "ireko", "login", "-u", USER, "-p", PASSWORD, h], env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for h in hosts]
    for p in ps:
        out, err = p.communicate(timeout=60)
        assert p.returncode == 0 and "Login Succeeded" in out, err
    home.pulls(f"{private.host}/secret:v1")


# ---- what is typed
def test_prompts(home, private):
    with Pty([BUILD / "ireko", "login", private.host], env=dict(home.env, TERM="xterm")) as t:
        t.expect("Username: ")
        t.send(USER + "\n")
        t.expect("Password: ")
        t.send(PASSWORD + "\n")
        t.expect("Login Succeeded")
        assert t.wait() == 0
    home.pulls(f"{private.host}/secret:v1")


def test_password_is_not_shown(home, private):
    with Pty([BUILD / "ireko", "login", "-u", USER, private.host], env=dict(home.env, TERM="xterm")) as t:
        t.expect("Password: ")
        time.sleep(0.3)
        t.send("falsch77\n")
        m = t.expect(r"(?s)(.*)incorrect username or password")
        assert "falsch77" not in m.group(1)
        assert t.wait() == 1
    with Pty([BUILD / "ireko", "login", "-u", USER, private.host], env=dict(home.env, TERM="xterm")) as t:
        t.expect("Password: ")
        t.send("\n")
        t.expect("password is required")


@pytest.mark.parametrize("args, said", [
    (["-u", "u"], "Cannot perform an interactive login from a non TTY device"),
    (["--password-stdin"], "Must provide --username with --password-stdin"),
    (["-u", "u", "-p", "p", "--password-stdin"], "--password and --password-stdin are mutually exclusive"),
    (["-u", "u", "-p", "p", "--store", "usb"], "expected file or keyring"),
    (["-u", "u", "-p", "p", "h h"], "is no address of a registry"),
    (["-u", "u", "--password-stdin", "h"], "empty"),
])
def test_what_cannot_be(home, args, said):
    assert said in home.fails("login", *args)


def test_nobody_there(home):
    from harness import free_port

    host = f"127.0.0.1:{free_port()}"
    said = home.fails("login", "-u", "u", "-p", "geheim", host)
    assert host in said and re.search("refused|connect", said) and "geheim" not in said


def test_a_password_in_the_arguments(home):
    """A warning; the list of processes does not show it while the engine is asked, and a user's other programs may not look into its memory."""
    listener = socket.socket(socket.AF_UNIX)
    path = home.root / "slow"
    listener.bind(str(path))
    listener.listen()
    # Of a user without privilege, whose processes would otherwise be the user's to look into.
    shutil.copy(BUILD / "ireko", home.root)
    for p in (home.root, path):
        os.chown(p, 65534, 65534)
    p = subprocess.Popen([program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", home.root / "ireko", "-H", f"unix://{path}", "login", "-u", "u", "-p", "geheim99", "h:1"],
                         env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        connection, _ = listener.accept()
        assert b"geheim99" in connection.recv(65536)
        seen = pathlib.Path(f"/proc/{p.pid}/cmdline").read_bytes()
        assert b"login" in seen and b"geheim99" not in seen
        assert os.stat(f"/proc/{p.pid}").st_uid == 65534 and os.stat(f"/proc/{p.pid}/mem").st_uid == 0
        connection.close()
        out, err = p.communicate(timeout=20)
        assert "WARNING! Using --password via the CLI is insecure" in err and "geheim99" not in out + err
    finally:
        p.kill()
        p.wait()
        listener.close()


# ---- helpers
def test_helper_of_the_user(home, private, client):
    """credsStore, as its client: store, get, erase; docker and we find what the other kept."""
    kept = home.helper()
    home.write({"credsStore": "fake", "psFormat": "x"})
    home.login(private.host, client)
    assert json.loads(kept.read_text())[private.host]["Secret"] == PASSWORD
    assert home.document == {"credsStore": "fake", "psFormat": "x", "auths": {private.host: {}}}
    for reader in ("ireko", "docker"):
        home.pulls(f"{private.host}/secret:v1", reader)
    assert f"get {private.host}" in home.asked()
    home("logout", private.host, client=client)
    assert json.loads(kept.read_text()) == {} and home.document["auths"] == {}
    assert home.is_refused(f"{private.host}/secret:v1", client)


def test_helper_for_one_host(home, private):
    one, other = home.helper("one"), home.helper("other")
    home.write({"credsStore": "other", "credHelpers": {private.host: "one"}})
    home.login(private.host)
    assert one.exists() and not other.exists()
    home.pulls(f"{private.host}/secret:v1")
    assert home.asked("other") == []


def test_helper_that_fails(home, private):
    home.write({"credHelpers": {private.host: "broken", "127.0.0.9:1": "../evil"}})
    said = home.fails("pull", f"{private.host}/secret:v1")
    assert "docker-credential-broken" in said and "there is no such program on PATH" in said
    assert "cannot be the name of a credential helper" in home.fails("pull", "127.0.0.9:1/x")
    path = home.bin / "docker-credential-broken"
    path.write_text("#!/bin/sh\necho 'the door is locked'; exit 1\n")
    path.chmod(0o755)
    assert "the door is locked" in home.fails("login", "-u", USER, "-p", PASSWORD, private.host)
    assert "auths" not in home.document
    path.write_text("#!/bin/sh\nexec sleep 600\n")
    p = run(BUILD / "ireko", "pull", f"{private.host}/secret:v1", env=dict(home.env, IREKO_CREDENTIAL_TIMEOUT="1"), check=False, timeout=30)
    assert p.returncode == 1 and "no answer within 1 seconds" in p.stderr


# ---- our own store for others
def protocol(home, *args, said=""):
    return subprocess.run([BUILD / "docker-credential-ireko", *args], input=said, env=home.env, capture_output=True, text=True, timeout=20)


def test_our_helper_speaks_the_protocol(home):
    for server in ("h:5000", "https://index.docker.io/v1/"):
        p = protocol(home, "store", said=json.dumps({"ServerURL": server, "Username": "u", "Secret": "geheim"}))
        assert (p.returncode, p.stdout) == (0, "")
        assert json.loads(protocol(home, "get", said=server + "\n").stdout) == {"ServerURL": server, "Username": "u", "Secret": "geheim"}
    assert json.loads(protocol(home, "list").stdout) == {"h:5000": "u", "https://index.docker.io/v1/": "u"}
    # podman calls Docker Hub by another name.
    assert json.loads(protocol(home, "get", said="docker.io").stdout)["Secret"] == "geheim"
    p = protocol(home, "get", said="elsewhere")
    assert (p.returncode, p.stdout) == (1, "credentials not found in native keychain\n")
    assert protocol(home, "erase", said="h:5000").returncode == 0
    assert protocol(home, "get", said="h:5000").returncode == 1
    assert "docker-credential-ireko" in protocol(home, "version").stdout
    for args, said in ((["store"], "{"), (["store"], "[]"), (["store"], '{"ServerURL": "h"}'), (["store"], '{"ServerURL": "", "Username": "u", "Secret": "s"}'),
                       (["get"], ""), (["store"], "x" * 300000), (["get"], "h\0h")):
        p = protocol(home, *args, said=said)
        assert p.returncode == 1 and p.stdout.strip(), (args, said[:40])
    assert protocol(home, "fetch").returncode == 2 and protocol(home).returncode == 2


def test_others_read_our_store(home, private):
    """docker by credsStore, skopeo and podman by credHelpers; and what docker and podman log in with is kept by us."""
    home.login(private.host)
    home.write(dict(home.document, credsStore="ireko"))
    home.pulls(f"{private.host}/secret:v1", "docker")
    authfile = home.root / "auth.json"
    authfile.write_text(json.dumps({"credHelpers": {private.host: "ireko"}}))
    said = run(program("skopeo"), "inspect", "--tls-verify=false", "--authfile", authfile, f"docker://{private.host}/secret:v1", env=home.env).stdout
    assert json.loads(said)["Name"] == f"{private.host}/secret"
    assert run(program("podman"), "login", "--get-login", "--authfile", authfile, private.host, env=home.env).stdout.strip() == USER
    home("logout", private.host)
    assert run(program("podman"), "login", "--get-login", "--authfile", authfile, private.host, env=home.env, check=False).returncode != 0
    # The other way: docker and podman log in, we have it.
    for login in (lambda: (home.write({"credsStore": "ireko"}), home.login(private.host, "docker")),
                  lambda: (home.write({"auths": {private.host: {}}}),
                           run(program("podman"), "login", "--tls-verify=false", "--authfile", authfile, "-u", USER, "--password-stdin", private.host, env=home.env, input=PASSWORD))):
        login()
        assert not home.files_with(PASSWORD, "geheim")
        home.pulls(f"{private.host}/secret:v1")
        home("logout", private.host)


def test_key_in_the_keyring(home, private):
    """Where the kernel offers one here; elsewhere the error says what to do."""
    p = home("login", "-u", USER, "--password-stdin", "--store", "keyring", private.host, input=PASSWORD, check=False)
    if p.returncode != 0:
        assert "the kernel's keyring cannot be used here" in p.stderr and "--store file" in p.stderr and not home.config.exists()
        return
    assert not (home.root / "state/ireko").exists() or not list((home.root / "state/ireko").iterdir())
    home.pulls(f"{private.host}/secret:v1")
    home("logout", private.host)
    assert not (home.root / "data/ireko/credentials").exists()


def test_our_helper_is_missing(home, private):
    """A command line without its helper says so, and keeps nothing readable instead."""
    alone = home.root / "alone"
    alone.mkdir()
    shutil.copy(BUILD / "ireko", alone)
    env = dict(home.env, PATH="/usr/bin:/bin")
    p = run(alone / "ireko", "login", "-u", USER, "--password-stdin", private.host, input=PASSWORD, env=env, check=False)
    assert p.returncode == 1 and "is neither beside ireko nor on PATH" in p.stderr and not home.config.exists() and not home.files_with(PASSWORD)


# ---- tokens
def test_token_server(home, tokens, client):
    reference = f"{tokens.private.host}/secret:v1"
    assert home.is_refused(reference, client)
    assert "unauthorized: incorrect username or password" in home.login(tokens.private.host, client, password="falsch", check=False).stderr
    home.login(tokens.private.host, client)
    tokens.asked.clear()
    home.pulls(reference, client)
    assert [q.get("scope") for _, _, _, q in tokens.asked] == [["repository:secret:pull"]]


@pytest.mark.parametrize("tokens", ["identity-42"], indirect=True)
def test_identity_token(home, tokens, client):
    """What the token server gives for keeps takes the password's place, everywhere."""
    home.helper()
    home.write({"credsStore": "fake"})
    home.login(tokens.private.host, client)
    kept = json.loads((home.root / "fake.kept").read_text())[tokens.private.host]
    assert (kept["Username"], kept["Secret"]) == ("<token>", "identity-42") and not home.files_with(PASSWORD)
    tokens.asked.clear()
    home.pulls(f"{tokens.private.host}/secret:v1", client)
    method, path, authorization, query = tokens.asked[0]
    assert (method, authorization, query["grant_type"], query["refresh_token"]) == ("POST", None, ["refresh_token"], ["identity-42"]) and "identity" not in path


def test_token_server_elsewhere(new_engine):
    """A token server on another host sees no password until the administrator says so; the error names both and how."""
    tokens = TokenServer("127.0.0.2")
    registry = tokens.registry()
    registry.push_image("secret", "v1", [make_tar(lambda t: add_file(t, "f", b"f"))])
    tokens.asked.clear()
    try:
        for options in ([], ["--registry-token-server", f"{registry.host}=127.0.0.2"]):
            e = new_engine(*options, busybox=False)
            home = Home(e)
            try:
                p = home.login(registry.host, check=False)
                if not options:
                    assert p.returncode == 1 and "--registry-token-server 127.0.0.1=127.0.0.2" in p.stderr and tokens.url in p.stderr
                    assert not any(a for _, _, a, _ in tokens.asked)
                else:
                    assert "Login Succeeded" in p.stdout and tokens.asked[-1][2].startswith("Basic ")
                    home.pulls(f"{registry.host}/secret:v1")
                assert PASSWORD not in e.log_text()
            finally:
                shutil.rmtree(home.root)
    finally:
        registry.close()
        tokens.close()


# ---- who sends what
def test_every_command_that_pulls(home, private):
    reference = f"{private.host}/secret:v1"
    home.login(private.host)
    assert home("run", "--rm", reference).stdout == "private"
    home("rmi", reference)
    created = home("create", reference).stdout.strip().splitlines()[-1]
    home("rm", created)
    home("rmi", reference)
    # And those that only look.
    looks = [(("manifest", "inspect", reference), "schemaVersion"), (("image", "tags", f"{private.host}/secret"), "v1"), (("search", f"{private.host}/secr"), "secret"),
             (("image", "referrers", reference), "")]
    for command, said in looks:
        assert said in home(*command).stdout, command
    context = home.root / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {reference}\nLABEL a=b\n")
    name = f"built-{hashlib.sha256(str(home.root).encode()).hexdigest()[:8]}"
    home("build", "--pull", "-t", name, context)
    home("rmi", name, reference)
    home("logout", private.host)
    for command in (("build", "--pull", context), *(command for command, _ in looks)):
        assert re.search("denied|unauthorized", home.fails(*command)), command


def test_credentials_go_to_their_host_alone(home, private):
    """A pull from one host carries nothing of another's: told by an engine that writes down what it gets."""
    home.login(private.host)
    path = home.root / "engine"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def headers_of(*args):
        p = subprocess.Popen([BUILD / "ireko", "-H", f"unix://{path}", *args], env=dict(home.env, DOCKER_API_VERSION="1.51", DOCKER_BUILDKIT="0"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            got = b""
            while b"\r\n\r\n" not in got:  # a connection may be made to find out something, and given up unused
                connection, _ = listener.accept()
                with connection:
                    while b"\r\n\r\n" not in got and (more := connection.recv(65536)):
                        got += more
            return dict(line.split(": ", 1) for line in got.split(b"\r\n\r\n")[0].decode().split("\r\n")[1:])
        finally:
            p.kill()
            p.wait()

    try:
        assert "X-Registry-Auth" not in headers_of("pull", "127.0.0.1:1/x")
        marked = home.document
        home.write({"auths": {private.host: {"auth": base64.b64encode(b"a:b").decode()}, "127.0.0.1": {"identitytoken": "c"}}})
        assert "X-Registry-Auth" not in headers_of("pull", "127.0.0.1:1/x")
        home.write(marked)
        own = headers_of("pull", f"{private.host}/x")["X-Registry-Auth"]
        assert json.loads(base64.urlsafe_b64decode(own)) == {"username": USER, "password": PASSWORD, "serveraddress": private.host}
        assert "X-Registry-Auth" not in headers_of("ps")
        # A build: those of the registries that the Dockerfile names.
        home.write({"auths": {host: {"auth": base64.b64encode(f"{host}:p".encode()).decode()} for host in ("docker.io", "quay.io", "other.example:5000")}})
        context = home.root / "context"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM quay.io/x\nCOPY --from=busybox /a /a\n")

        def accounts():
            return set(json.loads(base64.urlsafe_b64decode(headers_of("build", context)["X-Registry-Config"])))

        assert accounts() == {"https://index.docker.io/v1/", "quay.io"}
        (context / "Dockerfile").write_text("ARG R=quay.io\nFROM $R/x\n")
        assert accounts() == {"https://index.docker.io/v1/", "quay.io", "other.example:5000"}
        home.write(marked)
        home.write(dict(home.document, HttpHeaders={"X-Meta": "a b", "Host": "evil"}))
        sent = headers_of("ps")
        assert sent["X-Meta"] == "a b" and sent["Host"] != "evil"
    finally:
        listener.close()
    home.write('{"HttpHeaders": {"X": "a\\r\\nY: b"}}')
    assert "HttpHeaders" in home.fails("ps")
    home.write("{broken")
    p = home("ps")
    assert "WARNING: Error loading config file" in p.stderr


def test_engine_api(engine, private):
    """POST /auth as dockerd answers it, and X-Registry-Auth in the forms that clients use."""
    def auth(**account):
        return engine.api("POST", "/auth", account)

    reply = auth(username=USER, password=PASSWORD, serveraddress=private.host)
    assert reply.status == 200 and reply.json == {"IdentityToken": "", "Status": "Login Succeeded"}
    assert auth(auth=base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), serveraddress=f"http://{private.host}/v2/").status == 200
    for account in ({"username": USER, "password": "falsch"}, {"username": "", "password": ""}, {}):
        reply = auth(serveraddress=private.host, **account)
        assert reply.status == 401 and reply.message.startswith("unauthorized:"), reply.body
    assert auth(username="u", password="p", serveraddress="no host").status == 400
    assert engine.api("POST", "/auth").status == 400
    account = json.dumps({"username": USER, "password": PASSWORD}).encode()
    for coded in (base64.urlsafe_b64encode(account), base64.b64encode(account), base64.urlsafe_b64encode(account).rstrip(b"=")):
        reply = engine.api("POST", f"/images/create?fromImage={private.host}/secret&tag=v1", headers={"X-Registry-Auth": coded.decode()})
        assert reply.status == 200 and b"error" not in reply.body
        assert engine.api("DELETE", f"/images/{private.host}/secret:v1").status == 200
    for coded, status in (("%%%", 400), ("W10=", 400), ("e30=", 404), ("bnVsbA==", 404), ("A" * 40000, 400)):
        reply = engine.api("POST", f"/images/create?fromImage={private.host}/secret&tag=v1", headers={"X-Registry-Auth": coded})
        assert reply.status == status, (coded[:20], reply.status, reply.body)
    wrong = base64.urlsafe_b64encode(json.dumps({"username": USER, "password": "falsch"}).encode()).decode()
    reply = engine.api("POST", f"/images/create?fromImage={private.host}/secret&tag=v1", headers={"X-Registry-Auth": wrong})
    assert reply.status == 403 and "unauthorized: incorrect username or password" in reply.message  # not 401, which the docker CLI takes for a prompt
    log = engine.log_text()
    assert PASSWORD not in log and "falsch" not in log and base64.b64encode(account).decode() not in log


def test_push_signs_in(home, tokens, private, client):
    """With the right to push, asked for by name; and by Basic."""
    for host in (tokens.private.host, private.host):
        reference = f"{host}/pushed-{client}:v1"
        home("tag", "busybox", reference)
        assert re.search("denied|unauthorized|no basic auth", home.fails("push", reference, client=client))
        home.login(host, client)
        tokens.asked.clear()
        home("push", reference, client=client)
        if host == tokens.private.host:
            scopes = [scope for _, _, _, q in tokens.asked for scope in q.get("scope", [])]
            assert f"repository:pushed-{client}:pull,push" in scopes and not any(a is None for _, _, a, _ in tokens.asked)
        home("rmi", reference)
        home.pulls(reference, client)


def memory_of(pid):
    """What is in the memory of a process, one piece a mapping."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            if line.split()[1].startswith("r") and "[v" not in line:
                low, high = (int(x, 16) for x in line.split()[0].split("-"))
                memory.seek(low)
                try:
                    yield memory.read(high - low)
                except OSError:
                    pass


def test_engine_forgets(new_engine, private, tokens):
    """After logins and pulls, neither password nor header is anywhere in the engine's memory, in plain, as JSON or in base64."""
    e = new_engine(busybox=False)
    kept = []
    for host in (private.host, tokens.private.host):
        account = {"username": USER, "password": PASSWORD, "serveraddress": host}
        assert e.api("POST", "/auth", account).status == 200
        header = base64.urlsafe_b64encode(json.dumps(account).encode()).decode()
        assert e.api("POST", f"/images/create?fromImage={host}/secret&tag=v1", headers={"X-Registry-Auth": header}).status == 200
        kept += [header.encode()[at:at + 24] for at in (24, 48, 72)]
    coded = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    needles = [PASSWORD.encode(), PASSWORD.encode()[-9:], json.dumps(PASSWORD)[1:-1].encode(), coded[:24], coded[8:28], *kept]

    def found():
        pieces = list(memory_of(e.p.pid))
        assert any(str(e.data_root).encode() in p for p in pieces)  # that is there, so the search does find things
        return [n for n in needles if any(n in p for p in pieces)]

    wait_until("the threads of the connections have ended", lambda: not found())


def test_events_tell_no_secret(engine, home, private):
    start = int(time.time()) - 1
    home.login(private.host)
    home.pulls(f"{private.host}/secret:v1")
    said = engine.api("GET", f"/events?since={start}&until={int(time.time()) + 1}").body.decode()
    assert f"{private.host}/secret:v1" in said and "geheim" not in said and USER not in said
