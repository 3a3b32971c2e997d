# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests that drive the programs, a time limit for each test, and the engine's log in the report of one that fails."""
import os
import signal
import uuid

import pytest

import harness
import runtime_bundle

TEST_SECONDS = 120


def pytest_configure(config):
    config.addinivalue_line("markers", "seconds(n): time limit of this test, instead of the usual one")
    config.addinivalue_line("markers", "alone: runs when no other test does (tools/check)")
    if os.geteuid() != 0:
        raise pytest.UsageError("these tests make containers and need root: run `make check`, or sudo")


def pytest_unconfigure(config):
    harness.forget_busybox()


class TooLong(BaseException):
    """Not an Exception: nothing that a test catches may swallow it."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    mark = item.get_closest_marker("seconds")
    limit = mark.args[0] if mark else TEST_SECONDS

    def expire(*_):
        raise TooLong(f"the test did not end within {limit} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, harness.Engine) or type(value).__name__ == "Kubelet":
                report.sections.append((f"log of irekod at {value.root}", value.log_text()))


@pytest.fixture(scope="session")
def _shared_engine():
    engine = harness.Engine("--insecure-registry", "127.0.0.0/8").start()
    try:
        engine.load_busybox()
        yield engine
    finally:
        engine.destroy()


@pytest.fixture
def engine(_shared_engine):
    """The engine that tests share. It has busybox:latest; a test's containers are removed after it, and what volumes without a name clients left."""
    yield _shared_engine
    _shared_engine.remove_containers()
    assert _shared_engine.api("POST", "/volumes/prune").status == 200


@pytest.fixture
def new_engine():
    """Makes engines of the test's own: new_engine("--option", ..., subnet=..., busybox=True)."""
    made = []

    def make(*options, busybox=True, **kw):
        engine = harness.Engine(*options, **kw)
        made.append(engine)
        engine.start()
        if busybox:
            engine.load_busybox()
        return engine

    yield make
    for engine in made:
        engine.destroy()


@pytest.fixture(params=["ireko", "docker"])
def cli(request, engine):
    """The shared engine spoken to by our command line, then by a real docker CLI."""
    return harness.Bound(engine, request.param)


@pytest.fixture
def ireko(engine):
    return harness.Bound(engine, "ireko")


@pytest.fixture
def docker(engine):
    return harness.Bound(engine, "docker")


@pytest.fixture(scope="session")
def registry():
    r = harness.Registry()
    yield r
    r.close()


@pytest.fixture
def name():
    """A name that no other test uses."""
    return "t" + uuid.uuid4().hex[:10]


@pytest.fixture
def folder(tmp_path_factory):
    """A folder of the host whose name has blanks and is not ASCII, as users' folders are."""
    return tmp_path_factory.mktemp("私の 名前")


@pytest.fixture
def box(tmp_path):
    """A bundle for ireko-runtime; after the test nothing of its containers may be left."""
    before = runtime_bundle.mounts()
    b = runtime_bundle.Bundle(tmp_path)
    yield b
    b.clean()
    assert runtime_bundle.cgroup_dirs(b.group) == []
    left = [c for c in os.listdir(b.state) if not c.startswith("@")] if os.path.isdir(b.state) else []
    assert left == []
    # Other programs mount things too; ours would have the bundle's path in them.
    assert [m for m in runtime_bundle.mounts() if m not in before and str(tmp_path) in m] == []


@pytest.fixture(scope="session")
def _shared_kubelet():
    from kubelet import Kubelet  # here, as only some files need gRPC

    k = Kubelet()
    try:
        k.serve_images()
        k.pull()
        yield k
    finally:
        k.close()


@pytest.fixture
def kubelet(_shared_kubelet):
    """The engine with a kubelet's door that tests share. It has SEEDED; pods of a test are removed after it, and are to leave nothing."""
    yield _shared_kubelet
    _shared_kubelet.after_test()


@pytest.fixture
def new_kubelet():
    """Makes others of the test's own, with its options and images."""
    from kubelet import Kubelet

    made = []

    def make(*options, images=True, under=()):
        k = Kubelet(*options, under=under)
        made.append(k)
        if images:
            k.serve_images().pull()
        return k

    yield make
    for k in made:
        k.close()


@pytest.fixture
def pod(kubelet):
    return kubelet.run_pod()
