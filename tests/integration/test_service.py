# SPDX-License-Identifier: Apache-2.0
"""irekod as a service: settings in two places, reload, sockets of systemd, TLS, metrics, dumps, and an end that comes in time."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import pytest

import machine_end
from harness import BUILD, Engine, free_port, program, run, wait_until


def irekod(*args, folder, **kw):
    return run(BUILD / "irekod", "--data-root", folder / "d", "--exec-root", folder / "r", *args, check=False, **kw)


def settings(folder, **members):
    path = folder / "daemon ü.json"
    path.write_text(json.dumps({k.replace("_", "-"): v for k, v in members.items()}))
    return path


# ---- settings
def test_validate(folder):
    p = irekod("--validate", "--config-file", settings(folder, debug=True, labels=["a=b"], default_ulimits={"nofile": {"Name": "nofile", "Soft": 64, "Hard": 128}}), folder=folder)
    assert p.returncode == 0 and p.stdout == "configuration OK\n", p
    assert not (folder / "d").exists(), "nothing is made"


def test_directives_of_both_kinds_of_mistake(folder):
    p = irekod("--validate", "--config-file", settings(folder, no_such_setting=1, neither_this=2), folder=folder)
    assert p.returncode == 1 and "the following directives don't match any configuration option: no-such-setting, neither-this" in p.stderr
    p = irekod("--validate", "--debug", "-H", "unix:///x", "--config-file", settings(folder, debug=False, hosts=["unix:///y"]), folder=folder)
    assert p.returncode == 1
    assert "the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: false), hosts: (from flag: unix:///x, from file:" in p.stderr


# What dockerd 28 takes in daemon.json, each with a value that somebody may have there. Either it is taken, or refused by name with what to do instead.
DOCKERD = {
    "allow-direct-routing": True, "authorization-plugins": ["x"], "bip": "10.99.0.1/24", "bip6": "fd00::/64", "bridge": "br0", "builder": {"gc": {"enabled": True}}, "cdi-spec-dirs": ["/x"],
    "cgroup-parent": "x", "containerd": "/run/c.sock", "containerd-namespace": "x", "containerd-plugins-namespace": "x", "data-root": "/x", "debug": True,
    "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}], "default-cgroupns-mode": "private", "default-gateway": "10.0.0.1", "default-gateway-v6": "fd00::1",
    "default-ipc-mode": "private", "default-network-opts": {"bridge": {"a": "b"}}, "default-runtime": "runc", "default-shm-size": "64M",
    "default-ulimits": {"nofile": {"Hard": 64000, "Name": "nofile", "Soft": 64000}}, "dns": ["1.1.1.1"], "dns-opts": ["ndots:1"], "dns-search": ["example.org"],
    "exec-opts": ["native.cgroupdriver=cgroupfs"], "exec-root": "/x", "experimental": False, "features": {"containerd-snapshotter": False}, "firewall-backend": "nftables",
    "fixed-cidr": "10.0.0.0/24", "fixed-cidr-v6": "fd00::/64", "group": "docker", "host-gateway-ip": "10.0.0.1", "hosts": ["unix:///x"],
    "proxies": {"http-proxy": "http://x:1", "https-proxy": "http://x:1", "no-proxy": "y"}, "icc": False, "init": True, "init-path": "/x", "insecure-registries": ["x:5000"], "ip": "127.0.0.1",
    "ip-forward": True, "ip-masq": True, "iptables": True, "ip6tables": True, "ipv6": False, "labels": ["a=b"], "live-restore": True, "log-driver": "json-file", "log-format": "json", "log-level": "warn",
    "log-opts": {"max-size": "1m"}, "max-concurrent-downloads": 3, "max-concurrent-uploads": 5, "max-download-attempts": 5, "metrics-addr": "127.0.0.1:9323", "mtu": 1400,
    "no-new-privileges": True, "node-generic-resources": ["x=1"], "pidfile": "/x", "raw-logs": True, "registry-mirrors": ["https://x"], "runtimes": {"x": {"path": "/bin/x"}},
    "seccomp-profile": "unconfined", "selinux-enabled": False, "shutdown-timeout": 15, "storage-driver": "overlayfs", "storage-opts": ["x=1"], "swarm-default-advertise-addr": "x", "tls": True,
    "tlscacert": "/x", "tlscert": "/x", "tlskey": "/x", "tlsverify": True, "userland-proxy": False, "userland-proxy-path": "/x", "userns-remap": "default"}


def test_every_key_of_dockerd(folder):
    """None is unknown, and none is dropped without a word."""
    refused = []
    for key, value in DOCKERD.items():
        path = folder / "one.json"
        path.write_text(json.dumps({key: value}))
        p = run(BUILD / "irekod", "--validate", "--config-file", path, check=False)
        if p.returncode:
            assert f"{key} is not offered: " in p.stderr and len(p.stderr.rpartition("is not offered: ")[2]) > 15, p.stderr
            refused.append(key)
    assert len(refused) < 30, refused
    assert not {"max-concurrent-uploads", "max-download-attempts", "bip", "hosts", "tlsverify", "live-restore", "default-ulimits", "dns", "labels", "mtu", "icc", "ip", "runtimes", "default-address-pools", "init"} & set(refused)


@pytest.mark.parametrize("args, words", [
    (["--iptables=false"], "iptables false is not offered"), (["--userland-proxy-path", "/x"], "the proxy is ireko-proxy"), (["--mtu", "9"], "68 to 65535"), (["--dns", "x"], "IP address is not correctly formatted"),
    (["--default-ulimit", "nofile=5:4"], "ulimit soft limit must be less than or equal to hard limit: 5 > 4"), (["--default-address-pool", "base=10.0.0.0/24,size=16"], "base=CIDR,size=N"),
    (["--label", "x"], "KEY=VALUE"), (["--debug=perhaps"], "true or false"), (["--log-format", "xml"], "text or json"), (["--runtime", "x=y"], "absolute path"), (["--shutdown-timeout", "-1"], "from 0"),
    (["--data-root", "x"], "absolute path"), (["--feature", "buildkit=perhaps"], "NAME=true or NAME=false"), (["--feature", "other=true"], "not offered"), (["--graph", "/x"], "data-root")])
def test_values(folder, args, words):
    p = run(BUILD / "irekod", "--validate", *args, check=False)
    assert p.returncode == 1 and words in p.stderr, p.stderr


def test_defaults_of_containers(new_engine, folder, name):
    engine = new_engine("--config-file", settings(folder, default_shm_size="32m", default_ulimits={"nofile": {"Name": "nofile", "Soft": 77, "Hard": 99}}, dns=["192.0.2.7"], dns_search=["lan.test"],
                                                  no_new_privileges=True, mtu=1300, labels=["rack=7"], default_address_pools=[{"base": "10.213.0.0/16", "size": 26}]))
    p = engine.cli("run", "--rm", "busybox", "sh", "-c", "df -k /dev/shm | tail -n 1; sh -c 'ulimit -n'; cat /etc/resolv.conf; grep NoNewPrivs /proc/self/status; cat /sys/class/net/eth0/mtu")
    assert re.search(r"\b32768\b", p.stdout) and "\n77\n" in p.stdout and "192.0.2.7" in p.stdout and "lan.test" in p.stdout and re.search(r"NoNewPrivs:\s+1", p.stdout), p.stdout
    assert p.stdout.endswith("1300\n")
    p = engine.cli("run", "--rm", "--shm-size", "16m", "--ulimit", "nofile=55", "--dns", "192.0.2.8", "busybox", "sh", "-c", "df -k /dev/shm | tail -n 1; sh -c 'ulimit -n'; cat /etc/resolv.conf")
    assert re.search(r"\b16384\b", p.stdout) and "\n55\n" in p.stdout and "192.0.2.8" in p.stdout and "192.0.2.7" not in p.stdout
    info = engine.api("GET", "/info").json
    assert info["Labels"] == ["rack=7"] and info["DefaultAddressPools"] == [{"Base": "10.213.0.0/16", "Size": 26}] and "name=no-new-privileges" in info["SecurityOptions"]
    engine.cli("network", "create", name)
    engine.cli("run", "--rm", "--network", name, "busybox", "true")
    assert json.loads(engine.cli("network", "inspect", name).stdout)[0]["IPAM"]["Config"][0]["Subnet"] == "10.213.0.0/26"
    engine.cli("network", "rm", name)


def log_has(engine, pattern):
    return wait_until(f"the log says {pattern}", lambda: re.search(pattern, engine.log_text()))


def test_reload(new_engine, folder):
    file = settings(folder, labels=["a=1"], insecure_registries=["one.test:5000"])
    engine = new_engine("--config-file", file, busybox=False)
    since = time.time()
    settings(folder, labels=["a=2", "b=3"], insecure_registries=["two.test:5000"], debug=True, mtu=1400, max_concurrent_uploads=7)
    engine.p.send_signal(signal.SIGHUP)
    log_has(engine, r"reload: settings were read again from .*daemon ü\.json")
    log_has(engine, "mtu has changed, which takes a restart")
    info = engine.api("GET", "/info").json
    assert info["Labels"] == ["a=2", "b=3"] and info["Debug"] is True and "two.test:5000" in info["RegistryConfig"]["IndexConfigs"] and "one.test:5000" not in info["RegistryConfig"]["IndexConfigs"]
    event = wait_until("it is told", lambda: engine.api("GET", f"/events?since={since:.6f}&until={time.time():.6f}&filters=%7B%22type%22:%5B%22daemon%22%5D%7D").lines)[-1]
    assert (event["Type"], event["Action"], event["Actor"]["ID"]) == ("daemon", "reload", info["ID"])
    assert {k: event["Actor"]["Attributes"][k] for k in ("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts")} == {"max-concurrent-downloads": "4", "max-concurrent-uploads": "7", "max-download-attempts": "5"}
    assert event["Actor"]["Attributes"]["labels"] == '["a=2","b=3"]' and event["Actor"]["Attributes"]["debug"] == "true" and event["Actor"]["Attributes"]["name"] == info["Name"]
    file.write_text('{"labels": ["broken"')
    engine.p.send_signal(signal.SIGHUP)
    log_has(engine, r"reload: the settings stay as they were: .*daemon ü\.json")
    file.write_text('{"no-such-key": 1}')
    engine.p.send_signal(signal.SIGHUP)
    log_has(engine, "don't match any configuration option: no-such-key")
    assert engine.api("GET", "/info").json["Labels"] == ["a=2", "b=3"]
    file.write_text('{"default-runtime": "nobody"}')
    engine.p.send_signal(signal.SIGHUP)
    log_has(engine, "default-runtime nobody: no runtime has that name")


def test_log_as_json(new_engine):
    engine = new_engine("--log-format", "json", busybox=False)
    lines = [json.loads(line) for line in engine.log.read_text().splitlines()]
    assert lines and all(set(line) == {"level", "msg", "time"} for line in lines) and "serves unix://" in lines[0]["msg"] and lines[0]["level"] == "info"


# ---- the end
def test_it_ends_while_clients_hang_on(new_engine, name):
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "while :; do echo x; sleep 0.1; done")
    hanging = [engine.popen("events"), engine.popen("logs", "-f", name), engine.popen("attach", "--no-stdin", name), engine.popen("wait", name)]
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(engine.socket))
    silent.sendall(b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
    time.sleep(0.5)
    begun = time.monotonic()
    assert engine.stop(seconds=15) == 0
    assert time.monotonic() - begun < 12
    silent.close()
    for p in hanging[:2] + hanging[3:]:
        p.communicate(timeout=10)
    hanging[2].kill()  # the shim serves it, and goes on
    hanging[2].communicate(timeout=10)
    engine.start()
    assert engine.inspect(name)["State"]["Running"] is True


def is_up(engine, name):
    """A first process without a handler takes no notice of a signal."""
    wait_until("it handles signals", lambda: engine.cli("logs", name).stdout == "up\n")


def test_containers_end_with_it_if_they_are_to(new_engine, name):
    engine = new_engine("--live-restore=false", "--shutdown-timeout", "30")
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    is_up(engine, name)
    engine.cli("run", "-d", "--name", f"{name}a", "--restart", "unless-stopped", "busybox", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
    assert engine.api("GET", "/info").json["LiveRestoreEnabled"] is False
    assert engine.stop(seconds=60) == 0
    wait_until("no shim is left", lambda: not engine.shims())
    engine.start()
    state = engine.inspect(name)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 3) and engine.cli("logs", name).stdout == "up\nbye\n"
    wait_until("what is to run always runs again", lambda: engine.inspect(f"{name}a")["State"]["Running"])


def test_who_does_not_stop_in_time_goes_on(new_engine, name):
    engine = new_engine("--live-restore=false", "--shutdown-timeout", "1")
    engine.cli("run", "-d", "--name", name, "--stop-timeout", "60", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    assert engine.stop() == 0
    engine.start()
    assert engine.inspect(name)["State"]["Running"]


@pytest.mark.parametrize("says, status", [("stopping", "exited"), ("running", "running")])
def test_containers_end_with_the_machine(new_engine, folder, name, says, status):
    """When it goes down is for systemctl to say; it waits for us as long as we tell it."""
    (folder / "systemctl").write_text(f'#!/bin/sh\n[ "$*" = is-system-running ] && echo {says}\nexit 1\n')
    (folder / "systemctl").chmod(0o755)
    manager = Manager(folder)
    engine = new_engine("--shutdown-timeout", "40", prefix=("env", f"NOTIFY_SOCKET={manager.path}", f"PATH={folder}:{os.environ['PATH']}"))
    engine.cli("run", "-d", "--name", name, "--restart", "unless-stopped", "busybox", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    is_up(engine, name)
    pid = engine.inspect(name)["State"]["Pid"]
    assert engine.stop() == 0
    assert os.path.exists(f"/proc/{pid}") == (status == "running")
    manager.s.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            manager.heard.append(manager.s.recv(4096).decode())
    asked = [h for h in manager.heard if h.startswith("EXTEND_TIMEOUT_USEC=")]
    assert asked == ([] if status == "running" else ["EXTEND_TIMEOUT_USEC=66000000\nSTATUS=Stopping containers, for at most 40 s"])
    manager.s.close()
    engine.start()
    wait_until("it runs", lambda: engine.inspect(name)["State"]["Running"])
    wait_until("it is up again", lambda: engine.cli("logs", name).stdout == ("up\n" if status == "running" else "up\nbye\nup\n"))
    assert (engine.inspect(name)["State"]["Pid"] == pid) == (status == "running")


def test_the_last_signal_of_a_machine(new_engine, name):
    """systemd would wait for a minute and a half for a container that takes no notice of SIGTERM, and its shim does not end before it."""
    engine = new_engine(prefix=machine_end.PREFIX)
    engine.cli("run", "-d", "--name", name, "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    shim, = engine.shims()
    os.kill(shim, signal.SIGTERM)
    time.sleep(0.5)
    assert engine.inspect(name)["State"]["Running"]
    machine_end.begin(engine)
    begun = time.monotonic()
    os.kill(shim, signal.SIGTERM)
    wait_until("its time is over", lambda: not engine.inspect(name)["State"]["Running"], seconds=30, step=0.2)
    assert engine.inspect(name)["State"]["ExitCode"] == 137 and 9 < time.monotonic() - begun
    wait_until("the shim ends too", lambda: not engine.shims())


def test_second_signal_ends_at_once(new_engine, name):
    engine = new_engine("--live-restore=false", "--shutdown-timeout", "60")
    engine.cli("run", "-d", "--name", name, "--stop-timeout", "60", "busybox", "sh", "-c", "trap 'echo told' TERM; echo up; while :; do sleep 0.05; done")
    is_up(engine, name)
    folder = engine.data_root / "containers" / engine.inspect(name)["Id"]
    engine.p.terminate()
    wait_until("the container was told", lambda: any("told" in p.read_text() for p in folder.glob("*-json.log")))
    engine.p.terminate()
    assert engine.p.wait(timeout=20) == 1
    engine.log_file.close()
    engine.p = None
    engine.start()
    assert engine.inspect(name)["State"]["Running"]


def test_pidfile_of_a_living_one(new_engine, folder):
    new_engine("--pidfile", folder / "pid", busybox=False)
    p = irekod("--pidfile", folder / "pid", folder=folder)
    assert p.returncode == 1 and re.search(r"process with PID \d+ is still running", p.stderr)


# ---- systemd
class Manager:
    """What a unit of Type=notify is told."""

    def __init__(self, folder):
        self.path = str(folder / "notify")
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.s.bind(self.path)
        self.heard = []

    def wait(self, what, seconds=10):
        self.s.settimeout(seconds)
        while not any(what in h for h in self.heard):
            self.heard.append(self.s.recv(4096).decode())


@pytest.mark.parametrize("hosts", [["-H", "fd://"], []])
def test_socket_activation_and_notification(folder, hosts):
    """As systemd starts it: sockets from 3 on, and a place to say READY."""
    manager = Manager(folder)
    sock = folder / "api ü.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(sock))
    listener.listen(16)
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(sock))
    client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")  # waits in the queue, before anybody serves it
    env = dict(os.environ, NOTIFY_SOCKET=manager.path, LISTEN_FDS="1", WATCHDOG_USEC="400000")
    start = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])"
    p = subprocess.Popen([sys.executable, "-c", start, str(listener.fileno()), str(BUILD / "irekod"), *hosts, "--data-root", str(folder / "d"), "--exec-root", str(folder / "r")], env=env, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True)
    try:
        manager.wait("READY=1")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        manager.wait("WATCHDOG=1")
        p.send_signal(signal.SIGHUP)
        manager.wait("RELOADING=1\nMONOTONIC_USEC=")
        manager.heard.clear()
        manager.wait("READY=1")
        p.terminate()
        manager.wait("STOPPING=1")
        assert p.wait(timeout=15) == 0, p.stderr.read()
        assert "has changed" not in p.stderr.read(), "a reload sees the same sockets"
        assert sock.exists(), "it is systemd's"
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        p.stderr.close()
        client.close()
        listener.close()
        manager.s.close()


def test_fd_without_systemd(folder):
    p = irekod("-H", "fd://", folder=folder)
    assert p.returncode == 1 and "no sockets were passed" in p.stderr


def test_group_of_the_socket(new_engine, folder):
    engine = new_engine("--group", "65533", busybox=False)
    st = os.stat(engine.socket)
    assert st.st_gid == 65533 and st.st_mode & 0o777 == 0o660
    p = irekod("--group", "no-such-group", "-H", f"unix://{folder}/s", folder=folder)
    assert p.returncode == 1 and "group no-such-group not found" in p.stderr


def test_dump(new_engine, name):
    engine = new_engine()
    engine.cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    with contextlib.ExitStack() as stack:
        p = engine.popen("logs", "-f", name)
        stack.callback(p.communicate)
        stack.callback(p.kill)
        wait_until("the request is under way", lambda: engine.api("GET", "/info").json["NFd"] > 0)
        time.sleep(0.3)
        engine.p.send_signal(signal.SIGUSR1)
        found = log_has(engine, r"a dump of threads, requests and locks was written to (\S+)")
        dump = pathlib.Path(found.group(1))
        text = dump.read_text()
    assert dump.parent == engine.exec_root and dump.stat().st_mode & 0o777 == 0o600
    for words in ("== requests", "/containers/", "/logs (streams)", "lock engine: free", "containers 1, ", "== threads", "== descriptors", "Pss:"):
        assert words in text, text


def test_metrics(new_engine, name):
    port = free_port()
    engine = new_engine("--metrics-addr", f"127.0.0.1:{port}")
    engine.cli("run", "--name", name, "busybox", "true")
    # Of two checks one finds no program; a check that says no has been made.
    for n, command in (("a", "exit 1"), ("b", "")):
        engine.cli("run", "-d", "--name", name + n, "--health-cmd", command or "true", "--health-interval", "100ms", "busybox", "sh", "-c", "sleep 1000" if command else "rm /bin/sh; exec sleep 1000")
    wait_until("both were checked", lambda: all(engine.inspect(name + n)["State"]["Health"]["Log"] for n in "ab"))

    def fetch():
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: s.recv(65536), b"")).decode()
    text = fetch()
    assert "HTTP/1.1 200 OK" in text and "Content-Type: text/plain; version=0.0.4" in text
    for line in ('engine_daemon_container_actions_seconds_count{action="create"} 3', 'engine_daemon_container_actions_seconds_count{action="start"} 3',
                 'engine_daemon_container_states_containers{state="stopped"} 1', "engine_daemon_engine_info{", "engine_daemon_engine_cpus_cpus ", "engine_daemon_events_total ", "process_open_fds ",
                 'engine_daemon_container_actions_seconds_bucket{action="create",le="+Inf"} 3', "builder_builds_triggered_total 0"):
        assert line in text, (line, text)
    checks, failed = (int(re.search(rf"^engine_daemon_health_checks{what}_total (\d+)$", text, re.M).group(1)) for what in ("", "_failed"))
    assert 0 < failed < checks
    for line in text.partition("\r\n\r\n")[2].splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \S+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+', line), line


# ---- TLS
@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a server and two clients, one of them another authority's."""
    d = tmp_path_factory.mktemp("鍵 keys")

    def openssl(*args):
        run("openssl", *args, cwd=d)

    def authority(name):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}-key.pem", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")

    def issue(name, ca, extra):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (d / "ext").write_text(extra)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}-key.pem", "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")

    authority("ca")
    authority("other")
    issue("server", "ca", "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
    issue("client", "ca", "extendedKeyUsage=clientAuth\n")
    issue("stranger", "other", "extendedKeyUsage=clientAuth\n")
    for client in ("client", "stranger"):
        home = d / f"{client} home"
        home.mkdir()
        shutil.copy(d / "ca.pem", home / "ca.pem")
        shutil.copy(d / f"{client}.pem", home / "cert.pem")
        shutil.copy(d / f"{client}-key.pem", home / "key.pem")
    return d


@pytest.fixture
def tls_engine(new_engine, certificates):
    port = free_port()
    engine = new_engine("-H", f"tcp://127.0.0.1:{port}", "-H", f"tcp://[::1]:{port}", "--tlsverify", "--tlscacert", certificates / "ca.pem", "--tlscert", certificates / "server.pem",
                        "--tlskey", certificates / "server-key.pem")
    engine.port = port
    return engine


def over_tls(engine, home, *args, host="127.0.0.1", client="docker", **kw):
    env = engine.env(DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(home), DOCKER_BUILDKIT="0")
    env["DOCKER_HOST"] = f"tcp://{host}:{engine.port}"
    return run(BUILD / "ireko" if client == "ireko" else program(client), *args, env=env, check=kw.pop("check", True), **kw)


@pytest.mark.parametrize("client", ["docker", "ireko"])
def test_clients_over_tls(tls_engine, certificates, name, client):
    """All that a CLI does, hand-over of the connection to a shim included; docker's and ours, which has ireko-dial-tls for it."""
    home = certificates / "client home"
    assert over_tls(tls_engine, home, "version", "--format", "{{.Server.Version}}", client=client).stdout.strip()
    assert over_tls(tls_engine, home, "ps", host="[::1]", client=client).returncode == 0
    assert over_tls(tls_engine, home, "run", "--rm", "-i", "busybox", "cat", input="in and out\n", client=client).stdout == "in and out\n"
    assert over_tls(tls_engine, home, "run", "--rm", "busybox", "sh", "-c", "exit 7", check=False, client=client).returncode == 7
    over_tls(tls_engine, home, "run", "-d", "--name", name, "busybox", "sleep", "1000", client=client)
    big = "x" * 3_000_000
    assert over_tls(tls_engine, home, "exec", "-i", name, "sh", "-c", "cat; echo end >&2", input=big, client=client).stdout == big
    assert over_tls(tls_engine, home, "exec", name, "sh", "-c", "yes | head -c 20000000 | wc -c", client=client).stdout.strip() == "20000000"
    assert len(over_tls(tls_engine, home, "exec", name, "sh", "-c", "yes | head -c 20000000", client=client).stdout) == 20000000
    log_has(tls_engine, r"client client at 127\.0\.0\.1:\d+ has signed in by its certificate \(TLSv1\.3\)")


def test_who_is_not_let_in(tls_engine, certificates):
    p = over_tls(tls_engine, certificates / "stranger home", "ps", check=False)
    assert p.returncode != 0 and "certificate" in p.stderr
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with socket.create_connection(("127.0.0.1", tls_engine.port), timeout=5) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as s:
            s.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not s.recv(100)
            raise ConnectionError("closed")
    log_has(tls_engine, r"TLS handshake with 127\.0\.0\.1:\d+ failed")
    with socket.create_connection(("127.0.0.1", tls_engine.port), timeout=5) as s:
        s.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/1.1 200" not in s.recv(1000)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates / "ca.pem")
    context.load_cert_chain(certificates / "client.pem", certificates / "client-key.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with socket.create_connection(("127.0.0.1", tls_engine.port), timeout=5) as raw:
            context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_departure_and_half_close_over_tls(tls_engine, certificates):
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / "client.pem", certificates / "client-key.pem")
    threads = lambda: len(os.listdir(f"/proc/{tls_engine.p.pid}/task"))
    held = []
    before = threads()
    for _ in range(30):
        s = context.wrap_socket(socket.create_connection(("127.0.0.1", tls_engine.port), timeout=5), server_hostname="127.0.0.1")
        s.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 200")
        held.append(s)
    for s in held:
        s.close()
    # Threads that wait for requests stay for ten seconds.
    wait_until("followers end when their clients go", lambda: threads() < before + 10, seconds=30)
    # Those that have only begun to shake hands hold up nobody, and are ended.
    mute = [socket.create_connection(("127.0.0.1", tls_engine.port), timeout=5) for _ in range(50)]
    assert over_tls(tls_engine, certificates / "client home", "version").returncode == 0
    for s in mute:
        s.close()


def test_new_certificates_by_reload(tls_engine, certificates, folder):
    issued = (certificates / "server.pem").read_bytes()
    try:
        (certificates / "server.pem").write_text("no certificate")
        tls_engine.p.send_signal(signal.SIGHUP)
        log_has(tls_engine, r"reload: the settings stay as they were: read the certificate .*server\.pem")
    finally:
        (certificates / "server.pem").write_bytes(issued)
    assert over_tls(tls_engine, certificates / "client home", "ps").returncode == 0
    tls_engine.p.send_signal(signal.SIGHUP)
    log_has(tls_engine, "reload: settings were read again")
    assert over_tls(tls_engine, certificates / "client home", "ps").returncode == 0


def test_tcp_for_all_only_in_so_many_words(folder, new_engine):
    p = irekod("-H", "tcp://0.0.0.0:0", folder=folder)
    assert p.returncode == 1 and "--tlsverify" in p.stderr and "--tls=false" in p.stderr
    port = free_port()
    engine = new_engine("-H", f"tcp://0.0.0.0:{port}", "--tls=false", busybox=False)
    assert "whoever reaches it is root on this machine" in engine.log_text()
    p = irekod("-H", "tcp://127.0.0.1:0", "--tlsverify", "--tlscert", folder / "none", "--tlskey", folder / "none", "--tlscacert", folder / "none", folder=folder)
    assert p.returncode == 1 and "read the certificate" in p.stderr


def children(pid):
    found = []
    for t in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):  # a thread that has ended
            found += map(int, pathlib.Path(f"/proc/{pid}/task/{t}/children").read_text().split())
    return found


def named(pids, start):
    """Those whose program's, or thread's, name begins like that."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found += [pid] if pathlib.Path(f"/proc/{pid}/comm").read_text().startswith(start) else []
    return found


def test_it_does_not_wait_for_the_disk(new_engine):
    """syncfs of a busy disk takes as long as it takes, and a process in it cannot end: strace makes it take long."""
    engine = new_engine(busybox=False)
    engine.stop()
    engine.prefix = [program("strace"), "-f", "-qq", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:delay_enter=20000000"]
    engine.start()
    engine.load_busybox()
    irekod = children(engine.p.pid)[0]
    assert "irekod" in pathlib.Path(f"/proc/{irekod}/comm").read_text()
    syncing = wait_until("the disk is synced", lambda: named(children(irekod), "irekod"))[0]
    begun = time.monotonic()
    os.kill(irekod, signal.SIGTERM)
    wait_until("it has ended", lambda: not os.path.exists(f"/proc/{irekod}/status") or "State:\tZ" in pathlib.Path(f"/proc/{irekod}/status").read_text(), seconds=15)
    assert time.monotonic() - begun < 4.5
    tracer, engine.prefix = engine.p, ()
    engine.log_file.close()
    try:
        os.kill(syncing, 0)  # still at it, and in nobody's way
        engine.start()
        assert "busybox:latest" in engine.images()
    finally:
        tracer.kill()
        tracer.wait()
