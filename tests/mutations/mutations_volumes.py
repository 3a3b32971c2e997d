# SPDX-License-Identifier: Apache-2.0
"""Volumes, and copies of files out of containers and into them."""
from mutation import Mutation

VOLUMES, CP = "test_volumes.py::", "test_cp_hostile.py::"
BY_NAME = ("src/base/path.c", "		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));\n",
           '		_cleanup_free_ char *by_name = strf("%s/%s", path_of_fd(rootfd).s, path);\n		long fd = open(by_name, (int)how.flags, mode);\n')

ALL = [
    Mutation(
        "subpath-leads-out", "a subpath whose links lead out of its volume, exchanged meanwhile or not",
        [VOLUMES + "test_subpath_leads_nowhere_else", VOLUMES + "test_subpath_while_links_are_exchanged"],
        "src/base/path.c:path_open_beneath", "whatever the path leads to is mounted",
        [("src/base/path.c", "	return open_how(dirfd, path, flags, 0, RESOLVE_BENEATH);\n", "	return openat(dirfd, path, flags | O_CLOEXEC);\n")],
        programs=("irekod",)),
    Mutation(
        "cp-by-name", "CVE-2018-15664 (docker cp): links are exchanged while files are copied",
        [CP + "test_cve_2018_15664_links_are_exchanged_while_files_are_copied"],
        "src/base/path.c:path_open_in_root", "paths below the root are resolved as paths of the host", [BY_NAME], programs=("irekod",)),
    Mutation(
        "cp-mounts-by-name", "CVE-2026-42306, CVE-2026-41568 (docker cp): the mount point of a bind is exchanged while a container's mounts are put up",
        [CP + "test_cve_2026_42306_and_41568_mount_points_are_exchanged"],
        "src/base/path.c:path_open_in_root; src/engine/archive-path.c:attach_mount", "paths below the root are resolved as paths of the host", [BY_NAME], programs=("irekod",)),
    Mutation(
        "cp-archives-lead-out", "docker cp: archives with ../, links out of the container, and hard links to files of the host", [CP + f"test_archives_that_lead_out[{state}]" for state in ("created", "running")],
        "src/base/path.c:path_open_in_root; src/cmd/ireko-unpack/sandbox.c:sandbox_enter", "parents are opened as paths of the host, and the root stays the host's",
        [("src/base/path.c", "		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));\n", "		long fd = openat(rootfd, path, (int)how.flags, mode);\n"),
         ("src/cmd/ireko-unpack/sandbox.c", "fchdir(dir_fd) < 0 || chroot(\".\") < 0 || chdir(\"/\") < 0", "fchdir(dir_fd) < 0")], programs=("ireko-unpack",)),
    Mutation(
        "cp-into-read-only-mounts", "docker cp into what is mounted read-only", [CP + f"test_everywhere_in_every_state[{state}]" for state in ("created", "exited")],
        "src/engine/archive-path.c:attach_all", "a container's mounts are all put up to be written to",
        [("src/engine/archive-path.c", "		int no = a->v[i]->rw ? 0 : mount_change(", "		int no = a->v[i]->rw || ro.set ? 0 : mount_change(")], programs=("irekod",)),
    Mutation(
        "cp-into-read-only-roots", "docker cp into a container with a read-only root", [CP + "test_into_what_is_read_only"],
        "src/engine/archive.c:check_writable", "only the mount is asked",
        [("src/engine/archive.c", "	if (here == root && t->c->config.host.readonly_rootfs)\n", "	if (false)\n")], programs=("irekod",)),
    Mutation(
        "cp-waits-for-fifos", "docker cp: a fifo in the place of a file", [CP + "test_special_files_keep_nobody_waiting"],
        "src/store/dir.c:dir_open_entry", "what is there is opened, whatever it is",
        [("src/store/dir.c", "	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))\n		return path_fd;\n", ""), ("src/store/dir.c", "O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC", "O_RDONLY | O_NOCTTY | O_CLOEXEC")], programs=("irekod",)),
    Mutation(
        "cp-runs-decompressors", "GO-2026-5746 (docker cp): an image whose xz runs on the host", [CP + f"test_compressed_archives_run_nothing_of_the_container[{n}]" for n in ("gzip", "xz")],
        "structural: no program is run; src/engine/archive.c", "a decompressor is asked for its version, with the container as its root",
        [("src/engine/archive.c", "	r = check_writable(&t, dir, e);\n", "	pid_t child = fork();\n	if (child == 0) {\n		if (fchdir(t.root_fd) == 0 && chroot(\".\") == 0)\n			execlp(\"unpigz\", \"unpigz\", \"--version\", NULL);\n"
          "		_exit(0);\n	}\n	usleep(300000);\n	r = check_writable(&t, dir, e);\n")], programs=("irekod",)),
    Mutation(
        "cp-loads-libraries", "CVE-2019-14271 (docker cp): a helper with the container as its root looks for a library", [CP + "test_the_helper_loads_nothing_of_the_container"],
        "structural: src/cmd/ireko-unpack links nothing that loads libraries", "names of users are looked up",
        [("src/cmd/ireko-unpack/main.c", "	int r = json_parse(text, strlen(text), \"the job of ireko-unpack\", &j, e);\n", "	extern void *getpwnam(const char *);\n	int r = getpwnam(\"root\") ? 0 : -1;\n\n	r = json_parse(text, strlen(text), \"the job of ireko-unpack\", &j, e);\n")], programs=("ireko-unpack",)),
    Mutation(
        "half-filled", "irekod is killed while a volume is filled from its image",
        [VOLUMES + "test_a_half_filled_volume_is_filled_again"],
        "src/engine/mounts-populate.c:populate_locked", "the mark is not looked at",
        [("src/engine/mounts-populate.c", "	if (r >= 0 && is_marked(en, mark)) {\n", "	if (r >= 0 && is_marked(en, mark) && false) {\n")], programs=("irekod",)),
]
