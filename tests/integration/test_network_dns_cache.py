# SPDX-License-Identifier: Apache-2.0
"""What the resolver asks other servers: kept answers, servers that fail, answers that do not fit, and what it never asks."""
import contextlib
import os
import re
import socket
import struct
import threading
import time
import urllib.request

import pytest

from harness import free_port
from test_network_names import (A, AAAA, NXDOMAIN, SERVFAIL, Answer, Server, ask, ask_bytes, hosts_resolv_conf, in_namespace, network,
                                question, reply, skip_name, start)

SOA = 6


def answer_all(m, tcp):
    return reply(m, "192.0.2.80")


def negative(m, seconds=60, rcode=NXDOMAIN, soa=True):
    end = skip_name(m, 12) + 4
    data = b"\0\0" + struct.pack(">IIIII", 1, 2, 3, 4, seconds)
    record = b"\0" + struct.pack(">HHIH", SOA, 1, 3600, len(data)) + data
    return m[:2] + struct.pack(">HHHHH", 0x8180 | rcode, 1, 0, soa, 0) + m[12:end] + (record if soa else b"")


@contextlib.contextmanager
def world(new_engine, tmp_path, text, *containers):
    """An engine with the host's resolv.conf as given, and containers on a network of theirs."""
    with hosts_resolv_conf(text, tmp_path) as (prefix, change):
        engine = new_engine(prefix=prefix)
        with network(engine, "names"):
            for name in containers or ("web",):
                start(engine, name, "--network", "names")
            yield engine, change


def test_answers_are_kept_and_grow_old(new_engine, tmp_path):
    def say(m, tcp):
        name = next(iter(server.names()[-1:])).lower()
        if name.startswith("several"):
            return reply(m, "192.0.2.1", "192.0.2.2", "192.0.2.3")
        if name.startswith("zero"):
            return reply(m, "192.0.2.80").replace(struct.pack(">HHIH", A, 1, 60, 4), struct.pack(">HHIH", A, 1, 0, 4))
        if name.startswith("sick"):
            return reply(m, rcode=SERVFAIL)
        if name.startswith("none"):
            return negative(m, seconds=2 if "short" in name else 60, soa="silent" not in name)
        return reply(m, "192.0.2.80")

    with Server(say) as server, world(new_engine, tmp_path, f"nameserver {server.address}\n", "web", "other") as (engine, change):
        def times(*names, who=("web",), **kw):
            """How often the server heard of it while everybody asked for each twice."""
            before = len(server.heard)
            for name in names:
                for w in (*who, *who):
                    ask(engine, w, name, **kw)
            return len(server.heard) - before

        asked = time.monotonic()
        first = ask(engine, "web", "www.example")
        assert times("www.example", who=("web", "other")) == 0
        time.sleep(1.1)
        again = ask(engine, "other", "www.example")
        assert again.addresses == first.addresses == ["192.0.2.80"] and first.ttls == [60] and 59 - (time.monotonic() - asked) <= again.ttls[0] < 60
        assert ask(engine, "web", "www.example", tcp=True).addresses == ["192.0.2.80"] and len(server.heard) == 1

        # Several addresses take turns, as they do at servers.
        firsts = [ask(engine, "web", "several.example").addresses for _ in range(7)]
        assert {a[0] for a in firsts} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"} == set(firsts[6]) and len(server.heard) == 2
        server.heard.pop()

        # The letters are the asker's.
        m = question("wWw.eXaMpLe", ident=77)
        a = ask_bytes(engine.inspect("web")["State"]["Pid"], m)
        assert a[:2] == m[:2] and a[12:len(m)] == m[12:] and len(server.heard) == 1

        # Another type, another class, EDNS, DNSSEC's bits and the wish not to recurse are other questions.
        assert times("www.example", kind=AAAA) == 2  # reply() has no AAAA and no SOA, so nothing says for how long
        assert times("www.example", klass=3) == 1
        assert times("www.example", edns=1232) == 1 and times("www.example", flags=0x0110) == 1 and times("www.example", flags=0) == 1

        # Failures are not kept; that there is nothing is kept as long as it says so.
        assert times("zero.example", "sick.example", "none-silent.example") == 6
        assert times("none.example", "none-short.example") == 2 and ask(engine, "other", "none.example").rcode == NXDOMAIN
        time.sleep(2.1)
        assert times("none-short.example") == 1

        # Other servers, other answers: all is forgotten.
        with Server(lambda m, tcp: reply(m, "192.0.2.81")) as fresh:
            change(f"nameserver {fresh.address}\n")
            assert ask(engine, "web", "www.example").addresses == ["192.0.2.81"]
            change(f"nameserver {server.address}\n")
            assert ask(engine, "web", "www.example").addresses == ["192.0.2.80"]


def test_kept_answers_are_for_who_asks_the_same_servers(new_engine, tmp_path):
    with Server(answer_all) as server, world(new_engine, tmp_path, f"nameserver {server.address}\n") as (engine, _), \
            network(engine, "closed", Internal=True):
        start(engine, "own", "--network", "names", "--dns", "127.0.0.1")
        start(engine, "inside", "--network", "closed")
        heard = []

        def make():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("127.0.0.1", 53))
            return s

        def serve(s):
            with contextlib.suppress(OSError):
                while True:
                    m, peer = s.recvfrom(512)
                    if not m:
                        return
                    heard.append(m)
                    s.sendto(reply(m, "192.0.2.5"), peer)

        with in_namespace(engine.inspect("own")["State"]["Pid"], make) as s:
            t = threading.Thread(target=serve, args=(s,), daemon=True)
            t.start()
            assert ask(engine, "web", "www.example").addresses == ["192.0.2.80"]
            assert [ask(engine, "own", "www.example").addresses for _ in range(3)] == [["192.0.2.5"]] * 3 and len(heard) == 1
            assert ask(engine, "own", "private.example").addresses == ["192.0.2.5"]
            assert ask(engine, "web", "private.example").addresses == ["192.0.2.80"]
            assert ask(engine, "inside", "www.example").rcode == SERVFAIL
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)  # ends recvfrom() of the one that serves
            t.join()


def test_one_client_does_not_push_out_what_others_brought(new_engine, tmp_path):
    with Server(answer_all) as server, world(new_engine, tmp_path, f"nameserver {server.address}\n", "web", "loud") as (engine, _):
        ask(engine, "web", "mine.example")

        def flood():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.connect(("127.0.0.11", 53))
                s.settimeout(3)
                for i in range(2000):
                    s.send(question(f"flood-{i}.example"))
                    s.recv(4096)

        in_namespace(engine.inspect("loud")["State"]["Pid"], flood)
        before = len(server.heard)
        assert before > 2000 and ask(engine, "web", "mine.example").addresses and len(server.heard) == before
        assert ask(engine, "loud", "flood-1999.example").addresses and len(server.heard) == before
        assert ask(engine, "loud", "flood-0.example").addresses and len(server.heard) == before + 1


def test_the_same_question_is_asked_once_at_a_time(new_engine, tmp_path):
    def slow(m, tcp):
        time.sleep(0.5)
        return reply(m, "192.0.2.80")

    with Server(slow) as server, world(new_engine, tmp_path, f"nameserver {server.address}\n", "web", "other") as (engine, _):
        pids = [engine.inspect(c)["State"]["Pid"] for c in ("web", "other")]
        answers = []

        def one(i):
            m = question("".join(c.upper() if i >> (k % 4) & 1 else c for k, c in enumerate("www.example")), ident=1000 + i)
            answers.append((m, ask_bytes(pids[i % 2], m)))

        threads = [threading.Thread(target=one, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(answers) == 16 and len(server.heard) == 1
        for m, a in answers:
            assert a[:2] == m[:2] and a[12:len(m)] == m[12:] and Answer(a).addresses == ["192.0.2.80"]


def test_what_is_about_who_asks_is_not_shared(new_engine, tmp_path):
    """A cookie or a signature behind the question: each is asked, and nothing of it is kept."""
    with Server(answer_all) as server, world(new_engine, tmp_path, f"nameserver {server.address}\n") as (engine, _):
        pid = engine.inspect("web")["State"]["Pid"]
        cookie = question("www.example")[:10] + b"\0\1" + question("www.example")[12:] + b"\0" + struct.pack(">HHIH", 41, 1232, 0, 12) \
            + struct.pack(">HH", 10, 8) + b"12345678"
        for i in range(3):
            assert Answer(ask_bytes(pid, cookie)).addresses == ["192.0.2.80"] and len(server.heard) == i + 1
        assert b"12345678" in server.heard[-1][2]


def test_an_answer_that_was_cut_is_fetched_whole(new_engine, tmp_path):
    many = [f"192.0.2.{i}" for i in range(60)]  # 12 + 17 + 60 * 16 bytes

    def say(m, tcp):
        return reply(m, *many) if tcp else reply(m, flags=0x8380)

    with Server(say) as server, world(new_engine, tmp_path, f"nameserver {server.address}\n", "web", "other") as (engine, _):
        whole = ask(engine, "web", "big.example", edns=4096)
        assert whole.addresses == many and not whole.truncated and [how for how, _, _ in server.heard] == ["udp", "tcp"]
        # What servers are told fits into a packet; what they say fits into what the client said.
        assert server.heard[0][2].endswith(struct.pack(">HHIH", 41, 1232, 0, 0))
        cut = ask(engine, "other", "big.example", edns=600)
        assert cut.truncated and not cut.addresses and cut.additional == 1 and len(server.heard) == 2
        # Who has no room for it asks again by itself.
        assert ask(engine, "web", "small.example").truncated and [how for how, _, _ in server.heard[2:]] == ["udp"]
        assert ask(engine, "web", "small.example", tcp=True).addresses == many
        assert ask(engine, "web", "small.example").truncated and len(server.heard) == 4  # kept by then
        server.tcp.shutdown(socket.SHUT_RDWR)
        cut = ask(engine, "web", "closed.example", edns=4096)
        assert cut.truncated and cut.rcode == 0


@pytest.mark.alone
def test_a_silent_server_is_asked_last_for_a_while(new_engine, tmp_path):
    mute, good = Server(lambda m, tcp: None), Server(answer_all)
    with mute, good, world(new_engine, tmp_path, f"nameserver {mute.address}\nnameserver {good.address}\n") as (engine, change):
        assert ask(engine, "web", "a0.example").addresses and mute.names() == ["a0.example"]
        began = time.monotonic()
        for i in range(1, 6):
            assert ask(engine, "web", f"a{i}.example").addresses == ["192.0.2.80"]
        assert time.monotonic() - began < 1.5 and mute.names() == ["a0.example"]
        # In the order of the file, as long as they answer.
        mute.answer = lambda m, tcp: reply(m, "192.0.2.81")
        change(f"nameserver {mute.address}\nnameserver {good.address}\n#\n")
        assert [ask(engine, "web", f"b{i}.example").addresses for i in range(3)] == [["192.0.2.81"]] * 3


@pytest.mark.alone
def test_late_answers_and_lost_questions(new_engine, tmp_path):
    def late(m, tcp):
        time.sleep(2.4)
        return reply(m, "192.0.2.80")

    def lost(m, tcp):
        return reply(m, "192.0.2.82") if len(loses.heard) > 1 else None

    slow, mute, loses = Server(late), Server(lambda m, tcp: None), Server(lost)
    with slow, mute, loses, world(new_engine, tmp_path, f"nameserver {slow.address}\nnameserver {mute.address}\n") as (engine, change):
        assert ask(engine, "web", "late.example").addresses == ["192.0.2.80"] and mute.names() == ["late.example"]
        change(f"nameserver {loses.address}\n")
        assert ask(engine, "web", "lost.example").addresses == ["192.0.2.82"] and loses.names() == ["lost.example"] * 2
        # Nobody answers: the client hears so before it gives up.
        change(f"nameserver {mute.address}\n")
        began = time.monotonic()
        assert ask(engine, "web", "mute.example").rcode == SERVFAIL and 3 < time.monotonic() - began < 5


@pytest.mark.alone
def test_options_of_the_host(new_engine, tmp_path):
    mute, one, two = Server(lambda m, tcp: None), Server(answer_all), Server(answer_all)
    with mute, one, two, world(new_engine, tmp_path, f"nameserver {mute.address}\noptions timeout:1 attempts:1\n") as (engine, change):
        began = time.monotonic()
        assert ask(engine, "web", "a.example").rcode == SERVFAIL and 0.8 < time.monotonic() - began < 1.9 and len(mute.heard) == 1
        change(f"nameserver {one.address}\noptions use-vc\n")
        assert ask(engine, "web", "b.example").addresses == ["192.0.2.80"] and one.heard[-1][0] == "tcp"
        change(f"nameserver {one.address}\nnameserver {two.address}\noptions rotate\n")
        one.heard.clear()
        for i in range(4):
            assert ask(engine, "web", f"c{i}.example").addresses
        assert len(one.heard) == len(two.heard) == 2


def test_the_hosts_file_is_followed_however_it_changes(new_engine, tmp_path):
    """Renamed over, rewritten in place, a symlink switched to another file, gone and back."""
    servers = [Server(lambda m, tcp, i=i: reply(m, f"192.0.2.{i}")) for i in range(5)]
    with contextlib.ExitStack() as stack:
        for s in servers:
            stack.enter_context(s)
        engine, change = stack.enter_context(world(new_engine, tmp_path, f"nameserver {servers[0].address}\n"))
        etc = tmp_path / "resolv.conf"

        def who():
            return ask(engine, "web", "same.example").addresses

        assert who() == ["192.0.2.0"]
        change(f"nameserver {servers[1].address}\n")
        assert who() == ["192.0.2.1"]
        etc.write_text(f"# by hand\nnameserver {servers[2].address}\n")
        assert who() == ["192.0.2.2"]
        (tmp_path / "stub").write_text(f"nameserver {servers[3].address}\n")
        os.symlink("stub", tmp_path / "link")
        os.rename(tmp_path / "link", etc)
        assert who() == ["192.0.2.3"]
        (tmp_path / "vpn").write_text(f"nameserver {servers[4].address}\n")
        os.symlink("vpn", tmp_path / "link")
        os.rename(tmp_path / "link", etc)
        assert who() == ["192.0.2.4"]
        os.unlink(tmp_path / "vpn")
        assert ask(engine, "web", "same.example").rcode == SERVFAIL
        os.rename(tmp_path / "stub", tmp_path / "vpn")
        assert who() == ["192.0.2.3"]


def test_the_hosts_file_is_followed_within_a_tick(new_engine, tmp_path):
    """Rewritten in place, as long as before, so soon that its times are the same."""
    servers = [Server(lambda m, tcp, i=i: reply(m, f"192.0.2.{i}")) for i in range(8)]
    with contextlib.ExitStack() as stack:
        for s in servers:
            stack.enter_context(s)
        pairs = [(i, k) for i in range(8) for k in range(i) if len(servers[i].address) == len(servers[k].address)]
        texts = {i: f"nameserver {servers[i].address}\n" for i in pairs[0]}
        engine, _ = stack.enter_context(world(new_engine, tmp_path, texts[pairs[0][0]]))
        pid = engine.inspect("web")["State"]["Pid"]

        def alternate():
            with open(tmp_path / "resolv.conf", "r+") as f, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.connect(("127.0.0.11", 53))
                s.settimeout(5)
                for i in [*pairs[0]] * 200:
                    f.seek(0)
                    f.write(texts[i])
                    f.flush()
                    s.send(question("same.example"))
                    assert Answer(s.recv(512)).addresses == [f"192.0.2.{i}"]

        in_namespace(pid, alternate)


def test_metrics_of_names(new_engine, tmp_path):
    port = free_port()

    def fetch():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply_of_engine:
            text = reply_of_engine.read().decode()
        return {what: int(re.search(rf"^engine_daemon_network_dns_{what} (\d+)$", text, re.M).group(1))
                for what in ("clients", "waiting", "questions_total", "answered_total", "kept_total", "forwarded_total", "failed_total")}

    with Server(answer_all) as server, hosts_resolv_conf(f"nameserver {server.address}\n", tmp_path) as (prefix, change):
        engine = new_engine("--metrics-addr", f"127.0.0.1:{port}", prefix=prefix)
        assert set(fetch().values()) == {0}
        with network(engine, "names"):
            start(engine, "web", "--network", "names")
            for name in ("web", "web", "www.example", "www.example"):
                assert ask(engine, "web", name).addresses
            change("")
            assert ask(engine, "web", "nobody.example").rcode == SERVFAIL
            assert fetch() == {"clients": 1, "waiting": 0, "questions_total": 5, "answered_total": 2, "kept_total": 1, "forwarded_total": 1,
                               "failed_total": 1}


def test_lies_are_not_kept(new_engine, tmp_path):
    def lie(m, send):
        if b"bank" in m:
            return
        send(reply(question("www.bank.example"), "192.0.2.66"))
        send(reply(question("www.bank.example", ident=struct.unpack(">H", m[:2])[0]), "192.0.2.66"))

    with Server(answer_all, lie) as server, world(new_engine, tmp_path, f"nameserver {server.address}\n") as (engine, _):
        ask(engine, "web", "one.example")
        assert ask(engine, "web", "www.bank.example").addresses == ["192.0.2.80"] and "www.bank.example" in server.names()
        assert ask(engine, "web", "www.bank.example").addresses == ["192.0.2.80"] and server.names().count("www.bank.example") == 1


def test_names_of_ours_are_not_told_to_others(new_engine, tmp_path):
    with Server(answer_all) as server, hosts_resolv_conf(f"nameserver {server.address}\n", tmp_path) as (prefix, change):
        engine = new_engine(prefix=prefix)
        with network(engine, "shop_default"), network(engine, "dev"):
            start(engine, "web", "--network", "shop_default")
            start(engine, "db", "--network", "shop_default", "--network-alias", "store", "--network-alias", "db.example")
            start(engine, "friend", "--network", "shop_default", "--link", "db:base")
            start(engine, "strict", "--network", "shop_default", "--dns-option", "ndots:1")
            start(engine, "plain", "--network", "dev")

            # Who was there until a moment ago, by each of the names that were its own.
            engine.cli("rm", "-f", "db")
            for gone in ("db", "DB", "store", "db.shop_default", "store.Shop_Default"):
                assert ask(engine, "web", gone).rcode == NXDOMAIN and ask(engine, "web", gone, AAAA).rcode == NXDOMAIN, gone
            assert ask(engine, "friend", "base").rcode == NXDOMAIN
            start(engine, "db", "--network", "shop_default")
            assert ask(engine, "web", "db").addresses and ask(engine, "web", "store").rcode == NXDOMAIN
            # Never there, but in a network of the client's; docker.internal; localhost.
            for none in ("ghost.shop_default", "deep.ghost.shop_default", "host.docker.internal", "gateway.docker.internal", "docker.internal"):
                assert ask(engine, "web", none).rcode == NXDOMAIN, none
            assert ask(engine, "web", "localhost").addresses == ask(engine, "web", "app.localhost").addresses == ["127.0.0.1"]
            there = ask(engine, "web", "localhost", 16)
            assert there.rcode == 0 and not there.addresses
            # Names of one label, where the search list is to come first.
            bare = ask(engine, "strict", "intranet")
            assert bare.rcode == 0 and not bare.addresses and ask(engine, "strict", "intranet", AAAA).rcode == 0
            assert server.heard == []

            # What may be somebody's is asked.
            for other in ("db.example", "web.dev", "intranet", "metadata.google.internal", "mylocalhost", "docker.internal.example"):
                assert ask(engine, "plain" if other == "web.dev" else "web", other).addresses == ["192.0.2.80"], other
            assert ask(engine, "strict", "www.example").addresses and ask(engine, "plain", "ghost.shop_default").addresses
            heard = len(server.heard)
            change(f"nameserver {server.address}\noptions ndots:2\n")
            assert ask(engine, "web", "printer").rcode == 0 and len(server.heard) == heard
