# SPDX-License-Identifier: Apache-2.0
"""kill -9 of irekod right before any of its steps during a build: no half image has the name, the store is consistent, and the next build uses again what was finished."""
import os

import pytest
from harness import wait_until
from test_crash import ENGINE, POINTS, SECONDS, kill_at, run_points, victim  # noqa: F401 (fixtures)

DOCKERFILE = """FROM busybox AS one
RUN true > /zero
RUN echo one > /one
FROM busybox
WORKDIR /w
COPY a b ./
RUN --mount=type=cache,target=/cache cat a b > c && echo $(cat c | wc -c) >> /cache/n
COPY --from=one /one /one
LABEL whole=yes
"""


@pytest.mark.seconds(SECONDS)
def test_build(victim, folder):  # noqa: F811
    victim.load_busybox()
    for name in "ab":
        (folder / name).write_text(name * 5000)
    (folder / "Dockerfile").write_text(DOCKERFILE)

    def prepare():
        victim.cli("rmi", "-f", "whole", check=False)
        victim.cli("builder", "prune", "-af")

    def redo():
        found = victim.api("GET", "/images/whole/json")
        assert found.status == 404 or found.json["Config"]["Labels"] == {"whole": "yes"}
        assert victim.api("GET", "/containers/json?all=1").json == []
        victim.cli("build", "-t", "whole", folder)
        wait_until("no shim and no directory of a step is left", lambda: not victim.shims() and not os.listdir(victim.exec_root / "containers"))
        assert victim.cli("run", "--rm", "--network", "none", "whole", "cat", "/w/c", "/one").stdout == "a" * 5000 + "b" * 5000 + "one\n"

    run_points(victim, max(POINTS // 4, 4), ENGINE, prepare, lambda: victim.popen("build", "-t", "whole", folder), redo)
