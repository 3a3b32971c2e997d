# SPDX-License-Identifier: Apache-2.0
"""Repositories behind ssh: as contexts, named contexts and for ADD, with a real sshd. What logs in is the client's agent, and nothing of it comes to the engine."""
import json

import pytest

from build_servers import Repo, SshAgent, SshHost, git


@pytest.fixture(scope="module")
def host():
    h = SshHost()
    yield h
    h.close()


@pytest.fixture
def repo(tmp_path, host):
    r = Repo(tmp_path / "a repo")
    r.commit({"Dockerfile": "FROM busybox\nCOPY f /f\n", "f": "over ssh", "sub/Dockerfile": "FROM busybox\nCOPY g /g\n", "sub/g": "below"})
    r.path = host.serve(r.work)
    yield r
    r.site.close()


@pytest.fixture
def agent(folder, host):
    a = SshAgent(folder / "agent", host.root / "client_key")
    yield a
    a.close()


@pytest.fixture
def build(ireko, agent, name, folder):
    """A build with the agent; what is behind it is the context."""
    def run(*args, ssh=f"default={agent.path}", **kw):
        return ireko("build", *(["--ssh", ssh] if ssh else []), "-t", name, *args, **kw)

    yield run
    ireko("rmi", "-f", name, check=False)


def out(ireko, name, *command):
    return ireko.out("run", "--rm", "--network", "none", name, *command)


def refused(p, words):
    assert p.returncode != 0 and words in p.stdout + p.stderr, p.stdout + p.stderr


def test_contexts(build, ireko, name, host, repo):
    build(f"git@{host.address}:{repo.path}")
    assert out(ireko, name, "cat", "/f") == "over ssh"
    build(f"ssh://git@{host.address}{repo.path}#main:sub")
    assert out(ireko, name, "cat", "/g") == "below"
    refused(build(f"ssh://git@{host.address}{repo.path}#nosuch", check=False), "repository does not contain ref nosuch")


def test_add_and_named_contexts(build, ireko, name, host, repo, folder):
    url = f"git@{host.address}:{repo.path}"
    (folder / "Dockerfile").write_text(f"FROM busybox\nADD {url} /added\nADD ssh://git@{host.address}{repo.path}#main:sub /sub\nCOPY --from=it /f /named\n")
    build("--build-context", f"it={url}", folder)
    assert out(ireko, name, "cat", "/added/f", "/sub/g", "/named") == "over sshbelowover ssh"
    assert "CACHED" in build("--progress=plain", "--build-context", f"it={url}", folder).stderr


def test_submodules_come_along(build, ireko, name, host, repo, tmp_path):
    """With the same key; ?submodules=false leaves them."""
    inner = Repo(tmp_path / "inner")
    inner.site.close()
    inner.commit({"deep": "from inside"})
    path, url = host.serve(inner.work, "inner"), f"ssh://git@{host.address}{host.root}"
    inner_commit = git("rev-parse", "HEAD", cwd=inner.work)
    (repo.work / ".gitmodules").write_text(f'[submodule "in"]\n\tpath = in\n\turl = ssh://git@{host.address}{path}\n')
    git("update-index", "--add", "--cacheinfo", f"160000,{inner_commit},in", cwd=repo.work)
    git("add", ".gitmodules", cwd=repo.work)
    git("commit", "-q", "-m", "c", cwd=repo.work)
    (repo.work / "in").mkdir()
    host.serve(repo.work)
    dockerfile = "FROM busybox\nADD {} /it\n"
    build("-f", "-", f"{url}/repo.git", input=dockerfile.format(f"{url}/repo.git"))
    assert out(ireko, name, "cat", "/it/in/deep") == "from inside"
    build("-f", "-", f"{url}/repo.git", input=dockerfile.format(f"{url}/repo.git?submodules=false"))
    assert out(ireko, name, "ls", "/it/in") == ""


def test_without_the_agent_it_is_refused(build, host, repo, folder, tmp_path):
    url = f"git@{host.address}:{repo.path}"
    refused(build(url, ssh=None, check=False), 'no SSH key "default" forwarded from the client: give it with --ssh default')
    (folder / "Dockerfile").write_text(f"FROM busybox\nADD {url} /\n")
    refused(build(folder, ssh=None, check=False), 'no SSH key "default" forwarded from the client')
    other = SshAgent(folder / "another agent", host.root / "other_key")
    refused(build(folder, ssh=f"default={other.path}", check=False), "Permission denied (publickey)")
    other.close()
    refused(build(folder, ssh=f"default={folder}/none", check=False), "none")


def test_nothing_of_the_key_stays(build, ireko, name, host, repo, agent):
    """Neither its socket, nor the place that was logged in to as whom."""
    build(f"git@{host.address}:{repo.path}")
    found = json.dumps(json.loads(ireko.out("image", "inspect", name))) + ireko.out("history", "--no-trunc", name)
    assert host.address not in found and "agent" not in found


def test_options_of_ssh_cannot_be_smuggled_in(build, host, repo, tmp_path):
    for url in (f"ssh://-oProxyCommand=touch${{IFS}}{tmp_path}/x@{host.address}/r", f"ssh://-oProxyCommand=touch%20{tmp_path}%2Fx/r", "git@-oProxyCommand=x:r"):
        assert build(url, check=False).returncode != 0
    assert not (tmp_path / "x").exists()
