# SPDX-License-Identifier: Apache-2.0
"""Tests for one layout of cgroups are collected in the guests that have it. Those about a machine without the engine come first, then those of its units, which see it start; those that end much of the guest come last."""
import os
import pathlib

import pytest

from harness import busybox_archive

from layout import LAYOUT, run
from service import OUT, api


collect_ignore = [] if pathlib.Path("/srv/critest").exists() else ["test_critest.py"]


def pytest_configure(config):
    config.addinivalue_line("markers", "layouts(name...): the layouts that this test is about")
    config.addinivalue_line("markers", "last: this test stops what others need")


def pytest_collection_modifyitems(config, items):
    def fits(item):
        mark = item.get_closest_marker("layouts")
        return not mark or LAYOUT in mark.args

    def turn(item):
        return item.get_closest_marker("last") is not None, "installed" in item.fixturenames, item.module.__name__ != "test_units"

    config.hook.pytest_deselected(items=[i for i in items if not fits(i)])
    items[:] = sorted((i for i in items if fits(i)), key=turn)


@pytest.fixture(scope="session")
def installed():
    """The engine on the machine, by the files of `make install`; its socket listens."""
    run("cp", "-R", "/srv/installed/.", "/")
    os.mkdir(OUT)
    run("systemd-sysusers")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "ireko.socket")
    yield
    run("systemctl", "stop", "ireko.socket", "ireko.service")


@pytest.fixture(scope="session")
def busybox(installed):
    api("POST", "/images/load?quiet=1", busybox_archive().read_bytes())
