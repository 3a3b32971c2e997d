# SPDX-License-Identifier: Apache-2.0
"""The cage of ireko-unpack from inside: an archive that has taken the helper over (tests/taken_over.c) gets no further than the directory."""
import errno
import os
import signal
import tempfile

import pytest

from harness import ROOT, run
from unpack_box import Box, finish, start

FORBIDDEN = """socket connect sendmsg execve execveat clone clone3 kill pidfd_open pidfd_getfd ptrace process_vm_writev mount umount2 pivot_root chroot
fsopen open_tree move_mount unshare setns setuid setgroups capset prctl prlimit64 seccomp bpf perf_event_open userfaultfd io_uring_setup keyctl add_key
open_by_handle_at ioctl init_module kexec_load memfd_create personality dup3 truncate acct swapon""".split()


@pytest.fixture(scope="module")
def library():
    with tempfile.TemporaryDirectory(prefix="irk-taken-over-") as folder:
        path = os.path.join(folder, "taken_over.so")
        run("gcc", "-std=gnu17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", ROOT / "tests/taken_over.c", "-o", path)
        yield path


@pytest.fixture
def box(tmp_path):
    b = Box(tmp_path)
    yield b
    b.check_outside()


@pytest.fixture
def attack(box, library):
    """What came of it: 0 if it worked, the errno, or -SIGSYS."""
    def attack(what, **job):
        r = box.unpack(f"TAKEN OVER: {what}\n".encode(), env={"LD_PRELOAD": library}, **job)
        code = os.waitstatus_to_exitcode(r.status)
        assert code != errno.EDOM, f"tests/taken_over.c does not know {what}"
        return code
    return attack


@pytest.mark.parametrize("name", FORBIDDEN)
def test_system_calls_that_unpacking_never_needs(attack, name):
    assert attack(f"call {name}") == -signal.SIGSYS


@pytest.mark.parametrize("name", ["openat", "mkdirat", "unlinkat", "mknodat"])
def test_who_only_decompresses_names_no_file(attack, name):
    assert attack(f"call {name}", cat=True) == -signal.SIGSYS


@pytest.mark.parametrize("name", ["openat", "mkdirat", "unlinkat", "mknodat"])
def test_who_writes_an_image_names_no_file(attack, name):
    assert attack(f"call {name}", image=True) == -signal.SIGSYS


def test_the_root_is_the_directory(attack):
    assert attack("outside") == errno.ENOENT


def test_no_device_where_none_is_allowed(attack, box):
    assert attack("device", devices=False) == errno.EPERM
    assert os.listdir(box.root) == []
    assert attack("device") == 0  # as a layer may have them


def test_no_word_to_overlayfs(attack, box):
    assert attack("opaque") == errno.EPERM
    assert os.listxattr(box.root) == []


def test_memory_has_a_limit(attack):
    assert attack("memory") == errno.ENOMEM


def test_files_have_a_limit(attack, box):
    assert attack("bigfile") == errno.EFBIG
    assert attack("bigfile", max_bytes=4 << 30) == 0
    (box.root / "big").unlink()


def test_descriptors_have_a_limit(attack):
    assert attack("files") == errno.EMFILE


def test_nothing_is_inherited(box, library):
    """Whatever the engine had open by mistake is closed before the archive is read."""
    r, w = os.pipe()
    extra = os.open(box.outside, os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        assert extra > 4
        pid, report = start(r, box.root, env={"LD_PRELOAD": library})
        os.write(w, b"TAKEN OVER: inherited\n")
        assert os.waitstatus_to_exitcode(finish(pid, report).status) == errno.EBADF
    finally:
        for fd in (r, w, extra):
            os.close(fd)
