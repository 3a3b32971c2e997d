# SPDX-License-Identifier: Apache-2.0
"""The command line itself: help, names, output on terminals and pipes, contexts; the same words as docker's."""
import json
import re

import pytest

from harness import BUILD, Bound, program, run

VERBS = ("attach build commit cp create diff events exec export history images import info inspect kill load logs pause port ps pull rename restart rm rmi run "
         "save start stats stop tag top unpause update version wait").split()
GROUPS = {"container": "ls prune run rm", "image": "ls bootstrap prune rm", "network": "create ls inspect rm prune", "volume": "create ls inspect rm prune", "system": "check df info prune events"}


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(verb):
    p = run(BUILD / "ireko", verb, "--help")
    assert re.search(rf"^Usage:\s+ireko (\w+ )?{verb}\b", p.stdout) and len(p.stdout.splitlines()) > 3 and not p.stderr


def test_help_of_groups():
    assert set(VERBS) <= set(re.findall(r"^\s+(\w+)\s", run(BUILD / "ireko", "--help").stdout, re.M))
    for group, verbs in GROUPS.items():
        out = run(BUILD / "ireko", group, "--help").stdout
        for verb in verbs.split():
            assert re.search(rf"^\s+{verb}\s", out, re.M), (group, verb)
            assert "Usage" in run(BUILD / "ireko", group, verb, "--help").stdout


def test_every_option_of_dockers_run_that_we_have_means_the_same():
    """Our short options are docker's."""
    def shorts(text):
        return set(re.findall(r"^\s+-(\w), --([a-z-]+)", text, re.M))

    for verb in ("run", "exec", "ps", "build", "logs", "rm", "stop", "commit", "images", "cp"):
        ours = shorts(run(BUILD / "ireko", verb, "--help").stdout)
        theirs = shorts(run(program("docker"), verb, "--help", check=False).stdout)
        theirs |= shorts(run(program("docker"), verb, "--help", check=False, env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/usr/local/bin", "HOME": "/nonexistent"}).stdout)
        both = {s for s, _ in ours} & {s for s, _ in theirs}
        allowed = {("t", "timeout"), ("t", "time")}
        assert {x for x in ours if x[0] in both} - allowed <= theirs | allowed, (verb, ours ^ theirs)


def test_version_flag():
    assert re.match(r"ireko version \d", run(BUILD / "ireko", "--version").stdout)


def test_answers_as_docker(engine, folder):
    (folder / "docker").symlink_to(BUILD / "ireko")
    p = run(folder / "docker", "ps", env=engine.env())
    assert p.stdout.startswith("CONTAINER ID")
    assert "docker" in run(folder / "docker", "run", "--help").stdout


def test_host_option_environment_and_context(engine, folder):
    socket = f"unix://{engine.socket}"
    assert run(BUILD / "ireko", "-H", socket, "ps").stdout.startswith("CONTAINER ID")
    assert run(BUILD / "ireko", f"--host={socket}", "ps").stdout.startswith("CONTAINER ID")
    assert run(BUILD / "ireko", "ps", env={"DOCKER_HOST": socket}).stdout.startswith("CONTAINER ID")
    env = {"DOCKER_CONFIG": str(folder), "PATH": "/usr/bin:/usr/local/bin", "HOME": str(folder)}
    run(program("docker"), "context", "create", "mine", "--docker", f"host={socket}", env=env)
    assert run(BUILD / "ireko", "--context", "mine", "ps", env=env).stdout.startswith("CONTAINER ID")
    run(program("docker"), "context", "use", "mine", env=env)
    assert run(BUILD / "ireko", "ps", env=env).stdout.startswith("CONTAINER ID")


def test_output_equals_dockers(engine, name):
    """The same engine asked by both clients: the same bytes."""
    ours, theirs = Bound(engine, "ireko"), Bound(engine, "docker")
    ours("run", "-d", "--name", name, "-p", "127.0.0.1::80", "--label", "a=b", "busybox", "sleep", "1000")
    ours("run", "--name", name + "2", "busybox", "sh", "-c", "echo; exit 3", check=False)
    for args in (["ps"], ["ps", "-a"], ["ps", "-aq"], ["ps", "--no-trunc"], ["ps", "-a", "--format", "{{.ID}} {{.Labels}} {{.Mounts}} {{.Networks}} {{.Ports}}"], ["images"],
                 ["images", "-q", "--no-trunc"], ["images", "--digests"], ["port", name], ["inspect", "-f", "{{.Name}} {{json .HostConfig.PortBindings}}", name], ["inspect", name],
                 ["image", "inspect", "busybox"], ["network", "ls"], ["network", "inspect", "bridge"], ["volume", "ls"], ["history", "busybox"], ["history", "-q", "busybox"],
                 ["logs", name + "2"], ["wait", name + "2"], ["diff", name], ["version", "--format", "{{.Server.Version}}"]):
        # "1 second ago" may become "2 seconds ago" between the two.
        for _ in range(5):
            a, b = ours(*args), theirs(*args)
            if a.stdout == b.stdout:
                break
        else:
            # A machine so busy that it always does: all but the ages, and the widths that come with them.
            a.stdout, b.stdout = (re.sub(" +", " ", re.sub(r"\d+ seconds?|\d+ minutes?|About a minute|Less than a second", "AGE", p.stdout)) for p in (a, b))
        assert a.stdout == b.stdout, args


def test_plain_lines_when_not_on_a_terminal(ireko, folder, name):
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo hello\n")
    p = ireko("build", "-t", name, folder)
    assert p.stdout == "" and "hello" in p.stderr and "\x1b" not in p.stderr and "\r" not in p.stderr
    ireko("rmi", name)


def test_build_on_a_terminal(ireko, folder, name):
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo hello-$((1+1))\n")
    with ireko.pty("build", "-t", name, folder) as t:
        t.expect(r"\(4/4\) FINISHED")
        assert t.wait() == 0
    ireko("rmi", name)


def test_errors_name_object_cause_and_usage(ireko):
    assert "ireko run --help" in ireko.fails("run", "--nonsense", status=125)
    assert re.search(r"requires at least 1 argument|at least 1", ireko.fails("rm", status=1))
    assert re.search(r"nonsense", ireko.fails("nonsense", status=1))


def test_quiet_and_json_outputs(ireko, name):
    ireko("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert re.fullmatch(r"[0-9a-f]{12}", ireko.out("ps", "-q"))
    assert json.loads(ireko.out("inspect", name))[0]["Name"] == f"/{name}"
    assert json.loads(ireko.out("images", "--format", "json").splitlines()[0])["Repository"]


def test_stats_df_top(ireko, name):
    ireko("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert "sleep 1000" in ireko.out("top", name)
    p = ireko("stats", "--no-stream", name, check=False)
    assert p.returncode == 0 and name in p.stdout or p.stderr.strip()
    assert "Images" in ireko.out("system", "df")


def test_stdin_that_ends_and_output_that_closes(engine):
    """`ireko run ... | head -1` ends, and leaves no container."""
    p = run("sh", "-c", f"{BUILD}/ireko run --rm busybox yes | head -n 1", env=engine.env(), timeout=30)
    assert p.stdout == "y\n"


def test_tree_of_images(ireko, name):
    ireko("tag", "busybox", f"{name}:1")
    lines = ireko.out("images", "--tree").splitlines()
    assert lines[0].split() == ["IMAGE", "ID", "DISK", "USAGE", "IN", "USE"]
    # Names of one image stand together; the last has its id and size.
    i = next(n for n, line in enumerate(lines) if line.startswith("busybox:latest"))
    assert len({line.split()[1] for line in lines[1:] if len(line.split()) > 1}) == len([line for line in lines[1:] if len(line.split()) > 1]) and i > 0
    for option in ("-q", "--digests", "--no-trunc", "--format=x"):
        assert "not yet supported with --tree" in ireko.fails("images", "--tree", option)
    ireko("rmi", f"{name}:1")


def test_platform_of_an_image(cli, name):
    """docker's own client has the flag since 28, and asks in the same words."""
    own = cli.out("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", "busybox")
    other = "linux/arm64" if own != "linux/arm64" else "linux/amd64"
    if cli.client == "docker" and "--platform" not in cli.out("history", "--help"):
        assert "unknown flag" in cli.fails("history", "--platform", own, "busybox")
        return
    for args in (["image", "inspect", "-f", "{{.Id}}"], ["history", "-q"]):
        assert cli.out(*args, "--platform", own, "busybox")
        assert f"was found but does not provide the specified platform ({other})" in cli.fails(*args, "--platform", other, "busybox")
    cli("tag", "busybox", f"{name}:1")
    assert "does not provide" in cli.fails("rmi", "--platform", other, f"{name}:1")
    cli("rmi", "--platform", own, f"{name}:1")
    assert "arm64x" in cli.fails("history", "--platform", "linux/arm64x/y/z", "busybox")
