# SPDX-License-Identifier: Apache-2.0
"""One or more for each class of attack."""
from mutation import EVERYTHING, Mutation

HERE = "test_runtime_attacks.py::"
NO_DUMPABLE = "prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)"

ALL = [
    # --- the runtime's own executable, memory and descriptors
    Mutation(
        "stdio-stays-closed", "descriptors of the runtime become the container's stdio",
        [HERE + "test_closed_stdio_gives_no_descriptor_of_the_runtime"],
        "src/base/fd.c:fd_fill_stdio", "closed descriptors 0 to 2 are not opened at the start",
        [("src/base/fd.c", "		if ((p[fd].revents & POLLNVAL) && open(\"/dev/null\", O_RDWR) != fd)\n", "		if (false)\n")]),
    Mutation(
        "created-with-everything-open", "descriptors of the host in a created container",
        [HERE + "test_a_created_process_holds_nothing_of_the_host"],
        "src/runtime/init.c:close_others", "what is close-on-exec stays open until the command is executed",
        [("src/runtime/init.c", "int r = process_close_from(first + (int)n, false);", "int r = 0;")]),
    Mutation(
        "created-and-dumpable", "looking into a created process from its pid namespace",
        [HERE + "test_a_created_process_cannot_be_looked_into[0-None]"],
        "src/runtime/create.c:create, src/runtime/credentials.c:become_user", "the process is dumpable",
        [("src/runtime/create.c", "	if (geteuid() == 0 && " + NO_DUMPABLE, "	if (false)"),
         ("src/runtime/credentials.c", "	if (" + NO_DUMPABLE, "	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)")]),
    Mutation(
        "dumpable-after-setuid", "looking into a created process where fs.suid_dumpable is 1",
        [HERE + "test_a_created_process_cannot_be_looked_into[1000-1]"],
        "src/runtime/credentials.c:become_user", "what the change of user does to the dumpable flag stays",
        [("src/runtime/credentials.c", "	if (" + NO_DUMPABLE, "	if (false)")]),
    Mutation(
        "created-and-traced", "tracing a created process that holds more than its container",
        [HERE + "test_a_created_process_is_nobodys_to_trace"],
        "src/runtime/exec.c:spare_first_process", "exec gives CAP_SYS_PTRACE in a container that is not started yet",
        [("src/runtime/exec.c", "	if (r == 0 && status == RUNTIME_CREATED)\n", "	if (false)\n")]),
    Mutation(
        "injected-and-dumpable", "ptrace of the process that exec injects",
        [HERE + "test_an_injected_process_cannot_be_looked_into"],
        "src/runtime/exec.c:exec, run_middle; src/runtime/credentials.c:become_user", "the process is dumpable",
        [("src/runtime/exec.c", "	if (geteuid() == 0 && " + NO_DUMPABLE, "	if (false)"),
         ("src/runtime/exec.c", "	if (r == 0 && " + NO_DUMPABLE, "	if (false)"),
         ("src/runtime/credentials.c", "	if (" + NO_DUMPABLE, "	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)")]),
    Mutation(
        "any-pid-is-believed", "speaking to the runtime in the name of the process that exec injects",
        [HERE + "test_an_injected_process_cannot_be_spoken_for"],
        "src/runtime/exec.c:take_pid", "the pid in the message is believed, and killed when the exec fails",
        [("src/runtime/exec.c", "	if (k->pid > 0 || pid <= 0 || pid == k->middle ||\n	    waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)\n", "	(void)si;\n	if (false)\n")]),
    Mutation(
        "listener-after-the-fact", "seccomp notification: nobody there to answer",
        [HERE + "test_the_listener_is_there_before_the_first_question"],
        "src/runtime/exec.c:pass_listener", "the descriptor is kept until the command has been executed",
        [("src/runtime/exec.c", "		return pass_listener(k, buf + 1, (size_t)n - 1, n_fds == 1 ? fd : -1, e);\n", "		return init_send(k->sock, INIT_GO, NULL, 0, -1);\n")]),
    Mutation(
        "waiting-for-ever", "a container stops what exec puts into it",
        [HERE + "test_a_process_that_its_container_stops_stops_nobody_else"],
        "src/runtime/exec.c:wait_to_hear; src/shim/runner-library.c:library_exec", "no time limit",
        [("src/shim/runner-library.c", "#define EXEC_TIMEOUT_MS 20000", "#define EXEC_TIMEOUT_MS 0")], programs=EVERYTHING),
    Mutation(
        "waiting-for-the-held", "a tracer in the container holds a process that exec has killed",
        [HERE + "test_a_process_that_is_held_at_its_death_holds_up_nobody"],
        "src/runtime/exec.c:end_child; src/shim/process.c:strays_look", "no time limit",
        [("src/runtime/exec.c", "process_reap_within(pid, pidfd, k->end_wait_ms) == -ETIMEDOUT", "pidfd >= 0 && process_reap(pid) < 0")], programs=EVERYTHING),
    Mutation(
        "asking-for-the-held", "a tracer in the container holds a command of exec that has ended",
        [HERE + "test_a_command_that_is_held_at_its_end_is_waited_for_at_rest"],
        "src/shim/process.c:process_ready", "its pidfd stays watched",
        [("src/shim/process.c", "	if (p->held) {\n		loop_unwatch(s->loop, src);\n		return;", "	if (p->held) {\n		return;")], programs=EVERYTHING),
    # --- names that change
    Mutation(
        "paths-by-name", "symlink swaps of every mount target while creating",
        [HERE + f"test_every_mount_target_exchanged_while_creating[{t}]" for t in ("file", "directory", "tmpfs", "cwd", "device")],
        "src/base/path.c:path_open_in_root", "paths below the root are resolved as paths of the host",
        [("src/base/path.c", "		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));\n",
          '		_cleanup_free_ char *by_name = strf("%s/%s", path_of_fd(rootfd).s, path);\n		long fd = open(by_name, (int)how.flags, mode);\n')]),
    Mutation(
        "strict-places-by-name", "symlink swaps of /dev, /proc and /sys while creating",
        [HERE + f"test_every_mount_target_exchanged_while_creating[{t}]" for t in ("devices", "cgroup")],
        "src/runtime/mounts.c:open_no_symlinks; src/base/path.c:path_open_in_root", "paths below the root are resolved as paths of the host",
        [("src/base/path.c", "		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));\n",
          '		_cleanup_free_ char *by_name = strf("%s/%s", path_of_fd(rootfd).s, path);\n		long fd = open(by_name, (int)how.flags, mode);\n'),
         ("src/runtime/mounts.c", "	long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));\n",
          '	_cleanup_free_ char *by_name = strf("%s%s", path_of_fd(root).s, path);\n	long fd = open(by_name, (int)how.flags);\n')]),
    Mutation(
        "devices-owned-by-name", "a device exchanged for a link before it gets its owner",
        [HERE + "test_device_exchanged_between_making_and_owning"],
        "src/runtime/devices.c:make_node", "chown follows links",
        [("src/runtime/devices.c", "fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW)", "fchownat(dir, name, d->uid, d->gid, 0)")]),
    Mutation(
        "passwd-is-waited-for", "names exchanged while exec runs",
        [HERE + "test_exec_while_names_are_exchanged"],
        "src/runtime/credentials.c:passwd_field", "/etc/passwd is opened as if it were a file",
        [("src/runtime/credentials.c", "O_RDONLY | O_NONBLOCK | O_NOCTTY", "O_RDONLY | O_NOCTTY")]),
    Mutation(
        "exec-on-the-host", "exec into a container without a mount namespace",
        [HERE + "test_exec_in_a_container_without_a_mount_namespace"],
        "src/runtime/exec.c:open_its_root", "only namespaces are joined",
        [("src/runtime/exec.c", "	if (root >= 0 && (fchdir(root) < 0 || chroot(\".\") < 0))\n", "	if (false)\n")]),
    Mutation(
        "pid-file-followed", "a pid file that is a symlink",
        [HERE + "test_pid_file_through_a_symlink"],
        "src/runtime/state.c:write_pid_file; src/base/fd.c:file_replace_at", "the file is opened and written to",
        [("src/runtime/state.c", "	r = file_replace_at(AT_FDCWD, path, text, (size_t)n, 0644, false);\n	return r < 0 ? err_sys(e, r, \"write pid file %s\", path) : 0;",
          "	(void)n;\n	r = file_write_at(AT_FDCWD, path, text);\n	return r < 0 ? err_sys(e, r, \"write pid file %s\", path) : 0;")]),
    # --- mounts and namespaces
    Mutation(
        "root-stays-shared", "mount propagation out of the root",
        [HERE + "test_mounts_do_not_propagate_to_the_host"],
        "src/runtime/rootfs.c:rootfs_open", "the copy of the root stays a peer of what it was copied from",
        [("src/runtime/rootfs.c", "	r = mount_change(fd, \"\", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});\n	if (r == -EINVAL)", "	r = 0;\n	if (r == -EINVAL)"),
         ("src/runtime/rootfs.c", "&(MountChange){.propagation = MS_SLAVE, .recursive = true}", "&(MountChange){.set = 0}")]),
    Mutation(
        "volumes-stay-shared", "mount propagation out of a volume",
        [HERE + "test_mounts_do_not_propagate_to_the_host"],
        "src/runtime/mount-source.c:set_propagation", "the copy of a bind's source stays its peer",
        [("src/runtime/mount-source.c", "		return mount_change(fd, \"\", &(MountChange){.propagation = MS_PRIVATE, .recursive = true});", "		return 0;")]),
    Mutation(
        "old-proc-visible", "procfs without masks by way of a new user namespace",
        [HERE + "test_no_procfs_without_masks_in_a_user_namespace[False]"],
        "src/runtime/rootfs.c:hide_old_proc", "the host's procfs and sysfs stay below the root with --no-pivot",
        [("src/runtime/rootfs.c", "	if (in->own_mounts && in->create->no_pivot) {", "	if (false) {")]),
    Mutation(
        "namespaces-of-any-kind", "pid namespace and setns: another kind of namespace at the path",
        [HERE + "test_a_namespace_of_another_kind_is_not_joined"],
        "src/runtime/birth.c:join", "setns takes whatever it is given",
        [("src/runtime/birth.c", "	if (setns(in->joins[i].fd, flag) < 0) {", "	if (setns(in->joins[i].fd, 0) < 0) {")]),
    Mutation(
        "host-namespaces-changed", "host name and sysctls of the host's namespaces, given by path",
        [HERE + "test_names_and_sysctls_of_the_host_by_path"],
        "src/runtime/create.c:check_shared", "a namespace by path is always taken for another than the host's",
        [("src/runtime/create.c", "		shared |= is_our_own(fd, flag) ? (uint64_t)flag : 0;\n", "		shared |= is_our_own(fd, flag) ? 0 : 0;\n")]),
    Mutation(
        "any-sysctl", "sysctl redirection: names that lead out",
        [HERE + "test_sysctls_of_the_host"],
        "src/runtime/sysctl.c:sysctl_check, write_one", "names are taken as they are, and \"..\" is followed",
        [("src/runtime/sysctl.c", "		if (!ns || strstr(path, \"..\"))", "		if (!ns)"),
         ("src/runtime/sysctl.c", "RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV", "RESOLVE_NO_SYMLINKS")]),
    Mutation(
        "maps-onto-root", "user namespaces: 0 mapped to the host's root",
        [HERE + "test_root_of_a_user_namespace_is_nobody_outside"],
        "src/kernel/namespace.c: the maps that are written", "ids are mapped to themselves",
        [("src/kernel/namespace.c", "map[i].inside, map[i].outside, map[i].count", "map[i].inside, map[i].inside, map[i].count")]),
    Mutation(
        "nobody-becomes-root", "user namespaces: 0 is not mapped",
        [HERE + "test_id_maps_that_are_none[ids0-id 0 mapped]"],
        "src/runtime/birth.c:birth_become_root", "the failure to become root is passed over",
        [("src/runtime/birth.c", "	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)\n		return", "	if ((setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) && false)\n		return"),
         ("src/runtime/credentials.c", "	if (setresgid(u->gid, u->gid, u->gid) < 0)", "	if (setresgid(u->gid, u->gid, u->gid) < 0 && false)"),
         ("src/runtime/credentials.c", "	if (setresuid(u->uid, u->uid, u->uid) < 0)", "	if (setresuid(u->uid, u->uid, u->uid) < 0 && false)"),
         ("src/runtime/credentials.c", "		if (errno != EPERM || u->n_additional_gids > 0)", "		if (false)")]),
    # --- cgroups
    Mutation(
        "no-cgroup-namespace", "cgroup v1 release_agent, leaving the cgroup namespace",
        [HERE + "test_a_cgroup_namespace_cannot_be_left[run]", HERE + "test_a_cgroup_namespace_cannot_be_left[exec]"],
        "src/runtime/mounts.c:mounts_enter_cgroup_namespace", "the container stays in the host's cgroup namespace",
        [("src/runtime/mounts.c", "	if (unshare(CLONE_NEWCGROUP) < 0)", "	if (false)")]),
    Mutation(
        "exec-outside-the-cgroup-namespace", "leaving the cgroup namespace by exec",
        [HERE + "test_a_cgroup_namespace_cannot_be_left[exec]"],
        "src/runtime/exec.c:join", "exec joins all namespaces but that of cgroups",
        [("src/runtime/exec.c", "	if (flags && setns(k->target, flags) < 0)", "	if (flags && setns(k->target, flags & ~CLONE_NEWCGROUP) < 0)")]),
    Mutation(
        "seats-looked-up-inside", "bind over /sys/fs/cgroup",
        [HERE + "test_a_covered_cgroup_tree_fools_nobody"],
        "src/runtime/exec.c:run_middle", "the cgroups are looked up in the container",
        [("src/runtime/exec.c", "	r = take_seat(k, e);\n", "	r = 0;\n"),
         ("src/runtime/exec.c", "		r = join(k, e);\n	if (r == 0) {\n		c.root",
          "		r = join(k, e);\n	if (r == 0) {\n		cgroup_seat_done(&k->seat);\n		r = open_seat(k, &(RuntimeOptions){0}, e);\n		if (r == 0)\n			r = take_seat(k, e);\n	}\n	if (r == 0) {\n		c.root")]),
    Mutation(
        "sub-cgroups-anywhere", "\"..\" in exec --cgroup",
        [HERE + "test_exec_into_a_cgroup_that_is_not_the_containers"],
        "src/kernel/cgroup-seat.c:leads_out", "a path that leads out is no error",
        [("src/kernel/cgroup-seat.c", "	return !parts || strv_has(parts, \"..\");", "	return !parts;")]),
    Mutation(
        "cgroups-walked-a-little", "cgroups nested so deep that nobody removes them",
        [HERE + "test_however_deep_cgroups_are_nested_they_are_removed"],
        "src/kernel/cgroup-tree.c:walk", "at most 32 are visited",
        [("src/kernel/cgroup-tree.c", "#define NODES_MAX (1u << 20)", "#define NODES_MAX 32")]),
    Mutation(
        "all-devices-by-a", "device rules: \"a\" with less than rwm, or a number",
        [HERE + f"test_device_rules_give_no_more_than_they_say[rules{n}-expected{n}-machine]" for n in (4, 5, 6)],
        "src/kernel/device.c:is_for_all; src/runtime/limits.c:allows_all", "whatever is of type a is for everything, as v1's files have it",
        [("src/kernel/device.c", "	return is_any_type(r) && r->major < 0 && r->minor < 0 && device_access_is_full(r->access);", "	return is_any_type(r);")]),
    Mutation(
        "device-rules-unread", "device filter bypass (v1)",
        [HERE + "test_device_rules_give_no_more_than_they_say[rules0-expected0-machine]", HERE + "test_device_rules_give_no_more_than_they_say[rules1-expected1-machine]"],
        "src/kernel/device.c:device_apply_v1", "nothing is denied to begin with",
        [("src/kernel/device.c", "	r = write_line(from < n && is_for_all(&rules[from]) && rules[from].allow ? allow : deny, dir, \"a\", e);", "	r = write_line(allow, dir, \"a\", e);")]),
    Mutation(
        "device-access-unread", "device filter bypass (v2, BPF)",
        [HERE + f"test_device_rules_give_no_more_than_they_say[rules{n}-expected{n}-unified]" for n in (1, 2, 4, 7)],
        "src/kernel/device.c:emit_rule", "the program does not look at the kind of access",
        [("src/kernel/device.c", "	if (bits != (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE)) {", "	if (bits == 0) {")]),
    Mutation(
        "device-numbers-wrap", "integer overflow: device numbers",
        [HERE + "test_device_numbers_do_not_wrap_around"],
        "src/kernel/device.c:check_rule", "numbers are not checked",
        [("src/kernel/device.c", "	if (r->major < -1 || r->major > UINT32_MAX || r->minor < -1 || r->minor > UINT32_MAX)", "	if (false)")]),
    Mutation(
        "no-pids-limit", "fork bomb",
        [HERE + "test_a_fork_bomb_stays_within_its_limit"],
        "src/kernel/cgroup-v1.c:apply_pids", "the limit is not set",
        [("src/kernel/cgroup-v1.c", "	if (nonzero(l->pids_limit) == CGROUP_UNSET)\n		return 0;", "	if (true)\n		return 0;")]),
    Mutation(
        "monitor-in-the-cgroup", "memory bomb that takes the runtime along",
        [HERE + "test_a_memory_bomb_does_not_take_the_runtime_along"],
        "src/runtime/init.c:enter", "the creator enters the cgroup and its child is born there",
        [("src/runtime/create.c", "	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)\n", "	r = cgroup_seat_take(&in->seat, e);\n	if (r < 0)\n		return r;\n"
          "	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)\n")]),
    # --- processes
    Mutation(
        "a-pid-is-a-pid", "pid reuse",
        [HERE + "test_another_process_with_the_same_pid"],
        "src/kernel/process.c:process_pidfd_checked", "the identity is not compared",
        [("src/kernel/process.c", "inode_of(fd) != identity || has_ended(fd)", "has_ended(fd)")]),
    Mutation(
        "signals-by-number", "signals to pid 0, and to whoever has a number by now",
        [HERE + "test_signals_to_all_spare_whoever_cannot_be_seen"],
        "src/kernel/cgroup-tree.c:add_pids, signal_listed", "kill(2) with what cgroup.procs says",
        [("src/kernel/cgroup-tree.c", "		if (pid > 0)\n			r = add_pid(p, pid);", "		r = add_pid(p, pid);"),
         ("src/kernel/cgroup-tree.c", "		if (pidfds[i] < 0 || !now || !bsearch(&pids[i], now, n_now, sizeof(*now), by_number))\n			continue;\n		r = process_signal(pidfds[i], signal);",
          "		(void)pidfds;\n		r = kill(pids[i], signal) < 0 ? -errno : 0;")]),
    Mutation(
        "the-rest-lives-on", "exec into a dying container",
        [HERE + "test_exec_into_a_dying_container[of the host]"],
        "src/runtime/control.c:runtime_delete", "only the first process is killed",
        [("src/kernel/cgroup-tree.c", "	if (!dir)\n		return 0;\n	if (signal == SIGKILL", "	if (dir)\n		return 0;\n	if (signal == SIGKILL")]),
    # --- privileges
    Mutation(
        "new-privileges", "no_new_privs",
        [HERE + "test_no_new_privileges[run]", HERE + "test_no_new_privileges[exec]"],
        "src/runtime/credentials.c:credentials_apply", "the flag is not set",
        [("src/runtime/credentials.c", "	if (r == 0 && p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)", "	if (false)")]),
    Mutation(
        "groups-of-the-caller", "setgroups",
        [HERE + "test_groups_of_the_caller_are_not_the_containers[run]", HERE + "test_groups_of_the_caller_are_not_the_containers[exec]"],
        "src/runtime/credentials.c:become_user", "the caller's groups stay where none are given",
        [("src/runtime/credentials.c", "	if (setgroups(u->n_additional_gids, (const gid_t *)u->additional_gids) < 0) {",
          "	if (u->n_additional_gids && setgroups(u->n_additional_gids, (const gid_t *)u->additional_gids) < 0) {")]),
    Mutation(
        "keyring-of-the-caller", "keyring isolation",
        [HERE + "test_keys_of_the_caller_are_not_the_containers[run]", HERE + "test_keys_of_the_caller_are_not_the_containers[exec]"],
        "src/runtime/credentials.c:credentials_keyring", "no keyring of its own is joined",
        [("src/runtime/credentials.c", "	if (name)\n		(void)syscall(SYS_keyctl", "	if (false)\n		(void)syscall(SYS_keyctl")]),
    Mutation(
        "other-architectures-pass", "seccomp: i386 and x32 system calls",
        [HERE + "test_system_calls_by_the_back_door[architectures0]", HERE + "test_system_calls_by_the_back_door[architectures1]"],
        "src/kernel/seccomp.c:seccomp_compile; libseccomp kills what is of no architecture of the filter", "system calls of other architectures are allowed",
        [("src/kernel/seccomp.c", "	if (seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0) < 0)",
          "	if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW) < 0 || seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0) < 0)")]),
    Mutation(
        "rules-for-one-architecture", "seccomp: rules that hold for one architecture only",
        [HERE + "test_system_calls_by_the_back_door[architectures2]"],
        "src/kernel/seccomp.c:add_architecture", "the architectures of the profile are not in the filter",
        [("src/kernel/seccomp.c", "	r = seccomp_arch_add(ctx, token);", "	r = 0;")]),
    Mutation(
        "errnos-wrap", "integer overflow: a seccomp errno that means success",
        [HERE + "test_a_seccomp_errno_does_not_wrap_around"],
        "src/kernel/seccomp.c:parse_action", "the number is cut to 16 bits",
        [("src/kernel/seccomp.c", "	if (errno_ret < -1 || errno_ret > UINT16_MAX)", "	no &= UINT16_MAX;\n	if (false)")]),
    # --- terminals and streams
    Mutation(
        "in-the-callers-session", "TIOCSTI",
        [HERE + "test_nothing_is_typed_into_the_callers_terminal[run]", HERE + "test_nothing_is_typed_into_the_callers_terminal[exec]"],
        "src/runtime/init.c:enter, src/runtime/exec.c:execute", "no setsid",
        [("src/runtime/init.c", "	if (r == 0 && setsid() < 0)", "	if (false)"), ("src/runtime/exec.c", "	if (setsid() < 0)", "	if (false)")]),
    Mutation(
        "giant-terminals", "giant winsize",
        [HERE + "test_giant_terminals"],
        "src/runtime/bundle.c:bundle_check_process", "sizes are cut to 16 bits",
        [("src/runtime/bundle.c", "	if (p->console_width > UINT16_MAX || p->console_height > UINT16_MAX)", "	if (false)")]),
    Mutation(
        "stdout-written-whole", "stdout is never read",
        [HERE + "test_a_stream_that_nobody_reads_holds_up_nothing_else[stdout]"],
        "src/cmd/ireko-runtime/foreground.c:wants, drain", "what was read is written at once, and waited for",
        [("src/cmd/ireko-runtime/foreground.c", "	else\n		fill(s);\n", "	else\n		for (fill(s); s->len && !s->ended;)\n			drain(s);\n")]),
    Mutation(
        "terminal-blocks", "stdin is never read",
        [HERE + "test_a_stream_that_nobody_reads_holds_up_nothing_else[stdin]"],
        "src/cmd/ireko-runtime/foreground.c:foreground_wait", "writing to the terminal's master waits",
        [("src/cmd/ireko-runtime/foreground.c", "		(void)fd_set_nonblock(console, true);", "		(void)fd_set_nonblock(console, false);")]),
    Mutation(
        "control-characters-pass", "terminal escapes in errors",
        [HERE + "test_errors_do_not_speak_to_the_terminal[terminal]", HERE + "test_errors_do_not_speak_to_the_terminal[pipe]"],
        "src/cmd/ireko-runtime/log.c:add_shown", "messages are shown as they are",
        [("src/cmd/ireko-runtime/log.c", "		if (is_control(s) && !strchr(kept, *s))", "		if (is_control(s) && !kept)")]),
    # --- what the config says
    Mutation(
        "no-user-is-root", "integer overflow: the id 4294967295 is \"no change\", so root",
        [HERE + f"test_numbers_that_would_wrap_around[{n}]" for n in ("process.user.uid-4294967295", "process.user.gid-4294967295")],
        "src/runtime/bundle.c:bundle_check_process", "the id is passed on",
        [("src/runtime/bundle.c", "	if (p->user.uid == UINT32_MAX || p->user.gid == UINT32_MAX)", "	if (false)")]),
    Mutation(
        "numbers-cut", "integer overflow: ids above 32 bits",
        [HERE + "test_numbers_that_would_wrap_around[process.user.uid-4294967296]"],
        "src/base/json.c:decode_u32", "numbers are cut to 32 bits",
        [("src/base/json.c", "	if (json_integer_value(j) < 0 || json_integer_value(j) > UINT32_MAX)", "	if (false)")]),
    Mutation(
        "any-size", "huge configs",
        [HERE + "test_huge_configs[long]"],
        "src/runtime/bundle.c:read_config", "any size is read",
        [("src/runtime/runtime-internal.h", "#define CONFIG_MAX (16u << 20)", "#define CONFIG_MAX (256u << 20)")]),
    Mutation(
        "members-given-twice", "configs whose members are given twice",
        [HERE + "test_huge_configs[many]"],
        "src/base/json.c:json_parse", "the last one counts",
        [("src/base/json.c", "text ? len : 0, JSON_REJECT_DUPLICATES, &je", "text ? len : 0, 0, &je")]),
    Mutation(
        "hooks-inherit", "hooks: environment",
        [HERE + "test_hooks_get_only_what_they_are_given"],
        "src/runtime/hooks.c:execute", "the environment of the caller is added",
        [("src/runtime/hooks.c", "		execve(h->path, h->args && h->args[0] ? h->args : just_path,", "		for (int i = 0; environ[i]; i++)\n			putenv(environ[i]);\n"
          "		if (env && env[0])\n			putenv(env[0]);\n		execve(h->path, h->args && h->args[0] ? h->args : just_path, environ);\n		execve(h->path, h->args && h->args[0] ? h->args : just_path,")]),
    Mutation(
        "hooks-inherit-descriptors", "hooks: descriptors",
        [HERE + "test_hooks_get_only_what_they_are_given"],
        "src/runtime/hooks.c:execute", "a descriptor is not closed",
        [("src/runtime/hooks.c", "process_close_from(3, true) == 0", "fcntl(in, F_SETFD, 0) == 0")]),
    # --- the state
    Mutation(
        "state-of-anybody", "a state directory that others can write to",
        [HERE + "test_state_of_others_is_not_obeyed"],
        "src/runtime/state.c:check_owner", "owner and mode are not looked at",
        [("src/runtime/state.c", "	if (st.st_uid != geteuid() && st.st_uid != 0)", "	if (true)\n		return 0;\n	if (st.st_uid != geteuid() && st.st_uid != 0)")]),
    Mutation(
        "state-for-everybody", "a state directory that others can read",
        [HERE + "test_state_is_closed_to_others"],
        "src/runtime/state.c:open_root, state_make_dir", "directories are made with mode 0755",
        [("src/runtime/state.c", "mkdir_parents_at(AT_FDCWD, o->root, 0700)", "mkdir_parents_at(AT_FDCWD, o->root, 0755)")]),
    Mutation(
        "notify-writable", "a directory of the host's /run in the container",
        [HERE + "test_the_notify_directory_is_not_the_containers"],
        "src/runtime/notify.c:fill_mount", "the mount is not read-only",
        [("src/runtime/notify.c", '{"bind", "ro", ', '{"bind", "rw", ')]),
]

CLOSING = ""
