# SPDX-License-Identifier: Apache-2.0
"""ireko-proxy by itself: what it carries, how connections end, what it keeps apart, and what it refuses (src/proxy, src/cmd/ireko-proxy)."""
import concurrent.futures
import contextlib
import hashlib
import os
import random
import select
import socket
import struct
import threading
import time

import harness
import proxy_control
import pytest
from proxy_control import ADD, LIST, QUIT, REMOVE, REQUEST, TCP, UDP, VERSION, listening, mapped

RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def proxy():
    p = proxy_control.Proxy("--udp-idle=1", "--udp-clients=20", "--end-after=1")
    yield p
    p.close()


@contextlib.contextmanager
def port(p, key="a", server="127.0.0.1", at="::1", backlog=128):
    """(a server behind a port of the proxy, where clients connect to)"""
    with socket.create_server((server, 0), family=socket.AF_INET6 if ":" in server else socket.AF_INET, backlog=backlog) as s, listening(at) as front:
        s.settimeout(20)
        p.add(key, front, s.getsockname())
        yield s, front.getsockname()[:2]


def connect(address):
    return socket.create_connection(address, timeout=20)


def pair(server, address):
    c = connect(address)
    s, _ = server.accept()
    s.settimeout(20)
    return c, s


def read_all(s):
    parts = []
    while part := s.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    s.close()


def settled(p, fds):
    harness.wait_until(f"the proxy has {fds} descriptors again", lambda: p.n_fds() <= fds, 10)


def test_bytes_go_both_ways_and_either_end_may_close_first(proxy):
    with port(proxy) as (server, address):
        before = proxy.n_fds()
        c, s = pair(server, address)
        with c, s:
            c.sendall(b"question")
            assert s.recv(100) == b"question"
            c.shutdown(socket.SHUT_WR)
            assert s.recv(100) == b""
            s.sendall(b"x" * 300000)
            s.shutdown(socket.SHUT_WR)
            assert read_all(c) == b"x" * 300000
        c, s = pair(server, address)
        with c, s:
            s.sendall(b"banner")
            s.shutdown(socket.SHUT_WR)
            assert read_all(c) == b"banner"
            c.sendall(b"still here")
            assert s.recv(100) == b"still here"
            c.close()
            assert s.recv(100) == b""
        settled(proxy, before + 4)  # two idle pipes


@pytest.mark.parametrize("sizes", [(1,), (8191, 8192, 8193), (100, 5000, 70000, 3, 1 << 20)], ids=["bytes", "edge", "mixed"])
def test_large_transfers_in_both_directions_at_once_arrive_whole(proxy, sizes):
    """Small and large pieces: what is received and sent, and what is spliced, in any order."""
    total = 40000 if sizes == (1,) else 24 << 20
    data = os.urandom(1 << 20)

    def give(s):
        h, sent, i = hashlib.sha256(), 0, 0
        while sent < total:
            n = min(sizes[i % len(sizes)], total - sent)
            piece = data[i % 1000:i % 1000 + n]
            s.sendall(piece)
            h.update(piece)
            sent += len(piece)
            i += 1
        s.shutdown(socket.SHUT_WR)
        return h.hexdigest(), sent

    def take(s):
        h, n = hashlib.sha256(), 0
        while part := s.recv(1 << 18):
            h.update(part)
            n += len(part)
        return h.hexdigest(), n

    with port(proxy) as (server, address), concurrent.futures.ThreadPoolExecutor(4) as pool:
        c, s = pair(server, address)
        with c, s:
            up, down = pool.submit(give, c), pool.submit(give, s)
            got_up, got_down = pool.submit(take, s), pool.submit(take, c)
            assert got_up.result(60) == up.result(60)
            assert got_down.result(60) == down.result(60)


def test_ipv4_clients_reach_a_target_that_has_only_ipv6(proxy):
    with port(proxy, server="::1", at="127.0.0.1") as (server, address):
        c, s = pair(server, address)
        with c, s:
            c.sendall(b"4 to 6")
            assert s.recv(100) == b"4 to 6"
            assert s.family == socket.AF_INET6


def test_500_connections_at_once(proxy):
    with port(proxy, backlog=1000) as (server, address):
        before = proxy.n_fds()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connect(address)) for _ in range(500)]
            for i, c in enumerate(clients):
                c.sendall(b"client %d" % i)
            peers = [stack.enter_context(server.accept()[0]) for _ in range(500)]
            for s in peers:
                s.settimeout(20)
                s.sendall(s.recv(100).upper())
            assert [c.recv(100) for c in clients] == [b"CLIENT %d" % i for i in range(500)]
            assert proxy.n_fds() >= before + 1000
        settled(proxy, before + 64)
        assert int(proxy.status("VmRSS").split()[0]) < 1500


def test_a_reset_is_passed_on_in_both_directions(proxy):
    with port(proxy) as (server, address):
        c, s = pair(server, address)
        with s:
            c.sendall(b"last words")
            assert s.recv(100) == b"last words"
            reset(c)
            with pytest.raises(ConnectionResetError):
                s.recv(1)
        c, s = pair(server, address)
        with c:
            s.sendall(b"answer")
            assert c.recv(100) == b"answer"
            reset(s)
            with pytest.raises(ConnectionResetError):
                c.recv(1)


def test_what_came_before_a_reset_arrives(proxy):
    """A server that says no and leaves, while the client still sends: it closes with unread bytes, which is a reset."""
    with port(proxy) as (server, address):
        c, s = pair(server, address)
        with c:
            c.sendall(b"x" * 100000)
            harness.wait_until("bytes arrive", lambda: select.select([s], [], [], 1)[0])
            s.sendall(b"413 too large")
            s.close()
            assert c.recv(100) == b"413 too large"
            with pytest.raises(ConnectionResetError):
                c.recv(100)


def test_a_target_that_refuses_is_a_reset(proxy):
    with socket.create_server(("127.0.0.1", 0)) as s:
        nobody = s.getsockname()
    with listening() as front:
        proxy.add("a", front, nobody)
        before = proxy.n_fds()
        for _ in range(20):
            with pytest.raises(ConnectionResetError), connect(front.getsockname()[:2]) as c:
                c.recv(1)
        settled(proxy, before)


def fill(s):
    """Sends until nothing more is taken for a while; how much that was."""
    s.setblocking(False)
    sent = 0
    while select.select([], [s], [], 0.3)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += s.send(bytes(1 << 18))
    return sent


def test_who_does_not_read_holds_up_nobody_else_and_no_memory_of_ours(proxy):
    with port(proxy, "slow") as (slow, slow_at), port(proxy, "quick") as (quick, quick_at):
        c, s = pair(slow, slow_at)
        with c, s:
            sent = fill(c)
            assert sent < 200 << 20  # what the sockets on the way take
            assert int(proxy.status("VmRSS").split()[0]) < 1500
            for _ in range(50):
                a, b = pair(quick, quick_at)
                with a, b:
                    a.sendall(b"now")
                    assert b.recv(10) == b"now"
            before = proxy.cpu_s()
            time.sleep(0.5)
            assert proxy.cpu_s() - before <= 0.05  # it waits, it does not look again and again
            c.setblocking(True)
            c.shutdown(socket.SHUT_WR)
            assert len(read_all(s)) == sent


def test_a_target_that_does_not_answer_holds_up_nobody_else(proxy):
    """A listener whose queue is full drops connections: those of the proxy stay half made."""
    with socket.socket() as dead, listening() as front, port(proxy, "good") as (server, address):
        dead.bind(("127.0.0.1", 0))
        dead.listen(0)
        proxy.add("dead", front, dead.getsockname())
        with contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(connect(front.getsockname()[:2])) for _ in range(20)]
            c, s = pair(server, address)
            with c, s:
                c.sendall(b"quick")
                assert s.recv(10) == b"quick"
            for w in waiting[:10]:
                reset(w)  # gone before they were connected
        proxy.remove("dead")
        assert proxy.keys() == ["good"]


def test_no_port_takes_all_descriptors():
    """Each gets less the less is left; who waits is served when there is room again."""
    p = proxy_control.Proxy(prefix=["prlimit", "--nofile=520:520"])
    try:
        with port(p, "greedy") as (greedy, greedy_at), port(p, "modest") as (modest, modest_at), contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connect(greedy_at)) for _ in range(100)]  # the kernel takes them
            greedy.settimeout(20)
            peers = [stack.enter_context(greedy.accept()[0]) for _ in range(15)]
            greedy.settimeout(0.5)
            with pytest.raises(TimeoutError):
                while True:
                    peers.append(stack.enter_context(greedy.accept()[0]))
            assert len(peers) < 40
            c, s = pair(modest, modest_at)
            with c, s:
                c.sendall(b"there is room")
                assert s.recv(100) == b"there is room"
            before = p.cpu_s()
            time.sleep(0.5)
            assert p.cpu_s() - before <= 0.05
            greedy.settimeout(20)
            for c in [*clients[:len(peers)], *peers]:
                c.close()
            stack.enter_context(greedy.accept()[0])  # the next in the queue
    finally:
        p.close()


@contextlib.contextmanager
def udp_port(p, key="u", server="127.0.0.1", at="::1"):
    """An echo server behind a udp port: says who it has heard, and answers in capitals."""
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as s, listening(at, socket.SOCK_DGRAM) as front:
        s.bind((server, 0))
        p.add(key, front, s.getsockname(), UDP)
        heard = []

        def serve():
            while True:
                data, peer = s.recvfrom(65536)
                if not data:
                    return
                heard.append(peer)
                s.sendto(data.upper(), peer)

        t = threading.Thread(target=serve)
        t.start()
        try:
            yield heard, front.getsockname()[:2]
        finally:
            with socket.socket(s.family, socket.SOCK_DGRAM) as end:
                end.sendto(b"", s.getsockname())
            t.join()


def udp_client(address):
    s = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.connect(address)
    return s


def udp_ask(s, data):
    s.send(data)
    return s.recv(65536)


def test_udp_clients_each_get_their_answers(proxy):
    with udp_port(proxy) as (heard, address), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(udp_client(address)) for _ in range(15)]
        for _ in range(3):
            for i, c in enumerate(clients):
                c.send(b"client %d" % i)
            assert [c.recv(100) for c in clients] == [b"CLIENT %d" % i for i in range(15)]
        assert len(set(heard)) == 15  # the server can tell them apart, and each kept its address
        for size in (1, 1400, 9000, 65000):
            assert udp_ask(clients[0], b"x" * size) == b"X" * size
        for i in range(40):
            clients[0].send(b"%d" % i)
        assert [clients[0].recv(100) for _ in range(40)] == [b"%d" % i for i in range(40)]


def test_udp_from_ipv4_to_ipv6(proxy):
    with udp_port(proxy, server="::1", at="127.0.0.1") as (_, address), udp_client(address) as c:
        assert udp_ask(c, b"4 to 6") == b"4 TO 6"


def test_a_udp_answer_comes_from_the_address_that_was_asked(proxy):
    """A connected client takes answers from nowhere else. (All of 127.0.0.0/8 is local; of the IPv6 ones a test has only ::1.)"""
    with udp_port(proxy, server="::1", at="0.0.0.0") as (_, address):
        for host in ("127.0.0.1", "127.0.0.7", "127.1.2.3"):
            with udp_client((host, address[1])) as c:
                assert udp_ask(c, b"who?") == b"WHO?"


def test_udp_clients_are_forgotten_when_they_are_quiet(proxy):
    with udp_port(proxy) as (heard, address), udp_client(address) as c:
        before = proxy.n_fds()
        assert udp_ask(c, b"a") == b"A"
        assert proxy.n_fds() == before + 1
        settled(proxy, before)
        assert udp_ask(c, b"b") == b"B"


def test_the_udp_client_that_was_quiet_longest_makes_room(proxy):
    with udp_port(proxy) as (heard, address), udp_port(proxy, "other") as (_, elsewhere), contextlib.ExitStack() as stack:
        other = stack.enter_context(udp_client(elsewhere))
        assert udp_ask(other, b"x") == b"X"
        before = proxy.n_fds()
        clients = [stack.enter_context(udp_client(address)) for _ in range(30)]
        for c in clients:
            assert udp_ask(clients[0], b"keep") == b"KEEP"
            assert udp_ask(c, b"new") == b"NEW"
        assert proxy.n_fds() == before + 20
        assert len(set(heard)) == 30  # one each: the first was never forgotten
        assert udp_ask(other, b"y") == b"Y"


def test_a_udp_target_that_is_not_there_yet(proxy):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        target = s.getsockname()
    with listening(kind=socket.SOCK_DGRAM) as front:
        proxy.add("u", front, target, UDP)
        with udp_client(front.getsockname()[:2]) as c, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for _ in range(5):
                c.send(b"is anybody there?")
            s.bind(target)
            s.settimeout(10)
            c.send(b"now")
            data, peer = s.recvfrom(100)
            while data != b"now":
                data, peer = s.recvfrom(100)
            s.sendto(b"yes", peer)
            assert c.recv(100) == b"yes"


def test_a_port_is_removed_with_its_connections_and_may_be_replaced(proxy):
    with socket.create_server(("127.0.0.1", 0)) as server, listening() as first, listening() as second, listening() as third:
        proxy.add("a", first, server.getsockname())
        proxy.add("b", second, server.getsockname())
        c, s = pair(server, first.getsockname()[:2])
        with c, s:
            assert proxy.keys() == ["a", "b"]
            proxy.add("a", third, server.getsockname())
            assert proxy.keys() == ["b", "a"]
            for end in (c, s):
                with pytest.raises(ConnectionResetError):
                    end.recv(1)
        c, s = pair(server, third.getsockname()[:2])
        with c, s:
            proxy.remove("a")
            proxy.remove("a")
            assert proxy.keys() == ["b"]
            with pytest.raises(ConnectionResetError):
                c.recv(1)
        # Whoever else has the socket keeps the port, and what is connected meanwhile waits for whoever serves it next.
        with connect(third.getsockname()[:2]) as c:
            c.sendall(b"waited")
            proxy.add("a", third, server.getsockname())
            s, _ = server.accept()
            with s:
                assert s.recv(100) == b"waited"


def test_a_thousand_ports_cost_a_descriptor_each(proxy):
    with contextlib.ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as server:
        before, memory = proxy.n_fds(), int(proxy.status("VmRSS").split()[0])
        for i in range(1000):
            proxy.add(f"port-{i}", stack.enter_context(listening()), server.getsockname())
        assert proxy.keys() == [f"port-{i}" for i in range(1000)]
        assert proxy.n_fds() == before + 1000
        assert int(proxy.status("VmRSS").split()[0]) < memory + 600
        for i in range(1000):
            proxy.remove(f"port-{i}")
        assert proxy.n_fds() == before


PATTERN = bytes((i * 7 + 3) & 255 for i in range(1 << 20))


def misbehave(s, r):
    """Sends, reads, waits, closes halves, resets, in any order; what arrives has to be the pattern from its beginning."""
    sent = got = 0
    s.settimeout(r.choice([0.01, 0.2, 1]))
    with contextlib.suppress(OSError), s:
        for _ in range(r.randrange(1, 20)):
            k = r.random()
            if k < 0.4:
                sent += s.send(PATTERN[sent:sent + r.choice([1, 100, 8191, 8192, 65536, 300000])])
            elif k < 0.8:
                data = s.recv(r.choice([1, 1000, 100000]))
                if data != PATTERN[got:got + len(data)]:
                    return False
                got += len(data)
            elif k < 0.85:
                s.shutdown(socket.SHUT_WR)
            else:
                time.sleep(r.random() / 200)
        if r.random() < 0.3:
            reset(s)
    return True


def test_a_crowd_that_does_everything_at_once(proxy):
    """While ports come and go too. Nothing is mixed up, and nothing is left."""
    end = time.monotonic() + 2
    before = proxy.n_fds()
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server, listening() as front, concurrent.futures.ThreadPoolExecutor(64) as pool:
        server.settimeout(0.2)

        def serve():
            served = []
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    served.append(pool.submit(misbehave, server.accept()[0], random.Random(len(served))))
            return all(f.result(30) for f in served), len(served)

        def ask(seed):
            r, good = random.Random(seed), True
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    good = misbehave(socket.create_connection(front.getsockname()[:2], timeout=2), r) and good
            return good

        proxy.add("a", front, server.getsockname())
        serving, asking = pool.submit(serve), [pool.submit(ask, 1000 + i) for i in range(16)]
        while time.monotonic() < end:
            time.sleep(0.3)
            proxy.add("a", front, server.getsockname())  # in place of itself: all its connections end
        assert all(f.result(60) for f in asking)
        good, served = serving.result(60)
        assert good and served > 20
        proxy.remove("a")
    settled(proxy, before + 64)
    assert proxy.keys() == [] and int(proxy.status("VmRSS").split()[0]) < 1500


def test_hostile_messages_are_answered_and_harm_nothing(proxy):
    with port(proxy) as (server, address), listening() as sock, open("/dev/null", "rb") as null, socket.socket() as unbound, \
            listening(kind=socket.SOCK_DGRAM) as udp:
        good = REQUEST.pack(VERSION, ADD, 0, b"x", mapped("127.0.0.1"), 80, TCP)
        cases = [
            (REQUEST.pack(VERSION + 1, ADD, 0, b"x", mapped("127.0.0.1"), 80, TCP), [sock], "version 2"),
            (REQUEST.pack(VERSION, 9, 0, b"x", mapped("127.0.0.1"), 80, TCP), [], "no request 9"),
            (REQUEST.pack(VERSION, ADD, 0, b"k" * 128, mapped("127.0.0.1"), 80, TCP), [sock], "1 to 127 characters"),
            (REQUEST.pack(VERSION, REMOVE, 0, b"\x1b[2J", mapped("127.0.0.1"), 80, TCP), [], "printable ASCII"),
            (REQUEST.pack(VERSION, ADD, 0, b"x", mapped("127.0.0.1"), 80, 132), [sock], "only tcp and udp"),
            (REQUEST.pack(VERSION, ADD, 0, b"x", mapped("224.0.0.1"), 80, TCP), [sock], "nobody can be reached"),
            (good, [], "0 descriptors"),
            (good, [sock, sock], "too long"),
            (good, [null], "no tcp socket"),
            (good, [udp], "no tcp socket"),
            (good, [unbound], "does not listen"),
            (good[:-1], [sock], "bytes is none"),
            (good + b"x", [sock], "too long"),
            (b"x", [], "1 bytes is none"),
            (b"x" * 60000, [sock], "too long"),
            (REQUEST.pack(VERSION, LIST, 0, b"", mapped("::"), 0, 0), [sock], "1 descriptors"),
        ]
        before = proxy.n_fds()
        for message, fds, why in cases:
            with proxy.connect() as control:
                answer = proxy.raw(message, [f.fileno() for f in fds], control)
                assert answer[0] != 0 and why in answer[1], (why, answer)
        settled(proxy, before)
        assert proxy.keys() == ["a"]
        c, s = pair(server, address)
        with c, s:
            c.sendall(b"as before")
            assert s.recv(100) == b"as before"


def test_who_does_not_take_answers_is_hung_up_on(proxy):
    """And connections beyond the eighth are."""
    with proxy.connect() as rude, port(proxy):
        rude.settimeout(5)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100000):
                rude.send(REQUEST.pack(VERSION, LIST, 0, b"", mapped("::"), 0, 0))
        assert proxy.keys() == ["a"]
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(proxy.connect()) for _ in range(8)]
        assert many[-1].recv(1) == b""
        assert proxy.raw(REQUEST.pack(VERSION, LIST, 0, b"", mapped("::"), 0, 0), control=many[0])[0] == 0


def test_only_root_may_ask(proxy):
    os.chmod(proxy.folder, 0o755)
    os.chmod(proxy.path, 0o666)
    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            os.setgid(65534)
            os.setuid(65534)
            with proxy.connect() as s:
                s.send(REQUEST.pack(VERSION, QUIT, 0, b"", mapped("::"), 0, 0))
                status = 0 if s.recv(100) == b"" else 8
        except (BrokenPipeError, ConnectionResetError):
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not proxy.has_ended(0.2)
    assert proxy.keys() == []


def test_it_is_caged_and_small(proxy):
    """No capability, no new privileges, a filter; nothing of whoever started it but what it needs; and it sleeps."""
    assert {proxy.status(f"Cap{k}") for k in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert proxy.status("NoNewPrivs") == "1" and proxy.status("Seccomp") == "2" and proxy.status("Threads") == "1"
    assert os.readlink(f"/proc/{proxy.pid}/cwd") == "/"
    links = [os.readlink(f"/proc/{proxy.pid}/fd/{n}") for n in os.listdir(f"/proc/{proxy.pid}/fd")]
    assert sorted(x.split(":")[0] for x in links) == ["/dev/null"] * 3 + ["anon_inode", "socket", "socket"]
    assert int(proxy.status("VmRSS").split()[0]) < 1000
    with port(proxy) as (server, address):
        c, s = pair(server, address)
        with c, s:
            c.sendall(b"x")
            assert s.recv(1) == b"x"
            time.sleep(0.3)
            before = proxy.status("voluntary_ctxt_switches")
            time.sleep(1)
            assert proxy.status("voluntary_ctxt_switches") == before


def test_it_ends_when_it_has_nothing_to_do(proxy):
    with port(proxy):
        assert not proxy.has_ended(1.5)
        proxy.remove("a")
        proxy.add("b", *next(iter([(listening(), ("127.0.0.1", 1))])))
        assert not proxy.has_ended(1.5)
        proxy.remove("b")
        assert proxy.has_ended(5)


def test_it_ends_when_it_is_told_to_in_any_version(proxy):
    with port(proxy) as (_, address):
        proxy.control.send(struct.pack("=II", 77, QUIT))
        assert proxy.has_ended()


def test_wrong_arguments_are_told(proxy):
    for words, why in ((["--udp-idle=0"], "expected 1 to"), (["--what"], "unknown argument --what")):
        with pytest.raises(AssertionError, match=why):
            proxy_control.Proxy(*words)
