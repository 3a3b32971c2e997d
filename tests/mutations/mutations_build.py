# SPDX-License-Identifier: Apache-2.0
"""Builds: what a step, a Dockerfile or a cache may not reach."""
from mutation import Mutation

MOUNTS, CACHE = "test_build_mounts.py::", "test_build_cache.py::"

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
]
