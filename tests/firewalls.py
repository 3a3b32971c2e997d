# SPDX-License-Identifier: Apache-2.0
"""A house with a firewall: a network namespace and a mount namespace with ufw and firewalld in it, an engine, and the outside behind an uplink.

The uplink is 192.0.2.1 in the house and 192.0.2.2 outside, and outside has its default route through the house. Sockets are made in the namespaces by a
thread that goes there; who is reached answers with the address that it saw.
"""
import contextlib
import pathlib
import re
import selectors
import shutil
import socket
import subprocess
import threading

from harness import BORROWED, program, run, temp_folder, wait_until
from test_network_names import in_namespace

TREE = BORROWED.parent / "firewalls"
HERE, OUTSIDE = "192.0.2.1", "192.0.2.2"
SETUP = """set -e
cd "$1"
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
for d in usr etc var/lib; do
	mkdir -p "/mnt/$d/upper" "/mnt/$d/work"
	mount -t overlay -o "lowerdir=$d:/$d,upperdir=/mnt/$d/upper,workdir=/mnt/$d/work" overlay "/$d"
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
cp /usr/share/ufw/*.rules /usr/share/ufw/ufw.conf /etc/ufw
cd /
ip link set lo up
echo ready
exec sleep infinity"""
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>"""


class House:
    def __init__(self):
        assert TREE.is_dir(), f"{TREE} is missing: run tools/deps test"
        self.root = temp_folder("house")
        self.started, self.stop = [], threading.Event()
        self.selector = selectors.DefaultSelector()
        self.holder = self.start(program("unshare"), "--mount", "--net", "sh", "-c", SETUP, "sh", str(TREE), stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == "ready\n", "the house could not be set up"
        self.prefix = [program("nsenter"), "--mount", "--net", "-t", str(self.holder.pid)]
        self.outside = self.start(program("unshare"), "--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep infinity", stdout=subprocess.PIPE)
        assert self.outside.stdout.readline() == "ready\n"
        self.sh(f"ip link add up0 type veth peer name eth0 netns {self.outside.pid}; ip addr add {HERE}/24 dev up0; ip link set up0 up")
        run(program("nsenter"), "--net", "-t", self.outside.pid, "sh", "-c",
            f"ip addr add {OUTSIDE}/24 dev eth0; ip link set eth0 up; ip route add default via {HERE}")
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def start(self, *args, **kw):
        p = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, text=True, start_new_session=True, **kw)
        self.started.append(p)
        return p

    def end(self, p):
        p.terminate()
        p.wait(timeout=20)
        self.started.remove(p)

    def sh(self, script, check=True):
        return run(*self.prefix, "sh", "-c", script, check=check).stdout

    def close(self):
        self.stop.set()
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        for p in reversed(self.started):
            p.kill()
            p.wait()
            if p.stdout:
                p.stdout.close()
        shutil.rmtree(self.root)

    # ---- who answers, and who asks
    def _serve(self):
        while not self.stop.is_set():
            for key, _ in self.selector.select(0.05):
                with contextlib.suppress(OSError):
                    if key.data == "udp":
                        _, peer = key.fileobj.recvfrom(100)
                        key.fileobj.sendto(peer[0].encode(), peer)
                    else:
                        c, peer = key.fileobj.accept()
                        with c:
                            c.sendall(peer[0].encode())

    def serve(self, pid, port, kind="tcp"):
        def make():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("0.0.0.0", port))
            if kind == "tcp":
                s.listen()
            return s
        self.selector.register(in_namespace(pid, make), selectors.EVENT_READ, kind)

    def forget_servers(self, but=()):
        for key in list(self.selector.get_map().values()):
            if key.fileobj not in but:
                self.selector.unregister(key.fileobj)
                key.fileobj.close()

    def ask(self, pid, address, port, kind="tcp", seconds=0.3):
        """Whom the server took us for, or None."""
        with in_namespace(pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)) as s:
            s.settimeout(seconds)
            try:
                s.connect((address, port))
                s.send(b"?")
                return s.recv(100).decode() or None
            except OSError:
                return None

    def reaches(self, pid, address, port, kind="tcp", want=True):
        """One that has to be is waited for: rules may be on their way back."""
        if not want:
            return self.ask(pid, address, port, kind) is not None
        return wait_until(f"{address}:{port}/{kind} is reached", lambda: self.ask(pid, address, port, kind), seconds=10) is not None

    # ---- the packet filter
    def nft(self, text):
        file = self.root / "rules.nft"
        file.write_text(text)
        self.sh(f"nft -f '{file}'")

    def rules(self):
        """All there are, as they are to be the same before and after us."""
        legacy = self.sh("iptables-legacy-save") if self.sh("cat /proc/net/ip_tables_names") else ""
        saved = self.sh("iptables-save; ip6tables-save; nft --stateless list ruleset") + legacy
        return re.sub(r"\[\d+:\d+\]", "", re.sub(r"^# (Generated|Completed).*$", "", saved, flags=re.M))

    def clear(self):
        self.sh("nft flush ruleset")

    @contextlib.contextmanager
    def ufw(self):
        self.sh("ufw --force enable; ufw reload")
        try:
            yield
        finally:
            self.sh("ufw disable")

    @contextlib.contextmanager
    def firewalld(self):
        (self.root / "bus.conf").write_text(BUS)
        bus = self.start(*self.prefix, "dbus-daemon", f"--config-file={self.root}/bus.conf", "--nofork", "--nopidfile")
        path = pathlib.Path(f"/proc/{self.holder.pid}/root/run/bus")
        wait_until("the bus listens", path.exists)
        with (self.root / "firewalld.log").open("w") as log:
            daemon = self.start(*self.prefix, "env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus", "/usr/bin/python3", "/usr/sbin/firewalld", "--nofork", "--nopid", stdout=log, stderr=log)
        try:
            wait_until("firewalld is up", lambda: "running" in self.firewall_cmd("--state", check=False), seconds=30, step=0.2)
            yield
        finally:
            self.end(daemon)
            self.end(bus)

    def firewall_cmd(self, *args, check=True):
        return self.sh(f"DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus /usr/bin/python3 /usr/bin/firewall-cmd {' '.join(args)}", check=check)
