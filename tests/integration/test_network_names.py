# SPDX-License-Identifier: Apache-2.0
"""Names in user-defined networks: the resolver at 127.0.0.11, as containers and hostile packets meet it."""
import concurrent.futures
import contextlib
import ctypes
import os
import random
import socket
import struct
import threading
import time

import pytest

from harness import free_subnet, program, run, wait_until

A, PTR, AAAA, MX, ANY = 1, 12, 28, 15, 255
NXDOMAIN, SERVFAIL, FORMERR, NOTIMP, BADVERS = 3, 2, 1, 4, 16


@contextlib.contextmanager
def network(engine, name, **body):
    body.setdefault("IPAM", {"Config": [{"Subnet": free_subnet()}]})
    reply = engine.api("POST", "/networks/create", {"Name": name, **body})
    assert reply.status == 201, reply.body
    try:
        yield reply.json["Id"]
    finally:
        engine.remove_containers()
        assert engine.api("DELETE", f"/networks/{name}").status in (204, 404)


def in_namespace(pid, work):
    """Does work() on a thread in the network namespace of pid."""
    result = []

    def enter():
        fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
                result.append(OSError(ctypes.get_errno(), "setns"))
                return
            result.append(work())
        except Exception as e:  # handed to the caller
            result.append(e)
        finally:
            os.close(fd)

    t = threading.Thread(target=enter)
    t.start()
    t.join()
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def encode(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part) + b"\0"


def question(name, kind=A, edns=None, ident=None, flags=0x0100, klass=1):
    ident = random.randrange(65536) if ident is None else ident
    m = struct.pack(">HHHHHH", ident, flags, 1, 0, 0, 1 if edns else 0) + encode(name) + struct.pack(">HH", kind, klass)
    return m + (b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b"")


def skip_name(m, at):
    while m[at]:
        if m[at] >= 0xC0:
            return at + 2
        at += 1 + m[at]
    return at + 1


def read_name(m, at):
    parts = []
    while m[at]:
        parts.append(m[at + 1:at + 1 + m[at]].decode())
        at += 1 + m[at]
    return ".".join(parts)


class Answer:
    def __init__(self, m):
        self.bytes = m
        self.id, self.flags, _, count, _, self.additional = struct.unpack(">HHHHHH", m[:12])
        self.rcode, self.truncated, self.authoritative = self.flags & 15, bool(self.flags & 0x200), bool(self.flags & 0x400)
        self.addresses, self.names, self.ttls = [], [], []
        at = skip_name(m, 12) + 4 if struct.unpack(">H", m[4:6])[0] else 12
        for _ in range(count):
            at = skip_name(m, at)
            kind, _, ttl, length = struct.unpack(">HHIH", m[at:at + 10])
            at += 10
            if kind == A:
                self.addresses.append(socket.inet_ntoa(m[at:at + 4]))
            if kind == PTR:
                self.names.append(read_name(m, at))
            self.ttls.append(ttl)
            at += length


def ask_bytes(pid, message, tcp=False, timeout=8):
    def work():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
            s.settimeout(timeout)
            s.connect(("127.0.0.11", 53))
            if not tcp:
                s.send(message)
                return s.recv(65535)
            s.sendall(struct.pack(">H", len(message)) + message)
            f = s.makefile("rb")
            return f.read(struct.unpack(">H", f.read(2))[0])
    return in_namespace(pid, work)


def ask(engine, container, name, kind=A, tcp=False, **kw):
    return Answer(ask_bytes(engine.inspect(container)["State"]["Pid"], question(name, kind, **kw), tcp))


def ask_then_start(engine, *questions):
    """Asks, each (pid, name), while no engine runs; what the next one answers."""
    with concurrent.futures.ThreadPoolExecutor(len(questions)) as pool:
        asked = [pool.submit(ask_bytes, pid, question(name), timeout=20) for pid, name in questions]
        time.sleep(0.3)
        engine.start()
        return [Answer(a.result()).addresses for a in asked]


def start(engine, name, *options):
    engine.cli("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")
    return engine.inspect(name)


def address(engine, name, net):
    return engine.inspect(name)["NetworkSettings"]["Networks"][net]["IPAddress"]


class Server:
    """A name server of the host, on an address that only this test has."""

    def __init__(self, answer, before=None):
        self.heard, self.answer, self.before = [], answer, before
        self.address = f"127.{random.randrange(50, 250)}.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
        self.udp, self.tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.bind((self.address, 53))
        self.tcp.bind((self.address, 53))
        self.tcp.listen()
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.serve_udp, self.serve_tcp)]
        for t in self.threads:
            t.start()

    def serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                m, peer = self.udp.recvfrom(65535)
                if not m:
                    return
                if self.before:
                    self.before(m, lambda lie, peer=peer: self.udp.sendto(lie, peer))
                self.heard.append(("udp", read_name(m, 12), m))
                out = self.answer(m, False)
                if out:
                    self.udp.sendto(out, peer)

    def serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.tcp.accept()
                with c, contextlib.suppress(OSError, struct.error):
                    f = c.makefile("rb")
                    m = f.read(struct.unpack(">H", f.read(2))[0])
                    self.heard.append(("tcp", read_name(m, 12), m))
                    out = self.answer(m, True)
                    if out:
                        c.sendall(struct.pack(">H", len(out)) + out)

    def names(self):
        return [name for _, name, _ in self.heard]

    def close(self):
        for s in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        for t in self.threads:
            t.join(2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def reply(m, *addresses, rcode=0, flags=0x8180):
    end = skip_name(m, 12) + 4
    head = m[:2] + struct.pack(">HHHHH", flags | rcode, 1, len(addresses), 0, 0)
    return head + m[12:end] + b"".join(b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 60, 4) + socket.inet_aton(a) for a in addresses)


@contextlib.contextmanager
def hosts_resolv_conf(text, tmp_path):
    """A new engine whose /etc/resolv.conf is the test's; yields (options for Engine, a function that replaces the file)."""
    etc = tmp_path / "resolv.conf"
    etc.write_text(text)
    # The file is replaced as programs do: another inode under the name, behind the one mount.
    script = ("mount --make-rprivate / && mkdir -p \"$0/etc\" && cp -a /etc/. \"$0/etc/\" && rm -f \"$0/etc/resolv.conf\" && "
              "ln -s \"$0/resolv.conf\" \"$0/etc/resolv.conf\" && mount --bind \"$0/etc\" /etc && exec \"$@\"")

    def change(fresh):
        (tmp_path / "new").write_text(fresh)
        os.rename(tmp_path / "new", etc)

    yield ("unshare", "-m", "sh", "-c", script, str(tmp_path)), change


def test_names_aliases_and_ids(engine, name):
    with network(engine, name):
        web = start(engine, "web", "--network", name, "--network-alias", "Service", "--hostname", "host-of-web")
        start(engine, "asker", "--network", name)
        here = address(engine, "web", name)
        for known in ("web", "WEB", "service", web["Id"][:12], "host-of-web", f"web.{name}", f"service.{name}", "web."):
            a = ask(engine, "asker", known)
            assert a.rcode == 0 and a.addresses == [here] and a.authoritative, known
        assert engine.cli("exec", "asker", "nslookup", "web").stdout.count(here) >= 1
        assert engine.cli("exec", "asker", "ping", "-c1", "-w2", "service").returncode == 0
        # A container on another network hears nothing of it.
        start(engine, "stranger")
        assert "127.0.0.11" not in engine.cli("exec", "stranger", "cat", "/etc/resolv.conf").stdout


def test_other_types_reverse_and_tcp(engine, name):
    with network(engine, name):
        web = start(engine, "web", "--network", name)
        start(engine, "asker", "--network", name)
        here = address(engine, "web", name)
        for kind in (AAAA, MX, 33, 65, 16):
            a = ask(engine, "asker", "web", kind)
            assert a.rcode == 0 and a.addresses == [] and a.authoritative, kind
        assert ask(engine, "asker", "web", ANY).addresses == [here]
        backwards = ".".join(reversed(here.split("."))) + ".in-addr.arpa"
        assert ask(engine, "asker", backwards, PTR).names == [f"web.{name}"]
        nobody = ".".join(reversed((here.rsplit(".", 1)[0] + ".250").split("."))) + ".in-addr.arpa"
        assert ask(engine, "asker", nobody, PTR).rcode == NXDOMAIN
        assert ask(engine, "asker", "web", tcp=True).addresses == [here]
        assert ask(engine, "asker", "web", edns=4096).additional == 1
        assert web["NetworkSettings"]["Networks"][name]["DNSNames"][0] == "web"


def test_one_name_for_several_goes_round(engine, name):
    with network(engine, name):
        for i in range(3):
            start(engine, f"web{i}", "--network", name, "--network-alias", "web")
        start(engine, "asker", "--network", name)
        all_of_them = {address(engine, f"web{i}", name) for i in range(3)}
        answers = [ask(engine, "asker", "web").addresses for _ in range(6)]
        assert all(set(a) == all_of_them for a in answers) and {a[0] for a in answers} == all_of_them
        engine.cli("stop", "-t", "0", "web1")
        assert set(ask(engine, "asker", "web").addresses) == {address(engine, "web0", name), address(engine, "web2", name)}


def test_names_follow_connect_rename_and_removal(engine, name):
    with network(engine, f"{name}-a"), network(engine, f"{name}-b"):
        start(engine, "asker", "--network", f"{name}-a")
        start(engine, "web")
        assert ask(engine, "asker", "web").addresses == []
        engine.cli("network", "connect", "--alias", "late", f"{name}-a", "web")
        assert ask(engine, "asker", "late").addresses == [address(engine, "web", f"{name}-a")]
        # The one that joined while it ran asks too, by its rewritten resolv.conf.
        assert engine.cli("exec", "web", "ping", "-c1", "-w2", "asker").returncode == 0
        engine.cli("rename", "web", "shop")
        assert ask(engine, "asker", "shop").addresses and ask(engine, "asker", "web").addresses == []
        engine.cli("network", "connect", f"{name}-b", "asker")
        start(engine, "other", "--network", f"{name}-b")
        assert ask(engine, "asker", "other").addresses == [address(engine, "other", f"{name}-b")]
        assert ask(engine, "shop", "other").addresses == []
        engine.cli("network", "disconnect", f"{name}-b", "asker")
        assert ask(engine, "asker", "other").addresses == []
        engine.cli("rm", "-f", "shop")
        assert ask(engine, "asker", "shop").addresses == []


@pytest.mark.parametrize("born_there", (True, False), ids=("born in it", "joined it"))
def test_who_leaves_its_last_network_and_joins_again_asks_as_before(new_engine, born_there):
    """The rules of the namespace outlive the sockets: what joins again must be where they lead to, and must be found there by what is asked while no engine runs."""
    engine = new_engine()
    with network(engine, "n"):
        start(engine, "web", "--network", "n")
        pid = start(engine, "asker", *(("--network", "n") if born_there else ()))["State"]["Pid"]

        def table():
            return in_namespace(pid, lambda: run(program("nft"), "-a", "list", "table", "ip", "ireko_resolver").stdout)

        if not born_there:
            engine.cli("network", "connect", "n", "asker")
        was = table()
        for _ in range(2):
            engine.cli("network", "disconnect", "n", "asker")
            engine.cli("network", "connect", "n", "asker")
            for tcp in (False, True):
                assert ask(engine, "asker", "web", tcp=tcp).addresses == [address(engine, "web", "n")]
            assert table() == was and "127.0.0.11:53 is at udp port" in was
        engine.kill()
        assert ask_then_start(engine, (pid, "web")) == [[address(engine, "web", "n")]]
        assert table() == was


def test_the_container_cannot_take_the_resolvers_port(engine, name):
    """Not between two networks either: the shim has the sockets."""
    with network(engine, name):
        start(engine, "web", "--network", name)
        pid = start(engine, "asker")["State"]["Pid"]
        engine.cli("network", "connect", name, "asker")
        said = in_namespace(pid, lambda: run(program("nft"), "list", "table", "ip", "ireko_resolver").stdout)
        port = int(said.split("at udp port ")[1].split()[0])
        engine.cli("network", "disconnect", name, "asker")

        def take():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind(("127.0.0.11", port))

        with pytest.raises(OSError, match="in use"):
            in_namespace(pid, take)
        engine.cli("network", "connect", name, "asker")
        assert ask(engine, "asker", "web").addresses == [address(engine, "web", name)]


def test_links_are_for_one_container(engine, name):
    with network(engine, name):
        start(engine, "db", "--network", name)
        start(engine, "web", "--network", name, "--link", "db:database")
        start(engine, "other", "--network", name)
        assert ask(engine, "web", "database").addresses == [address(engine, "db", name)]
        assert ask(engine, "other", "database").addresses == []


def test_a_name_server_in_a_container_has_its_port(engine, name):
    with network(engine, name):
        web = start(engine, "web", "--network", name)

        def bind_all():
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as s:
                    s.bind(("0.0.0.0", 53))
                    if kind == socket.SOCK_STREAM:
                        s.listen()
            return True

        assert in_namespace(web["State"]["Pid"], bind_all)


def test_questions_for_others_are_forwarded(new_engine, tmp_path):
    good = Server(lambda m, tcp: reply(m, "192.0.2.80"))
    mute = Server(lambda m, tcp: None)
    sick = Server(lambda m, tcp: reply(m, rcode=SERVFAIL))
    with good, mute, sick, hosts_resolv_conf(f"nameserver {good.address}\nsearch example.org\n", tmp_path) as (prefix, change):
        engine = new_engine(prefix=prefix)
        with network(engine, "names"), network(engine, "closed", Internal=True):
            start(engine, "web", "--network", "names")
            conf = engine.cli("exec", "web", "cat", "/etc/resolv.conf").stdout
            assert conf.splitlines()[2] == "nameserver 127.0.0.11" and "search example.org" in conf and "ndots:0" in conf
            assert f"# ExtServers: [host({good.address})]" in conf
            a = ask(engine, "web", "www.example.org")
            assert a.addresses == ["192.0.2.80"] and not a.authoritative and good.names() == ["www.example.org"]
            assert ask(engine, "web", "tcp.example.org", tcp=True).addresses == ["192.0.2.80"] and good.heard[-1][0] == "tcp"
            # Ours are not told to anybody.
            assert ask(engine, "web", "web").addresses and ask(engine, "web", "web", 65).rcode == 0 and "web" not in good.names()

            # The file changes: the next question goes elsewhere; a server that is silent or sick is followed by the next.
            change(f"nameserver {mute.address}\nnameserver {sick.address}\nnameserver {good.address}\n")
            assert ask(engine, "web", "two.example.org").addresses == ["192.0.2.80"] and mute.names() == sick.names() == ["two.example.org"]
            assert ask(engine, "web", "three.example.org").addresses == ["192.0.2.80"]
            assert "three.example.org" not in mute.names()  # the one that answered is asked first
            change(f"nameserver {sick.address}\n")
            assert ask(engine, "web", "four.example.org").rcode == SERVFAIL
            change("")
            assert ask(engine, "web", "five.example.org").rcode == SERVFAIL

            # A container without a way out asks nobody; one that gets one does.
            change(f"nameserver {good.address}\n")
            start(engine, "inside", "--network", "closed")
            assert ask(engine, "inside", "six.example.org").rcode == SERVFAIL and "six.example.org" not in good.names()
            engine.cli("network", "connect", "bridge", "inside")
            assert ask(engine, "inside", "six.example.org").addresses == ["192.0.2.80"]


def test_lies_of_servers_are_not_believed(new_engine, tmp_path):
    def lie(m, send):
        ident = struct.unpack(">H", m[:2])[0]
        send(struct.pack(">H", ident ^ 1) + reply(m, "192.0.2.66")[2:])  # another id
        send(reply(question("other.example", ident=ident), "192.0.2.67"))  # another question
        send(m)  # no answer
        send(b"x")

    with Server(lambda m, tcp: reply(m, "192.0.2.80"), lie) as server, hosts_resolv_conf(f"nameserver {server.address}\n", tmp_path) as (prefix, _):
        engine = new_engine(prefix=prefix)
        with network(engine, "names"):
            start(engine, "web", "--network", "names")
            assert ask(engine, "web", "one.example").addresses == ["192.0.2.80"]


def test_own_servers_are_asked_from_inside(engine, name):
    with network(engine, name):
        web = start(engine, "web", "--network", name, "--dns", "127.0.0.1")

        def make():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("127.0.0.1", 53))
            return s
        s = in_namespace(web["State"]["Pid"], make)
        t = threading.Thread(target=lambda: (lambda m, peer: s.sendto(reply(m, "192.0.2.5"), peer))(*s.recvfrom(512)))
        t.start()
        assert ask(engine, "web", "inside.example").addresses == ["192.0.2.5"]
        t.join()
        s.close()
        assert "# ExtServers: [127.0.0.1]" in engine.cli("exec", "web", "cat", "/etc/resolv.conf").stdout


def test_many_addresses_are_cut_to_fit(engine, name):
    with network(engine, name):
        aliases = [f"n{i}" for i in range(3)]
        for i in range(40):
            start(engine, f"web{i}", "--network", name, "--network-alias", "web", *(x for a in aliases for x in ("--network-alias", a)))
        cut = ask(engine, "web0", "web")
        assert cut.truncated and len(cut.bytes) <= 512 and 20 < len(cut.addresses) < 40
        assert len(ask(engine, "web0", "web", edns=4096).addresses) == 40 and len(ask(engine, "web0", "web", tcp=True).addresses) == 40


@pytest.mark.parametrize("what, message, rcode", [
    ("no question", struct.pack(">HHHHHH", 7, 0x0100, 0, 0, 0, 0), FORMERR),
    ("two questions", struct.pack(">HHHHHH", 7, 0x0100, 2, 0, 0, 0) + (encode("a") + b"\0\1\0\1") * 2, FORMERR),
    ("a pointer to itself", struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", FORMERR),
    ("a label beyond the end", struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x3fabc", FORMERR),
    ("another opcode", struct.pack(">HHHHHH", 7, 0x2900, 1, 0, 0, 0) + encode("a") + b"\0\1\0\1", NOTIMP),
    ("a later EDNS", question("a", ident=7)[:10] + b"\0\1" + question("a", ident=7)[12:] + b"\0" + struct.pack(">HHIH", 41, 512, 0x00010000, 0), 0),
])
def test_malformed_questions(engine, name, what, message, rcode):
    with network(engine, name):
        web = start(engine, "web", "--network", name)
        a = Answer(ask_bytes(web["State"]["Pid"], message))
        assert a.id == 7 and a.rcode == rcode, what


def test_noise_and_floods(engine, name):
    """Packets that mean nothing get no answer; who floods or holds connections does not keep others from theirs."""
    with network(engine, name):
        web = start(engine, "web", "--network", name)
        start(engine, "other", "--network", name)
        pid = web["State"]["Pid"]

        def noise():
            rng = random.Random(1)
            held = []
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.connect(("127.0.0.11", 53))
                s.settimeout(0.2)
                for size in (0, 1, 11, 300, 4096, 60000):
                    s.send(rng.randbytes(size))
                response = struct.pack(">HHHHHH", 1, 0x8180, 1, 0, 0, 0) + encode("a") + b"\0\1\0\1"
                s.send(response)
                for _ in range(3000):
                    with contextlib.suppress(OSError):
                        s.send(question("flood.invalid"))
            for i in range(60):
                c = socket.socket()
                c.connect(("127.0.0.11", 53))
                c.sendall([b"", b"\0", b"\xff\xff", b"\0\0"][i % 4])
                held.append(c)
            return held

        held = in_namespace(pid, noise)
        try:
            assert wait_until("the other one is answered", lambda: ask(engine, "other", "web").addresses) == [address(engine, "web", name)]
            assert ask(engine, "other", "web", tcp=True).addresses
        finally:
            for c in held:
                c.close()
        assert wait_until("and so is this one again", lambda: ask(engine, "web", "other").addresses)


def test_questions_wait_for_the_next_engine(new_engine):
    """While the engine is away questions wait; the next one answers them, from the sockets that the shim has kept."""
    engine = new_engine()
    with network(engine, "names"):
        web = start(engine, "web", "--network", "names")
        late = start(engine, "late")
        engine.cli("network", "connect", "names", "late")  # its shim got the sockets later
        here, there = address(engine, "web", "names"), address(engine, "late", "names")
        engine.kill()
        assert ask_then_start(engine, (web["State"]["Pid"], "late"), (late["State"]["Pid"], "web")) == [[there], [here]]
        assert ask(engine, "late", "web").addresses == [here] and ask(engine, "late", "web", tcp=True).addresses == [here]
        engine.restart()
        assert ask(engine, "web", "web").addresses == [here]


def test_it_costs_no_process_and_no_thread(engine, name):
    def threads():
        """But for those that serve requests, or did a moment ago."""
        return len([n for n in engine.threads() if n not in ("irekod-http", "irekod-work")])

    with network(engine, name):
        start(engine, "web0", "--network", name)
        wait_until("requests are over", lambda: time.sleep(0.3) or True)
        before = threads()
        for i in range(1, 6):
            start(engine, f"web{i}", "--network", name)
        wait_until("no more threads than before", lambda: threads() <= before)
