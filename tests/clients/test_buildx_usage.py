# SPDX-License-Identifier: Apache-2.0
"""The build cache as docker's clients list and prune it: buildx du and prune, docker builder prune, with their filters, against what the engine says that it has."""
import re

import pytest

from compose import distributions_docker
from harness import run
from test_buildx import Buildx

MIB = 1 << 20
DOCKERFILE = f"""FROM busybox
RUN head -c {2 * MIB} /dev/urandom > /random
RUN --mount=type=cache,target=/c echo cached > /c/f; echo of the step > /made
LABEL of=nothing
"""


@pytest.fixture
def buildx(new_engine, folder, name):
    return Buildx(new_engine(), folder, name)


def listed(buildx, *filters):
    """Ids, as du lists them."""
    out = buildx.docker("buildx", "du", *(f"--filter={f}" for f in filters)).stdout
    return {line.split()[0].rstrip("*") for line in out.splitlines() if re.match(r"[0-9a-f]{40,}|sha256:", line)}


def has(buildx):
    return {c["ID"]: c for c in buildx.engine.api("GET", "/system/df").json["BuildCache"]}


def test_du(buildx):
    buildx.build(dockerfile=DOCKERFILE)
    cache = has(buildx)
    assert listed(buildx) == set(cache) and len(cache) >= 3
    mounts = {i for i, c in cache.items() if c["Type"] == "exec.cachemount"}
    assert len(mounts) == 1
    for filters, wanted in ((["type=regular"], set(cache) - mounts), (["type=exec.cachemount"], mounts), (["type!=regular"], mounts), (["inuse=true"], set()), (["inuse=false"], set(cache)),
                            (["description~=dev/urandom"], {i for i, c in cache.items() if "urandom" in c["Description"]}), (["id=" + next(iter(mounts))[:12]], mounts),
                            (["shared=true"], {i for i, c in cache.items() if c["Shared"]}), (["private=1"], {i for i, c in cache.items() if not c["Shared"]}),
                            (["type=regular", "description~=urandom"], {i for i, c in cache.items() if "urandom" in c["Description"]})):
        assert listed(buildx, *filters) == wanted, filters
    assert any("urandom" in c["Description"] for c in cache.values())
    out = buildx.docker("buildx", "du", "--verbose", "--filter", "description~=of the step").stdout
    assert re.search(r"Description:\s+.*of the step", out) and re.search(r"Type:\s+regular", out) and re.search(r"Reclaimable:\s+true", out) and out.count("ID:") == 1, out
    for wrong in ("nothing=1", "description~=a{9}", "inuse=perhaps"):
        p = buildx.docker("buildx", "du", "--filter", wrong, check=False)
        assert p.returncode != 0 and "filter" in p.stderr, p.stderr


def test_prune(buildx):
    buildx.build(dockerfile=DOCKERFILE)
    cache = has(buildx)
    assert "Total:\t0B" in buildx.docker("buildx", "prune", "-af", "--filter", "until=24h").stdout and set(has(buildx)) == set(cache)
    p = buildx.docker("buildx", "prune", "-af", "--filter", "nothing=1", check=False)
    assert p.returncode != 0 and set(has(buildx)) == set(cache), "a filter that is not known took something"
    mount = next(i for i, c in cache.items() if c["Type"] == "exec.cachemount")
    out = buildx.docker("buildx", "prune", "-af", "--filter", "type=exec.cachemount", "--verbose").stdout
    assert mount in out and re.search(r"Description:\s+cached mount", out) and set(has(buildx)) == set(cache) - {mount}, out
    # The image has the layers too: they stay with it.
    buildx.docker("rmi", "-f", buildx.name)
    step = next(i for i, c in cache.items() if "urandom" in c["Description"])
    out = buildx.docker("builder", "prune", "-f", "--filter", "description~=dev/urandom").stdout
    total = re.search(r"Total:\s+([\d.]+)MB", out)
    assert step in out and total and float(total.group(1)) >= 2, out
    assert set(has(buildx)) == set(cache) - {mount, step}
    # docker 20.10 asks by another way.
    run(distributions_docker(), "builder", "prune", "-af", "--filter", "until=24h", env=buildx.env)
    assert set(has(buildx)) == set(cache) - {mount, step}
    run(distributions_docker(), "builder", "prune", "-af", "--filter", "type=regular", env=buildx.env)
    assert has(buildx) == {}
