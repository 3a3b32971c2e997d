# SPDX-License-Identifier: Apache-2.0
"""User namespaces, callers without privilege, and containers that are written to files."""
from mutation import Mutation

ROOTLESS, USERNS, CHECKPOINT = "test_runtime_rootless.py::", "test_runtime_userns.py::", "test_runtime_checkpoint.py::"

ALL = [
    Mutation(
        "user-sees-into-creation", "looking into a container's first process while it is a copy of the runtime's memory",
        [ROOTLESS + "test_life_cycle"],
        "src/runtime/birth.c:birth_become_root; src/runtime/credentials.c:become_user", "the process stays dumpable in its user namespace",
        [("src/runtime/birth.c", "	/* A change of user resets this to what fs.suid_dumpable says. */\n	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)",
          "	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)"),
         ("src/runtime/credentials.c", "	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)", "	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)")]),
    Mutation(
        "namespaces-of-the-caller", "power of the host over what a container has of its own, through the user namespace that owns it",
        [USERNS + "test_root_joins_a_user_namespace"],
        "src/runtime/birth.c:fork_by_middle", "new namespaces are made before the user namespace is joined",
        [("src/runtime/birth.c", "	return find_join(in, CLONE_NEWUSER) >= 0 || (", "	return (")]),
    Mutation(
        "limit-forgotten", "a limit that nobody keeps",
        [ROOTLESS + "test_limit_without_the_right", USERNS + "test_nested_limit"],
        "src/runtime/rootless.c:rootless_fit_cgroup", "a hierarchy without permission is left out, whatever was asked of it",
        [("src/runtime/rootless.c", "	if (field)\n", "	if (field && false)\n")]),
    Mutation(
        "null-of-the-container", "/dev/null that is another device", [CHECKPOINT + "test_null_device_that_is_something_else"],
        "src/runtime/console.c:open_null_in", "what has the name is taken for stdin and stdout",
        [("src/runtime/console.c", "	if (fstatat(dev, \"null\", &st, AT_SYMLINK_NOFOLLOW) < 0 || !is_null(&st))\n", "	if (fstatat(dev, \"null\", &st, AT_SYMLINK_NOFOLLOW) < 0)\n"),
         ("src/runtime/console.c", "	return fd >= 0 && fstat(fd, &st) == 0 && is_null(&st) ? take_fd(&fd) : -ENOENT;", "	return fd >= 0 ? take_fd(&fd) : -ENOENT;")]),
    Mutation(
        "criu-is-not-told", "a restore that fails half-way: criu is told, and undoes what it has done",
        [CHECKPOINT + "test_hook_that_fails"],
        "src/runtime/criu.c:answer_notice", "criu is told that all is well",
        [("src/runtime/criu.c", "	q.notify_success = r >= 0;", "	q.notify_success = true;")]),
]
