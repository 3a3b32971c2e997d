# SPDX-License-Identifier: Apache-2.0
"""What the shells are told at a cursor, bash with our script, and the manual pages: all of them from the tables of verbs and flags."""
import re
import subprocess

import pytest

from harness import BUILD, run

IREKO = BUILD / "ireko"


def candidates(env, *words):
    lines = run(IREKO, "__complete", *words, env=env).stdout.splitlines()
    assert re.fullmatch(r":\d", lines[-1])
    return [line.split("\t")[0] for line in lines[:-1]], int(lines[-1][1:])


@pytest.fixture
def env(engine):
    return engine.env()


def test_verbs_flags_and_values(env):
    verbs, directive = candidates(env, "")
    assert {"run", "container", "context", "completion", "swarm"} <= set(verbs) and "__complete" not in verbs and directive == 4
    assert candidates(env, "container", "l") == (["logs", "ls"], 4)
    assert candidates(env, "run", "--publ")[0] == ["--publish", "--publish-all"]
    assert "-p" in candidates(env, "run", "-")[0] and "--help" in candidates(env, "images", "--")[0]
    assert candidates(env, "run", "--pull", "")[0] == ["always", "missing", "never"] == [v.removeprefix("--pull=") for v in candidates(env, "run", "--pull=")[0]]
    assert candidates(env, "ps", "--filter", "health=")[0] == ["health=starting", "health=healthy", "health=unhealthy", "health=none"]
    assert candidates(env, "ps", "--filter", "stat") == (["status="], 6)
    assert candidates(env, "--tlsc")[0] == ["--tlscacert", "--tlscert"]
    assert candidates(env, "run", "-it", "--cgroupns", "p")[0] == ["private"]
    assert candidates(env, "nonsense", "")[0] == []
    # Behind "--" and behind the image nothing is a flag.
    assert candidates(env, "rm", "--", "-")[0] == [] and candidates(env, "run", "busybox", "--p") == ([], 0)
    assert candidates(env, "build", "") == ([], 0)


def test_names(env, engine, ireko, name):
    ireko("run", "-d", "--name", name, "busybox", "sleep", "1000")
    ireko("create", "--name", name + "c", "busybox")
    ireko("volume", "create", name + "v")
    ireko("network", "create", name + "n")
    try:
        assert candidates(env, "rm", name)[0] == [name + "c", name] and candidates(env, "stop", name)[0] == [name] and candidates(env, "start", name)[0] == [name + "c"]
        assert candidates(env, "stop", "-t", "1", "other", name)[0] == [name]
        assert candidates(env, "run", "-v", name)[0] == [name + "v"] and candidates(env, "run", "--network=" + name)[0] == [f"--network={name}n"]
        assert candidates(env, "volume", "inspect", name)[0] == [name + "v"] and candidates(env, "volume", "create", name)[0] == []
        assert candidates(env, "network", "connect", name)[0] == [name + "n"] and set(candidates(env, "network", "connect", name + "n", name)[0]) == {name, name + "c"}
        assert candidates(env, "run", "--rm", "-it", "busy")[0] == ["busybox:latest"] == candidates(env, "rmi", "busy")[0]
        assert candidates(env, "cp", name) == ([name + "c:", name + ":"], 2)
        assert set(candidates(env, "inspect", name)[0]) == {name, name + "c", name + "v", name + "n"}
        # The engine that the line names is asked; one that is not there has no names.
        assert candidates(env, "-H", "unix:///nonexistent", "rm", name)[0] == []
        assert candidates({**env, "DOCKER_HOST": "unix:///nonexistent"}, "-H", f"unix://{engine.socket}", "stop", name)[0] == [name]
    finally:
        ireko("rm", "-f", name, name + "c")
        ireko("volume", "rm", name + "v")
        ireko("network", "rm", name + "n")


def bash_completes(env, line):
    """What bash has after TAB, by its own machinery and our script."""
    script = """
eval "$(ireko completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
# As readline cuts it: blanks end words, : and = are words of their own.
cut=$(printf '%s' "$1" | sed 's/\\([:=]\\)/ \\1 /g; s/  */ /g')
COMP_WORDS=($cut)
case $1 in *' '|*[:=]) COMP_WORDS+=('');; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
_ireko
printf '%s\\n' "${COMPREPLY[@]}"
"""
    p = subprocess.run(["bash", "-c", script, "bash", line], env={**env, "PATH": f"{BUILD}:{env['PATH']}"}, stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    return p.stdout.split()


def test_bash(env, ireko, name):
    assert bash_completes(env, "ireko contai") == ["container"]
    assert bash_completes(env, "ireko run --pull=ne") == ["never"]
    assert bash_completes(env, "ireko run --pull ne") == ["never"]
    assert bash_completes(env, "ireko rmi busybox:la") == ["latest"]
    ireko("create", "--name", name, "busybox")
    assert bash_completes(env, f"ireko rm {name[:6]}") == [name]


def test_scripts_are_for_the_name_that_was_called(env, folder):
    (folder / "docker").symlink_to(IREKO)
    for shell, end in (("bash", "complete -F _docker docker"), ("zsh", "#compdef docker"), ("fish", "complete -c docker")):
        assert end in run(folder / "docker", "completion", shell, env=env).stdout
        assert "@P@" not in run(IREKO, "completion", shell, env=env).stdout
    assert "bash, zsh or fish" in run(IREKO, "completion", "tcsh", env=env, check=False).stderr


def test_bash_script_has_no_errors(env):
    run("bash", "-n", "/dev/stdin", input=run(IREKO, "completion", "bash", env=env).stdout)


def test_manual_pages(env, folder):
    run(IREKO, "__man", folder / "man1", env=env)
    pages = {p.name for p in (folder / "man1").iterdir()}
    assert {"ireko.1", "ireko-run.1", "ireko-container-run.1", "ireko-context-create.1", "ireko-image.1"} <= pages
    assert (folder / "man1/ireko-container-run.1").read_text() == ".so man1/ireko-run.1\n"
    text = (folder / "man1/ireko-run.1").read_text()
    for flag in re.findall(r"--([a-z-]+)", run(IREKO, "run", "--help", env=env).stdout):
        assert flag == "help" or flag.replace("-", "\\-") in text, flag
    # No line begins with a request that is none.
    requests = {line.split()[0] for p in (folder / "man1").iterdir() for line in p.read_text().splitlines() if line.startswith((".", "'"))}
    assert requests <= {".\\\"", ".TH", ".SH", ".TP", ".B", ".BR", ".so"}
