# SPDX-License-Identifier: Apache-2.0
"""Builds: what a step, a Dockerfile or a cache may not reach."""
from mutation import Mutation

MOUNTS, CACHE, COPY, ADD = "test_build_mounts.py::", "test_build_cache.py::", "test_build_copy.py::", "test_build_add.py::"
BUILDKIT, DOOR = "test_buildkit.py::", "test_buildkit_hostile.py::"

ALL = [
    Mutation(
        "build-cache-source", "CVE-2024-23651 (BuildKit): source= of a cache mount, which another step makes a link meanwhile",
        [MOUNTS + "test_a_part_of_a_cache_that_became_a_link_is_not_followed"],
        "src/build/run-mounts.c:open_cache", "the path is opened as a path of the host",
        [("src/build/run-mounts.c", "		at = path_open_beneath(dir, source, O_PATH | O_DIRECTORY);\n", "		at = openat(dir, source, O_PATH | O_DIRECTORY | O_CLOEXEC);\n")], programs=("irekod",)),
    Mutation(
        "build-stubs", "CVE-2024-23652 (BuildKit): what was made to mount on is removed after the step, by a path on which the step has put a link",
        [MOUNTS + "test_stubs_that_became_links_take_nothing_along"],
        "src/build/run-stubs.c:open_plain", "links are followed",
        [("src/build/run-stubs.c", "int next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);", "int next = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);")], programs=("irekod",)),
    Mutation(
        "build-entitlements", "CVE-2024-23653 (BuildKit): a step with more rights than its client has granted",
        [MOUNTS + "test_what_a_step_may_not_ask_for[RUN --security=insecure true-security.insecure]"],
        "src/build/run.c:flags_read", "every step may ask for everything",
        [("src/build/run.c", "	return b->rq->entitlements && strv_has(b->rq->entitlements, to);\n", "	return b && to;\n")], programs=("irekod",)),
    Mutation(
        "build-cache-records", "a cache image whose records name layers that it does not have",
        [CACHE + "test_records_of_strangers[records1-more1]", CACHE + "test_records_of_strangers[records2-more2]"],
        "src/build/cache-transfer.c:records_enter; src/build/cache-image.c:decode_one", "numbers of layers are believed",
        [("src/build/cache-image.c", "r.layers > IMAGE_LAYERS_MAX ||", "false ||"), ("src/build/cache-transfer.c", "		if (layers > strv_len(config.diff_ids)) {\n", "		if (false) {\n")], programs=("irekod",)),
    Mutation(
        "build-sbom-links", "an image whose package database is a link to a file of the host, or a fifo that nobody writes to",
        ["test_build_platforms.py::test_a_database_that_leads_out_of_the_image_is_not_followed"],
        "src/build/sbom.c:read_file", "the path is opened as a path of the host",
        [("src/build/sbom.c", "	_cleanup_close_ int fd = path_open_in_root(dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);", "	_cleanup_close_ int fd = openat(dir, path, O_RDONLY | O_CLOEXEC) ?: -1;\n	if (fd < 0)\n		fd = -errno;")], programs=("irekod",)),
    Mutation(
        "build-layout-links", "an image layout of a client whose manifest is a link to a file of the host",
        ["test_build_layouts.py::test_files_that_are_no_files_of_the_layout[manifest-a link out]"],
        "src/build/layout.c:open_file", "the path is opened as a path of the host",
        [("src/build/layout.c", "	_cleanup_close_ int fd = path_open_in_root(l->dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);", "	_cleanup_close_ int fd = openat(l->dir, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);")], programs=("irekod",)),
    Mutation(
        "build-layout-files", "an image layout of a client with a fifo in the place of a layer",
        ["test_build_layouts.py::test_files_that_are_no_files_of_the_layout[layer-a fifo]"],
        "src/build/layout.c:open_file", "whatever can be opened is read",
        [("src/build/layout.c", "	return S_ISREG(st.st_mode)\n", "	return st.st_mode\n")], programs=("irekod",)),
    Mutation(
        "build-held", "a client that is killed while it has a shell in what a failed step has left",
        ["test_build_cli.py::test_a_shell_goes_with_a_client_that_is_killed[False]"],
        "src/api/docker/build-held.c:build_hold", "the client is trusted to remove it",
        [("src/api/docker/build-held.c", "	remove_image(en, image);\n	remove_container(en, container);\n", "	(void)remove_image;\n	(void)remove_container;\n")], programs=("irekod",)),
    Mutation(
        "build-copy-links", "COPY through a link of the context that leads out of it",
        [COPY + "test_links_of_a_context_lead_nowhere"],
        "src/build/source.c:match_found", "links are followed out of the context",
        [("src/build/source.c", "	_cleanup_close_ int fd = path_open_in_root(m->root, *path ? path : \"/\", O_PATH, 0);\n", "	_cleanup_close_ int fd = openat(m->root, *path ? path : \".\", O_PATH | O_CLOEXEC);\n")], programs=("irekod",)),
    Mutation(
        "build-huge-file", "a sparse file of a context that is larger than any disk",
        [COPY + "test_a_huge_sparse_file_is_refused_before_it_is_read"],
        "src/build/walk.c:count", "sizes are not looked at",
        [("src/build/walk.c", "	if (n->st.st_size > l->max_bytes - l->bytes)\n", "	if (n->st.st_size < 0)\n")], programs=("irekod",)),
    Mutation(
        "build-deep-tree", "a context that is nested deeper than a stack is",
        [COPY + "test_a_tree_that_is_too_deep"],
        "src/build/walk.c:walk_dir", "depth is not limited",
        [("src/build/walk.c", "	if (++k->depth > WALK_DEPTH_MAX) {\n", "	if (++k->depth > (1 << 20)) {\n")], programs=("irekod",)),
    Mutation(
        "build-devices", "a device among the files of a context",
        [COPY + "test_special_files_of_a_context"],
        "src/build/tree.c:make_special", "devices are made as in layers of images",
        [("src/build/tree.c", "	if (device && !c->k->devices)\n", "	if (device && c->k == NULL)\n")], programs=("irekod",)),
    Mutation(
        "build-checksum", "ADD --checksum of a file that is another one",
        [ADD + "test_checksums_of_urls"],
        "src/build/fetch-http.c", "what was fetched is not compared",
        [("src/build/fetch-http.c", "	if (f->checksum && !streq(f->checksum, digest))\n", "	if (f->checksum && !*digest)\n")], programs=("irekod",)),
    Mutation(
        "build-git-transports", "a repository whose submodules name files and commands of the host",
        [ADD + "test_submodules_lead_to_no_file_of_the_host[file:///etc-transport 'file' not allowed]", ADD + "test_submodules_lead_to_no_file_of_the_host[ext::sh -c 'touch /tmp/ireko-was-here'-transport 'ext' not allowed]"],
        "src/build/git-run.c:environment", "transports of files and commands are allowed too",
        [("src/build/git-run.c", '"GIT_ALLOW_PROTOCOL=http:https:git:ssh",', '"GIT_ALLOW_PROTOCOL=http:https:git:ssh:file:ext",')], programs=("irekod",)),
    Mutation(
        "buildkit-surplus", "a client that sends more of a file than it said that there is",
        [BUILDKIT + "test_a_file_that_grows_is_cut_and_one_that_shrinks_is_taken"],
        "src/api/buildkit/filesync.c:take_data", "what is sent is written",
        [("src/api/buildkit/filesync.c", "	n = (size_t)MIN2((int64_t)p->data.len, a->want.size - a->got);\n", "	n = p->data.len;\n")], programs=("irekod",)),
    Mutation(
        "buildkit-front-ends", "a front end of the client's choice, which is an image that would be run",
        [DOOR + "test_front_ends_are_not_run[evil.v9-options3]"],
        "src/api/buildkit/build.c:options_read", "the name of the front end is not looked at",
        [("src/api/buildkit/build.c", '	if (!streq(rq->frontend, "dockerfile.v0") && !streq(rq->frontend, "gateway.v0"))\n', "	if (!*rq->frontend)\n")], programs=("irekod",)),
    Mutation(
        "build-disk-of-a-step", "a step that fills the disk, so that nothing of it can be removed any more",
        ["test_build_full.py::test_a_step_that_fills_the_disk[bytes-ireko]"],
        "src/store/snapshot.c:row_remove", "what was put by for removals is not used",
        [("src/store/snapshot.c", "	if (r == -ENOSPC && reserve_give(s))\n		r = db_run(&s->db, e, sql, \"t\", key);\n	for (int i = 0; i < ROOM_TRIES && r == -ENOSPC; i++) {", "	for (int i = 0; i < ROOM_TRIES && r == -EPERM; i++) {")], programs=("irekod",)),
    Mutation(
        "build-cache-names", "a cache directory whose archive brings an image by the name of one that is here",
        [CACHE + "test_a_cache_directory_takes_no_names"],
        "src/store/archive-load.c:tag_as", "whatever the archive names is named",
        [("src/store/archive-load.c", "	if (x->l->only && !str_starts(full, x->l->only))\n", "	if (x->l->only && !*full)\n")], programs=("irekod",)),
]
