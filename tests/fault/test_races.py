# SPDX-License-Identifier: Apache-2.0
"""Pulls, removals, prunes and runs of the same images at the same time: each gets what it asked for or a clear answer, the store stays whole."""
import re
import threading
import time

import pytest

from harness import busybox_layer, docker_archive, wait_until
from storage import CountingRegistry, blobs, check, image_layers, layer, settled


@pytest.fixture
def registry():
    r = CountingRegistry()
    yield r
    r.close()


@pytest.fixture
def racer(new_engine):
    return new_engine("--insecure-registry", "127.0.0.0/8", busybox=False)


def test_many_clients_download_once(racer):
    """Eight pulls of one image at once, over a slow line: every layer crosses it once."""
    registry = CountingRegistry(pause=lambda at: time.sleep(0.05))
    try:
        packed = registry.push("race/once", "x", image_layers(4, big=400000))
        ps = [racer.popen("pull", f"{registry.host}/race/once:x") for _ in range(8)]
        out = [p.communicate(timeout=90)[0] for p in ps]
        assert [p.returncode for p in ps] == [0] * 8, out
        # The server writes down what it has sent a moment after the client has it.
        wait_until("each layer was sent", lambda: {d for d, _ in registry.sent} >= set(packed))
        sent = [d for d, _ in registry.sent]
        assert sorted(d for d in sent if d in packed) == sorted(packed), "a layer was downloaded twice"
    finally:
        registry.close()
    check(racer)


def test_a_client_that_waits_takes_over(racer):
    """The client that downloads goes away: the one that waited for it downloads instead."""
    started = threading.Event()

    def pause(at):
        started.set()
        time.sleep(0.2)

    registry = CountingRegistry(pause=pause)
    try:
        registry.push("race/over", "x", image_layers(2, big=400000))
        first = racer.popen("pull", f"{registry.host}/race/over:x")
        assert started.wait(20)
        second = racer.popen("pull", f"{registry.host}/race/over:x")
        time.sleep(0.3)
        first.kill()
        first.communicate()
        registry.pause = None
        out, _ = second.communicate(timeout=60)
        assert second.returncode == 0, out
    finally:
        registry.close()
    check(racer)


@pytest.mark.seconds(180)
def test_pull_against_rmi_and_prune(racer, registry):
    registry.push("race/rm", "x", image_layers(3))
    registry.push("race/rm", "y", [*image_layers(2), layer(7)])
    stop, bad = threading.Event(), []

    def loop(good, *args):
        while not stop.is_set():
            p = racer.cli(*args, check=False)
            if p.returncode != 0 and not re.search(good, p.stderr):
                bad.append((args, p.stdout, p.stderr))

    x, y = (f"{registry.host}/race/rm:{t}" for t in "xy")
    work = [("$never", "pull", x), ("$never", "pull", y), ("No such image|reference does not exist|conflict", "rmi", "-f", x),
            ("already running|No such image", "image", "prune", "-af"), ("No such image|conflict|is using", "rmi", "-f", y),
            ("No such image|not found|deleted meanwhile", "run", "--rm", x, "true")]
    threads = [threading.Thread(target=loop, args=w) for w in work]
    for t in threads:
        t.start()
    time.sleep(15)
    stop.set()
    for t in threads:
        t.join()
    assert not bad, bad[:3]
    check(racer)
    for reference in (x, y):
        racer.cli("pull", reference)
    check(racer)
    racer.cli("image", "prune", "-af")
    settled(racer)
    assert not racer.images()


def test_create_against_removal_by_force(racer):
    """A container of an image that is removed by force meanwhile: it is made, or there is no such image; never one without its layers."""
    archive = docker_archive("race-force:x", [busybox_layer()])
    until, answers = time.monotonic() + 8, []

    def come_and_go():
        while time.monotonic() < until:
            racer.api("POST", "/images/load", archive, {"Content-Type": "application/x-tar"})
            racer.api("DELETE", "/images/race-force:x?force=1")

    def create():
        while time.monotonic() < until:
            made = racer.api("POST", "/containers/create", {"Image": "race-force:x", "Cmd": ["true"]})
            answers.append((made.status, made.json.get("message", "")))
            if made.status == 201:
                assert racer.api("DELETE", f"/containers/{made.json['Id']}").status == 204

    threads = [threading.Thread(target=t) for t in (come_and_go, create, create)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert set(answers) == {(201, ""), (404, "No such image: race-force:x")}
    check(racer)
    racer.cli("image", "prune", "-af")
    settled(racer)


def test_what_a_failed_pull_left(new_engine, registry):
    """Blobs that came before the failure wait for the next try, but not for ever."""
    engine = new_engine("--insecure-registry", "127.0.0.0/8", "--gc-leftover-age", "1h", "--gc-interval", "200ms", busybox=False)
    # The last one takes longest, so the others are there when it turns out to be bad.
    packed = registry.push("race/left", "x", [*image_layers(2), layer(2, big=12000000)])
    good = registry.blobs[packed[-1]]
    registry.blobs[packed[-1]] = good[:-1] + b"?"
    assert engine.cli("pull", f"{registry.host}/race/left:x", check=False).returncode != 0
    there = blobs(engine) & set(packed)
    assert there, "what was good is there for the next try"
    registry.blobs[packed[-1]] = good
    registry.forget_sent()
    engine.cli("pull", f"{registry.host}/race/left:x")
    wait_until("only what was missing was sent", lambda: {d for d, _ in registry.sent} == set(packed) - there)
    bad = registry.push("race/left", "y", [layer(20), layer(21, big=12000000)])[-1]
    registry.blobs[bad] = registry.blobs[bad][:-1] + b"?"
    there = blobs(engine)
    assert engine.cli("pull", f"{registry.host}/race/left:y", check=False).returncode != 0
    assert blobs(engine) > there
    engine.options = tuple("1s" if o == "1h" else o for o in engine.options)
    engine.restart()
    wait_until("it is gone", lambda: blobs(engine) == there)
    check(engine)
