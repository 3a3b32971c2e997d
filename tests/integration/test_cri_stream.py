# SPDX-License-Identifier: Apache-2.0
"""Exec, attach and port-forward by the kubelet's streaming server, over SPDY and WebSocket, and ExecSync: what clients see, and what hostile ones cannot do."""
import contextlib
import hashlib
import os
import pathlib
import socket
import struct
import threading
import time

import grpc
import pytest

from harness import run, wait_until
from kubelet import refused
from spdy_peer import ERROR, STDERR, STDOUT, Refused, Spdy, WebSocket, in_namespace, in_netns, upgrade

SLEEPER = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"


@pytest.fixture
def dial(kubelet):
    return in_namespace(kubelet.room.holder.pid)


@pytest.fixture
def container(pod):
    return pod.container("sh", "-c", SLEEPER)


def streams_of(stdin=False, stdout=True, stderr=True, tty=False):
    wanted = [("error", True), ("stdin", stdin), ("stdout", stdout), ("stderr", stderr and not tty), ("resize", tty)]
    return [name for name, asked in wanted if asked]


def begin_exec(container, dial, *command, carrier="spdy", stdin=False, stdout=True, stderr=True, tty=False, **more):
    asked = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty, "tty": tty}
    url = container.kubelet.Exec(container_id=container.id, cmd=list(command), **asked).url
    if carrier == "spdy":
        return Spdy(url, streams_of(stdin, stdout, stderr, tty), dial, **more)
    return WebSocket(url, connect=dial, **more)


@pytest.fixture(params=["spdy", "websocket"])
def carrier(request):
    return request.param


def descriptors(kubelet):
    return kubelet.engine.descriptors()


def threads(kubelet):
    return len(os.listdir(f"/proc/{kubelet.engine.p.pid}/task"))


def memory(kubelet):
    text = pathlib.Path(f"/proc/{kubelet.engine.p.pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:"))) << 10


def as_before(kubelet, before):
    wait_until("descriptors are closed", lambda: descriptors(kubelet) <= before + 2)


# ---- exec

def test_output_and_exit_code(container, dial, carrier):
    s = begin_exec(container, dial, "sh", "-c", "echo out; echo err >&2; exit 3", carrier=carrier)
    assert s.code() == 3
    assert (s.out[STDOUT], s.out[STDERR]) == (b"out\n", b"err\n")
    status = s.status()
    assert status["reason"] == "NonZeroExitCode" and status["status"] == "Failure" and status["metadata"] == {}
    s.wait_over()
    assert begin_exec(container, dial, "true", carrier=carrier).status() == {"metadata": {}, "status": "Success"}


def test_input_and_its_end(container, dial, carrier):
    s = begin_exec(container, dial, "sh", "-c", "cat; echo end", carrier=carrier, stdin=True)
    s.write("one\n").wait(STDOUT, "one\n")
    s.write("two\n").end_input()
    assert s.code() == 0
    assert s.out[STDOUT] == b"one\ntwo\nend\n"


def test_terminal(container, dial, carrier):
    s = begin_exec(container, dial, "sh", carrier=carrier, stdin=True, tty=True)
    s.write("stty size; tty; echo $TERM\n").wait(STDOUT, "/dev/pts/").wait(STDOUT, "xterm")
    s.resize(101, 37)
    wait_until("the size arrives", lambda: s.write("stty size\n") and b"37 101" in s.out[STDOUT])
    # What other clients detach with is the shell's own.
    s.write("\x10\x11\x15").write("echo go''es on\n").wait(STDOUT, "goes on")
    s.write("exit 5\n")
    assert s.code() == 5


def test_much_in_both_directions(container, dial, carrier):
    block = os.urandom(1 << 20)
    s = begin_exec(container, dial, "cat", carrier=carrier, stdin=True)

    def feed():
        for _ in range(8):
            s.write(block)
        s.end_input()

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert s.code(60) == 0
    feeder.join()
    assert hashlib.sha256(s.out[STDOUT]).digest() == hashlib.sha256(block * 8).digest()


def test_command_that_cannot_be_run(container, dial, carrier):
    status = begin_exec(container, dial, "/no/such/program", carrier=carrier).status()
    assert status["status"] == "Failure" and status["code"] == 500 and "/no/such/program" in status["message"], status


def test_what_is_left_in_the_background_does_not_hold_a_session(container, dial, carrier):
    s = begin_exec(container, dial, "sh", "-c", "sleep 60 & echo started", carrier=carrier)
    assert s.code(10) == 0 and s.out[STDOUT] == b"started\n"


@pytest.mark.parametrize("protocol", ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"])
def test_older_spdy_protocols_end_in_words(container, dial, protocol):
    s = begin_exec(container, dial, "sh", "-c", "echo out; exit 3", protocols=("v9.channel.k8s.io", protocol))
    assert s.answer["x-stream-protocol-version"] == protocol
    s.wait_over()
    assert s.out[STDOUT] == b"out\n" and s.out[ERROR].endswith(b"exit code 3")


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", ""])
def test_websocket_protocols(container, dial, protocol):
    s = begin_exec(container, dial, "sh", "-c", "read line; echo got $line; exit 4", carrier="websocket", stdin=True, protocol=protocol)
    assert s.write("a line\n").wait(STDOUT, "got a line\n")
    if protocol.startswith("v4"):
        assert s.code() == 4
    else:
        s.wait(ERROR, "exit code 4")
    s.wait_over()
    assert s.closed == 1000 and s.messages[0] in (b"\x01", b"1")  # the way is open


def test_protocols_that_nobody_speaks(container, dial):
    with pytest.raises(Refused) as e:
        begin_exec(container, dial, "true", protocols=("v9.channel.k8s.io",))
    assert e.value.status == 403 and "v4.channel.k8s.io" in e.value.body
    with pytest.raises(Refused) as e:
        begin_exec(container, dial, "true", carrier="websocket", protocol="", offer="v9.channel.k8s.io")
    assert e.value.status == 403
    url = container.kubelet.Exec(container_id=container.id, cmd=["true"], stdout=True).url
    with pytest.raises(Refused) as e:
        upgrade(url, [("Upgrade", "h2c")], dial)
    assert e.value.status == 400


def test_pings_and_fragments(container, dial):
    s = begin_exec(container, dial, "cat", carrier="websocket", stdin=True)
    s.frame(2, b"\x00fir", fin=False)
    s.frame(9, b"are you there")
    s.frame(0, b"st", fin=False)
    s.frame(0, b"", fin=True)
    s.write("\n").end_input()
    assert s.code() == 0 and s.out[STDOUT] == b"first\n" and s.pongs == [b"are you there"]
    spdy = begin_exec(container, dial, "cat", stdin=True)
    spdy.control(6, b"\0\0\0\7")
    wait_until("the ping is answered", lambda: spdy.pings == [7])
    spdy.end_input()
    assert spdy.code() == 0


# ---- what is asked for by gRPC

def test_requests_that_are_refused(kubelet, pod, container):
    usual = {"container_id": container.id, "cmd": ["true"], "stdout": True}
    for call, fields in ((kubelet.Exec, usual), (kubelet.Attach, {"container_id": container.id, "stdout": True})):
        with refused("INVALID_ARGUMENT", text="stderr"):
            call(**{**fields, "tty": True, "stderr": True})
        with refused("INVALID_ARGUMENT"):
            call(**{**fields, "stdout": False})
        with refused("NOT_FOUND"):
            call(**{**fields, "container_id": "f" * 64})
        with refused("NOT_FOUND"):
            call(**{**fields, "container_id": pod.id})
        with refused("INVALID_ARGUMENT"):
            call(**{**fields, "container_id": ""})
    with refused("INVALID_ARGUMENT"):
        kubelet.Exec(**{**usual, "cmd": []})
    with refused("INVALID_ARGUMENT"):
        kubelet.PortForward(pod_sandbox_id=pod.id, port=[65536])
    with refused("NOT_FOUND"):
        kubelet.PortForward(pod_sandbox_id=container.id, port=[80])
    ended = pod.container("true")
    ended.wait()
    for call in (lambda: kubelet.Exec(**{**usual, "container_id": ended.id}), lambda: kubelet.Attach(container_id=ended.id, stdout=True)):
        with refused("FAILED_PRECONDITION", text="not running"):
            call()


def test_a_token_is_good_for_once(container, dial):
    url = container.kubelet.Exec(container_id=container.id, cmd=["true"], stdout=True).url
    base, token = url.rsplit("/", 1)
    assert base.startswith("http://127.0.0.1:") and len(token) >= 32
    assert Spdy(url, ["error", "stdout"], dial).code() == 0
    for tried in (url, base + "/" + "0" * 32, base + "/" + token[:-1], base + "/", base.rsplit("/", 1)[0] + "/"):
        with pytest.raises(Refused) as e:
            Spdy(tried, connect=dial)
        assert e.value.status in (404, 405), (tried, e.value)
    # It is no token for anything else, and is used up by being tried.
    url = container.kubelet.Exec(container_id=container.id, cmd=["true"], stdout=True).url
    for tried in (url.replace("/exec/", "/attach/"), url):
        with pytest.raises(Refused) as e:
            Spdy(tried, connect=dial)
        assert e.value.status == 404


def test_tokens_that_nobody_uses_go(container, dial):
    def ask():
        return container.kubelet.Exec(container_id=container.id, cmd=["true"], stdout=True).url

    first = ask()
    urls = [ask() for _ in range(1000)]
    assert len(set(urls)) == 1000
    with pytest.raises(Refused) as e:
        Spdy(first, connect=dial)
    assert e.value.status == 404
    assert Spdy(urls[0], ["error", "stdout"], dial).code() == 0


def test_proxies_keep_the_host_and_origin_of_others(container, dial, carrier):
    """The token is what counts: a request that came by the Kubernetes API has the names of that, and one from a page without a token has nothing."""
    headers = [("Host", "api.example.org:6443"), ("Origin", "https://console.example.org"), ("Sec-Fetch-Site", "cross-site")]
    assert begin_exec(container, dial, "true", carrier=carrier, headers=headers).code() == 0
    url = container.kubelet.Exec(container_id=container.id, cmd=["true"], stdout=True).url
    with pytest.raises(Refused) as e:
        WebSocket(url.rsplit("/", 1)[0] + "/" + "0" * 32, connect=dial, headers=headers)
    assert e.value.status == 404


# ---- clients that leave, floods

def test_a_client_that_leaves(kubelet, container, dial, carrier):
    """Its command sees the end of its input, and is not killed."""
    before = descriptors(kubelet)
    s = begin_exec(container, dial, "sh", "-c", "echo $$; cat; echo input has ended > /tmp/ended; sleep 321", carrier=carrier, stdin=True)
    s.wait(STDOUT, "\n")
    s.close()
    wait_until("its input ends", lambda: container.execute("cat", "/tmp/ended").stdout == b"input has ended\n")
    assert "sleep 321" in container.output("ps")
    as_before(kubelet, before)
    stuck = begin_exec(container, dial, "sleep", "322", carrier=carrier, stdin=True)
    for _ in range(20):
        stuck.write(b"x" * 10000)  # more than anybody takes
    stuck.close()
    as_before(kubelet, before)


def test_output_that_nobody_reads(kubelet, container, dial, carrier):
    """The command waits; nothing is kept for it."""
    before, size = descriptors(kubelet), memory(kubelet)
    url = container.kubelet.Exec(container_id=container.id, cmd=["sh", "-c", "head -c 200000000 /dev/zero"], stdout=True).url

    class Deaf(Spdy if carrier == "spdy" else WebSocket):
        def read(self):
            if self.__class__.__mro__[1] is Spdy:
                while len(self.replies) < 2:
                    data = self.sock.recv(22)
                    self.replies.add(len(self.replies) * 2 + 1)
                    assert data

    s = Deaf(url, ["error", "stdout"], dial) if carrier == "spdy" else Deaf(url, connect=dial)
    time.sleep(0.5)
    assert memory(kubelet) < size + (8 << 20)
    assert b"head" in container.execute("ps").stdout
    s.close()
    as_before(kubelet, before)


def test_goodbye_ends_output_without_end(kubelet, container, dial):
    """The client says that it leaves, and reads on: a command that never stops writing does not go on writing to it."""
    before = descriptors(kubelet)
    s = begin_exec(container, dial, "yes", carrier="websocket")
    s.wait(STDOUT, "y\n")
    s.frame(8, (1000).to_bytes(2, "big"))
    s.wait_over()
    s.close()
    as_before(kubelet, before)


def many_connections(pid, host, port, count):
    """From the room's network; each has sent half a request."""
    made, connect = [], in_namespace(pid)

    def make():
        for _ in range(count):
            try:
                s = connect(host, port)
                s.send(b"POST /exec/half HTTP/1.1\r\nHost: x\r\n")
                made.append(s)
            except OSError:
                continue

    makers = [threading.Thread(target=make) for _ in range(4)]
    for t in makers:
        t.start()
    for t in makers:
        t.join()
    return made


def test_connections_that_say_nothing(kubelet, container, dial):
    """Thousands that begin a request and leave it: others are served, and memory is not theirs."""
    url = kubelet.Exec(container_id=container.id, cmd=["true"], stdout=True).url
    host, port = url.split("/")[2].split(":")
    size, held = memory(kubelet), []
    try:
        held = many_connections(kubelet.room.holder.pid, host, int(port), 1000)
        assert len(held) > 2000
        assert begin_exec(container, dial, "echo", "served").code() == 0
        assert memory(kubelet) < size + (32 << 20)
    finally:
        for s in held:
            s.close()


def test_streams_that_never_come(kubelet, container, dial):
    before = descriptors(kubelet)
    held = []
    for _ in range(50):
        url = kubelet.Exec(container_id=container.id, cmd=["true"], stdout=True).url
        held.append(Spdy(url, ["stdout"], dial))
    assert begin_exec(container, dial, "echo", "served").code() == 0
    for s in held:
        s.close()
    as_before(kubelet, before)


def test_floods_on_a_connection(kubelet, container, dial):
    """Streams, pings and headers without end hurt their own session only."""
    size = memory(kubelet)
    flooded = begin_exec(container, dial, "cat", stdin=True)
    for _ in range(600):
        flooded.syn({"streamtype": "stdin"})
    wait_until("those too many are refused", lambda: 3 in flooded.resets.values())
    bomb = begin_exec(container, dial, "cat", stdin=True)
    bomb.syn({"streamtype": "x" * (1 << 20)})
    bomb.wait_over()
    assert memory(kubelet) < size + (16 << 20)
    assert begin_exec(container, dial, "echo", "served").code() == 0
    flooded.close()


# ---- attach

def test_attach(pod, dial, carrier):
    c = pod.container("sh", "-c", "while read line; do echo got $line; echo err >&2; done; exit 7", stdin=True)
    url = pod.kubelet.Attach(container_id=c.id, stdin=True, stdout=True, stderr=True).url
    s = Spdy(url, streams_of(stdin=True), dial) if carrier == "spdy" else WebSocket(url, connect=dial)
    s.write("a line\n").wait(STDOUT, "got a line\n").wait(STDERR, "err\n")
    # One who only looks sees the same.
    url = pod.kubelet.Attach(container_id=c.id, stdout=True).url
    other = Spdy(url, ["error", "stdout"], dial)
    wait_until("both see it", lambda: s.write("again\n") and b"got again" in other.out[STDOUT])
    s.end_input()
    s.wait(STDOUT, "got again")
    assert c.state == "CONTAINER_RUNNING"
    c.stop()
    assert s.status()["status"] == other.status()["status"] == "Success"
    assert "got a line" in c.log_text()


def test_attach_once(pod, dial, carrier):
    """A container whose input is for the first client sees its end."""
    c = pod.container("sh", "-c", "cat; echo ended", stdin=True, stdin_once=True)
    url = pod.kubelet.Attach(container_id=c.id, stdin=True, stdout=True, stderr=True).url
    s = Spdy(url, streams_of(stdin=True), dial) if carrier == "spdy" else WebSocket(url, connect=dial)
    s.write("bytes\n").wait(STDOUT, "bytes\n")
    s.end_input()
    assert s.status()["status"] == "Success" and s.out[STDOUT] == b"bytes\nended\n"
    assert c.wait().exit_code == 0


def test_attach_to_a_terminal(pod, dial, carrier):
    c = pod.container("sh", stdin=True, tty=True)
    url = pod.kubelet.Attach(container_id=c.id, stdin=True, stdout=True, tty=True).url
    s = Spdy(url, streams_of(stdin=True, tty=True), dial) if carrier == "spdy" else WebSocket(url, connect=dial)
    s.resize(99, 33)
    wait_until("the size arrives", lambda: s.write("stty size\n") and b"33 99" in s.out[STDOUT])
    s.write("exit 0\n")
    assert s.status()["status"] == "Success"


# ---- port-forward

PORTS = range(8080, 8085)


def listens(container, port):
    wait_until(f"port {port} is open", lambda: f":{port:04X} 0" in (text := container.output("cat", "/proc/net/tcp", "/proc/net/tcp6")) and " 0A " in text)


def echo_in(pod, *ports):
    """Sends back what it is sent, one connection after another, on each of these ports of the pod."""
    c = pod.container("sh", "-c", "for port in " + " ".join(map(str, ports)) + "; do while :; do nc -l -p $port -e cat; done & done; trap 'kill $(jobs -p); exit' TERM; wait")
    for port in ports:
        listens(c, port)
    return c


@pytest.fixture
def echo(pod):
    return echo_in(pod, *PORTS)


def forward(s, port, request):
    error = s.syn({"streamtype": "error", "port": str(port), "requestid": str(request)})
    data = s.syn({"streamtype": "data", "port": str(port), "requestid": str(request)})
    assert s.replied(error) and s.replied(data)
    return error, data


def test_forward(kubelet, pod, dial, echo):
    before = descriptors(kubelet)
    s = Spdy(kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080]).url, connect=dial, protocols=("portforward.k8s.io",))
    pairs = [forward(s, port, i) for i, port in enumerate(PORTS)]
    block = os.urandom(200000)
    for i, (_, data) in enumerate(pairs):
        s.data(data, b"%d:" % i + block)
    for i, (error, data) in enumerate(pairs):
        s.wait(data, b"%d:" % i + block)
        s.data(data, fin=True)
        wait_until("it ends", lambda: data in s.ended and error in s.ended)
        assert s.out.get(error, b"") == b""
    # A port where nobody listens is an error of its own, and the connection goes on.
    error, data = forward(s, 81, 99)
    wait_until("the error arrives", lambda: b"81" in s.out.get(error, b""))
    assert pod.id.encode() in s.out[error]
    wait_until("its data ends", lambda: data in s.resets)
    # One that is reset goes at once.
    listens(echo, 8080)
    _, data = forward(s, 8080, 100)
    s.control(3, data.to_bytes(4, "big") + (5).to_bytes(4, "big"))
    # Streams that say nothing, or nonsense, are refused.
    for headers in ({"streamtype": "data"}, {"port": "80"}, {"streamtype": "data", "port": "0", "requestid": "a"}, {"streamtype": "x", "port": "80"}, {"streamtype": "data", "port": "99999"}):
        stream = s.syn(headers)
        wait_until("it is refused", lambda: stream in s.resets)
    s.close()
    as_before(kubelet, before)


def test_forward_without_numbers(kubelet, pod, dial, echo):
    """As clients of long ago did."""
    s = Spdy(kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080]).url, connect=dial, protocols=("portforward.k8s.io",))
    s.syn({"streamtype": "error", "port": "8080"})
    data = s.syn({"streamtype": "data", "port": "8080"})
    s.data(data, b"hello")
    s.wait(data, b"hello")
    s.close()


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""])
def test_forward_over_websocket(kubelet, pod, dial, echo, protocol):
    s = WebSocket(kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080, 81]).url, protocol, connect=dial)
    ports = [(8080).to_bytes(2, "little"), (81).to_bytes(2, "little")]
    s.send(0, b"hello")
    s.wait(0, ports[0] + b"hello").wait(1, ports[0]).wait(2, ports[1]).wait(3, ports[1])
    s.wait(3, b"81 ")
    s.send(0, b"x" * 100000)
    s.wait(0, b"x" * 100000)
    echo.stop()
    s.wait_over()
    assert s.closed == 1000


def test_forward_through_a_tunnel(kubelet, pod, dial, echo):
    """SPDY in the messages of a WebSocket."""
    url = kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080]).url

    class Tunnel(Spdy):
        def __init__(self, ws):
            import zlib
            from spdy_peer import Session, dictionary
            Session.__init__(self)
            self.ws = ws
            self.z = zlib.compressobj(9, zdict=dictionary())
            self.replies, self.resets, self.pings, self.goaway, self.windows, self.ids = set(), {}, [], False, {}, {}
            self.next_id, self.channel_of, self.rest = 1, {}, b""
            self.sock = self
            self._start()

        def sendall(self, data):
            self.ws.frame(2, data)

        def recv(self, _):
            wait_until("bytes come", lambda: self.ws.messages or self.ws.over)
            return self.ws.messages.pop(0) if self.ws.messages else b""

        def close(self):
            self.ws.close()

    ws = WebSocket(url, "SPDY/3.1+portforward.k8s.io", connect=dial)
    s = Tunnel(ws)
    _, data = forward(s, 8080, 0)
    s.data(data, b"hello")
    s.wait(data, b"hello")
    s.close()


def test_forward_in_the_nodes_network(kubelet, dial):
    pod = kubelet.host_pod()
    echo_in(pod, 18080)
    s = Spdy(kubelet.PortForward(pod_sandbox_id=pod.id, port=[18080]).url, connect=dial, protocols=("portforward.k8s.io",))
    _, data = forward(s, 18080, 0)
    s.data(data, b"hello")
    s.wait(data, b"hello")
    s.close()


@pytest.fixture
def server():
    """A server's socket in a pod: listen(pod, port)."""
    made = []

    def listen(pod, port):
        pid = pod.container("sh", "-c", SLEEPER).info()["pid"]
        s = in_netns(pid, lambda: socket.create_server(("127.0.0.1", port)))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(20)
        made.append(s)
        return s

    yield listen
    for s in made:
        s.close()


def test_forward_to_one_that_stays_silent(kubelet, pod, dial, server):
    """The client has said all and goes: the connection in the pod goes, too."""
    listener = server(pod, 8080)
    before, running = descriptors(kubelet), threads(kubelet)
    s = Spdy(kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080]).url, connect=dial, protocols=("portforward.k8s.io",))
    _, data = forward(s, 8080, 0)
    s.data(data, b"all", fin=True)
    connection, _ = listener.accept()
    with connection:
        assert connection.makefile("rb").read() == b"all"
        s.close()
        as_before(kubelet, before)
        wait_until("its threads end", lambda: threads(kubelet) <= running + 2)


def test_forward_to_one_that_resets(kubelet, pod, dial, server):
    """The client is told, and the pair is over whatever it does."""
    listener = server(pod, 8080)
    s = Spdy(kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080]).url, connect=dial, protocols=("portforward.k8s.io",))
    error, data = forward(s, 8080, 0)
    connection, _ = listener.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    wait_until("its data ends", lambda: data in s.ended and data in s.resets)
    wait_until("its errors end", lambda: error in s.ended)
    s.close()


def pour_until_full(s):
    """Into a WebSocket's first channel, in a thread that ends with the connection."""
    sent = []

    def pour():
        with contextlib.suppress(OSError):
            while True:
                s.send(0, b"x" * 65536)
                sent.append(time.monotonic())

    t = threading.Thread(target=pour)
    t.start()
    wait_until("nothing more is taken", lambda: sent and time.monotonic() - sent[-1] > 0.3)
    return t


def test_forward_over_websocket_to_one_that_does_not_read(kubelet, pod, dial, server):
    listener = server(pod, 8080)
    before = descriptors(kubelet)
    s = WebSocket(kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080]).url, "v4.channel.k8s.io", connect=dial)
    connection, _ = listener.accept()
    with connection:
        pouring = pour_until_full(s)
        # Whatever is on its way is dropped: the end would wait behind it.
        s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        pouring.join()
        as_before(kubelet, before)


def test_forward_over_websocket_with_the_end_behind_what_nobody_reads(new_kubelet, server):
    """The client's departure cannot arrive: the time-out finds it."""
    kubelet = new_kubelet("--cri-stream-idle-timeout", "1s")
    pod = kubelet.run_pod()
    listener = server(pod, 8080)
    before = descriptors(kubelet)
    s = WebSocket(kubelet.PortForward(pod_sandbox_id=pod.id, port=[8080]).url, "v4.channel.k8s.io", connect=in_namespace(kubelet.room.holder.pid))
    connection, _ = listener.accept()
    with connection:
        pouring = pour_until_full(s)
        s.close()
        pouring.join()
        as_before(kubelet, before)


# ---- ExecSync

def test_exec_sync(container):
    answer = container.execute("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 3)
    with refused("NOT_FOUND"):
        container.kubelet.ExecSync(container_id="f" * 64, cmd=["true"])
    with refused("INVALID_ARGUMENT"):
        container.kubelet.ExecSync(container_id=container.id, cmd=[])
    with refused("UNKNOWN", text="/no/such"):
        container.execute("/no/such")
    assert container.execute("sh", "-c", "sleep 60 & echo started").stdout == b"started\n"


def test_exec_sync_takes_too_long(container):
    begun = time.monotonic()
    with refused("DEADLINE_EXCEEDED", text="1000 ms"):
        container.execute("sleep", "123", timeout=1)
    assert time.monotonic() - begun < 20
    assert "sleep 123" not in container.output("ps")


def test_exec_sync_takes_too_long_and_floods(container):
    """The clock, and the caller's departure, are seen while there is always something to read."""
    begun = time.monotonic()
    with refused("DEADLINE_EXCEEDED", text="1000 ms"):
        container.execute("head", "-c", "100000000000", "/dev/zero", timeout=1)
    assert time.monotonic() - begun < 20
    with pytest.raises(grpc.RpcError):
        container.kubelet.ExecSync(container_id=container.id, cmd=["head", "-c", "100000000001", "/dev/zero"], rpc_timeout=0.5)
    wait_until("both are killed", lambda: "head -c" not in container.output("ps"))


def test_exec_sync_that_nobody_waits_for(container):
    with pytest.raises(grpc.RpcError):
        container.kubelet.ExecSync(container_id=container.id, cmd=["sleep", "124"], rpc_timeout=0.5)
    wait_until("it is killed", lambda: "sleep 124" not in container.output("ps"))


def test_exec_sync_with_more_than_is_kept(kubelet, container):
    """The command is not held up, what is too much is dropped, and memory comes back."""
    size = memory(kubelet)
    answer = container.execute("sh", "-c", "head -c 100000000 /dev/zero; echo done >&2")
    assert len(answer.stdout) == 16 << 20 and answer.stderr == b"done\n" and answer.exit_code == 0
    assert memory(kubelet) < size + (100 << 20)


# ---- settings

def test_tls(new_kubelet, folder):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=node", "-keyout", folder / "key.pem", "-out", folder / "cert.pem")
    kubelet = new_kubelet("--cri-stream-address", "127.0.0.1", "--cri-stream-cert", folder / "cert.pem", "--cri-stream-key", folder / "key.pem", "--cri-stream-idle-timeout", "2s")
    c = kubelet.run_pod().container("sh", "-c", SLEEPER)
    dial = in_namespace(kubelet.room.holder.pid)
    for carrier in ("spdy", "websocket"):
        s = begin_exec(c, dial, "cat", carrier=carrier, stdin=True)
        s.write("secret\n").wait(STDOUT, "secret\n")
        s.end_input()
        assert s.code() == 0
    # Nothing is said for two seconds.
    begun = time.monotonic()
    idle = [begin_exec(c, dial, "cat", carrier=carrier, stdin=True) for carrier in ("spdy", "websocket")]
    for s in idle:
        s.wait_over()
    assert 1.5 < time.monotonic() - begun < 10
