# SPDX-License-Identifier: Apache-2.0
"""Hostile layers and registries: the cage of ireko-unpack, its budgets, and the rules of paths, links and attributes."""
from mutation import EVERYTHING, Mutation

CAGE = "test_unpack_cage.py::"
TARS = "test_unpack.py::"
MORE = "test_unpack_hostile.py::"
IMAGES = "test_erofs.py::"
UNPACK = ("ireko-unpack",)
SANDBOX = "src/cmd/ireko-unpack/sandbox.c"
PLACE = "src/cmd/ireko-unpack/place.c"
RULES = "src/store/layer-rules.c"


def unpack(name, attack, tests, defence, removed, edits):
    return Mutation("unpack-" + name, attack, tests, defence, removed, edits, UNPACK)


ALL = [
    # --- the cage
    unpack("no-filter", "an archive that takes ireko-unpack over: system calls", [CAGE + f"test_system_calls_that_unpacking_never_needs[{n}]" for n in ("socket", "execve", "clone", "kill", "ptrace", "unshare")]
           + [TARS + "test_the_cage_is_closed"], SANDBOX + ":sandbox_seal", "no filter is loaded",
           [(SANDBOX, "	if (SANITIZED) {\n		seccomp_release(ctx);", "	if (true) {\n		seccomp_release(ctx);")]),
    unpack("filter-of-one-thread", "an archive that takes ireko-unpack over: the thread that decompresses", [TARS + "test_the_cage_is_closed"], SANDBOX + ":sandbox_seal", "the filter holds for the thread that loads it",
           [(SANDBOX, "seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1)", "seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 0)")]),
    unpack("files-for-cat", "an archive that takes ireko-unpack over: files, where it only decompresses", [CAGE + f"test_who_only_decompresses_names_no_file[{n}]" for n in ("openat", "mkdirat", "unlinkat", "mknodat")],
           SANDBOX + ":sandbox_seal", "calls that name files are always allowed",
           [(SANDBOX, "	if (r >= 0 && !l->no_files)\n		r = allow(ctx, files,", "	if (r >= 0)\n		r = allow(ctx, files,")]),
    unpack("files-for-images", "an archive that takes ireko-unpack over: files, where it writes an image", [CAGE + f"test_who_writes_an_image_names_no_file[{n}]" for n in ("openat", "mkdirat", "unlinkat", "mknodat")],
           "src/cmd/ireko-unpack/main.c:run", "calls that name files are allowed where an image is written",
           [("src/cmd/ireko-unpack/main.c", "				.no_files = u->job.cat || u->job.image,\n", "				.no_files = u->job.cat,\n")]),
    unpack("no-chroot", "an archive that takes ireko-unpack over: files outside of the layer", [CAGE + "test_the_root_is_the_directory", TARS + "test_the_cage_is_closed"], SANDBOX + ":sandbox_enter", "the root stays the host's",
           [(SANDBOX, "fchdir(dir_fd) < 0 || chroot(\".\") < 0 || chdir(\"/\") < 0", "fchdir(dir_fd) < 0")]),
    unpack("network", "an archive that takes ireko-unpack over: the network", [TARS + "test_the_cage_is_closed"], SANDBOX + ":sandbox_enter", "the network namespace stays the host's",
           [(SANDBOX, "unshare(CLONE_NEWNET | CLONE_FS)", "unshare(CLONE_FS)")]),
    unpack("all-capabilities", "an archive that takes ireko-unpack over: capabilities", [CAGE + "test_no_word_to_overlayfs", CAGE + "test_no_device_where_none_is_allowed", TARS + "test_the_cage_is_closed"],
           SANDBOX + ":drop_capabilities", "all of root's are kept", [(SANDBOX, "		r = drop_capabilities(l, e);\n", "		r = 0;\n")]),
    unpack("devices-everywhere", "an archive that takes ireko-unpack over: devices outside of layers", [CAGE + "test_no_device_where_none_is_allowed"], SANDBOX + ":drop_capabilities", "CAP_MKNOD is always kept",
           [(SANDBOX, "(l->devices ? 1ull << CAP_MKNOD : 0)", "1ull << CAP_MKNOD")]),
    unpack("inherited-descriptors", "an archive that takes ireko-unpack over: descriptors of the engine", [CAGE + "test_nothing_is_inherited"], "src/cmd/ireko-unpack/main.c:main", "what was inherited stays open",
           [("src/cmd/ireko-unpack/main.c", "r >= 0 && close_range(UNPACK_REPORT_FD + 1, ~0u, 0) < 0", "false")]),
    unpack("memory", "decompression bombs: memory", [CAGE + "test_memory_has_a_limit"], SANDBOX + ":set_limits", "no RLIMIT_AS", [(SANDBOX, "	if (r >= 0 && !SANITIZED)\n", "	if (false)\n")]),
    unpack("file-size", "decompression bombs: one file", [CAGE + "test_files_have_a_limit"], SANDBOX + ":set_limits", "no RLIMIT_FSIZE", [(SANDBOX, "	if (r >= 0 && (!l->no_files || l->image))\n", "	if (false)\n")]),
    unpack("descriptors", "directories without end", [CAGE + "test_descriptors_have_a_limit"], SANDBOX + ":set_limits", "no RLIMIT_NOFILE",
           [(SANDBOX, "		r = limit(RLIMIT_NOFILE, FDS_MAX_OPEN, \"open files\", e);\n", "		r = 0;\n")]),
    # --- images of layers, made by whoever has taken it over
    Mutation("store-image-check", "an archive that takes ireko-unpack over: an image for the kernel to read", [IMAGES + f"test_a_taken_over_helper_is_not_believed[{n}]" for n in ("an attribute for overlayfs", "a name with slashes")],
             "src/store/erofs-check.c", "only the length in the image is looked at", [("src/store/layer-image.c", "	r = erofs_check(image_fd, &tar_bytes, e);\n", "	r = erofs_tar_bytes(image_fd, &tar_bytes, e);\n")], ("irekod",)),
    unpack("image-attributes", "attributes with which a layer speaks to overlayfs", [IMAGES + "test_attributes"], "src/store/erofs-xattr.c:judge", "every attribute of the archive is kept",
           [("src/store/erofs-xattr.c", "	if (!tar_xattr_is_wanted(x->name))\n		return 0;\n", "")]),
    unpack("image-padding", "what lies behind the end of a file", [IMAGES + "test_behind_the_end_of_a_file_are_zeros"], "src/store/erofs-layer.c:settle_last", "contents are used where they lie, whatever is behind them",
           [("src/store/erofs-layer.c", "	if (!n || !tar_padding_is_dirty(t))\n", "	if (true || !n)\n")]),
    # --- budgets
    unpack("contents", "decompression bombs: all files together", [MORE + "test_a_file_larger_than_the_budget", MORE + "test_many_files_that_are_small_enough_each"], RULES + ":layer_count_contents",
           "sizes are not added up", [(RULES, "	if (n->size > b->max_bytes - b->content_bytes)\n", "	if (false)\n")]),
    unpack("stream", "decompression bombs: what no file accounts for", [TARS + "test_endless_padding_is_cut_off", MORE + "test_bombs"], "src/cmd/ireko-unpack/stream.c:run", "the plain stream has no budget",
           [("src/cmd/ireko-unpack/stream.c", "		if (s->bytes_out > s->max_bytes) {\n", "		if (false) {\n")]),
    unpack("files", "millions of empty files", [TARS + "test_too_many_files", MORE + "test_entries_without_end"], RULES + ":layer_count_entry", "files are not counted",
           [(RULES, "	if (++b->files > b->max_files || tar_headers(t) > 4 * b->max_files)\n", "	if (false)\n")]),
    unpack("zstd-window", "a zstd frame that wants gigabytes", [MORE + "test_a_zstd_frame_with_a_huge_window"], "src/store/inflate.c:begin_zstd", "the largest window that zstd knows is given",
           [("src/store/inflate.c", "#define ZSTD_WINDOW_LOG_MAX 27", "#define ZSTD_WINDOW_LOG_MAX 31")]),
    unpack("header-size", "extended headers of any length", [TARS + "test_attribute_flood"], "src/store/tar-read.c:read_payload", "headers are read whatever they say",
           [("src/store/tar-read.c", "	if (size > (int64_t)TAR_HEADER_MAX)\n", "	if (false)\n")]),
    # --- names and links
    unpack("dotdot", "../ in names", [TARS + "test_dotdot_is_refused", MORE + "test_paths_of_records_climb_no_better"], RULES + ":clean", "what climbs out of the root stays at the root",
           [(RULES, "			if (len == 0)\n				return -EXDEV;\n", "			if (len == 0) {\n				name += n;\n				continue;\n			}\n")]),
    unpack("links-lead-out", "a symlink, then a file through it", [TARS + "test_write_through_symlinked_directory", MORE + "test_whiteouts_where_links_lead"],
           "src/base/path.c:path_open_in_root; " + SANDBOX + ":sandbox_enter", "parents are opened as paths of the host, and the root stays the host's",
           [("src/base/path.c", "		long fd = syscall(SYS_openat2, rootfd, path, &how, sizeof(how));\n", "		long fd = openat(rootfd, path, (int)how.flags, mode);\n"),
            (SANDBOX, "fchdir(dir_fd) < 0 || chroot(\".\") < 0 || chdir(\"/\") < 0", "fchdir(dir_fd) < 0")]),
    unpack("written-through", "a link that is replaced by a file", [TARS + "test_file_replaces_symlink_and_is_not_written_through", TARS + "test_existing_hardlink_is_not_written_through"], PLACE + ":place_file",
           "what is there is opened", [(PLACE, "	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;\n", "	const int flags = O_WRONLY | O_CREAT | O_CLOEXEC;\n")]),
    unpack("links-to-directories", "hard links to directories and deleted files", [TARS + "test_hardlink_to_whiteout"], PLACE + ":place_hardlink", "what a hard link points to is not looked at",
           [(PLACE, "	if (S_ISDIR(st.st_mode) || is_whiteout(p, &st))\n", "	if (false)\n")]),
    unpack("root-replaced", "an entry that replaces the root", [TARS + "test_nothing_may_replace_the_root"], PLACE + ":place_root", "whatever names the root is taken for its description",
           [(PLACE, "	if (n->type != TAR_DIR)\n		return err_new(e, ERR_INVALID,\n			       \"the tar entry", "	if (false)\n		return err_new(e, ERR_INVALID,\n			       \"the tar entry")]),
    # --- attributes, devices, whiteouts
    unpack("overlay-attributes", "trusted.overlay.* and user.overlay.* smuggled in", [TARS + "test_attributes_that_would_speak_to_overlayfs_are_dropped"], "src/store/tar-pax.c:tar_xattr_is_wanted", "all of user.* is wanted",
           [("src/store/tar-pax.c", "		return !str_starts(name, \"user.overlay.\");\n", "		return true;\n")]),
    unpack("whiteouts-as-devices", "a character device 0/0", [TARS + "test_devices"], RULES + ":layer_check_node", "the device is made", [(RULES, "	if (whiteouts && n->type == TAR_CHAR && n->dev_major == 0 && n->dev_minor == 0)\n", "	if (false)\n")]),
    unpack("whiteout-of-nothing", "whiteouts of \"\", \".\" and \"..\"", [TARS + "test_whiteout_of_nothing"], RULES + ":layer_name_kind", "the name is used as it is",
           [(RULES, "	if (!*victim || streq(victim, \".\") || streq(victim, \"..\"))\n", "	if (false)\n")]),
    unpack("below-whiteouts", "whiteouts used as directories", [TARS + "test_whiteout_as_directory", MORE + "test_nothing_lies_below_a_whiteout"], RULES + ":check_parents", "a directory may have a whiteout's name",
           [(RULES, "	return bad ? err_new(e, ERR_INVALID, \"%s: a whiteout is no directory\", n->name) : 0;\n", "	return 0;\n")]),
    unpack("ids-wrap", "owner ids of 2^32-1 and above", [TARS + "test_owner_ids"], "src/store/tar-read.c:narrow", "numbers are cut to 32 bits", [("src/store/tar-read.c", "	if (v < 0 || v > max)\n", "	if (false)\n")]),
    unpack("sizes-wrap", "negative and huge sizes", [TARS + "test_negative_numbers", MORE + "test_sizes"], "src/store/tar-read.c:payload_size", "sizes are taken as they are",
           [("src/store/tar-read.c", "	if (*ret < 0 || *ret > INT64_MAX - (int64_t)TAR_BLOCK)\n", "	if (false)\n")]),
    unpack("sparse-maps", "sparse maps that lie", [TARS + "test_sparse_map_lies"], "src/store/tar-pax.c:check_map", "maps are believed", [("src/store/tar-pax.c", "	if (!good || sum != t->stored)\n", "	if (false)\n")]),
    unpack("truncated", "streams that end too early", [TARS + "test_truncated_compressed"], "src/store/inflate.c:inflate_finish", "an end is an end", [("src/store/inflate.c", "	if (d->inside)\n		return err_new", "	if (false)\n		return err_new")]),
    # --- documents
    Mutation("artifact-as-image", "a document with two meanings: the manifest of an artifact where a config is due", ["test_artifacts.py::test_an_artifact_is_pulled_and_told_as_what_it_is"],
             "src/store/image.c:store_image_config", "a manifest is read as the config of an image without layers", [("src/store/image.c", "		r = check_is_config(doc, e);\n", "		r = 0;\n")], EVERYTHING),
]
