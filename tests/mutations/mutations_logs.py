# SPDX-License-Identifier: Apache-2.0
"""Containers that flood their logs, clients that do not keep up, and what a container may make of mounts that others take over."""
from mutation import Mutation

LOGS, SERVERS, ATTACH, MOUNTS, NAMESPACES = "test_logs.py::", "test_logs_servers.py::", "test_attach.py::", "test_mounts.py::", "test_life_stats.py::"
SHIM = ("ireko-shim", "irekod")

ALL = [
    Mutation(
        "log-line-without-end", "log floods: a line that does not end, NUL, what is no text",
        [SERVERS + f"test_a_flood_without_a_newline[{n}]" for n in ("one line", "NUL", "no text")],
        "src/shim/logger.c:put_part", "a line is kept until it ends",
        [("src/shim/logger.c", "	size_t k = MIN2(body, LOG_RECORD_MAX - line->len);\n", "	size_t k = body;\n")], SHIM),
    Mutation(
        "client-that-never-reads", "attached clients that never read", [ATTACH + "test_a_client_that_never_reads_holds_the_container_back"],
        "src/shim/stdio.c:stdio_check_room", "output is read whether there is room for it or not",
        [("src/shim/stdio.c", "	bool paused = !clients_have_room(io, io->paused ? STDIO_CLIENT_LOW : STDIO_CLIENT_HIGH) ||\n		      (io->log", "	bool paused = (io->log")], SHIM),
    Mutation(
        "container-that-never-reads", "input that nobody reads", [ATTACH + "test_a_container_that_never_reads_holds_the_client_back"],
        "src/shim/attach.c:client_reads_input", "input is taken whether there is room for it or not",
        [("src/shim/attach.c", "	return !c->in_eof && (!c->feeds || stdio_takes_input(c->io));\n", "	return !c->in_eof;\n")], SHIM),
    Mutation(
        "bind-over-procfs", "CVE-2019-16884, by the API: a file of the host over one of procfs", [MOUNTS + "test_paths_inside_procfs"],
        "src/runtime/mounts.c:check_not_in_proc", "what is mounted in procfs is not looked at",
        [("src/runtime/mounts.c", "	if (!lies_in_procfs(target))\n", "	if (target >= 0)\n")], SHIM),
    Mutation(
        "read-only-at-the-top", "a read-only bind with something mounted below, which stays writable", [MOUNTS + "test_read_only_is_recursive"],
        "src/engine/spec-mounts.c:access_of", "the option is for the mount itself alone",
        [("src/engine/spec-mounts.c", 'm->ro_non_recursive || m->non_recursive ? "ro," : "rro,"', 'm->ro_non_recursive || m->non_recursive ? "ro," : "ro,"')], SHIM),
    Mutation(
        "link-for-shm", "a container whose /dev/shm others join, which puts a link there", [NAMESPACES + f"test_a_joined_shm_is_no_link[{n}]" for n in ("ours", "runc")],
        "src/kernel/mount-foreign.c:clone_there", "links are followed there",
        [("src/kernel/mount-foreign.c", ".resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT};", ".resolve = 0};")], SHIM),
    Mutation(
        "shm-by-name", "a container whose /dev/shm others join, which puts a link to a directory of the host there", [NAMESPACES + "test_a_joined_shm_is_no_link[ours]"],
        "src/runtime/mount-source.c:clone_source", "the path is opened by its name first, so that links lead on from the host's root",
        [("src/runtime/mount-source.c", "	_cleanup_close_ int fd = dirfd == AT_FDCWD && mount_is_foreign(path)\n				     ? mount_clone_foreign(path, o->recursive_bind)\n				     : mount_clone(dirfd, path, o->recursive_bind);\n",
          "	_cleanup_close_ int fd = mount_clone(dirfd, path, o->recursive_bind);\n\n	if (fd == -EINVAL)\n		fd = mount_clone_foreign(path, o->recursive_bind);\n")], SHIM),
    Mutation(
        "shm-by-name-of-a-program", "the same, and a runtime that is a program", [NAMESPACES + "test_a_joined_shm_is_no_link[runc]"],
        "src/engine/start.c:joined_shm_open", "the program is given the path",
        [("src/engine/start.c", "	if (!s->runtime || !s->ipc_path)\n		return 0;\n", "	if (!s->runtime || s->ipc_path)\n		return 0;\n")], ("irekod",)),
]
