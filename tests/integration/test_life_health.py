# SPDX-License-Identifier: Apache-2.0
"""Health checks: what is run when, what is made of it, and who is told."""
import json
import time
import urllib.parse

import pytest

from harness import wait_until
from test_life import actions, create, events, post, start, state

MS = 1000000


def health(engine, name):
    return state(engine, name)["Health"]


def check(test, interval=100 * MS, **more):
    return {"Healthcheck": {"Test": test, "Interval": interval, **more}}


def listed(engine, name, value):
    filters = urllib.parse.quote(json.dumps({"health": [value], "name": [name]}))
    return engine.api("GET", f"/containers/json?filters={filters}").json


def test_a_start_that_fails_leaves_no_trace_in_its_health(engine, name):
    """One that never ran has no health; one that ran keeps that of its end."""
    create(engine, name, "nothing-of-that-name", **check(["CMD", "true"]))
    assert engine.api("POST", f"/containers/{name}/start").status == 400
    assert "Health" not in state(engine, name)
    start(engine, f"{name}b", "sh", "-c", "rm /bin/sh; sleep 1000", **check(["CMD", "true"]))
    wait_until("it is healthy", lambda: health(engine, f"{name}b")["Status"] == "healthy")
    post(engine, f"/containers/{name}b/stop?t=0")
    assert engine.api("POST", f"/containers/{name}b/start").status == 400
    assert health(engine, f"{name}b")["Status"] == "unhealthy"


def test_healthy_and_unhealthy_and_back(engine, name):
    cid = start(engine, name, "sleep", "1000", **check(["CMD-SHELL", "echo looked; test -e /ok"], Retries=2))
    assert health(engine, name)["Status"] == "starting" and state(engine, name)["Status"] == "running"
    assert "(health: starting)" in listed(engine, name, "starting")[0]["Status"]
    wait_until("it is unhealthy", lambda: health(engine, name)["Status"] == "unhealthy")
    h = health(engine, name)
    assert h["FailingStreak"] >= 2 and h["Log"][-1]["ExitCode"] == 1 and h["Log"][-1]["Output"] == "looked\n"
    assert listed(engine, name, "unhealthy")[0]["Status"].endswith(" (unhealthy)") and not listed(engine, name, "healthy")
    engine.cli("exec", name, "touch", "/ok")
    wait_until("it is healthy", lambda: health(engine, name)["Status"] == "healthy")
    h = health(engine, name)
    assert h["FailingStreak"] == 0 and h["Log"][-1]["ExitCode"] == 0
    wait_until("the log holds the last five", lambda: len(health(engine, name)["Log"]) == 5)
    time.sleep(0.3)
    log = health(engine, name)["Log"]
    assert len(log) == 5 and [x["Start"] for x in log] == sorted(x["Start"] for x in log)
    assert all(x["Start"] < x["End"] for x in log)
    assert "(healthy)" in engine.cli("ps", "--filter", f"name={name}").stdout
    assert "(healthy)" in engine.cli("ps", "--filter", "health=healthy", client="docker").stdout
    told = actions(engine, cid)
    assert [a for a in told if a.startswith("health_status")] == ["health_status: unhealthy", "health_status: healthy"]
    first = [a.partition(":")[0] for a in told if a.startswith("exec_")][:3]
    assert first == ["exec_create", "exec_start", "exec_die"]
    assert "exec_start: /bin/sh -c echo looked; test -e /ok" in told
    ids = {x["execID"] for a, x in events(engine, cid) if a == "exec_die"}
    assert len(ids) >= 3
    # A check's exec is forgotten with its result.
    reply = engine.api("GET", f"/exec/{ids.pop()}/json")
    assert reply.status in (200, 404)
    post(engine, f"/containers/{name}/stop?t=0")
    assert health(engine, name)["Status"] == "unhealthy"
    post(engine, f"/containers/{name}/start")
    assert health(engine, name)["Status"] == "starting"


def test_interval_lies_between_checks(engine, name):
    start(engine, name, "sleep", "1000", **check(["CMD", "sleep", "0.2"], interval=300 * MS))
    wait_until("three checks", lambda: len(health(engine, name)["Log"] or []) == 3)
    log = health(engine, name)["Log"]

    def seconds(text):
        minutes, rest = text.rstrip("Z").split(":")[1:]
        return int(minutes) * 60 + float(rest[:12])

    for before, after in zip(log, log[1:]):
        gap = (seconds(after["Start"]) - seconds(before["End"])) % 3600
        assert 0.28 < gap < 3, log


def test_start_period_and_interval(engine, name):
    """Failures while it starts do not count, and it is looked at more often."""
    start(engine, name, "sleep", "1000",
          **check(["CMD", "test", "-e", "/ok"], interval=3600000 * MS, StartPeriod=60000 * MS, StartInterval=100 * MS, Retries=1))
    wait_until("a check has failed", lambda: health(engine, name)["Log"])
    assert health(engine, name)["Status"] == "starting" and health(engine, name)["FailingStreak"] == 0
    engine.cli("exec", name, "touch", "/ok")
    wait_until("it is healthy", lambda: health(engine, name)["Status"] == "healthy")


def test_time_out(engine, name):
    start(engine, name, "sleep", "1000", **check(["CMD-SHELL", "echo waiting; exec sleep 77"], Timeout=300 * MS, Retries=1))
    wait_until("it is unhealthy", lambda: health(engine, name)["Status"] == "unhealthy")
    result = health(engine, name)["Log"][0]
    assert result["ExitCode"] == -1 and result["Output"] == "Health check exceeded timeout (300ms): waiting\n"
    wait_until("the check was killed", lambda: sum("sleep 77" in " ".join(p) for p in engine.api("GET", f"/containers/{name}/top").json["Processes"]) <= 1)


@pytest.mark.parametrize("test, code, output", [
    (["CMD", "no-such-check"], -1, 'exec: "no-such-check": executable file not found in $PATH'),
    (["CMD-SHELL", "head -c 5000 /dev/zero | tr '\\0' x; exit 1"], 1, "x" * 4096 + "..."),
    (["CMD-SHELL", "printf 'a\\377b'; sleep 1000 & exit 3"], 3, "a\ufffdb"),
    (["CMD-SHELL", "echo $0; id -u; pwd"], 0, "/bin/sh\n0\n/tmp\n"),
    (["CMD-SHELL", "echo err >&2"], 0, "err\n"),
])
def test_what_a_check_says(engine, name, test, code, output):
    start(engine, name, "sleep", "1000", WorkingDir="/tmp", **check(test))
    wait_until("a result", lambda: health(engine, name)["Log"])
    result = health(engine, name)["Log"][0]
    assert result["ExitCode"] == code
    if code == -1:
        assert output in result["Output"]
    else:
        assert result["Output"] == output


def test_the_image_and_the_request(engine, name, folder):
    """What the request leaves open is the image's; NONE takes it away."""
    (folder / "Dockerfile").write_text("FROM busybox\nHEALTHCHECK --interval=100ms --timeout=5s --retries=7 CMD test -e /here\nCMD sleep 1000\n")
    engine.cli("build", "-t", f"{name}:h", folder)
    try:
        for key, body, expected in (("a", {}, (["CMD-SHELL", "test -e /here"], 100 * MS, 5000 * MS, 7)),
                                    ("b", {"Healthcheck": {"Retries": 2}}, (["CMD-SHELL", "test -e /here"], 100 * MS, 5000 * MS, 2)),
                                    ("c", {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 200 * MS}}, (["CMD", "true"], 200 * MS, 5000 * MS, 7))):
            assert engine.api("POST", f"/containers/create?name={name}{key}", {"Image": f"{name}:h", **body}).status == 201
            h = engine.inspect(name + key)["Config"]["Healthcheck"]
            assert (h["Test"], h["Interval"], h["Timeout"], h["Retries"]) == expected
            post(engine, f"/containers/{name}{key}/start")
        wait_until("the image's check runs", lambda: health(engine, name + "a")["Log"])
        wait_until("the request's check runs", lambda: health(engine, name + "c")["Status"] == "healthy")
        for test in (["NONE"], ["UNKNOWN", "x"]):
            assert engine.api("POST", f"/containers/create?name={name}n", {"Image": f"{name}:h", "Healthcheck": {"Test": test}}).status == 201
            post(engine, f"/containers/{name}n/start")
            assert "Health" not in state(engine, name + "n") and [c["Names"] for c in listed(engine, name, "none")] == [[f"/{name}n"]]
            assert engine.api("DELETE", f"/containers/{name}n?force=1").status == 204
        engine.cli("run", "-d", "--name", name + "cli", "--no-healthcheck", f"{name}:h")
        assert "Health" not in state(engine, name + "cli")
    finally:
        engine.remove_containers()
        engine.cli("rmi", f"{name}:h")


@pytest.mark.parametrize("field, value, says", [
    ("Interval", 1000, "Interval in Healthcheck cannot be less than 1ms"),
    ("Timeout", -1, "Timeout in Healthcheck cannot be less than 1ms"),
    ("StartPeriod", 5, "StartPeriod in Healthcheck cannot be less than 1ms"),
    ("StartInterval", 5, "StartInterval in Healthcheck cannot be less than 1ms"),
    ("Retries", -1, "Retries in Healthcheck cannot be negative"),
])
def test_bounds(engine, name, field, value, says):
    reply = engine.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Healthcheck": {"Test": ["CMD", "true"], field: value}})
    assert reply.status == 400 and reply.message == says


def test_a_paused_container_is_not_checked(engine, name):
    cid = start(engine, name, "sleep", "1000", **check(["CMD", "true"]))
    wait_until("it is healthy", lambda: health(engine, name)["Status"] == "healthy")
    post(engine, f"/containers/{name}/pause")
    time.sleep(0.3)
    before = len(actions(engine, cid))
    time.sleep(0.5)
    assert len(actions(engine, cid)) == before
    post(engine, f"/containers/{name}/unpause")
    wait_until("it is checked again", lambda: any(a.startswith("exec_die") for a in actions(engine, cid)[before:]))


def test_checks_go_on_after_kill_9(new_engine, name):
    engine = new_engine()
    cid = start(engine, name, "sh", "-c", "touch /ok; sleep 1000", **check(["CMD", "test", "-e", "/ok"], Retries=1))
    wait_until("it is healthy", lambda: health(engine, name)["Status"] == "healthy")
    engine.kill()
    engine.start()
    h = health(engine, name)
    assert h["Status"] == "healthy" and h["Log"]
    engine.cli("exec", name, "rm", "/ok")
    wait_until("it is unhealthy", lambda: health(engine, name)["Status"] == "unhealthy")
    assert actions(engine, cid).count("health_status: unhealthy") == 1
    engine.kill()
    engine.start()
    assert health(engine, name)["Status"] == "unhealthy" and health(engine, name)["FailingStreak"] >= 1
    # The end of an engine does not wait for a check.
    engine.cli("rm", "-f", name)
    start(engine, name, "sleep", "1000", **check(["CMD", "sleep", "50"]))
    time.sleep(0.3)
    before = time.monotonic()
    engine.restart()
    assert time.monotonic() - before < 10


def test_nothing_runs_for_containers_without_a_check(new_engine, name):
    """No thread waits for a time that nobody has asked for; one does for all that have."""
    engine = new_engine()

    def timers():
        names = engine.threads()
        assert "irekod-watch" in names, "the engine's threads have names"
        return names.count("irekod-timers")

    start(engine, name, "sleep", "1000")
    assert timers() == 0, "nothing waits for a time"
    start(engine, name + "b", "sleep", "1000", **check(["CMD", "true"], interval=3600000 * MS))
    wait_until("a thread waits for the check's time", lambda: timers() == 1)
    start(engine, name + "c", "sleep", "1000", **check(["CMD", "true"], interval=3600000 * MS))
    assert timers() == 1, "one for all of them"
