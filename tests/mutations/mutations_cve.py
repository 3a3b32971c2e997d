# SPDX-License-Identifier: Apache-2.0
"""One for each vulnerability of runc and crun."""
from mutation import EVERYTHING, Mutation

HERE = "test_runtime_cve.py::"

ALL = [
    Mutation(
        "own-executable-writable", "CVE-2019-5736: overwriting the runtime through /proc/self/exe",
        [HERE + "test_cve_2019_5736_overwrite_of_the_runtime[exec]", HERE + "test_cve_2019_5736_overwrite_of_the_runtime[run]",
         "test_runtime.py::test_no_process_of_ours_has_a_writable_path_to_our_executable"],
        "src/kernel/entry.c:process_entry_protect, src/kernel/process.c:process_protect_exe", "the program is not made to run from a read-only mount",
        [("src/kernel/entry.c", "	if (!may_meet_container(argv))\n", "	if (argv)\n"),
         ("src/kernel/process.c", "	if (is_read_only(exe) || is_sealed(exe))\n", "	if (exe >= 0)\n")]),
    Mutation(
        "anything-on-proc", "CVE-2019-16884: a volume mounted over /proc",
        [HERE + "test_cve_2019_16884_mount_over_proc"],
        "src/runtime/mounts.c:check_not_in_proc, attach_bind, make_fs", "no check what a mount on or in /proc is",
        [("src/runtime/mounts.c", "	if (!lies_in_procfs(target))\n", "	if (target >= 0)\n"),
         ("src/runtime/mounts.c", "place == PLACE_PROC && !lies_in_procfs(*source)", "place == PLACE_PROC && false"),
         ("src/runtime/mounts.c", "place == PLACE_PROC && !proc", "place == PLACE_PROC && false")]),
    Mutation(
        "proc-through-symlinks", "CVE-2019-19921: procfs mounted through a symlink",
        [HERE + "test_cve_2019_19921_proc_is_a_symlink", HERE + "test_cve_2026_41579_dev_is_a_symlink", HERE + "test_cve_2026_41579_dev_is_a_volume",
         HERE + "test_cve_2026_47766_devices_through_a_symlinked_dev"],
        "src/runtime/mounts.c:mounts_open_strict", "symlinks are followed inside the root",
        [("src/runtime/mounts.c", ".resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,", ".resolve = RESOLVE_IN_ROOT,")]),
    Mutation(
        "masks-by-path", "CVE-2023-27561: /proc exchanged while the container is made",
        [HERE + "test_cve_2023_27561_proc_is_exchanged"],
        "src/runtime/rootfs.c:open_covered", "masked paths are looked up in the root, not in the procfs that was mounted",
        [("src/runtime/rootfs.c", "	if (dir < 0)\n		return path_open_in_root(in->root, path, O_PATH, 0);",
          "	if (dir >= -1)\n		return path_open_in_root(in->root, path, O_PATH, 0);")]),
    Mutation(
        "label-by-path", "CVE-2023-28642, CVE-2025-52881: LSM label redirected by a symlinked or covered /proc",
        [HERE + "test_cve_2023_28642_label_through_a_symlinked_proc", HERE + "test_cve_2025_52881_label_of_exec_redirected"],
        "src/runtime/credentials.c:write_label; src/runtime/exec.c:run_middle", "the label is written below /proc of the container",
        [("src/runtime/credentials.c", '		r = mount_new_fs("proc", "proc", NULL, 0, &own, e);\n',
          '		own = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);\n		r = own < 0 ? err_sys(e, errno, "proc") : 0;\n'),
         ("src/runtime/exec.c", "	if (r == 0 && (!str_empty(p->apparmor_profile) || !str_empty(p->selinux_label))) {", "	if (false) {")]),
    Mutation(
        "attach-by-path", "CVE-2021-30465: a mount target exchanged for a symlink",
        [HERE + "test_cve_2021_30465_mount_target_is_exchanged"],
        "src/runtime/mounts.c:attach_bind", "the mount is attached to a path that was checked, not to a descriptor",
        [("src/runtime/mounts.c", "	r = mount_attach(*source, target);\n",
          '	_cleanup_free_ char *by_name = strf("%s%s", path_of_fd(in->root).s, m->destination);\n'
          '	r = syscall(SYS_move_mount, *source, "", AT_FDCWD, by_name, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0 ? -errno : 0;\n')]),
    Mutation(
        "namespaces-lost-behind-long-members", "CVE-2021-43784: a 16 bit length overflows and members are lost",
        [HERE + "test_cve_2021_43784_long_members"],
        "structural: the child is a copy of its creator, nothing is serialised for it; src/runtime/create.c:plan_namespaces",
        "members longer than 65535 bytes push the namespaces out",
        [("src/runtime/create.c", "			in->new_flags |= (uint64_t)flag;\n",
          "			if (!s->annotations || strlen(s->annotations[0]) <= UINT16_MAX || flag == CLONE_NEWNS)\n"
          "				in->new_flags |= (uint64_t)flag;\n")]),
    Mutation(
        "exec-cap-inheritable", "CVE-2022-29162: inheritable capabilities by exec --cap",
        [HERE + "test_cve_2022_29162_inheritable_capabilities_of_exec"],
        "src/cmd/ireko-runtime/exec.c:add_caps", "--cap adds to the inheritable set too",
        [("src/cmd/ireko-runtime/exec.c", "	size_t n = has_ambient(p) ? 5 : 3;", "	size_t n = has_ambient(p) ? 5 : 4;")]),
    Mutation(
        "capabilities-inherited", "CVE-2022-27650: inheritable capabilities that nobody asked for",
        [HERE + "test_cve_2022_27650_inheritable_capabilities_by_default", HERE + "test_cve_2022_29162_inheritable_capabilities_of_exec"],
        "src/kernel/capability.c:capability_apply", "the permitted set is made inheritable, the ambient one is not cleared",
        [("src/kernel/capability.c", "int r = set(s->effective & s->permitted, s->permitted, s->inheritable, e);",
          "int r = set(s->effective & s->permitted, s->permitted, s->permitted, e);"),
         ("src/kernel/capability.c", "	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)", "	if (false)")]),
    Mutation(
        "cgroup-mounts-writable", "CVE-2023-25809: /sys/fs/cgroup writable in a user namespace",
        [HERE + "test_cve_2023_25809_cgroup_mount_in_a_user_namespace"],
        "src/runtime/mounts.c:set_cgroup_options", "read-only is not set on the hierarchies",
        [("src/runtime/mounts.c", "			     &(MountChange){.set = o->set,\n					    .clear = o->clear & MOUNT_ATTR__ATIME,",
          "			     &(MountChange){.set = o->set & ~(uint64_t)MOUNT_ATTR_RDONLY,\n					    .clear = o->clear & MOUNT_ATTR__ATIME,")]),
    Mutation(
        "cwd-through-magic-links", "CVE-2024-21626: working directory on the host",
        [HERE + "test_cve_2024_21626_working_directory_on_the_host"],
        "src/runtime/credentials.c:enter_cwd", "chdir by path, without a look at where it led",
        [("src/runtime/credentials.c", "_cleanup_close_ int fd = path_open_in_root(root, cwd, O_PATH | O_DIRECTORY, 0);",
          "_cleanup_close_ int fd = open(cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);"),
         ("src/runtime/credentials.c", "	return where[0] == '/' ? 0 : -EXDEV;", "	return 0;")]),
    Mutation(
        "descriptors-leak", "CVE-2024-21626: descriptors of the runtime in the container",
        [HERE + "test_cve_2024_21626_leaked_descriptors[run]", HERE + "test_cve_2024_21626_leaked_descriptors[exec]"],
        "src/runtime/init.c:close_others, src/runtime/exec.c:close_others; O_CLOEXEC everywhere",
        "the state directory is opened without O_CLOEXEC, and nothing is closed before the command is executed",
        [("src/runtime/state.c", "*ret_dirfd = openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);",
          "*ret_dirfd = fcntl(openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), F_DUPFD, 20);"),
         ("src/runtime/state.c", "s.dirfd = openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);",
          "s.dirfd = fcntl(openat(root, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), F_DUPFD, 20);"),
         ("src/runtime/init.c", "int r = process_close_from(first + (int)n, false);", "int r = 0;"),
         ("src/runtime/exec.c", "	r = process_close_from(first + 1, false);", "	r = 0;")]),
    Mutation(
        "mount-points-made-by-path", "CVE-2024-45310: files and directories made on the host by a race",
        [HERE + "test_cve_2024_45310_mount_point_made_on_the_host[directory-str]", HERE + "test_cve_2024_45310_mount_point_made_on_the_host[file-str]"],
        "src/base/path.c:enter, touch", "what is missing is made by path below the root, not by a name at a descriptor",
        [("src/base/path.c", "		return fd;\n	if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)\n",
          '		return fd;\n	_cleanup_free_ char *by_name = strf("%s/%s", path_of_fd(rootfd).s, prefix);\n	if (mkdir(by_name, mode) < 0 && errno != EEXIST)\n'),
         ("src/base/path.c", "	if (mknodat(parent, name, S_IFREG | (mode & 07777), 0) < 0 && errno != EEXIST)\n",
          '	_cleanup_free_ char *by_name = strf("%s/%s", path_of_fd(rootfd).s, path);\n'
          "	if (mknod(by_name, S_IFREG | (mode & 07777), 0) < 0 && errno != EEXIST)\n")]),
    Mutation(
        "mask-with-the-container's-null", "CVE-2025-31133: /dev/null exchanged while paths are masked with it",
        [HERE + "test_cve_2025_31133_masked_by_something_else[exchanged]"],
        "src/runtime/mount-source.c:open_null; src/runtime/rootfs.c:mask", "files are masked with what is at /dev/null of the container",
        [("src/runtime/rootfs.c", "		return cover(target, in->sources.null, &c->null_attached, e);\n",
          '	{\n		_cleanup_close_ int there = path_open_in_root(in->root, "/dev/null", O_PATH, 0), null = -1;\n		bool attached = false;\n\n'
          '		null = there < 0 ? there : mount_clone(there, "", false);\n'
          '		return null < 0 ? err_sys(e, null, "/dev/null") : cover(target, null, &attached, e);\n	}\n')]),
    Mutation(
        "console-through-symlinks", "CVE-2025-52565: /dev/console bound over something else",
        [HERE + "test_cve_2025_52565_console_over_something_else[a link]", HERE + "test_cve_2025_52565_console_over_something_else[a link to nothing]"],
        "src/runtime/console.c:console_bind", "a symlink is neither removed nor refused",
        [("src/runtime/console.c", "!S_ISREG(st.st_mode) &&\n	    !S_ISCHR(st.st_mode)", "S_ISDIR(st.st_mode)"),
         ("src/runtime/console.c", "	target = openat(dev, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);", "	target = openat(dev, name, O_PATH | O_CLOEXEC);")]),
    Mutation(
        "ptmx-of-anybody", "CVE-2025-52565: /dev/pts is not a devpts",
        [HERE + "test_cve_2025_52565_pts_is_a_directory"],
        "src/runtime/console.c:open_master", "/dev/pts may be any directory",
        [("src/runtime/console.c", "	if (dir < 0 || !is_on_devpts(dir))", "	if (dir < 0)"),
         ("src/runtime/console.c", "st.st_rdev != makedev(5, 2) || !is_on_devpts(fd)", "false")]),
    Mutation(
        "sysctl-by-path", "CVE-2025-52881: sysctl redirected to a file of the image",
        [HERE + "test_cve_2025_52881_sysctl_redirected"],
        "src/runtime/sysctl.c:sysctl_apply", "sysctls are written below /proc of the container",
        [("src/runtime/sysctl.c", '		r = mount_new_fs("proc", "proc", NULL, 0, &own, e);\n',
          '		own = path_open_in_root(in->root, "/proc", O_PATH | O_DIRECTORY, 0);\n		r = own < 0 ? err_sys(e, own, "open /proc") : 0;\n')]),
    Mutation(
        "dev-on-the-host", "CVE-2026-41579, CVE-2026-47766: /dev of the image is a symlink to a directory of the host",
        [HERE + "test_cve_2026_41579_dev_is_a_symlink[nothing-str]", HERE + "test_cve_2026_41579_dev_is_a_symlink[nothing-up_to]",
         HERE + "test_cve_2026_47766_devices_through_a_symlinked_dev[str]"],
        "src/runtime/mounts.c:mounts_open_strict; src/runtime/devices.c:devices_make", "/dev is opened by path: nodes and links are made on the host, files removed",
        [("src/runtime/mounts.c", "	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));\n",
          '	_cleanup_free_ char *by_name = strf("%s%s", path_of_fd(root).s, path);\n	long fd = open(by_name, (int)how.flags);\n')]),
    Mutation(
        "files-touched-by-path", "CVE-2019-18837 (crun): a mount target whose last component is a symlink",
        [HERE + "test_cve_2019_18837_last_component_is_a_symlink[str]"],
        "src/base/path.c:path_touch_in_root", "the file to mount on is made by path",
        [("src/base/path.c", "int path_touch_in_root(int rootfd, const char *path, mode_t mode)\n{\n",
          'int path_touch_in_root(int rootfd, const char *path, mode_t mode)\n{\n	_cleanup_free_ char *by_name = strf("%s%s", path_of_fd(rootfd).s, path);\n'
          "	int made = open(by_name, O_RDONLY | O_CREAT | O_CLOEXEC, mode);\n\n	if (made >= 0)\n		return made;\n")]),
    Mutation(
        "cwd-made-by-path", "CVE-2025-24965 (crun): files made through the image's symlinks",
        [HERE + "test_cve_2025_24965_files_made_through_the_image"],
        "src/runtime/init.c:make_cwd", "a missing working directory is made by path",
        [("src/runtime/init.c", "		fd = path_mkdir_in_root(in->root, in->spec->process.cwd, 0755);\n",
          '		(void)mkdir_parents_at(AT_FDCWD, strf("%s%s", path_of_fd(in->root).s, in->spec->process.cwd), 0755);\n')]),
    Mutation(
        "exec-user-without-group", "CVE-2026-30892 (crun): exec -u misread",
        [HERE + "test_cve_2026_30892_user_of_exec"],
        "src/oci/user.c:oci_user_parse", "an id without a group is taken for the group",
        [("src/oci/user.c", "	u->uid = uid;\n", "	u->uid = parts[1] ? uid : 0;\n")]),
    Mutation(
        "exec-user-is-what-can-be-read", "CVE-2026-30892 (crun): exec -u misread",
        [HERE + "test_cve_2026_30892_user_of_exec_refused"],
        "src/oci/user.c:oci_id_parse", "the digits in front are taken, whatever follows",
        [("src/oci/user.c", "	if (str_to_u64(text, &v) < 0 || v >= UINT32_MAX)", "	v = strtoull(text, NULL, 10);\n	if (false)")]),
    Mutation(
        "console-made-through-symlinks", "CVE-2026-88264 (crun): /dev/console made through a symlink",
        [HERE + "test_cve_2026_88264_console_made_through_a_symlink"],
        "src/runtime/console.c:console_bind", "the file is made with open(O_CREAT), and what the image has stays",
        [("src/runtime/console.c", "!S_ISREG(st.st_mode) &&\n	    !S_ISCHR(st.st_mode)", "S_ISDIR(st.st_mode)"),
         ("src/runtime/console.c", "	if (mknodat(dev, name, S_IFREG | 0600, 0) < 0 && errno != EEXIST)",
          "	if (openat(dev, name, O_RDONLY | O_CREAT | O_CLOEXEC, 0600) < 0)")]),
    Mutation(
        "no-stdio-of-its-own", "CVE-2026-88265 (crun): the null device reopened for stdio",
        [HERE + "test_cve_2026_88265_null_device_reopened_for_stdio[run]", HERE + "test_cve_2026_88265_null_device_reopened_for_stdio[exec]"],
        "src/base/fd.c:fd_fill_stdio", "missing stdio is not opened at the start",
        [("src/base/fd.c", "		if ((p[fd].revents & POLLNVAL) && open(\"/dev/null\", O_RDWR) != fd)\n", "		if (false)\n")]),
    Mutation(
        "null-device-of-the-container", "CVE-2026-88265 (crun): the null device reopened for stdio",
        [HERE + "test_cve_2026_88265_null_device_of_the_engine"],
        "src/runtime/console.c:stdio_prepare", "/dev/null is opened inside the container",
        [("src/runtime/console.c", "	if (io->in >= 0 && io->out >= 0 && io->err >= 0)\n", "	if (true)\n"),
         ("src/runtime/console.c", "		from[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, 3);\n",
          '		from[i] = wanted[i] >= 0 ? fcntl(wanted[i], F_DUPFD_CLOEXEC, 3) : open("/dev/null", O_RDWR | O_CLOEXEC);\n')],
        programs=EVERYTHING),
]
