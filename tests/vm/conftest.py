# SPDX-License-Identifier: Apache-2.0
"""Tests for one layout of cgroups are collected in the guests that have it."""
from layout import LAYOUT


def pytest_configure(config):
    config.addinivalue_line("markers", "layouts(name...): the layouts that this test is about")


def pytest_collection_modifyitems(config, items):
    def fits(item):
        mark = item.get_closest_marker("layouts")
        return not mark or LAYOUT in mark.args

    config.hook.pytest_deselected(items=[i for i in items if not fits(i)])
    items[:] = [i for i in items if fits(i)]
