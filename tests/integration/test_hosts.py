# SPDX-License-Identifier: Apache-2.0
"""The ways to a registry: certificates and credentials of certs.d, proxies, mirrors; and downloads that are cut off, put off or shared."""
import base64
import email.utils
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import time

import pytest

from harness import BUILD, add_file, free_port, make_tar, program, run, temp_folder, wait_until
from registry_double import INDEX, Authority, Double, Proxy, basic, query_of, wants_basic

NAME = "registry.test"  # no resolver knows it


def layer(text, size=0):
    def fill(t):
        add_file(t, f"of-{text}", text.encode())
        if size:
            add_file(t, "noise", os.urandom(size))
    return make_tar(fill)


@pytest.fixture
def double():
    with Double() as d:
        yield d


def refused(engine, *args):
    p = engine.cli(*args, check=False, timeout=90)
    assert p.returncode != 0, p.stdout
    return p.stderr


def put(folder, *parts, text, mode=0o644):
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


# ---- certificates and proxies
def test_own_authority_and_client_certificate_through_a_proxy_with_a_password(new_engine, folder, name):
    ca = Authority(folder)
    certs = folder / "certs d"
    cert, key = ca.issue("client")
    put(certs, NAME, "ca.crt", text=ca.cert.read_bytes())
    put(certs, NAME, "client.cert", text=cert.read_bytes())
    put(certs, NAME, "client.key", text=key.read_bytes(), mode=0o600)
    with Double(ca.server_context(NAME, client_certificates=True)) as d, Proxy({f"{NAME}:443": d.port}, ("user", "geheim")) as proxy:
        engine = new_engine("--certs-dir", certs, "--https-proxy", f"http://user:geheim@127.0.0.1:{proxy.port}", busybox=False)
        for tag in ("a", "b", "c"):
            d.add_image(name, tag, [layer(name + tag)])
        engine.cli("pull", f"{NAME}/{name}:a")
        assert proxy.asked and all(first == f"CONNECT {NAME}:443 HTTP/1.1" for first, _ in proxy.asked)
        # The folder is read anew: without our certificate, and without the authority, the registry is out of reach.
        (certs / NAME / "client.cert").unlink()
        said = refused(engine, "pull", f"{NAME}/{name}:b")
        assert re.search("certificate|alert|SSL", said, re.I), said
        (certs / NAME / "ca.crt").unlink()
        said = refused(engine, "pull", f"{NAME}/{name}:c")
        assert "certificate" in said and f"certs.d" in said, said
        assert engine.api("GET", "/info").json["HttpsProxy"] == f"http://xxxxx:xxxxx@127.0.0.1:{proxy.port}"
        assert "geheim" not in engine.log_text() + said + engine.api("GET", "/info").body.decode()


def test_a_certificate_without_its_key_is_told(new_engine, folder, name):
    put(folder, "certs", NAME, "client.cert", text="x")
    engine = new_engine("--certs-dir", folder / "certs", busybox=False)
    said = refused(engine, "pull", f"{NAME}/{name}:a")
    assert "missing key" in said and "CA certificates must use the extension .crt" in said


def test_a_proxy_that_refuses_is_named_as_the_cause(new_engine, name):
    with Proxy({}, ("user", "geheim")) as proxy:
        engine = new_engine("--https-proxy", f"http://user:falsch@127.0.0.1:{proxy.port}", busybox=False)
        start = time.monotonic()
        said = refused(engine, "pull", f"{NAME}/{name}:a")
        assert "407" in said and "proxy" in said and "falsch" not in said, said
        assert time.monotonic() - start < 20 and len(proxy.asked) == 1
        assert "falsch" not in engine.log_text()


def test_plain_requests_go_through_the_proxy_of_the_environment(new_engine, double, name):
    double.add_image(name, "x", [layer(name)])
    with Proxy({f"{NAME}:5000": double.port}) as proxy:
        engine = new_engine("--insecure-registry", f"{NAME}:5000", busybox=False,
                            prefix=("env", f"HTTP_PROXY=http://127.0.0.1:{proxy.port}", f"HTTPS_PROXY=http://127.0.0.1:{proxy.port}"))
        engine.cli("pull", f"{NAME}:5000/{name}:x")
        assert any(first.startswith(f"GET http://{NAME}:5000/v2/{name}/") for first, _ in proxy.asked), proxy.asked


def test_no_proxy_and_the_files_proxies(new_engine, folder, double, name):
    with Proxy({f"{NAME}:5000": double.port}) as proxy:
        config = put(folder, "daemon.json", text=json.dumps({"proxies": {"http-proxy": f"http://127.0.0.1:{proxy.port}", "https-proxy": f"127.0.0.1:{proxy.port}",
                                                                         "no-proxy": f"other.test, {NAME}"}}))
        engine = new_engine("--config", config, "--insecure-registry", NAME, busybox=False)
        said = refused(engine, "pull", f"{NAME}:5000/{name}:x")
        assert "resolve" in said and not proxy.asked
        assert engine.api("GET", "/info").json["NoProxy"] == f"other.test, {NAME}"


def test_this_machine_is_never_reached_through_a_proxy(new_engine, double, name):
    dead = f"http://127.0.0.1:{free_port()}"
    engine = new_engine("--http-proxy", dead, "--https-proxy", dead, busybox=False)
    double.add_image(name, "x", [layer(name)])
    engine.cli("pull", f"{double.host}/{name}:x")
    engine.cli("pull", f"localhost:{double.port}/{name}:x")


@pytest.mark.parametrize("text,cause", [('{"proxies": {"ftp-proxy": "x"}}', "don't match any configuration option: ftp-proxy"), ('{"proxies": {"http-proxy": "ftp://u:geheim@x"}}', "http-proxy"),
                                        ('{"max-concurrent-downloads": 0}', "1 to 32"), ('{"certs-dir": "x"}', "absolute")])
def test_settings_that_are_wrong_are_told(folder, text, cause):
    config = put(folder, "daemon.json", text=text)
    p = run(BUILD / "irekod", "--data-root", folder / "data", "--exec-root", folder / "run", "--config", config, check=False)
    assert p.returncode == 1 and cause in p.stderr and "geheim" not in p.stderr


# ---- mirrors
def test_mirrors_are_asked_in_order_and_passed_over(new_engine, name):
    with Double() as lacks, Double() as breaks, Double() as has:
        for d in (breaks, has):
            d.add_image(name, "x", [(common := layer(name)) if d is breaks else common])
        broken = [a for a in breaks.blobs if breaks.blobs[a][:2] == b"\x1f\x8b"][0]
        breaks.answers[f"/v2/{name}/blobs/{broken}"] = lambda handler: (404, {}, b"")
        options = []
        for host in (f"127.0.0.1:{free_port()}", lacks.host, breaks.host, has.host):
            options += ["--registry-mirror", f"{NAME}=http://{host}"]
        engine = new_engine(*options, busybox=False)
        p = engine.cli("pull", f"{NAME}/{name}:x")
        told = [line for line in p.stdout.splitlines() if line.startswith("Mirror ")]
        assert len(told) == 3 and lacks.host in told[1] and breaks.host in told[2], p.stdout
        assert lacks.asked and breaks.asked and has.asked
        digests = json.loads(engine.cli("image", "inspect", f"{NAME}/{name}:x").stdout)[0]["RepoDigests"]
        assert digests[0].startswith(f"{NAME}/{name}@sha256:")


def test_what_is_told_when_nobody_has_it(new_engine, name):
    with Double() as a, Double() as b:
        engine = new_engine("--registry-mirror", f"{NAME}=http://{a.host}", "--registry-mirror", f"{NAME}=http://{b.host}/below", busybox=False)
        said = refused(engine, "pull", f"{NAME}/{name}:x")
        assert "resolve" in said and f"mirrors asked before: {a.host}: " in said and f"{b.host}/below: " in said, said
        assert all(q.path.startswith("/below/v2/") for q in b.asked)


def test_a_mirror_of_every_registry_is_told_whom_it_stands_for(new_engine, double, name):
    double.add_image(name, "x", [layer(name)])
    with Double() as of_one:
        of_one.add_image(name, "x", [layer(name + "one")])
        engine = new_engine("--registry-mirror", f"*=http://{double.host}", "--registry-mirror", f"own.test=http://{of_one.host}", busybox=False)
        engine.cli("pull", f"{NAME}/{name}:x")
        assert {query_of(q.path).get("ns") for q in double.asked} == {NAME}
        before = len(double.asked)
        engine.cli("pull", f"own.test/{name}:x")
        assert len(double.asked) == before and not any("ns=" in q.path for q in of_one.asked)
        mirrors = engine.api("GET", "/info").json["RegistryConfig"]["IndexConfigs"]
        assert mirrors["own.test"]["Mirrors"] == [f"http://{of_one.host}"]


def test_a_mirror_gets_its_own_credentials_and_no_others(new_engine, folder, double, name):
    double.add_image(name, "x", [layer(name)])
    wants_basic(double, "mirror", "geheim")
    auth = put(folder, "certs", double.host, "auth.json", text='{"username": "mirror", "password": "geheim"}', mode=0o600)
    engine = new_engine("--certs-dir", folder / "certs", "--registry-mirror", f"{NAME}=http://{double.host}", busybox=False)
    users = base64.urlsafe_b64encode(json.dumps({"username": "user", "password": "of the registry"}).encode()).decode()
    reply = engine.api("POST", f"/images/create?fromImage={NAME}/{name}&tag=x", headers={"X-Registry-Auth": users})
    assert reply.status == 200 and not [m for m in reply.lines if "error" in m], reply.body
    assert {q.auth for q in double.asked} == {None, basic("mirror", "geheim")}
    auth.chmod(0o644)
    assert "chmod 600" in refused(engine, "pull", f"{NAME}/{name}:x")


# ---- downloads
def test_resumes_after_several_cuts(engine, double, name):
    data = layer(name, 900000)
    double.add_image(name, "x", [data])
    digest = max(double.blobs, key=lambda d: len(double.blobs[d]))
    double.cuts[digest] = [100000, 1, 250000, 300000]
    engine.cli("pull", f"{double.host}/{name}:x")
    ranges = [a.headers.get("Range") for a in double.of_blobs() if digest in a.path]
    assert ranges == [None, "bytes=100000-", "bytes=100001-", "bytes=350001-", "bytes=650001-"]
    engine.cli("rmi", f"{double.host}/{name}:x")


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_comes_back_when_it_is_told_to(engine, double, name, form, what):
    double.add_image(name, "x", [layer(name)])
    turned_away = []

    def busy(handler):
        if f"/{what}/" not in handler.path or turned_away:
            return None
        turned_away.append(time.monotonic())
        value = "2" if form == "seconds" else email.utils.formatdate(time.time() + 3, usegmt=True)
        return 429 if what == "blobs" else 503, {"Retry-After": value}, b""

    double.answers["*"] = busy
    engine.cli("pull", f"{double.host}/{name}:x")
    assert time.monotonic() - turned_away[0] > 1.9
    engine.cli("rmi", f"{double.host}/{name}:x")


def test_many_clients_download_once(engine, double, name):
    double.add_image(name, "x", [layer(name, 400000), layer(name + "2", 300000)])
    double.pace = (20000, 0.02)
    ps = [engine.popen("pull", f"{double.host}/{name}:x") for _ in range(5)]
    said = [p.communicate(timeout=60)[0] for p in ps]
    assert [p.returncode for p in ps] == [0] * 5, said
    asked = [q.path for q in double.of_blobs() if len(double.blobs[q.path.rsplit("/", 1)[1]]) > 10000]
    assert len(asked) == len(set(asked)) == 2, asked
    engine.cli("rmi", f"{double.host}/{name}:x")


def test_who_leaves_hands_on_what_has_arrived(engine, double, name):
    double.add_image(name, "x", [layer(name, 900000)])
    double.pace = (20000, 0.2)
    of_layer = lambda: [q for q in double.of_blobs() if len(double.blobs[q.path.rsplit("/", 1)[1]]) > 10000]
    first = engine.popen("pull", f"{double.host}/{name}:x")
    wait_until("the layer is asked for", of_layer)
    second = engine.popen("pull", f"{double.host}/{name}:x")
    time.sleep(0.8)
    assert len(of_layer()) == 1
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=10) != 0
    first.stdout.close()
    double.pace = (20000, 0.01)
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 0, said
    ranges = [q.headers.get("Range") for q in of_layer()]
    assert len(ranges) == 2 and ranges[0] is None and int(ranges[1][6:-1]) > 20000, ranges
    assert engine.cli("image", "inspect", f"{double.host}/{name}:x").returncode == 0
    engine.cli("rmi", f"{double.host}/{name}:x")


def test_a_pull_that_was_stopped_goes_on_when_it_is_asked_for_again(engine, double, name):
    double.add_image(name, "x", [layer(name, 900000)])
    double.pace = (20000, 0.2)
    of_layer = lambda: [q for q in double.of_blobs() if len(double.blobs[q.path.rsplit("/", 1)[1]]) > 10000]
    p = engine.popen("pull", f"{double.host}/{name}:x")
    wait_until("the layer is asked for", of_layer)
    time.sleep(0.8)
    p.send_signal(signal.SIGINT)
    assert p.wait(timeout=10) != 0
    p.stdout.close()
    double.pace = None
    engine.cli("pull", f"{double.host}/{name}:x")
    ranges = [q.headers.get("Range") for q in of_layer()]
    assert len(ranges) == 2 and ranges[0] is None and int(ranges[1][6:-1]) >= 20000, ranges
    assert "consistent" in engine.cli("system", "check").stdout
    engine.cli("rmi", f"{double.host}/{name}:x")


@pytest.mark.parametrize("snapshotter", ["auto", "overlayfs"])
def test_the_same_layer_again_and_again_for_many_clients(new_engine, double, name, snapshotter):
    """Layers are unpacked side by side, wait for those below, and share blobs with others of their image: nobody may wait for ever."""
    def below(i):  # files in folders that a lower layer has described, or none
        def fill(t):
            if i == 0:
                add_file(t, "shared", type=tarfile.DIRTYPE, mode=0o750)
            add_file(t, f"shared/of-{i}", os.urandom(50000 if i % 2 else 200000))
        return make_tar(fill)

    different = [below(i) for i in range(5)]
    layers = [different[i] for i in (0, 1, 1, 2, 1, 3, 3, 3, 0, 4, 1, 2)]
    double.add_image(name, "x", layers)
    engine = new_engine("--snapshotter", snapshotter, "--max-concurrent-downloads", "6", busybox=False)
    for _ in range(4):
        ps = [engine.popen("pull", f"{double.host}/{name}:x") for _ in range(3)]
        said = [p.communicate(timeout=60)[0] for p in ps]
        assert [p.returncode for p in ps] == [0] * 3, said
        exported = engine.root / "x.tar"
        engine.cli("create", "--name", name, f"{double.host}/{name}:x", "nothing")
        engine.cli("export", "-o", exported, name)
        with tarfile.open(exported) as tar:
            assert {f"shared/of-{i}" for i in range(5)} <= set(tar.getnames()) and tar.getmember("shared").mode & 0o7777 == 0o750
        engine.cli("rm", name)
        engine.cli("rmi", f"{double.host}/{name}:x")


def test_no_more_at_once_than_told(new_engine, double, folder, name):
    double.add_image(name, "x", [layer(f"{name}{i}", 60000) for i in range(8)])
    running, most = [0], [0]
    plain = double.blob

    def watched(handler, digest):
        if len(double.blobs[digest]) < 10000:
            return plain(handler, digest)
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.2)
        answer = plain(handler, digest)
        running[0] -= 1
        return answer

    double.blob = watched
    file = folder / "daemon.json"
    file.write_text('{"max-concurrent-downloads": 2}')
    engine = new_engine("--config-file", file, busybox=False)
    engine.cli("pull", f"{double.host}/{name}:x")
    assert most[0] == 2
    engine.cli("rmi", f"{double.host}/{name}:x")
    file.write_text('{"max-concurrent-downloads": 5}')
    engine.p.send_signal(signal.SIGHUP)
    wait_until("it is read again", lambda: "settings were read again" in engine.log_text())
    most[0] = 0
    engine.cli("pull", f"{double.host}/{name}:x")
    assert most[0] == 5


# ---- what a reference may say
def test_all_tags(cli, engine, double, name):
    for tag in ("one", "two", "three"):
        double.add_image(name, tag, [layer(name + tag)])
    double.answers[f"/v2/{name}/tags/list"] = (200, {}, json.dumps({"name": name, "tags": ["one", "two", "three"]}).encode())
    out = cli.out("pull", "-a", f"{double.host}/{name}")
    assert {f"{double.host}/{name}:{t}" for t in ("one", "two", "three")} <= set(cli.out("images", "--format", "{{.Repository}}:{{.Tag}}").split())
    assert out.count("Digest: ") == 3
    cli("rmi", *(f"{double.host}/{name}:{t}" for t in ("one", "two", "three")))


def test_a_tag_beside_a_digest_matches_nothing(cli, double, name):
    digest = double.add_image(name, None, [layer(name)])["digest"]
    reference = f"{double.host}/{name}:gone@{digest}"
    assert f"Digest: {digest}" in cli.out("pull", reference)
    assert not any("/manifests/gone" in q.path for q in double.asked)
    assert json.loads(cli.out("image", "inspect", reference))[0]["RepoTags"] == []
    before = len(double.asked)
    assert "up to date" in cli.out("pull", reference) and len(double.asked) == before
    cli("rmi", f"{double.host}/{name}@{digest}")


def add_index(double, name, tag, *arches):
    entries = [{**double.add_image(name, None, [layer(name + a)], a), "platform": {"os": "linux", "architecture": a}} for a in arches]
    return double.add_manifest(name, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)


def test_the_index_is_kept_as_long_as_the_image(new_engine, double, name):
    engine = new_engine(busybox=False)
    index = add_index(double, name, "x", "amd64", "arm64")
    engine.cli("pull", "--platform", "linux/arm64", f"{double.host}/{name}:x")
    kept = engine.data_root / "content/blobs/sha256" / index["digest"][7:]
    assert kept.read_bytes() == double.manifests[f"/v2/{name}/manifests/x"][1]
    assert index["digest"] in engine.cli("images", "--digests").stdout
    engine.cli("rmi", f"{double.host}/{name}:x")
    assert not kept.exists()


def test_another_platform_than_wanted(cli, double, name):
    double.add_image(name, "x", [layer(name)], "s390x")
    said = cli.fails("pull", "--platform", "linux/arm64", f"{double.host}/{name}:x")
    assert f"image with reference {double.host}/{name}:x was found but does not match the specified platform: wanted linux/arm64, actual: linux/s390x" in said


def test_one_round_trip_for_an_image_that_is_here(engine, double, name):
    double.add_image(name, "x", [layer(name)])
    engine.cli("pull", f"{double.host}/{name}:x")
    before = len(double.asked)
    assert "up to date" in engine.cli("pull", f"{double.host}/{name}:x").stdout
    assert [(q.method, q.path) for q in double.asked[before:]] == [("HEAD", f"/v2/{name}/manifests/x")]
    engine.cli("rmi", f"{double.host}/{name}:x")


# ---- real servers
@pytest.fixture
def nginx(folder):
    """nginx with TLS and HTTP/2 in front of a double; the protocol of each request is in its log."""
    made = []

    def start(upstream, cert, key):
        port, log = free_port(), folder / "access log"
        config = put(folder, "nginx.conf", text=f"""
daemon off; master_process off; pid "{folder}/pid"; error_log "{folder}/error";
events {{}}
http {{
  log_format protocols "$server_protocol $connection $request_uri";
  access_log "{log}" protocols;
  client_body_temp_path "{folder}/t1"; proxy_temp_path "{folder}/t2"; fastcgi_temp_path "{folder}/t3"; uwsgi_temp_path "{folder}/t4"; scgi_temp_path "{folder}/t5";
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate "{cert}"; ssl_certificate_key "{key}";
    location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Host $http_host; }}
  }}
}}
""")
        p = subprocess.Popen([program("nginx"), "-c", str(config), "-p", str(folder), "-e", str(folder / "error")], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        made.append(p)
        wait_until("nginx listens", lambda: p.poll() is not None or _listens(port))
        assert p.poll() is None, p.stderr.read().decode()
        return port, log

    yield start
    for p in made:
        p.terminate()
        p.wait(timeout=10)
        p.stderr.close()


def _listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def test_http2_where_the_server_offers_it(engine, double, folder, nginx, name):
    double.add_image(name, "x", [layer(f"{name}{i}", 200000) for i in range(6)])
    port, log = nginx(double.host, *Authority(folder).issue(NAME))
    engine.cli("pull", f"127.0.0.1:{port}/{name}:x")
    wait_until("the log has all requests", lambda: log.read_text().count("/blobs/") == 7)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert lines and {line[0] for line in lines} == {"HTTP/2.0"}, lines
    # Manifest, config and the first layers share a connection; the other workers have one each.
    assert len({line[1] for line in lines}) <= 5, lines
    engine.cli("rmi", f"127.0.0.1:{port}/{name}:x")


class Secured:
    """Debian's docker-registry with TLS and passwords."""

    def __init__(self, folder, ca):
        self.folder, self.port = temp_folder("secured"), free_port()
        cert, key = ca.issue("localhost", "IP:127.0.0.1")
        (self.folder / "htpasswd").write_text("user:" + run("perl", "-e", 'print crypt("geheim", q($2y$05$) . "a" x 22)').stdout + "\n")
        config = put(self.folder, "config.yml", text=f"""version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {self.folder}/data}}}}
auth: {{htpasswd: {{realm: tests, path: {self.folder}/htpasswd}}}}
http: {{addr: '127.0.0.1:{self.port}', tls: {{certificate: '{cert}', key: '{key}'}}}}
""")
        self.log = (self.folder / "log").open("wb")
        self.p = subprocess.Popen([program("docker-registry"), "serve", str(config)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_until("docker-registry listens", lambda: self.p.poll() is not None or _listens(self.port))
        assert self.p.poll() is None, (self.folder / "log").read_text()

    def close(self):
        self.p.terminate()
        self.p.wait(timeout=10)
        self.log.close()
        shutil.rmtree(self.folder)


def test_docker_registry_with_tls_and_passwords(engine, folder, name):
    ca = Authority(folder)
    secured = Secured(folder, ca)
    try:
        engine.cli("save", "-o", folder / "b.tar", "busybox")
        run(program("skopeo"), "--insecure-policy", "copy", "--dest-creds", "user:geheim", "--dest-tls-verify=false", f"docker-archive:{folder}/b.tar",
            f"docker://127.0.0.1:{secured.port}/{name}:x")
        config = put(folder, "config", "config.json", text=json.dumps({"auths": {f"127.0.0.1:{secured.port}": {"auth": basic("user", "geheim")[6:]}}}))
        reference = f"127.0.0.1:{secured.port}/{name}:x"
        assert "docker login" in refused(engine, "pull", reference) or "authentication required" in refused(engine, "pull", reference)
        for client in ("ireko", "docker"):
            p = engine.cli("--config", config.parent, "pull", reference, client=client)
            assert "Digest: sha256:" in p.stdout
            engine.cli("rmi", reference)
    finally:
        secured.close()
