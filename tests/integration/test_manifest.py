# SPDX-License-Identifier: Apache-2.0
"""manifest create, annotate, inspect, push, rm: lists of what a registry has, beside docker's own command line."""
import json

import pytest

from harness import add_file, busybox_layer, make_tar
from hostile_registry import INDEX, MANIFEST


def small(name):
    return make_tar(lambda t: add_file(t, f"from-{name}", name.encode()))


@pytest.fixture
def client(request, engine, tmp_path):
    """By a name of the parameter: docker's command line asks the registry itself, ours has the engine ask."""
    def call(*args, check=True, which="ireko"):
        home = tmp_path / "a home"
        home.mkdir(exist_ok=True)
        return engine.cli("manifest", *args, client=which, check=check, env={**engine.env(), "DOCKER_CONFIG": str(home), "DOCKER_CLI_EXPERIMENTAL": "enabled"})
    return call


def two_images(registry, name):
    """One in the list's repository and one in another, the layer of which only that one has."""
    one, _ = registry.push_image(name, "one", [busybox_layer(), small(name)], Cmd=["cat", f"/from-{name}"])
    two, _ = registry.push_image(f"{name}/other", "two", [busybox_layer(), small(name + "2")])
    return one, two


def stored(registry, name, tag):
    status, headers, body = registry.ask("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": f"{INDEX}, {MANIFEST}"})
    assert status == 200, body
    return json.loads(body), headers


@pytest.mark.parametrize("pusher", ["ireko", "docker"])
def test_a_list_is_made_and_pushed(client, ireko, registry, name, pusher):
    """What one of the two command lines has begun, the other goes on with; the registry gets the same."""
    one, two = two_images(registry, name)
    place = f"{registry.host}/{name}"
    insecure = ["--insecure"] if pusher == "docker" else []
    assert client("create", *insecure, f"{place}:list", f"{place}:one", which=pusher).stdout.strip() == f"Created manifest list {place}:list"
    p = client("create", *insecure, f"{place}:list", f"{place}/other:two", check=False, which=pusher)
    assert p.returncode == 1 and "refusing to amend an existing manifest list with no --amend flag" in p.stderr
    client("create", *insecure, "--amend", f"{place}:list", f"{place}/other:two", which=pusher)
    client("annotate", f"{place}:list", f"{place}/other:two", "--arch", "arm64", "--variant", "v8", "--os-features", "a,b", which=pusher)
    made = json.loads(client("inspect", f"{place}:list").stdout)
    assert [m["digest"] for m in made["manifests"]] == [one, two]
    assert made["manifests"][1]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8", "os.features": ["a", "b"]}
    assert json.loads(client("inspect", f"{place}:list", f"{place}:one").stdout)["schemaVersion"] == 2
    digest = client("push", *insecure, "--purge", f"{place}:list", which=pusher).stdout.strip().splitlines()[-1]
    assert registry.digest(name, "list") == digest
    got = json.loads(client("inspect", f"{place}:list").stdout)
    assert {m["digest"]: m["platform"]["architecture"] for m in got["manifests"]} == {one: made["manifests"][0]["platform"]["architecture"], two: "arm64"}
    assert got["mediaType"] == INDEX
    ireko("pull", f"{place}:list")
    assert ireko.out("run", "--rm", f"{place}:list") == name
    ireko("rmi", f"{place}:list")
    ireko("pull", f"{place}@{two}")  # all of it was brought over from the other repository
    ireko("rmi", f"{place}@{two}")


def test_both_make_the_same_bytes(client, registry, name):
    two_images(registry, name)
    place = f"{registry.host}/{name}"
    digests = []
    for which, insecure in (("ireko", []), ("docker", ["--insecure"])):
        client("create", *insecure, f"{place}:{which}", f"{place}:one", f"{place}/other:two", which=which)
        digests.append(client("push", *insecure, f"{place}:{which}", which=which).stdout.split()[-1])
    assert digests[0] == digests[1] == registry.digest(name, "ireko")


def test_what_is_refused(client, registry, name):
    two_images(registry, name)
    place = f"{registry.host}/{name}"
    for words, why in (
            (("push", f"{place}:none"), "not found"),
            (("rm", f"{place}:none"), "No such manifest"),
            (("annotate", f"{place}:none", f"{place}:one", "--os", "x"), "does not exist"),
            (("inspect", f"{place}:none", f"{place}:one"), "No such manifest"),
            (("create", f"{place}:l", f"{place}:missing"), "manifest"),
            (("create", f"{place}:l2", "not a name"), "invalid reference")):
        p = client(*words, check=False)
        assert p.returncode == 1 and why in p.stderr, (words, p.stderr)
    client("create", f"{place}:l", f"{place}:one")  # nothing was begun when it failed
    client("create", f"{place}:l3", f"{place}:one")
    client("push", f"{place}:l3")
    p = client("create", f"{place}:l4", f"{place}:l3", check=False)
    assert p.returncode == 1 and "is a manifest list" in p.stderr
    client("create", f"localhost:1/{name}:l5", f"{place}:one")
    p = client("push", f"localhost:1/{name}:l5", check=False)
    assert p.returncode == 1 and "cannot use source images from a different registry than the target image" in p.stderr
    client("annotate", f"localhost:1/{name}:l5", f"{place}:one", "--os", "")
    p = client("push", f"localhost:1/{name}:l5", check=False)
    assert p.returncode == 1 and "must have an OS and Architecture" in p.stderr
    client("rm", f"localhost:1/{name}:l5", f"{place}:l3")


def test_hostile_requests(engine, registry, name):
    place = f"{registry.host}/{name}"
    platform = {"os": "linux", "architecture": "amd64"}
    good = {"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 5, "platform": platform}
    for entries in (None, [], {}, [1], [{}], [{"Ref": f"{place}:x"}], [{"Ref": f"{place}:x", "Descriptor": {**good, "digest": "sha256:../../x"}}],
                    [{"Ref": f"{place}:x", "Descriptor": {**good, "size": -1}}], [{"Ref": 5, "Descriptor": good}], [{"Ref": "..", "Descriptor": good}],
                    [{"Ref": f"{place}:x", "Descriptor": {**good, "platform": "linux"}}], [{"Ref": f"{place}:x", "Descriptor": good}] * 300):
        reply = engine.api("POST", f"/ireko/manifest?reference={place}:list", {"manifests": entries})
        assert reply.status == 400, (entries, reply.body)
    reply = engine.api("POST", f"/ireko/manifest?reference={place}@sha256:{'0' * 64}", {"manifests": [{"Ref": f"{place}:x", "Descriptor": good}]})
    assert reply.status == 400 and "under a tag" in reply.message


def test_a_manifest_that_is_another_is_not_brought_over(engine, registry, name):
    """The bytes from the other repository are checked against the digest that the list says."""
    one, _ = two_images(registry, name)
    place = f"{registry.host}/{name}"
    descriptor = {"mediaType": MANIFEST, "digest": "sha256:" + "a" * 64, "size": 5, "platform": {"os": "linux", "architecture": "amd64"}}
    reply = engine.api("POST", f"/ireko/manifest?reference={place}:list", {"manifests": [{"Ref": f"{place}/other:two", "Descriptor": descriptor}]})
    assert reply.status in (404, 500) and "manifest" in reply.message
    assert registry.digest(name, "one") == one
    assert registry.ask("GET", f"/v2/{name}/manifests/list")[0] == 404
