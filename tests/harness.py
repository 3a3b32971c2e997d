# SPDX-License-Identifier: Apache-2.0
"""What the tests that drive the programs share: engines on roots of their own, clients, terminals, images and a registry.

Every engine gets a temporary folder (named irk-...), a socket and a subnet of its own, so that any number of them, and the user's, run side by side. Whoever
makes an engine calls destroy(), which removes its containers through the engine and then checks that nothing of it is left.
"""
import base64
import contextlib
import ctypes
import fcntl
import hashlib
import http.client
import io
import itertools
import json
import os
import pathlib
import pty
import random
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tarfile
import tempfile
import termios
import threading
import time

# A shell's background job ignores SIGINT and its children inherit that; the programs under test are to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("IREKO_BUILD", ROOT / "build"))
BORROWED = ROOT / ".cache/tools/bin"
TIMEOUT = 60


def program(name, remedy="tools/deps test"):
    """The path of a program that the tests need; without it a test fails, it is never skipped."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(BORROWED), "/usr/sbin", "/sbin"]))
    assert found, f"{name} is missing: run {remedy}"
    return found


def temp_folder(what):
    return pathlib.Path(tempfile.mkdtemp(prefix=f"irk-{what}-"))


def run(*args, check=True, timeout=TIMEOUT, **kw):
    kw.setdefault("stdout", subprocess.PIPE)
    kw.setdefault("stderr", subprocess.PIPE)
    kw.setdefault("text", True)
    if "input" not in kw and "stdin" not in kw:
        kw["stdin"] = subprocess.DEVNULL
    p = subprocess.run([str(a) for a in args], check=False, timeout=timeout, **kw)
    if check:
        assert p.returncode == 0, f"{' '.join(map(str, args))}: exit status {p.returncode}\n{p.stdout}\n{p.stderr}"
    return p


def lines_of(p):
    """What a program says, line by line, as it comes; all of it once the thread, which is the second, has ended."""
    lines = []

    def read():
        for line in p.stdout:
            lines.append(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return lines, reader


def wait_until(what, condition, seconds=15, step=0.02):
    """The condition's first true value; fails after `seconds`. What is waited for may be a function, for what is known only at the end."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds} s in vain for: {what() if callable(what) else what}"
        time.sleep(step)


# Tests that run at once (pytest-xdist) look for ports in ranges of their own, below those that the kernel gives to connections.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_ports = itertools.cycle(random.sample(range(20000 + WORKER % 12 * 1000, 21000 + WORKER % 12 * 1000), 1000))


def free_port():
    for port in _ports:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("", port))
            return port


def host_subnets():
    lines = run("ip", "-4", "route", "show", "table", "all").stdout.split()
    return set(re.findall(r"\b10\.(\d+\.\d+)\.", " ".join(lines)))


def free_subnet(prefix=24):
    used = host_subnets()
    while True:
        middle = f"{random.randrange(64, 250)}.{random.randrange(0, 250)}"
        # 10.88/16 is podman's, whose bridge may come while a test runs.
        if middle not in used and not middle.startswith("88."):
            return f"10.{middle}.0/{prefix}"


def tcp_ask(address, port, text=b"", timeout=5, retries=50):
    """What a TCP service says until it hangs up; waits for it to listen."""
    for attempt in range(retries):
        try:
            with socket.create_connection((address, port), timeout=timeout) as s:
                if text:
                    s.sendall(text)
                    s.shutdown(socket.SHUT_WR)
                said = b"".join(iter(lambda: s.recv(65536), b""))
                if said or attempt == retries - 1:
                    return said
        except OSError:
            if attempt == retries - 1:
                raise
        time.sleep(0.1)
    return b""


def cgroups_named(name):
    """The folders of cgroups of that name at the top of each hierarchy, and below, deepest first."""
    top = pathlib.Path("/sys/fs/cgroup")
    tops = [top] if (top / "cgroup.procs").exists() else [d for d in top.iterdir() if d.is_dir() and not d.is_symlink()]
    return sorted((pathlib.Path(d) for t in tops for d, _, _ in os.walk(t / name)), key=lambda d: -len(d.parts))


def members(cgroup):
    """Pids in it; none if it has just gone."""
    with contextlib.suppress(FileNotFoundError):
        return [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]
    return []


def remove_cgroups(name):
    """With the processes in them."""
    def gone(d):
        try:
            d.rmdir()
        except OSError:
            for pid in members(d):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return not d.exists()

    for d in cgroups_named(name):
        wait_until(f"{d} can be removed", lambda d=d: gone(d))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=TIMEOUT):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Reply:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def message(self):
        return self.json.get("message", "")

    @property
    def lines(self):
        return [json.loads(line) for line in self.body.splitlines() if line.strip()]


class Pty:
    """A program on a terminal of its own, as a person would use it."""

    def __init__(self, args, env=None, rows=24, columns=80, cwd=None):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.said, self.mode_before = "", termios.tcgetattr(self.master)

        def controlling_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.p = subprocess.Popen([str(a) for a in args], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd,
                                  preexec_fn=controlling_terminal, close_fds=True)
        os.close(slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def _read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        self.said += data.decode(errors="replace")
        return bool(data)

    def expect(self, pattern, seconds=20):
        """Waits for the pattern; forgets everything up to its end."""
        end = time.monotonic() + seconds
        while True:
            m = re.search(pattern, self.said)
            if m:
                self.said = self.said[m.end():]
                return m
            left = end - time.monotonic()
            alive = self._read(min(left, 0.2)) if left > 0 else False
            assert alive or (left > 0 and self.p.poll() is None), f"no {pattern!r} in: {self.said!r}"

    def wait(self, seconds=20):
        end = time.monotonic() + seconds
        while self.p.poll() is None and time.monotonic() < end:
            self._read(0.05)
        while self._read(0):
            pass
        assert self.p.poll() is not None, f"it does not end; it said {self.said!r}"
        return self.p.returncode

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        os.close(self.master)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Engine:
    more_env = {}  # of its clients

    def __init__(self, *options, subnet=None, root=None, data_root=None, exec_root=None, prefix=()):
        self.root = root or temp_folder("engine")
        self.data_root = data_root or self.root / "data"
        self.exec_root = exec_root or self.root / "run"
        self.socket = self.root / "s"
        self.subnet = subnet or free_subnet()
        chosen = os.environ.get("IREKO_SNAPSHOTTER")
        if chosen and "--snapshotter" not in options:
            options = (*options, "--snapshotter", chosen)
        self.options, self.prefix = options, prefix
        self.log = self.root / "irekod.log"
        self.p = None
        self.own_mounts = ()  # of the test

    # ---- life
    def start(self, step=0.02):
        irekod = BUILD / "irekod"
        assert irekod.exists(), f"{irekod} is missing: run make"
        self.log_file = self.log.open("ab")
        self.p = subprocess.Popen([*self.prefix, str(irekod), "--data-root", str(self.data_root), "--exec-root", str(self.exec_root), "-H", f"unix://{self.socket}",
                                   "--bridge-subnet", self.subnet, *map(str, self.options)], stdin=subprocess.DEVNULL, stdout=self.log_file,
                                  stderr=self.log_file, start_new_session=True)
        wait_until("irekod answers", self._answers, seconds=20, step=step)
        return self

    def _answers(self):
        assert self.p.poll() is None, f"irekod ended with status {self.p.returncode}:\n{self.log_text()}"
        try:
            return self.api("GET", "/_ping").status == 200
        except OSError:
            return False

    def log_text(self):
        return self.log.read_text(errors="replace")[-8000:] if self.log.exists() else ""

    def stop(self, seconds=20):
        """SIGTERM: containers go on."""
        if self.p is None:
            return 0
        self.p.terminate()
        status = self.p.wait(timeout=seconds)
        self.log_file.close()
        self.p = None
        return status

    def kill(self):
        """SIGKILL: no chance to tidy up."""
        self.p.kill()
        self.p.wait()
        self.log_file.close()
        self.p = None

    def restart(self):
        self.stop()
        return self.start()

    def shims(self):
        """Pids of shims of this engine that still live."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if "ireko-shim" in pathlib.Path(f"/proc/{pid}/comm").read_text() and self._uses_root(pid):
                    found.append(int(pid))
        return found

    def _uses_root(self, pid):
        links = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))]
        for link in links:
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(str(self.root)):
                    return True
        return False

    def remove_containers(self):
        for c in self.api("GET", "/containers/json?all=1").json:
            reply = self.api("DELETE", f"/containers/{c['Id']}?force=1&v=1")
            assert reply.status in (204, 404), reply.body

    def destroy(self, keep_files=False):
        """Removes everything and complains about what cannot be removed."""
        try:
            if self.p is not None:
                self.remove_containers()
                for n in self.api("GET", "/networks").json:
                    if n["Name"] not in ("bridge", "host", "none"):
                        assert self.api("DELETE", f"/networks/{n['Id']}").status == 204
                wait_until("all shims end", lambda: not self.shims())
                assert self.stop() == 0, f"irekod did not end well:\n{self.log_text()}"
            left = [*self.leftovers(), *map(str, cgroups_named(f"ireko_{self.mark}"))]
            assert not left, f"left behind: {left}"
        finally:
            self._force_clean()
            if not keep_files:
                shutil.rmtree(self.root)

    def _force_clean(self):
        """After a failure: nothing that a broken engine leaves may disturb the tests that follow."""
        if self.p is not None:
            self.kill()
        for pid in self.shims():
            os.kill(pid, signal.SIGKILL)
        remove_cgroups(f"ireko_{self.mark}")
        own = self.mark
        for name in os.listdir("/sys/class/net"):
            if own in name:
                run("ip", "link", "del", name, check=False)
        for line in run(program("nft"), "list", "tables").stdout.splitlines():
            if own in line:
                run(program("nft"), "delete", *line.split(), check=False)

    @property
    def mark(self):
        """What is in the names of this engine's bridge and nft table."""
        return hashlib.sha256(str(self.data_root).encode()).hexdigest()[:8]

    @property
    def bridge(self):
        return f"irk-{self.mark}"

    def leftovers(self):
        """Mounts under our root, bridges and nft tables that carry our name."""
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if str(self.root) in line and line.split()[4] not in self.own_mounts]
        own = self.mark
        links = [name for name in os.listdir("/sys/class/net") if own in name]
        tables = [line for line in run(program("nft"), "list", "tables").stdout.splitlines() if own in line]
        sockets = [str(self.socket)] if self.socket.exists() else []
        sockets += ["ireko-proxy"] if self._proxy_answers() else []
        return [*mounts, *links, *tables, *sockets]

    def _proxy_answers(self):
        """It ends as soon as nobody is there who could want something of it, which it sees a moment later."""
        for _ in range(500):
            with contextlib.ExitStack() as stack:
                try:
                    folder = os.open(self.exec_root, os.O_PATH)
                    stack.callback(os.close, folder)
                    s = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                    s.connect(f"/proc/self/fd/{folder}/proxy.sock")
                except OSError:
                    return False
            time.sleep(0.02)
        return True

    def leftovers_of_containers(self):
        """Folders of containers that are no more, and interfaces on our bridge."""
        brif = pathlib.Path(f"/sys/class/net/{self.bridge}/brif")
        ports = os.listdir(brif) if brif.is_dir() else []
        folders = [str(p) for p in (self.data_root / "containers").glob("*")] if (self.data_root / "containers").is_dir() else []
        return [*ports, *folders]

    # ---- clients
    def env(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "IREKO_"))}
        # No configuration of the user's, and what a client writes (contexts, credentials) goes with the engine.
        return dict(env, DOCKER_HOST=f"unix://{self.socket}", DOCKER_CONFIG=str(self.root / "client"), XDG_DATA_HOME=str(self.root / "client-data"),
                    XDG_STATE_HOME=str(self.root / "client-state"), LC_ALL="C.UTF-8", **{**self.more_env, **more})

    def cli(self, *args, client="ireko", check=True, **kw):
        path = BUILD / "ireko" if client == "ireko" else program(client)
        kw.setdefault("env", self.env(**({} if client == "ireko" else {"DOCKER_BUILDKIT": "0"})))
        return run(path, *args, check=check, **kw)

    def popen(self, *args, client="ireko", **kw):
        path = BUILD / "ireko" if client == "ireko" else program(client)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.STDOUT)
        return subprocess.Popen([str(path), *map(str, args)], env=self.env(), text=True, stdin=subprocess.DEVNULL, **kw)

    def pty(self, *args, client="ireko", **kw):
        path = BUILD / "ireko" if client == "ireko" else program(client)
        return Pty([path, *args], env=self.env(TERM="xterm"), **kw)

    def api(self, method, path, body=None, headers=None, timeout=TIMEOUT):
        connection = UnixConnection(self.socket, timeout)
        try:
            headers = dict(headers or {})
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
                headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, body=body, headers=headers)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def inspect(self, name):
        reply = self.api("GET", f"/containers/{name}/json")
        assert reply.status == 200, reply.body
        return reply.json

    def containers(self):
        return {c["Names"][0].lstrip("/") for c in self.api("GET", "/containers/json?all=1").json}

    def descriptors(self):
        """How many it has open but for its database: SQLite cannot close what a second connection (it takes the log in, some time after a commit) has opened, and keeps one for the next."""
        links = []
        for n in os.listdir(f"/proc/{self.p.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{self.p.pid}/fd/{n}"))
        database = links.count(str(self.data_root / "ireko.db"))
        assert database <= 2, links
        return len(links) - database

    def threads(self):
        """Their names."""
        names = []
        for t in os.listdir(f"/proc/{self.p.pid}/task"):
            with contextlib.suppress(OSError):  # it has ended
                names.append(pathlib.Path(f"/proc/{self.p.pid}/task/{t}/comm").read_text().strip())
        return names

    @contextlib.contextmanager
    def followed(self):
        """Who begins to follow events inside hears all that happens after it."""
        following = lambda: self.api("GET", "/info").json["NEventsListener"]  # noqa: E731
        wait_until("nobody follows events any more", lambda: following() == 0)
        yield
        wait_until("somebody follows events", following)

    def images(self):
        return {t for i in self.api("GET", "/images/json").json for t in i["RepoTags"] or []}

    def load_busybox(self):
        reply = self.api("POST", "/images/load?quiet=1", busybox_archive().read_bytes(), {"Content-Type": "application/x-tar"})
        assert reply.status == 200 and b"busybox:latest" in reply.body, reply.body


class Bound:
    """An engine spoken to by one client: the tests of verbs run once with ours and once with the docker CLI."""

    def __init__(self, engine, client):
        self.engine, self.client = engine, client

    def __call__(self, *args, **kw):
        return self.engine.cli(*args, client=self.client, **kw)

    def out(self, *args, **kw):
        return self(*args, **kw).stdout.strip()

    def fails(self, *args, status=None, **kw):
        """What it says on standard error when it fails."""
        p = self(*args, check=False, **kw)
        assert p.returncode != 0, f"{args} should have failed: {p.stdout}"
        assert status is None or p.returncode == status, f"{args}: exit status {p.returncode}, not {status}: {p.stderr}"
        assert p.stderr.strip(), f"{args} failed without a word"
        return p.stderr

    def popen(self, *args, **kw):
        return self.engine.popen(*args, client=self.client, **kw)

    def pty(self, *args, **kw):
        return self.engine.pty(*args, client=self.client, **kw)


# ---- images
APPLETS = """sh ls cat echo true false sleep id pwd env printf touch mkdir rm rmdir mv cp ln stat test [ wc head tail grep sed awk sort uniq cut tr
find date hostname mount umount ps kill ip ifconfig ping nc wget httpd nslookup tar gzip md5sum sha256sum seq yes dd df du chmod chown stty tty uname
whoami readlink realpath basename dirname tee sync xargs expr od hexdump timeout nproc free mknod su setsid""".split()


def add_file(tar, name, data=b"", mode=0o644, **fields):
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data) if data else None)


def make_tar(fill):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    return out.getvalue()


def fill_busybox(tar):
    for name, mode in {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "home": 0o755, "home/user": 0o755, "var": 0o755, "proc": 0o555,
                       "sys": 0o555, "dev": 0o755, "usr": 0o755}.items():
        add_file(tar, name, mode=mode, type=tarfile.DIRTYPE, **({"uid": 1000, "gid": 1000} if name == "home/user" else {}))
    add_file(tar, "bin/busybox", pathlib.Path(program("busybox")).read_bytes(), 0o755)
    for applet in APPLETS:
        add_file(tar, f"bin/{applet}", type=tarfile.SYMTYPE, linkname="busybox", mode=0o777)
    add_file(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:A User:/home/user:/bin/sh\n")
    add_file(tar, "etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    add_file(tar, "etc/plain-file", b"not a program\n")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def image_config(layers, created=None, **config):
    return json.dumps({**({"created": created} if created else {}), "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine), "os": "linux", "config": config,
                       "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(d)}" for d in layers]},
                       "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "tests"} for _ in layers]}).encode()


def docker_archive(tag, layers, **config):
    """Bytes of a docker-archive as `docker save` makes it."""
    text = image_config(layers, **config)

    def fill(tar):
        names = []
        for data in layers:
            names.append(f"{sha256(data)}/layer.tar")
            add_file(tar, names[-1], data)
        add_file(tar, f"{sha256(text)}.json", text)
        add_file(tar, "manifest.json", json.dumps([{"Config": f"{sha256(text)}.json", "RepoTags": [tag] if tag else None, "Layers": names}]).encode())

    return make_tar(fill)


_busybox = {}


def busybox_layer():
    if "layer" not in _busybox:
        _busybox["layer"] = make_tar(fill_busybox)
    return _busybox["layer"]


def busybox_archive():
    """A file with a docker-archive of busybox:latest; made once a session."""
    if "archive" not in _busybox:
        folder = temp_folder("busybox")
        (folder / "busybox.tar").write_bytes(docker_archive("busybox:latest", [busybox_layer()], Cmd=["sh"], Env=["PATH=/usr/bin:/bin"]))
        _busybox["folder"], _busybox["archive"] = folder, folder / "busybox.tar"
    return _busybox["archive"]


def forget_busybox():
    if "folder" in _busybox:
        shutil.rmtree(_busybox.pop("folder"))
        _busybox.pop("archive")


# ---- a registry
class Registry:
    """Debian's docker-registry on a loopback port, with a storage of its own. more: lines for its configuration."""

    def __init__(self, more="", authorization=None, tls=False, data=None):
        """more: of the configuration; {root} in it is our folder. authorization: of our own requests, a function that gives the header for a path. tls: with a certificate
        of a CA of its own, self.ca. data: a storage that stays."""
        self.root = temp_folder("registry")
        self.authorization, self.context, self.ca = authorization, None, None
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        certificate = f"  tls: {{certificate: {self.root}/own.crt, key: {self.root}/own.key}}\n" if tls else ""
        if tls:
            self._make_certificate()
        self.config = self.root / "config.yml"
        self.config.write_text(f"version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: '{data or self.root / 'data'}'}}\n  delete: {{enabled: true}}\n"
                          f"http:\n  addr: {self.host}\n{certificate}" + more.replace("{root}", str(self.root)))
        self.log = (self.root / "log").open("wb")
        self.p = subprocess.Popen([program("docker-registry"), "serve", str(self.config)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_until("docker-registry listens", self._answers)

    def _make_certificate(self):
        """The CA's is alone in its folder, as --cert-dir of podman and skopeo wants it."""
        self.ca = self.root / "certs/ca.crt"
        self.ca.parent.mkdir()
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        (self.root / "own.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        for args in (["req", "-x509", *key, "-subj", "/CN=CA of the tests", "-days", "1", "-keyout", "ca.key", "-out", self.ca],
                     ["req", *key, "-subj", "/CN=registry of the tests", "-keyout", "own.key", "-out", "own.csr"],
                     ["x509", "-req", "-in", "own.csr", "-CA", self.ca, "-CAkey", "ca.key", "-CAserial", "ca.srl", "-CAcreateserial", "-extfile", "own.ext", "-days", "1", "-out", "own.crt"]):
            run("openssl", *args, cwd=self.root)
        self.context = ssl.create_default_context(cafile=self.ca)

    def _answers(self):
        assert self.p.poll() is None, (self.root / "log").read_text()
        with contextlib.suppress(OSError):
            return self.ask("GET", "/v2/")[0] in (200, 401)
        return False

    def ask(self, method, path, body=None, headers=None):
        c = http.client.HTTPSConnection(self.host, timeout=30, context=self.context) if self.context else http.client.HTTPConnection(self.host, timeout=30)
        try:
            if path.startswith("http"):
                path = re.sub(r"^https?://[^/]+", "", path)
            given = {"Authorization": self.authorization(path)} if self.authorization else {}
            c.request(method, path, body=body, headers={**given, **(headers or {})})
            r = c.getresponse()
            return r.status, dict(r.headers), r.read()
        finally:
            c.close()

    def push_blob(self, name, data):
        digest = f"sha256:{sha256(data)}"
        status, headers, _ = self.ask("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202
        where = headers["Location"]
        where += ("&" if "?" in where else "?") + f"digest={digest}"
        status, _, said = self.ask("PUT", where, data, {"Content-Type": "application/octet-stream"})
        assert status == 201, said
        return digest

    def digest(self, name, reference):
        """What the registry says that the reference names."""
        kinds = [f"application/vnd.{k}+json" for k in ("oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2", "docker.distribution.manifest.list.v2")]
        status, headers, said = self.ask("HEAD", f"/v2/{name}/manifests/{reference}", headers={"Accept": ", ".join(kinds)})
        assert status == 200, (status, said)
        return headers["Docker-Content-Digest"]

    def push_manifest(self, name, reference, document, media_type):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        status, _, said = self.ask("PUT", f"/v2/{name}/manifests/{reference}", data, {"Content-Type": media_type})
        assert status == 201, said
        return f"sha256:{sha256(data)}", len(data)

    def push_image(self, name, tag, layers, media_type="application/vnd.oci.image.layer.v1.tar+gzip", pack=None, **config):
        """layers: plain tars; pack compresses one. Returns (digest, size) of the manifest."""
        import gzip

        pack = pack or (lambda d: gzip.compress(d, 6, mtime=0))
        text = image_config(layers, **config)
        packed = [pack(d) for d in layers]
        document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.push_blob(name, text), "size": len(text)},
                    "layers": [{"mediaType": media_type, "digest": self.push_blob(name, d), "size": len(d)} for d in packed]}
        return self.push_manifest(name, tag, document, document["mediaType"])

    def close(self):
        self.p.terminate()
        self.p.wait(timeout=10)
        self.log.close()
        shutil.rmtree(self.root)


class PasswordRegistry(Registry):
    """docker-registry that knows one account, by Basic."""

    def __init__(self, user, password, tls=False):
        libcrypt = ctypes.CDLL("libcrypt.so.1")
        libcrypt.crypt.restype = ctypes.c_char_p
        hashed = libcrypt.crypt(password.encode(), b"$2b$05$" + b"saltsaltsaltsaltsalte.").decode()
        self.file = temp_folder("htpasswd")
        (self.file / "users").write_text(f"{user}:{hashed}\n")
        header = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        super().__init__(f"auth:\n  htpasswd:\n    realm: test\n    path: {self.file}/users\n", lambda _: header, tls)

    def close(self):
        super().close()
        shutil.rmtree(self.file)
