# SPDX-License-Identifier: Apache-2.0
"""Every system call on the way to a running container fails once, in whichever process makes it: nothing may be left behind, and the reason is told.

strace injects the failure into the N-th such call of a process, for N = 1, 2, ... until there is no N-th. Calls that only undo (unlinkat, rmdir, kill) are left
alone: where undoing itself is made impossible, something has to remain.
"""
import os
import re
import subprocess

import pytest

from harness import program
from runtime_bundle import RUNTIME, cgroup_dirs

# By step: what the creator prepares, the clone, what the child makes, what it gives up, what the two say to each other.
CALLS = {
    "state": ["mkdirat", "openat", "ftruncate", "fchmod", "renameat", "socket", "bind", "listen", "socketpair"],
    "mounts": ["open_tree", "mount_setattr", "move_mount", "fsopen", "fsconfig", "fsmount", "openat2", "mknodat", "symlinkat", "pivot_root", "umount2", "fchdir", "chdir"],
    "cgroup": ["mkdir", "write"],
    "process": ["clone3", "clone", "unshare", "setsid", "sethostname", "prlimit64", "dup3", "close_range", "execve"],
    "credentials": ["setgroups", "setresgid", "setresuid", "capset", "prctl", "seccomp"],
    "talk": ["sendmsg", "recvmsg", "read"],
}
# The N-th call of a kind may be one that is allowed to fail (a kernel without keyrings, an image without /etc/passwd): then the container runs.
MOST = {"write": 40, "read": 30, "prctl": 60, "openat": 60, "openat2": 60, "mkdir": 20}


@pytest.fixture
def faulty(box):
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    box.config["linux"]["resources"]["pids"] = {"limit": 50}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]}
    assert box.sh("echo fine") == "fine\n"
    return box


def processes_of(box):
    return [p for p in os.listdir("/proc") if p.isdigit() and box.state.encode() in read(f"/proc/{p}/cmdline")]


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def run_with_fault(box, call, n):
    """(whether the call happened, exit status, stdout, stderr) of `run` whose n-th `call` fails in every process that gets that far."""
    cid = box.new_id()
    box.config["process"]["args"] = ["echo", "fine"]
    box.save(cid)
    trace = box.dir + "/trace"
    p = subprocess.run([program("strace"), "-f", "-qq", "-o", trace, "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={n}", RUNTIME, "--root", box.state,
                        "run", "-b", box.dir, cid], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return b"INJECTED" in read(trace), p.returncode, p.stdout, p.stderr


@pytest.mark.seconds(240)
@pytest.mark.parametrize("step", CALLS)
def test_every_call_may_fail(faulty, step):
    failed = 0
    for call in CALLS[step]:
        for n in range(1, MOST.get(call, 30) + 1):
            happened, status, out, err = run_with_fault(faulty, call, n)
            where = f"{call} no. {n}: exit status {status}\n{out}{err}"
            if not happened:
                break
            if status == 0:
                assert out == "fine\n", where
            else:
                failed += 1
                assert len(err.strip()) > 10 or out == "fine\n", where
                if out == "fine\n":  # It was the end that failed, and said so: then it can be ended again.
                    faulty.cmd("delete", "--force", f"c{faulty.count}", check=True)
            assert [f for f in os.listdir(faulty.state) if not f.startswith("@")] == [], where
            assert cgroup_dirs(faulty.group) == [], where
            assert processes_of(faulty) == [], where
            assert not re.search("Sanitizer|core dumped", err), where
    assert failed > 3, f"{step}: hardly any failure was met"
