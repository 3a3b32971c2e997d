# SPDX-License-Identifier: Apache-2.0
"""What registries have, without pulling it: manifests, tags, referrers, search."""
import base64
import json

import pytest

from harness import add_file, make_tar
from registry_double import INDEX, MANIFEST, Double, basic, query_of, wants_basic


def layer(text):
    return make_tar(lambda t: add_file(t, f"of-{text}", text.encode()))


@pytest.fixture
def double():
    with Double() as d:
        yield d


def pages(double, path, member, names, size=2):
    """Answers `path` with pages of `size`, the next one named by a Link header as docker-registry does."""
    def answer(handler):
        last = query_of(handler.path).get("last")
        start = names.index(last) + 1 if last else 0
        page = names[start:start + size]
        headers = {"Content-Type": "application/json"}
        if start + size < len(names):
            headers["Link"] = f'<{path}?last={page[-1]}&n={size}>; rel="next"'
        return 200, headers, json.dumps({member: page}).encode()
    double.answers[path] = answer


# ---- manifests
def index(double, name, tag):
    entries = [{**double.add_image(name, None, [layer(name + a)], a), "platform": {"os": "linux", "architecture": a, **({"variant": "v8"} if a == "arm64" else {})}}
               for a in ("amd64", "arm64")]
    return double.add_manifest(name, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX), entries


def test_manifest_inspect(ireko, engine, double, name):
    before = engine.images()
    image = double.add_image(name, "x", [layer(name)])
    shown = json.loads(ireko.out("manifest", "inspect", f"{double.host}/{name}:x"))
    assert shown == json.loads(double.manifests[f"/v2/{name}/manifests/x"][1])
    verbose = json.loads(ireko.out("manifest", "inspect", "-v", f"{double.host}/{name}:x"))
    assert verbose["Ref"] == f"{double.host}/{name}:x" and verbose["OCIManifest"] == shown
    assert verbose["Descriptor"] == {**image, "platform": {"architecture": "amd64", "os": "linux"}}
    assert engine.images() == before and not any("layer" in q.path for q in double.asked)


def test_manifest_inspect_of_an_index(ireko, double, name):
    top, entries = index(double, name, "x")
    shown = json.loads(ireko.out("manifest", "inspect", f"{double.host}/{name}@{top['digest']}"))
    assert [m["platform"]["architecture"] for m in shown["manifests"]] == ["amd64", "arm64"]
    verbose = json.loads(ireko.out("manifest", "inspect", "--verbose", f"{double.host}/{name}:x"))
    assert [m["Ref"] for m in verbose] == [f"{double.host}/{name}:x@{e['digest']}" for e in entries]
    assert verbose[1]["Descriptor"]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert all(m["OCIManifest"]["schemaVersion"] == 2 for m in verbose)


def test_manifest_inspect_of_what_is_missing(ireko, double, name):
    assert "not found: manifest unknown" in ireko.fails("manifest", "inspect", f"{double.host}/{name}:x", status=1)
    double.manifests[f"/v2/{name}/manifests/lies"] = (MANIFEST, b'{"schemaVersion":2,"config":{}}')
    double.answers[f"/v2/{name}/manifests/lies"] = (200, {"Content-Type": MANIFEST, "Docker-Content-Digest": "sha256:" + "1" * 64}, b'{"config":{}}')
    assert "digest mismatch" in ireko.fails("manifest", "inspect", f"{double.host}/{name}:lies", status=1)


def test_distribution(engine, double, name):
    image = double.add_image(name, "x", [layer(name)], "s390x")
    assert engine.api("GET", f"/distribution/{double.host}/{name}:x/json").json == {"Descriptor": image, "Platforms": [{"architecture": "s390x", "os": "linux"}]}
    top, _ = index(double, name, "multi")
    reply = engine.api("GET", f"/v1.51/distribution/{double.host}/{name}:multi/json").json
    assert reply == {"Descriptor": top, "Platforms": [{"architecture": "amd64", "os": "linux"}, {"architecture": "arm64", "os": "linux", "variant": "v8"}]}
    assert engine.api("GET", f"/distribution/{double.host}/{name}:gone/json").status == 404
    assert engine.api("GET", "/distribution/UPPER/json").status == 400


def test_credentials_come_along(engine, double, name):
    double.add_image(name, "x", [layer(name)])
    wants_basic(double, "u", "p")
    auth = base64.urlsafe_b64encode(json.dumps({"username": "u", "password": "p"}).encode()).decode()
    path = f"/distribution/{double.host}/{name}:x/json"
    assert engine.api("GET", path, headers={"X-Registry-Auth": auth}).status == 200
    reply = engine.api("GET", path)
    assert reply.status == 404 and "docker login" in reply.message
    assert {q.auth for q in double.asked} == {None, basic("u", "p")}


# ---- tags
def test_tags(ireko, double, name):
    names = [f"v{i}" for i in range(7)]
    pages(double, f"/v2/{name}/tags/list", "tags", names)
    assert ireko.out("image", "tags", f"{double.host}/{name}").split() == names
    assert len(double.asked) == 4
    rows = [json.loads(line) for line in ireko.out("image", "tags", "--format", "json", f"{double.host}/{name}").splitlines()]
    assert rows[0] == {"Tag": "v0", "Repository": f"{double.host}/{name}"}


def test_tags_of_what_is_missing(ireko, double, name):
    assert f"repository {double.host}/{name} not found" in ireko.fails("image", "tags", f"{double.host}/{name}", status=1)


@pytest.mark.parametrize("link", ["same", "endless", "elsewhere", "empty"])
def test_lists_that_do_not_end(ireko, double, name, link):
    count = [0]

    def answer(handler):
        count[0] += 1
        where = {"same": "?n=1000", "endless": f"?last={count[0]}", "elsewhere": f"http://127.0.0.2:1/x?last={count[0]}", "empty": f"?last={count[0]}"}[link]
        tags = [] if link == "empty" and count[0] > 1 else [f"t{count[0]}", "not a tag", 5, None]
        return 200, {"Link": f'<{where}>; rel="next"'}, json.dumps({"tags": tags}).encode()

    double.answers[f"/v2/{name}/tags/list"] = answer
    tags = ireko.out("image", "tags", f"{double.host}/{name}", timeout=60).split()
    assert tags[0] == "t1" and "not" not in tags
    assert count[0] == {"same": 1, "endless": 1000, "elsewhere": 1000, "empty": 2}[link]


# ---- referrers
def descriptor(double, name, kind, subject):
    return {**double.add_manifest(name, None, {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "subject": subject,
                                               "config": {"mediaType": "application/vnd.oci.empty.v1+json", **double.add_blob(b"{}")}, "layers": []}),
            "artifactType": kind, "annotations": {"made": name}}


def test_referrers(ireko, engine, double, name):
    image = double.add_image(name, "x", [layer(name)])
    sbom, signature = (descriptor(double, name, f"application/{k}", image) for k in ("spdx+json", "vnd.signature"))
    document = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [sbom, signature, {"digest": "no digest"}]}).encode()
    double.answers[f"/v2/{name}/referrers/{image['digest']}"] = (200, {"Content-Type": INDEX}, document)
    out = ireko.out("image", "referrers", f"{double.host}/{name}:x")
    assert sbom["digest"] in out and signature["digest"] in out and "ARTIFACT TYPE" in out
    rows = [json.loads(line) for line in ireko.out("image", "referrers", "--format", "json", "--artifact-type", "application/spdx+json", f"{double.host}/{name}:x").splitlines()]
    assert [(r["Digest"], r["Annotations"]) for r in rows] == [(sbom["digest"], f"made={name}")]
    assert query_of(double.asked[-1].path) == {"artifactType": "application/spdx+json"}
    reply = engine.api("GET", f"/ireko/referrers?reference={double.host}/{name}:x").json
    assert reply["subject"] == image["digest"] and reply["manifests"] == [sbom, signature]


def test_referrers_of_a_registry_that_has_no_list_of_them(ireko, double, name):
    image = double.add_image(name, "x", [layer(name)])
    assert ireko.out("image", "referrers", "--format", "{{.Digest}}", f"{double.host}/{name}:x") == ""
    sbom = descriptor(double, name, "application/spdx+json", image)
    double.add_manifest(name, image["digest"].replace(":", "-"), {"schemaVersion": 2, "mediaType": INDEX, "manifests": [sbom]}, INDEX)
    assert ireko.out("image", "referrers", "--format", "{{.Digest}}", f"{double.host}/{name}:x") == sbom["digest"]
    assert ireko.out("image", "referrers", "--format", "{{.Digest}}", "--artifact-type", "application/other", f"{double.host}/{name}:x") == ""
    assert "manifest unknown" in ireko.fails("image", "referrers", f"{double.host}/{name}:gone", status=1)


# ---- search
RESULTS = [{"name": "library/a", "description": "An \x1b[31mimage\nof lines that are rather longer than forty-five columns", "star_count": 12, "is_official": True, "is_automated": False},
           {"name": "b/c", "description": None, "star_count": 3, "is_official": False, "is_automated": False}]


def test_search_of_a_registry_that_has_one(cli, double):
    double.answers["/v1/search"] = (200, {"Content-Type": "application/json"}, json.dumps({"num_results": 2, "results": RESULTS}).encode())
    out = cli.out("search", f"{double.host}/ä b").splitlines()
    assert out[0].split()[:4] == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert out[1].startswith(f"{double.host}/library/a") and "12" in out[1] and "[OK]" in out[1] and "\n" not in out[1]
    asked = query_of(double.asked[-1].path)
    assert asked["q"] == "ä b" and asked["n"] == "25"
    assert cli.out("search", "--filter", "stars=5", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}}", f"{double.host}/x").startswith(f"{double.host}/library/a 12 ")
    assert cli.out("search", "--filter", "is-official=false", "--format", "{{.Name}}", f"{double.host}/x") == f"{double.host}/b/c"
    assert cli.out("search", "--no-trunc", "--format", "{{.Description}}", f"{double.host}/x").splitlines()[0].endswith("columns")
    cli("search", "--limit", "1", f"{double.host}/x")
    assert query_of(double.asked[-1].path)["n"] == "1"


def test_search_by_catalog(ireko, engine, double):
    pages(double, "/v2/_catalog", "repositories", ["base/one", "base/two", "other", "my-base", "zbase"])
    assert ireko.out("search", "--format", "{{.Name}}", f"{double.host}/BASE").split() == [f"{double.host}/{n}" for n in ("base/one", "base/two", "my-base", "zbase")]
    assert len(engine.api("GET", f"/images/search?term={double.host}/base&limit=2").json) == 2


def test_searches_that_are_refused(ireko, engine, double):
    for limit in ("101", "-1"):
        reply = engine.api("GET", f"/images/search?term=x&limit={limit}")
        assert reply.status == 400 and "outside the range of [1, 100]" in reply.message
    assert engine.api("GET", "/images/search?term=").status == 400
    assert engine.api("GET", '/images/search?term=x&filters=%7B%22color%22:[%22red%22]%7D').status == 400
    assert "neither a search nor a catalog" in ireko.fails("search", f"{double.host}/x", status=1)
