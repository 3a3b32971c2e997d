# SPDX-License-Identifier: Apache-2.0
"""python3-docker (docker-py): its high-level objects and its streams, as scripts use them. It has no list of its own of what a server can do: it believes /version."""
import contextlib
import io
import tarfile
import threading
import time

import docker
import pytest

import project_images
from harness import free_port, tcp_ask, wait_until


@pytest.fixture
def client(engine):
    c = docker.DockerClient(base_url=f"unix://{engine.socket}", timeout=30)
    yield c
    c.close()


@pytest.fixture
def sleeper(client, name):
    return client.containers.run("busybox", "sleep 1000", name=name, detach=True, stop_signal="SIGKILL")


def tar_of(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o640
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_client_and_version(client):
    assert client.ping() is True
    version = client.version()
    assert client.api.api_version and version["ApiVersion"] and version["Os"] == "linux"
    info = client.info()
    assert info["OSType"] == "linux" and info["NCPU"] >= 1 and isinstance(info["Plugins"]["Volume"], list)
    df = client.df()
    assert {"Images", "Containers", "Volumes"} <= set(df)


@pytest.mark.parametrize("version", ["1.24", "1.35", "1.41", "auto"])
def test_old_versions(engine, name, version):
    c = docker.DockerClient(base_url=f"unix://{engine.socket}", version=version)
    with contextlib.closing(c):
        assert c.containers.run("busybox", ["echo", "hi"], name=name, remove=True) == b"hi\n"
        assert [i for i in c.images.list() if "busybox:latest" in i.tags]


def test_run_says_what_went_wrong(client, name):
    with pytest.raises(docker.errors.ContainerError) as e:
        client.containers.run("busybox", "sh -c 'echo out; echo err >&2; exit 3'", name=name, remove=True)
    assert e.value.exit_status == 3 and e.value.stderr == b"err\n"
    with pytest.raises(docker.errors.NotFound):
        client.containers.get(name)
    with pytest.raises(docker.errors.APIError) as e:
        client.containers.run("busybox", "nosuch-program", name=name)
    assert e.value.response.status_code == 400 and "executable file not found" in e.value.explanation
    client.containers.get(name).remove()
    with pytest.raises(docker.errors.APIError) as e:
        client.containers.create("busybox", name="not/valid")
    assert e.value.response.status_code == 400
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("nosuch:image")


def test_life(client, sleeper):
    sleeper.reload()
    assert sleeper.status == "running" and sleeper.attrs["State"]["Pid"] > 0
    with pytest.raises(docker.errors.APIError) as e:
        client.containers.create("busybox", name=sleeper.name)
    assert e.value.response.status_code == 409 and "is already in use by container" in e.value.explanation
    sleeper.pause()
    sleeper.reload()
    assert sleeper.status == "paused"
    sleeper.unpause()
    sleeper.rename(sleeper.name + "2")
    sleeper.update(mem_limit="64m", memswap_limit="64m")
    sleeper.restart(timeout=0)
    assert "sleep 1000" in str(sleeper.top()["Processes"])
    sleeper.kill(signal="SIGKILL")
    assert sleeper.wait(timeout=10)["StatusCode"] == 137
    sleeper.start()
    with pytest.raises(docker.errors.APIError) as e:
        sleeper.remove()
    assert e.value.response.status_code == 409
    assert [c.id for c in client.containers.list(all=True, filters={"name": sleeper.name, "status": ["running"]})] == [sleeper.id]
    assert client.containers.list(filters={"id": sleeper.id[:12], "ancestor": "busybox"})
    sleeper.stop(timeout=0)
    assert sleeper.diff() is None or isinstance(sleeper.diff(), list)
    sleeper.remove(v=True)
    assert not client.containers.list(all=True, filters={"id": sleeper.id})


def test_exec(client, sleeper):
    result = sleeper.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
    assert (result.exit_code, result.output) == (5, (b"out\n", b"err\n"))
    result = sleeper.exec_run("sh -c 'echo $A; id -u; pwd'", environment={"A": "b c"}, user="1000", workdir="/tmp")
    assert result.output == b"b c\n1000\n/tmp\n"
    chunks = list(sleeper.exec_run("sh -c 'for i in 1 2 3; do echo $i; sleep 0.3; done'", stream=True).output)
    assert b"".join(chunks) == b"1\n2\n3\n" and len(chunks) > 1
    out = b"".join(out or b"" for out, _ in sleeper.exec_run(["seq", "100000"], stream=True, demux=True).output)
    assert out == b"".join(b"%d\n" % i for i in range(1, 100001))
    made = client.api.exec_create(sleeper.id, ["sh", "-c", "wc -c"], stdin=True)
    sock = client.api.exec_start(made["Id"], socket=True)
    raw = sock._sock
    raw.sendall(b"x" * 300000)
    raw.shutdown(1)
    assert sock.read(8)[:1] == b"\x01" and sock.read(20).strip() == b"300000"
    sock.close()
    wait_until("the exec has ended", lambda: client.api.exec_inspect(made["Id"])["Running"] is False)
    assert client.api.exec_inspect(made["Id"])["ExitCode"] == 0
    result = sleeper.exec_run("nosuch")
    assert result.exit_code in (126, 127) and b"nosuch" in result.output
    tty = client.api.exec_create(sleeper.id, ["stty", "size"], tty=True)
    assert client.api.exec_start(tty["Id"], tty=True).strip()
    sleeper.exec_run("touch /tmp/detached", detach=True)
    wait_until("it did its work", lambda: b"detached" in sleeper.exec_run("ls /tmp").output)


def test_attach(client, name):
    c = client.containers.create("busybox", "sh -c 'read a; echo got $a; read b; echo err $b >&2'", name=name, stdin_open=True)
    sock = c.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    c.start()
    sock._sock.sendall(b"one\n")
    assert sock.read(8) == b"\x01\0\0\0\0\0\0\x08" and sock.read(8) == b"got one\n"
    sock._sock.sendall(b"two\n")
    assert sock.read(8) == b"\x02\0\0\0\0\0\0\x08" and sock.read(8) == b"err two\n"
    assert sock.read(8) == b""
    sock.close()
    assert c.wait()["StatusCode"] == 0
    c2 = client.containers.run("busybox", "sh -c 'sleep 0.3; seq 3; seq 3 >&2'", detach=True)
    assert b"".join(out or b"" for out, _ in c2.attach(stream=True, demux=True)) == b"1\n2\n3\n"


def test_logs(client, name):
    c = client.containers.run("busybox", "sh -c 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; [ $((i % 100)) != 0 ] || sleep 0.2; done'", name=name, detach=True)
    followed = b"".join(c.logs(stream=True, follow=True))
    assert followed == b"".join(b"line %d\n" % i for i in range(1, 301))
    assert c.logs() == followed and c.logs(tail=2) == b"line 299\nline 300\n" and c.logs(tail=0) == b"" and c.logs(stdout=False) == b""
    stamped = c.logs(timestamps=True, tail=1).decode()
    assert stamped[19] == "." and stamped.split(" ", 1)[0].endswith("Z") and stamped.endswith(" line 300\n")
    assert c.logs(since=int(time.time()) + 100) == b""
    assert c.logs(until=int(time.time()) - 1000) == b""


def test_events(client, name):
    seen, events = [], client.events(decode=True, filters={"container": name})
    reader = threading.Thread(target=lambda: seen.extend(events))
    reader.start()
    start = time.time()
    client.containers.run("busybox", "sh -c 'exit 4'", name=name, labels={"a": "b=c"}, detach=True).wait()
    client.containers.get(name).remove()
    wait_until("destroy is told", lambda: any(e["Action"] == "destroy" for e in seen))
    events.close()
    reader.join(timeout=10)
    assert [e["Action"] for e in seen if e["Action"] in ("create", "start", "die", "destroy")] == ["create", "start", "die", "destroy"]
    die = next(e for e in seen if e["Action"] == "die")
    assert die["Actor"]["Attributes"]["exitCode"] == "4" and die["Actor"]["Attributes"]["a"] == "b=c" and die["Type"] == "container" and die["from"] == "busybox" and die["status"] == "die"
    past = list(client.events(since=int(start) - 1, until=int(time.time()) + 1, decode=True, filters={"container": [name], "event": ["die", "start"]}))
    assert [e["Action"] for e in past] == ["start", "die"]


def test_stats(sleeper):
    once = sleeper.stats(stream=False)
    assert once["memory_stats"]["usage"] > 0 and once["pids_stats"]["current"] == 1 and "eth0" in once["networks"] and once["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    stream = sleeper.stats(decode=True)
    first, second = next(stream), next(stream)
    assert second["read"] > first["read"] and second["name"] == f"/{sleeper.name}" and second["precpu_stats"]["system_cpu_usage"] == first["cpu_stats"]["system_cpu_usage"]
    stream.close()


def test_archives(client, sleeper):
    assert sleeper.put_archive("/tmp", tar_of(**{"a file": b"content\n" * 1000, "日本": b"x"})) is True
    bits, stat = sleeper.get_archive("/tmp/a file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as tar:
        assert tar.getnames() == ["a file"] and tar.extractfile("a file").read() == b"content\n" * 1000
    assert stat["name"] == "a file" and stat["size"] == 8000 and stat["mode"] & 0o777 == 0o640
    with pytest.raises(docker.errors.NotFound):
        sleeper.get_archive("/nosuch")
    with pytest.raises(docker.errors.NotFound):
        sleeper.put_archive("/nosuch", tar_of(a=b""))
    made = client.containers.create("busybox", "cat /etc/config")
    assert made.put_archive("/", tar_of(**{"etc/config": b"before the start\n"}))
    made.start()
    made.wait()
    assert made.logs() == b"before the start\n"
    exported = io.BytesIO(b"".join(made.export()))
    with tarfile.open(fileobj=exported) as tar:
        assert "etc/config" in tar.getnames()


def test_build(client, name, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM busybox AS base\nARG WHAT=none\nRUN echo $WHAT >/what\nFROM base\nLABEL a=b\nCOPY file /file\nCMD cat /what /file\n")
    (tmp_path / "file").write_text("in the context\n")
    image, log = client.images.build(path=str(tmp_path), tag=name, buildargs={"WHAT": "built"}, labels={"c": "d"}, rm=True, nocache=True)
    assert any("Successfully built" in line.get("stream", "") for line in log) and image.tags == [f"{name}:latest"]
    assert client.containers.run(name, remove=True) == b"built\nin the context\n"
    assert image.labels["a"] == "b" and image.labels["c"] == "d"
    with pytest.raises(docker.errors.BuildError) as e:
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 7\n"), rm=True)
    assert "returned a non-zero code: 7" in e.value.msg
    context = tar_of(**{"Other": b"FROM busybox\nCOPY d /d\n", "d/x": b"x"})
    image, _ = client.images.build(fileobj=io.BytesIO(context), custom_context=True, dockerfile="Other", tag=f"{name}:tar")
    assert image.tag(f"{name}-other", "t") is True
    assert [h for h in image.history() if "COPY" in h["CreatedBy"]]
    saved = b"".join(image.save(named=True))
    for tag in (f"{name}:latest", f"{name}:tar", f"{name}-other:t"):
        client.images.remove(tag)
    loaded = client.images.load(saved)
    assert loaded and loaded[0].tags
    client.images.remove(loaded[0].id, force=True)


def test_networks_and_volumes(client, name):
    net = client.networks.create(name, driver="bridge", labels={"x": "y"}, check_duplicate=True)
    try:
        volume = client.volumes.create(name + "v", labels={"l": "1"})
        a = client.containers.run("busybox", "httpd -f -p 80 -h /data", detach=True, volumes={volume.name: {"bind": "/data", "mode": "rw"}}, stop_signal="SIGKILL")
        net.connect(a, aliases=["web"])
        client.containers.run("busybox", "sh -c 'echo shared >/d/index.html'", volumes=[f"{volume.name}:/d"], remove=True)
        assert client.containers.run("busybox", "wget -qO- http://web/", network=name, remove=True) == b"shared\n"
        net.reload()
        assert [c.id for c in net.containers] == [a.id]
        with pytest.raises(docker.errors.APIError) as e:
            net.remove()
        assert e.value.response.status_code == 403 and "has active endpoints" in e.value.explanation
        with pytest.raises(docker.errors.APIError) as e:
            volume.remove()
        assert e.value.response.status_code == 409 and "volume is in use" in e.value.explanation
        net.disconnect(a)
        a.remove(force=True)
        volume.remove()
        assert client.networks.list(names=[name], filters={"label": "x=y"})[0].id == net.id
    finally:
        net.remove()


def test_ports(client, engine, name):
    project_images.load(engine, project_images.nginx())
    fixed = free_port()
    c = client.containers.run("nginx:alpine", name=name, detach=True, ports={"80/tcp": [("127.0.0.1", fixed), None]}, healthcheck={"test": ["CMD", "true"], "interval": 200000000})
    c.reload()
    assert {b["HostPort"] for b in c.ports["80/tcp"]} > {str(fixed)}
    assert b"Welcome to nginx" in tcp_ask("127.0.0.1", fixed, b"GET / HTTP/1.0\r\n\r\n")
    wait_until("healthy", lambda: client.api.inspect_container(name)["State"]["Health"]["Status"] == "healthy")
    c.stop(timeout=5)
    assert c.wait()["StatusCode"] == 0
