# SPDX-License-Identifier: Apache-2.0
"""Registries that lie about their tags and referrers, one row a lie; the house is that of test_registry_hostile.py."""
import base64
import json
import re

import pytest

from hostile_registry import INDEX, OK, USER, PASSWORD, addresses, basic, digest, endless, house, measured, secrets_in, tls  # noqa: F401 (fixtures)

LIES = {}
DIGEST = "sha256:" + "a" * 64


def lie(what="tags", words=None, shown=None):
    """words: of the error; shown: what the answer has instead."""
    def add(f):
        LIES[f.__name__] = (f, what, words, shown)
        return f
    return add


def tags(r, names, link=None):
    r.registry.answers[f"/v2/{r.name}/tags/list"] = (200, {"Content-Type": "application/json", **({"Link": link} if link else {})}, json.dumps({"name": r.name, "tags": names}).encode())


@lie(shown=["a", "b"])
def the_truth(r):
    tags(r, ["a", "b"])
    basic(r)


@lie(shown=["a"])
def next_page_is_the_same(r):
    tags(r, ["a"], f'</v2/{r.name}/tags/list?last=a>; rel="next"')


@lie(shown=["a"])
def next_page_is_on_another_host(r):
    tags(r, ["a"], f'<{r.attacker.url}/v2/{r.name}/tags/list?last=a>; rel="next"')
    basic(r)


@lie(shown=["a"])
def next_page_is_on_this_machine(r):
    tags(r, ["a"], f'<{r.near.url}/x?last=a>; rel="next"')


@lie(shown=["a"])
def next_page_with_a_line_break(r):
    tags(r, ["a"], '</x?last=a%0d%0a b>; rel="next"')


@lie()
def pages_without_end(r):
    numbers = iter(range(10**9))

    def page(handler):
        n = next(numbers)
        return 200, {"Link": f'</v2/x?last={n}>; rel="next"'}, json.dumps({"tags": [f"t{n}"]}).encode()
    r.registry.answers[f"/v2/{r.name}/tags/list"] = page


@lie(words="larger than the limit")
def page_without_end(r):
    r.registry.answers[f"/v2/{r.name}/tags/list"] = endless(OK + b"\r\n", b" " * 65536)


@lie(shown=["good"])
def tags_that_are_none(r):
    tags(r, ["good", "\x1b[2J", "../../etc/passwd", "a@" + DIGEST, "a b", "", "x" * 200, "é", "a:b"])


@lie(shown=[])
def tags_of_another_type(r):
    r.registry.answers[f"/v2/{r.name}/tags/list"] = (200, {}, b'{"tags":[{"a":1},[],7]}')


@lie(words="more values, arrays and objects")
def brackets(r):
    r.registry.answers[f"/v2/{r.name}/tags/list"] = (200, {}, b'{"tags":' + b"[" * 100000)


def subject(r):
    """An image, and where its referrers are asked for."""
    r.image()
    return f"/v2/{r.name}/referrers/{digest(r.document)}"


@lie(what="referrers", words="larger than the limit")
def referrers_without_end(r):
    r.registry.answers[subject(r)] = endless(OK + b"Content-Type: " + INDEX.encode() + b"\r\n\r\n", b" " * 65536)


@lie(what="referrers", shown=[])
def referrers_that_are_none(r):
    entries = [{"mediaType": "x", "digest": "sha256:../../etc/passwd", "size": -1}]
    r.registry.answers[subject(r)] = (200, {"Content-Type": INDEX}, json.dumps({"schemaVersion": 2, "manifests": entries}).encode())


@pytest.mark.parametrize("name", LIES)
def test_lies(house, name):
    engine, rig = house
    arrange, what, words, shown = LIES[name]
    rig.begin("lists-" + name.replace("_", "-"))
    arrange(rig)
    reference = f"{rig.registry.host}/{rig.name}" + (":x" if what == "referrers" else "")
    auth = base64.urlsafe_b64encode(json.dumps({"username": USER, "password": PASSWORD, "serveraddress": rig.registry.host}).encode()).decode()
    with measured(engine):
        reply = engine.api("GET", f"/ireko/{what}?reference={reference}", headers={"X-Registry-Auth": auth})
    if words:
        assert reply.status >= 400 and re.search(words, reply.message), reply.body
    else:
        assert reply.status == 200, reply.body
        if shown is not None:
            assert sorted(set(reply.json["tags" if what == "tags" else "manifests"])) == shown, reply.json
    assert b"\\u001b" not in reply.body and b"\x1b" not in reply.body
    assert not rig.attacker.asked and not rig.near.asked and not secrets_in(rig.attacker)
    assert len(rig.registry.asked) < 1100
    assert engine.api("GET", "/_ping").status == 200
