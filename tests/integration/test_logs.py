# SPDX-License-Identifier: Apache-2.0
"""What comes out of containers: logging drivers and their options, and `logs` across rotation, crashes and slow servers."""
import gzip
import http.client
import json
import pathlib
import re
import shutil
import socket
import threading
import time

import pytest

from harness import BUILD, UnixConnection, run, temp_folder, wait_until


def create(engine, name, script, driver=None, options=None, start=True, **config):
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": {"LogConfig": {"Type": driver or "", "Config": options or {}}}, **config}
    reply = engine.api("POST", f"/containers/create?name={name}", body)
    assert reply.status == 201, reply.body
    if start:
        reply = engine.api("POST", f"/containers/{name}/start")
        assert reply.status == 204, reply.body
    return reply


def finish(engine, name):
    return engine.api("POST", f"/containers/{name}/wait").json["StatusCode"]


def demultiplex(data):
    """[(stream, text)] of what logs or attach answer."""
    found = []
    while data:
        stream, size = data[0], int.from_bytes(data[4:8], "big")
        found.append((stream, data[8:8 + size]))
        assert len(data) >= 8 + size
        data = data[8 + size:]
    return found


def logs(engine, name, query="stdout=1&stderr=1"):
    reply = engine.api("GET", f"/containers/{name}/logs?{query}")
    assert reply.status == 200, reply.body
    return demultiplex(reply.body)


def text(records):
    return b"".join(t for _, t in records).decode()


def log_files(engine, name, pattern="*"):
    return sorted((engine.data_root / "containers" / engine.inspect(name)["Id"]).glob(pattern))


def in_rounds(rounds, lines):
    """A script that writes so many lines in each round, which begins when it is told so."""
    return f"for i in $(seq {rounds + 1}); do until test -e /go$i; do sleep 0.02; done; test $i = {rounds + 1} || seq ${{i}}0000 ${{i}}0{lines - 1}; done"


def write_and_compress(engine, name, rounds, last, pattern):
    """Lets the container go from one round to the next, and end, when what was rotated has been compressed: at the end of a container what is not is left to its next start."""
    root = pathlib.Path(f"/proc/{engine.inspect(name)['State']['Pid']}/root")
    for i in range(1, rounds + 1):
        (root / f"go{i}").touch()
        wait_until("it is written", lambda: text(logs(engine, name, "stdout=1&tail=1")) == last.format(i))
        wait_until("what was rotated is compressed", lambda: sum(not f.name.endswith(".gz") for f in log_files(engine, name, pattern)) == 1)
    (root / f"go{rounds + 1}").touch()
    return finish(engine, name)


# ---- files
def test_json_file_rotates_compresses_and_has_attributes(engine, name):
    options = {"max-size": "20k", "max-file": "4", "compress": "true", "labels": "a,none", "labels-regex": "^x[[:digit:]]$", "env": "E",
               "env-regex": r"^F\d+(?:oo)?$", "tag": "{{.Name}}/{{.ID}}/{{ .ImageName }}"}
    create(engine, name, in_rounds(5, 251), "json-file", options,
           Labels={"a": "1 =", "b": "2", "x3": "4"}, Env=["E=私", "F12oo=5", "F=no"])
    assert write_and_compress(engine, name, 5, "{}0250\n", "*-json.log*") == 0
    files = [f.name for f in log_files(engine, name)]
    full_id = engine.inspect(name)["Id"]
    assert f"{full_id}-json.log" in files and f"{full_id}-json.log.2.gz" in files
    assert not [f for f in files if ".log.4" in f or f.endswith(".new")]
    assert engine.inspect(name)["LogPath"].endswith(f"/{full_id}-json.log")
    record = json.loads(gzip.open(log_files(engine, name, "*.log.2.gz")[0]).readline())
    attrs = {"a": "1 =", "x3": "4", "E": "私", "F12oo": "5", "tag": f"{name}/{full_id[:12]}/busybox"}
    assert list(record) == ["log", "stream", "attrs", "time"] and record["attrs"] == attrs
    # `logs` reads plain and compressed files as one.
    numbers = [int(n) for n in text(logs(engine, name)).split()]
    expected = [10000 * i + k for i in range(1, 6) for k in range(251)]
    assert numbers == expected[-len(numbers):] and len(numbers) > 500
    for tail in (0, 1, 249, 300, 501, len(numbers) - 1):
        assert [int(n) for n in text(logs(engine, name, f"stdout=1&tail={tail}")).split()] == expected[len(expected) - tail:]
    shown = text(logs(engine, name, "stdout=1&tail=1&details=1&timestamps=1"))
    assert re.fullmatch(r"\d{4}-\S{24}Z E=%E7%A7%81,F12oo=5,a=1\+%3D,tag=" + f"{name}%2F{full_id[:12]}%2Fbusybox,x3=4 50250\n", shown), shown


def test_details_without_attributes_is_a_blank(engine, name):
    create(engine, name, "echo x")
    finish(engine, name)
    assert logs(engine, name, "stdout=1&details=1") == [(1, b" x\n")]


def test_json_file_is_capped_by_default(engine, name):
    create(engine, name, "yes 'a line that is long enough to fill files soon, said again and again and again' | head -n 400000")
    assert finish(engine, name) == 0
    sizes = [f.stat().st_size for f in log_files(engine, name, "*-json.log*")]
    assert len(sizes) == 3 and max(sizes) < 20_001_000 and sum(sizes) > 50_000_000
    assert engine.inspect(name)["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert text(logs(engine, name, "stdout=1&tail=3")).count("\n") == 3


def test_local_driver(engine, name):
    script = r"""printf 'a\377\n'; echo err >&2; head -c 40000 /dev/zero | tr '\0' x; echo; sleep 0.05; printf end"""
    create(engine, name, script, "local", {"labels": "k"}, Labels={"k": "v"})
    assert finish(engine, name) == 0
    got = logs(engine, name)
    assert [t for s, t in got if s == 2] == [b"err\n"]
    assert b"".join(t for s, t in got if s == 1) == b"a\xff\n" + b"x" * 40000 + b"\nend"
    assert text(logs(engine, name, "stdout=1&tail=1")) == "end"
    assert text(logs(engine, name, "stdout=1&tail=1&details=1")) == "k=v end"
    stamp = text(logs(engine, name, "stdout=1&tail=1&timestamps=1")).split()[0]
    assert text(logs(engine, name, f"stdout=1&since={stamp}")) == "end"
    before = engine.api("GET", f"/containers/{name}/logs?stdout=1&until={float(time.time() - 100):.3f}").body
    assert before == b""
    assert engine.inspect(name)["LogPath"] == ""


def test_local_driver_rotates(engine, name):
    create(engine, name, in_rounds(6, 501), "local", {"max-size": "15k", "max-file": "3"})
    assert write_and_compress(engine, name, 6, "{}0500\n", "container.log*") == 0
    files = [f.name for f in log_files(engine, name, "container.log*")]
    assert "container.log.2.gz" in files and len(files) == 3
    numbers = [int(n) for n in text(logs(engine, name)).split()]
    expected = [10000 * i + k for i in range(1, 7) for k in range(501)]
    assert numbers == expected[-len(numbers):] and len(numbers) > 800
    for tail in (1, 500, len(numbers) - 5):
        assert [int(n) for n in text(logs(engine, name, f"stdout=1&tail={tail}")).split()] == expected[-tail:]


def test_pieces_of_a_long_line_have_one_time(engine, name):
    create(engine, name, "head -c 50000 /dev/zero | tr '\\0' x; sleep 0.2; echo end")
    finish(engine, name)
    records = [json.loads(line) for line in log_files(engine, name, "*-json.log")[0].read_text().splitlines()]
    assert [len(r["log"]) for r in records] == [16384, 16384, 16384, 50000 - 3 * 16384 + 4]
    assert len({r["time"] for r in records}) == 1 and records[-1]["log"].endswith("end\n")
    assert text(logs(engine, name)) == "x" * 50000 + "end\n"


def test_terminal_is_raw(engine, name):
    create(engine, name, "echo out; echo err >&2", Tty=True)
    finish(engine, name)
    reply = engine.api("GET", f"/containers/{name}/logs?stdout=1&stderr=1")
    assert reply.body == b"out\r\nerr\r\n" and reply.headers["Content-Type"] == "application/vnd.docker.raw-stream"


def test_none_cannot_be_read(cli, name):
    cli("run", "--name", name, "--log-driver", "none", "busybox", "echo", "x")
    assert "configured logging driver does not support reading" in cli.fails("logs", name)


# ---- options
REFUSED = [
    ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
    ("json-file", {"max-size": "1x"}, "invalid size: '1x'"),
    ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
    ("json-file", {"max-file": "many"}, 'strconv.Atoi: parsing "many": invalid syntax'),
    ("json-file", {"max-size": "1k", "compress": "true"}, "compress cannot be true when max-file is less than 2 or max-size is not set"),
    ("json-file", {"compress": "perhaps"}, 'strconv.ParseBool: parsing "perhaps": invalid syntax'),
    ("json-file", {"maxsize": "1k"}, "unknown log opt 'maxsize' for json-file log driver"),
    ("json-file", {"mode": "fast"}, "logger: logging mode not supported: fast"),
    ("json-file", {"max-buffer-size": "1m"}, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
    ("json-file", {"mode": "non-blocking", "max-buffer-size": "x"}, "error parsing option max-buffer-size: invalid size: 'x'"),
    ("json-file", {"tag": "{{.Nothing}}"}, 'invalid log tag "{{.Nothing}}"'),
    ("json-file", {"env-regex": "(a{100}){100}"}, "without counted repetitions"),
    ("json-file", {"labels-regex": "(" * 14 + "a" + ")+" * 14}, "nested +"),
    ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
    ("local", {"tags": "x"}, "unknown log opt 'tags' for log driver local"),
    ("syslog", {"syslog-address": "127.0.0.1"}, "syslog-address should be in form proto://address, got 127.0.0.1"),
    ("syslog", {"syslog-address": "tcp+tls://a:b:c"}, "too many colons"),
    ("syslog", {"syslog-address": "unix:///no/such/私"}, "stat /no/such/私: no such file or directory"),
    ("syslog", {"syslog-facility": "24"}, "invalid syslog facility"),
    ("syslog", {"syslog-format": "rfc1"}, "Invalid syslog format"),
    ("syslog", {"max-size": "1k"}, "unknown log opt 'max-size' for syslog log driver"),
    ("journald", {"max-size": "1k"}, "unknown log opt 'max-size' for journald log driver"),
    ("gelf", {}, "logger: no log driver named 'gelf' is registered"),
]


@pytest.mark.parametrize("driver, options, words", REFUSED)
def test_what_create_refuses(engine, driver, options, words):
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"LogConfig": {"Type": driver, "Config": options}}}
    reply = engine.api("POST", "/containers/create", body)
    assert reply.status in (400, 501) and words in reply.message, reply.body


def test_defaults_of_the_engine(new_engine, tmp_path, name):
    file = tmp_path / "daemon 設定.json"
    file.write_text(json.dumps({"log-driver": "local", "log-opts": {"max-size": "1m", "max-file": "7"}}))
    engine = new_engine("--config", file)
    create(engine, name, "echo x", None, {"compress": "false"})
    finish(engine, name)
    assert engine.inspect(name)["HostConfig"]["LogConfig"] == {"Type": "local", "Config": {"max-size": "1m", "max-file": "7", "compress": "false"}}
    assert text(logs(engine, name)) == "x\n"
    assert engine.api("GET", "/info").json["LoggingDriver"] == "local"


def test_a_wrong_default_stops_the_engine_with_the_reason():
    root = temp_folder("engine")
    try:
        p = run(BUILD / "irekod", "--data-root", root / "data", "--exec-root", root / "run", "--log-opt", "max-file=0", check=False)
        assert p.returncode != 0 and "failed to set log opts: max-file cannot be less than 1" in p.stderr
    finally:
        shutil.rmtree(root)


# ---- following
class Follower(threading.Thread):
    """Reads logs?follow=1 to its end."""

    def __init__(self, engine, name, query="stdout=1&stderr=1&follow=1"):
        super().__init__()
        self.connection = UnixConnection(engine.socket, timeout=100)
        self.connection.request("GET", f"/containers/{name}/logs?{query}")
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        self.data = b""
        self.start()

    def run(self):
        try:
            while piece := self.response.read1(65536):
                self.data += piece
        except (OSError, http.client.IncompleteRead):
            pass

    def text(self):
        self.join(timeout=100)
        assert not self.is_alive()
        self.connection.close()
        return text(demultiplex(self.data))


@pytest.mark.parametrize("driver, compress", [("json-file", "false"), ("json-file", "true"), ("local", "true")])
def test_following_across_hundreds_of_rotations(engine, name, driver, compress):
    """No line lost or doubled, in order, while files are renamed and compressed under the reader."""
    lines, chunk = 12000, 100
    script = f"i=0; while [ $i -lt {lines // chunk} ]; do seq $((i * {chunk})) $((i * {chunk} + {chunk - 1})); i=$((i + 1)); done"
    create(engine, name, script, driver, {"max-size": "2k", "max-file": "900", "compress": compress}, start=False)
    engine.api("POST", f"/containers/{name}/start")
    follower = Follower(engine, name)
    assert finish(engine, name) == 0
    assert follower.text().split() == [str(i) for i in range(lines)]
    assert len(log_files(engine, name, "*.log*")) > 60
    assert text(logs(engine, name)).split() == [str(i) for i in range(lines)]


def test_following_ends_when_the_container_is_removed(engine, name):
    create(engine, name, "echo x; sleep 1000")
    follower = Follower(engine, name)
    wait_until("it reads", lambda: b"x\n" in follower.data)
    assert engine.api("DELETE", f"/containers/{name}?force=1").status == 204
    assert follower.text() == "x\n"


def test_until_and_tail_with_follow(engine, name):
    create(engine, name, "for i in 1 2 3 4 5; do echo $i; done; sleep 1000")
    wait_until("it has said all", lambda: text(logs(engine, name)).endswith("5\n"))
    began = time.monotonic()
    follower = Follower(engine, name, f"stdout=1&follow=1&tail=2&until={time.time() + 0.6:.3f}")
    assert follower.text() == "4\n5\n" and 0.3 < time.monotonic() - began < 10


def test_all_lines_are_there_after_the_engine_was_killed(new_engine, name):
    engine = new_engine()
    create(engine, name, "i=0; while [ $i -lt 4000 ]; do echo $i; i=$((i + 1)); [ $((i % 100)) = 0 ] && sleep 0.02; done", "local", {"max-size": "5k", "max-file": "50"})
    follower = Follower(engine, name)
    wait_until("it is under way", lambda: len(follower.data) > 2000)
    engine.kill()
    engine.start()
    again = Follower(engine, name)
    assert again.text().split() == [str(i) for i in range(4000)]
    seen = follower_text_until_cut(follower)
    assert seen.split() == [str(i) for i in range(len(seen.split()))]


def follower_text_until_cut(follower):
    """Whole frames of what was read before the connection broke."""
    follower.join(timeout=20)
    follower.connection.close()
    data, whole = follower.data, 0
    while len(data) - whole >= 8 and whole + 8 + int.from_bytes(data[whole + 4:whole + 8], "big") <= len(data):
        whole += 8 + int.from_bytes(data[whole + 4:whole + 8], "big")
    return text(demultiplex(data[:whole]))


def memory_kb(pid, what="Pss"):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{what}:\s+(\d+)", rollup, re.M).group(1))


def test_a_follower_that_never_reads_costs_nobody_anything(engine, name):
    create(engine, name, "yes 'a line of some length, again and again' | head -n 2000000; sleep 1000", "json-file", {"max-size": "-1"})
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(engine.socket))
        s.sendall(f"GET /containers/{name}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        before = memory_kb(engine.p.pid)
        size = wait_until("all is written", lambda: log_files(engine, name, "*-json.log")[0].stat().st_size > 150_000_000, seconds=60)
        assert size and memory_kb(engine.p.pid) - before < 4000
        assert text(logs(engine, name, "stdout=1&tail=2")).count("\n") == 2
