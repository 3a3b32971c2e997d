# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: a clear error, the right exit and HTTP status, and nothing half made left behind."""
import re
import socket

import pytest

from harness import free_port, free_subnet, wait_until


@pytest.fixture(autouse=True)
def nothing_left(engine):
    yield
    engine.remove_containers()
    # The kernel takes a network namespace apart in the background.
    wait_until("nothing of a container is left", lambda: not engine.leftovers_of_containers())


def test_unknown_image(cli, engine):
    said = cli.fails("run", "no-such-registry.invalid/x:y", "true", status=125)
    assert "no-such-registry.invalid" in said
    assert engine.api("POST", "/containers/create", {"Image": "nothing-here:1", "Cmd": ["true"]}).status == 404
    assert engine.api("POST", "/containers/create", {"Image": "nothing-here:1", "Cmd": ["true"]}).message == "No such image: nothing-here:1"
    assert not engine.containers()


@pytest.mark.parametrize("reference", ["x/UPPER", "a::b", "x/y:-bad", "a@sha256:1234", "http://x/y", "a b", "-"])
def test_bad_reference(cli, engine, reference):
    said = cli.fails("run", "--", reference, "true") if reference.startswith("-") else cli.fails("run", reference, "true", status=125)
    assert re.search(r"invalid reference format|invalid|must be lowercase", said)
    assert engine.api("POST", "/containers/create", {"Image": reference, "Cmd": ["true"]}).status in (400, 404)


def test_command_not_found(cli, engine, name):
    said = cli.fails("run", "--name", name, "busybox", "no-such-command", status=127)
    assert "no-such-command" in said and re.search(r"not found|no such file", said)
    assert engine.inspect(name)["State"]["ExitCode"] == 127 and engine.inspect(name)["State"]["Status"] == "created"
    assert engine.api("POST", f"/containers/{name}/start").status == 400


def test_command_not_executable(cli):
    assert re.search(r"ermission denied|not executable", cli.fails("run", "--rm", "busybox", "/etc/plain-file", status=126))
    assert re.search(r"ermission denied|directory", cli.fails("run", "--rm", "busybox", "/etc", status=126))


def test_exec_statuses(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert "nope" in cli.fails("exec", name, "nope", status=127) or True
    cli.fails("exec", name, "/etc/plain-file", status=126)
    cli("stop", "-t", "0", name)
    assert "is not running" in cli.fails("exec", name, "true", status=1)
    assert engine.api("POST", f"/containers/{name}/exec", {"Cmd": ["true"]}).status == 409
    assert "No such container" in cli.fails("exec", "nobody-here", "true", status=1)


def test_wrong_options(cli):
    cli.fails("run", "--no-such-option", "busybox", status=125)
    cli.fails("run", status=1)
    cli.fails("ps", "--no-such-option")
    cli.fails("no-such-verb")


def test_port_taken_by_a_program(cli, engine, name):
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        port = s.getsockname()[1]
        said = cli.fails("run", "-d", "--name", name, "-p", f"{port}:80", "busybox", "sleep", "1000", status=125)
    assert str(port) in said and re.search(r"in use|already", said)
    assert engine.inspect(name)["State"]["Status"] == "created"
    cli("start", name)


def test_port_taken_by_a_container(cli, engine, name):
    port = free_port()
    cli("run", "-d", "-p", f"{port}:80", "busybox", "sleep", "1000")
    said = cli.fails("run", "-d", "--name", name, "-p", f"{port}:80", "busybox", "sleep", "1000", status=125)
    assert str(port) in said
    assert engine.api("POST", f"/containers/{name}/start").status in (409, 500)


def test_name_taken(cli, engine, name):
    cli("run", "-d", "--name", name, "busybox", "sleep", "1000")
    said = cli.fails("run", "--name", name, "busybox", "true", status=125)
    assert name in said and "already in use" in said
    assert engine.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["true"]}).status == 409
    assert len(engine.containers()) == 1


def test_bad_name(cli, engine):
    assert "Invalid container name" in cli.fails("run", "--name", "bad name!", "busybox", "true", status=125)
    assert engine.api("POST", "/containers/create?name=..%2Fx", {"Image": "busybox", "Cmd": ["true"]}).status == 400


def test_no_such_container(cli, engine):
    for verb in ("stop", "kill", "start", "rm", "logs", "wait", "restart"):
        assert "No such container: nobody-here" in cli.fails(verb, "nobody-here", status=1)
    assert engine.api("GET", "/containers/nobody-here/json").status == 404


def test_bad_mounts(cli, engine, folder):
    for option in ("relative/path:/x:rw:more", "/a:relative", f"{folder}:/x:nonsense"):
        assert cli.fails("run", "--rm", "-v", option, "busybox", "true", status=125)
    said = cli.fails("run", "--rm", "--mount", f"type=bind,source={folder}/missing,target=/x", "busybox", "true", status=125)
    assert "missing" in said
    assert not engine.containers()


def test_bad_user_and_directory(cli):
    assert "no-such-user" in cli.fails("run", "--rm", "-u", "no-such-user", "busybox", "true", status=125)
    assert cli.fails("run", "--rm", "-w", "relative", "busybox", "true", status=125)
    cli.fails("run", "--rm", "-w", "/etc/passwd", "busybox", "true")


def test_bad_limits(cli):
    assert "6MB" in cli.fails("run", "--rm", "-m", "1m", "busybox", "true", status=125)
    assert cli.fails("run", "--rm", "--cpus", "10000", "busybox", "true", status=125)
    assert cli.fails("run", "--rm", "-m", "lots", "busybox", "true", status=125)


def test_unknown_network(cli, engine):
    assert "no-such-network" in cli.fails("run", "--rm", "--network", "no-such-network", "busybox", "true", status=125)
    assert "nobody-here" in cli.fails("run", "--rm", "--network", "container:nobody-here", "busybox", "true", status=125)


def test_unknown_image_verbs(cli, engine, folder):
    assert "No such image" in cli.fails("rmi", "nothing-here:1", status=1)
    assert "No such image" in cli.fails("tag", "nothing-here:1", "x:y", status=1)
    assert re.search(r"reference does not exist|No such image|not found", cli.fails("save", "-o", folder / "s.tar", "nothing-here:1", status=1))
    assert engine.api("GET", "/images/nothing-here/json").status == 404
    assert engine.api("DELETE", "/images/nothing-here").status == 404


def test_subnet_exhausted(new_engine):
    """A /29 has 8 addresses: network, broadcast, gateway, and five for containers."""
    engine = new_engine(subnet=free_subnet(29))
    ids = [engine.cli("run", "-d", "busybox", "sleep", "1000").stdout.strip() for _ in range(5)]
    p = engine.cli("run", "--rm", "busybox", "true", check=False)
    assert p.returncode == 125 and engine.subnet in p.stderr and re.search(r"no free address", p.stderr), p
    engine.cli("rm", "-f", ids[2])
    assert engine.cli("run", "--rm", "busybox", "echo", "again").stdout == "again\n"


def test_subnet_that_the_host_routes(new_engine, ireko, engine, name):
    from harness import run

    run("ip", "link", "add", "irkdummy0", "type", "bridge")
    try:
        subnet = free_subnet()
        run("ip", "addr", "add", subnet.replace(".0/24", ".1/24"), "dev", "irkdummy0")
        run("ip", "link", "set", "irkdummy0", "up")
        said = ireko.fails("network", "create", "--subnet", subnet, name)
        assert subnet in said and re.search(r"overlap|irkdummy0|rout", said)
    finally:
        run("ip", "link", "del", "irkdummy0")


def test_client_without_an_engine(engine):
    from harness import BUILD, run

    p = run(BUILD / "ireko", "-H", f"unix://{engine.root}/nobody", "ps", check=False)
    assert p.returncode == 1 and str(engine.root) in p.stderr and re.search(r"irekod|running", p.stderr)
    assert run(BUILD / "ireko", "-H", f"unix://{engine.root}/nobody", "run", "busybox", check=False).returncode == 125


def test_gone_client_leaves_no_half_made_container(engine, ireko, name):
    p = ireko.popen("run", "--rm", "--name", name, "busybox", "sleep", "1000")
    wait_until("it runs", lambda: name in engine.containers() and engine.inspect(name)["State"]["Running"])
    p.kill()
    p.communicate()
    assert engine.inspect(name)["State"]["Running"]
    ireko("rm", "-f", name)
