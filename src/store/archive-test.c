/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives of images: those of others come in, hostile ones do not, ours are the same bytes every time and
 * come in again. The archives are made by archive-test-make.py, which also reads ours. Needs root.
 */
#include "store/store-test.h"

#include <dirent.h>
#include <sys/wait.h>

static char made[] = "/tmp/ireko-archives-XXXXXX";

static int run_python(const char *a, const char *b)
{
	const char *source = getenv("SRCDIR");
	_cleanup_free_ char *script = strf("%s/src/store/archive-test-make.py", source ? source : ".");
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execlp("python3", "python3", script, a, b, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int make_archives(void **state _unused_)
{
	return mkdtemp(made) ? run_python(made, NULL) : -1;
}

static int remove_archives(void **state _unused_)
{
	return remove_tree_at(AT_FDCWD, made);
}

/* What a load told: "reference=id\n". */
static void on_loaded(void *user, const char *reference, const char *id)
{
	strbuf_addf(user, "%s=%s\n", reference ? reference : "-", id);
}

static int load_fd(Store *s, int fd, StrBuf *told, Err *e)
{
	const ArchiveLoad l = {.fd = fd, .loaded = on_loaded, .user = told};

	return store_archive_load(s, &l, e);
}

static int load(Store *s, const char *name, StrBuf *told, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", made, name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return load_fd(s, fd, told, e);
}

static void must_load(Store *s, const char *name, StrBuf *told)
{
	Err e = {0};

	strbuf_done(told);
	if (load(s, name, told, &e) < 0)
		fail_msg("%s: %s", name, e.msg);
	assert_non_null(told->s);
}

static void must_have(Store *s, const char *name, size_t layers)
{
	ImageConfig c = {0};
	StoreImage i = {0};
	Err e = {0};

	if (store_image_find(s, name, &i, &e) < 0 || store_image_config(s, i.id, &c, &e) < 0)
		fail_msg("%s: %s", name, e.msg);
	assert_int_equal(strv_len(c.diff_ids), layers);
	assert_true(store_layer_has(s, i.chain_id));
	image_config_done(&c);
	store_image_done(&i);
}

static size_t count_ingest(const Store *s)
{
	_cleanup_free_ char *path = strf("%s/content/ingest", store_root(s));
	DIR *d = opendir(path);
	size_t n = 0;

	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d));)
		n += *e->d_name != '.';
	closedir(d);
	return n;
}

static void test_good(void **state)
{
	static const struct {
		const char *file, *find;
		size_t layers;
	} good[] = {
	    {"good-docker.tar", "t/app:1", 2},     {"good-docker.tar", "localhost:5000/t/app:2", 2},
	    {"good-docker.tar.gz", "t/app:1", 2},  {"good-docker.tar.xz", "t/app:1", 2},
	    {"good-docker.tar.bz2", "t/app:1", 2}, {"good-old.tar", "t/old:1", 3},
	    {"good-multi.tar", "t/multi:1", 2},    {"good-named.tar", "t/named:3", 2},
	    {"good-plain.tar", "t/plain:1", 2},    {"good-chunked.tar", "t/chunked:1", 2},
	    {"good-packed.tar", "t/packed:1", 2},  {"good-zstd.tar.zst", "t/app:1", 2},
	};

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		void *dir = NULL;
		StrBuf told = {0};

		assert_int_equal(test_dir_setup(&dir), 0);
		Store *s = open_store(dir);
		must_load(s, good[i].file, &told);
		must_have(s, good[i].find, good[i].layers);
		assert_non_null(strstr(told.s, good[i].find));
		assert_int_equal(count_ingest(s), 0);
		strbuf_done(&told);
		store_close(s);
		assert_int_equal(test_dir_teardown(&dir), 0);
	}
	(void)state;
}

static void test_unnamed_and_again(void **state)
{
	_cleanup_(store_closep) Store *s = open_store(*state);
	_cleanup_strbuf_ StrBuf told = {0};

	must_load(s, "good-unnamed.tar", &told);
	assert_true(str_starts(told.s, "-=sha256:"));
	told.s[strlen(told.s) - 1] = '\0';
	must_have(s, told.s + 2, 2);
	/* A second load finds every layer there. */
	must_load(s, "good-unnamed.tar", &told);
	must_load(s, "good-named.tar", &told);
}

static void test_bad(void **state)
{
	static const struct {
		const char *file, *why;
	} bad[] = {
	    {"bad-empty.tar", "holds no image"},
	    {"bad-noise.tar", "archive"},
	    {"bad-cut.tar", "archive"},
	    {"bad-config-digest.tar", "digest mismatch"},
	    {"bad-diff-id.tar", "diff id mismatch"},
	    {"bad-layer-digest.tar", "digest mismatch"},
	    {"bad-outside.tar", "the archive has no ../"},
	    {"bad-link.tar", "the archive has no a"},
	    {"bad-fifo.tar", "no regular file"},
	    {"bad-count.tar", "names 1 layers, the config 2"},
	    {"bad-tag.tar", "must be lowercase"},
	    {"bad-json.tar", "manifest.json: line"},
	    {"bad-object.tar", "no list of"},
	    {"bad-huge.tar", "has more than"},
	    {"bad-missing.tar", "the archive has no nope"},
	    {"bad-oci-layer.tar", "digest mismatch"},
	    {"bad-oci-config.tar", "digest mismatch"},
	    {"bad-oci-manifest.tar", "digest mismatch"},
	    {"bad-platform.tar", "no image for this machine's platform"},
	    {"bad-version.tar", "version \"2.0.0\""},
	    {"bad-ambiguous.tar", "ambiguous"},
	    {"bad-old-docker.tar", "older than 1.10"},
	    {"bad-deep.tar", "nested more than 2 deep"},
	    {"bad-oci-link.tar", "the archive has no blobs/sha256/"},
	    {"bad-oci-missing.tar", "the archive has no blobs/sha256/"},
	    {"bad-oci-size.tar", "its manifest says"},
	    {"bad-duplicate.tar", "digest mismatch"},
	    {"bad-other-layer.tar", "diff id mismatch"},
	    {"bad-climb.tar", "unpack the archive"},
	    {"bad-huge-index.tar", "has more than"},
	    {"bad-many.tar", "no list of at most"},
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		void *dir = NULL;
		StrBuf told = {0};
		Err e = {0};

		assert_int_equal(test_dir_setup(&dir), 0);
		Store *s = open_store(dir);
		if (load(s, bad[i].file, &told, &e) >= 0)
			fail_msg("%s was loaded", bad[i].file);
		if (!strstr(e.msg, bad[i].why))
			fail_msg("%s: expected \"...%s...\", got \"%s\"", bad[i].file, bad[i].why, e.msg);
		assert_null(told.s);
		assert_int_equal(count_ingest(s), 0);
		store_close(s);
		assert_int_equal(test_dir_teardown(&dir), 0);
	}
	(void)state;
}

static int save_as(const TestDir *d, Store *s, const char *file, char *const *names, ArchiveFormat format)
{
	const ArchiveSave o = {.names = names, .format = format};
	_cleanup_(archive_choice_freep) ArchiveChoice *choice = NULL;
	Err e = {0};
	int fd = openat(d->fd, file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	if (store_archive_choose(s, &o, &choice, &e) < 0 || store_archive_write(choice, fd, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static int save(const TestDir *d, Store *s, const char *file, char *const *names)
{
	return save_as(d, s, file, names, ARCHIVE_DOCKER);
}

static void test_save(void **state)
{
	const TestDir *d = *state;
	char *names[] = {(char *)"t/app", (char *)"t/old:1", (char *)"localhost:5000/t/app:2", NULL};
	_cleanup_strbuf_ StrBuf told = {0}, first = {0};
	void *other = NULL;
	Err e = {0};

	Store *s = open_store(d);
	must_load(s, "good-docker.tar", &told);
	must_load(s, "good-old.tar", &told);
	_cleanup_close_ int a = save(d, s, "a.tar", names);
	_cleanup_close_ int b = save(d, s, "b.tar", names);
	_cleanup_free_ char *x = NULL, *y = NULL;
	size_t n = 0, m = 0;
	assert_int_equal(fd_read_all(a, 1u << 24, &x, &n), 0);
	assert_int_equal(fd_read_all(b, 1u << 24, &y, &m), 0);
	assert_int_equal(n, m);
	assert_memory_equal(x, y, n);
	_cleanup_free_ char *path = strf("%s/a.tar", d->path);
	assert_int_equal(run_python("--check", path), 0);

	/* Into an empty store: the same images by the same names. */
	assert_int_equal(test_dir_setup(&other), 0);
	Store *t = open_store(other);
	assert_int_equal(lseek(a, 0, SEEK_SET), 0);
	if (load_fd(t, a, &first, &e) < 0)
		fail_msg("%s", e.msg);
	for (size_t i = 0; names[i]; i++) {
		StoreImage here = {0}, there = {0};

		const char *name = i == 0 ? "t/app:1" : names[i];
		assert_int_equal(store_image_find(s, name, &here, NULL), 0);
		assert_int_equal(store_image_find(t, name, &there, NULL), 0);
		assert_string_equal(here.id, there.id);
		store_image_done(&here);
		store_image_done(&there);
	}
	store_close(t);
	assert_int_equal(test_dir_teardown(&other), 0);
	store_close(s);
}

static void test_save_by_id(void **state)
{
	const TestDir *d = *state;
	_cleanup_(store_closep) Store *s = open_store(d);
	_cleanup_strbuf_ StrBuf told = {0};
	StoreImage i = {0};
	Err e = {0};

	must_load(s, "good-docker.tar", &told);
	assert_int_equal(store_image_find(s, "t/app:1", &i, NULL), 0);
	char *by_id[] = {i.id, NULL}, *by_prefix[] = {strndup(digest_hex(i.id), 12), NULL},
	     *none[] = {(char *)"nope", NULL};
	_cleanup_close_ int a = save(d, s, "a.tar", by_id);
	_cleanup_close_ int b = save(d, s, "b.tar", by_prefix);
	_cleanup_free_ char *x = NULL, *y = NULL;
	size_t n = 0, m = 0;
	assert_int_equal(fd_read_all(a, 1u << 24, &x, &n), 0);
	assert_int_equal(fd_read_all(b, 1u << 24, &y, &m), 0);
	assert_int_equal(n, m);
	assert_memory_equal(x, y, n);
	assert_non_null(memmem(x, n, "\"RepoTags\":null", 15));
	free(by_prefix[0]);
	store_image_done(&i);

	_cleanup_(archive_choice_freep) ArchiveChoice *choice = NULL;
	assert_true(store_archive_choose(s, &(ArchiveSave){.names = none}, &choice, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	ImagePlatform arm = {.os = (char *)"linux", .architecture = (char *)"arm64"};
	char *app[] = {(char *)"t/app:1", NULL};
	assert_true(store_archive_choose(s, &(ArchiveSave){.names = app, .platform = &arm}, &choice, &e) < 0);
	assert_non_null(strstr(e.msg, "is for linux/amd64: it is not here for linux/arm64"));
}

/* An OCI archive gives back the manifest and the compressed layers that came in, whatever they were compressed with. */
static void test_save_as_it_came(void **state)
{
	static const char *const files[][2] = {{"good-named.tar", "t/named:3"},
					       {"good-chunked.tar", "t/chunked:1"}};
	const TestDir *d = *state;
	Store *s = open_store(d);

	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		_cleanup_strbuf_ StrBuf told = {0};
		StoreImage here = {0}, there = {0};
		void *other = NULL;
		Err e = {0};

		must_load(s, files[i][0], &told);
		char *names[] = {(char *)files[i][1], NULL};
		_cleanup_close_ int a = save_as(d, s, "a.tar", names, ARCHIVE_OCI);
		assert_int_equal(test_dir_setup(&other), 0);
		Store *t = open_store(other);
		if (load_fd(t, a, &told, &e) < 0)
			fail_msg("%s", e.msg);
		assert_int_equal(store_image_find(s, files[i][1], &here, NULL), 0);
		assert_int_equal(store_image_find(t, files[i][1], &there, NULL), 0);
		assert_non_null(here.manifest_digest);
		assert_string_equal(here.manifest_digest, there.manifest_digest);
		store_image_done(&here);
		store_image_done(&there);
		store_close(t);
		assert_int_equal(test_dir_teardown(&other), 0);
	}
	store_close(s);
}

static void test_platforms(void **state)
{
	_cleanup_(store_closep) Store *s = open_store(*state);
	_cleanup_free_ char *path = strf("%s/good-multi.tar", made);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_strbuf_ StrBuf told = {0};
	const ImagePlatform z = {.os = (char *)"linux", .architecture = (char *)"s390x"},
			    riscv = {.os = (char *)"linux", .architecture = (char *)"riscv64"};
	ArchiveLoad l = {.fd = fd, .platform = &z, .loaded = on_loaded, .user = &told};
	StoreImage i = {0};
	ImageConfig c = {0};
	Err e = {0};

	if (store_archive_load(s, &l, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(store_image_find(s, "t/multi:1", &i, NULL), 0);
	assert_int_equal(store_image_config(s, i.id, &c, NULL), 0);
	assert_string_equal(c.platform.architecture, "s390x");
	image_config_done(&c);
	store_image_done(&i);
	l.platform = &riscv;
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_true(store_archive_load(s, &l, &e) < 0);
	assert_non_null(strstr(e.msg, "platform"));
}

static void test_import(void **state)
{
	_cleanup_(store_closep) Store *s = open_store(*state);
	_cleanup_free_ char *path = strf("%s/good-fs.tar", made);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *cmd[] = {(char *)"/bin/x", NULL};
	const ImageRunConfig run = {.cmd = cmd, .stop_timeout = -1};
	char id[DIGEST_LEN + 1];
	ImageConfig c = {0};
	Err e = {0};

	ArchiveImport a = {.fd = fd, .run = &run, .message = "Imported from -", .created_ns = 86400000000000};
	if (store_archive_import(s, &a, id, &e) < 0)
		fail_msg("%s", e.msg);
	must_have(s, id, 1);
	assert_int_equal(store_image_config(s, id, &c, NULL), 0);
	assert_string_equal(c.run.cmd[0], "/bin/x");
	assert_string_equal(c.comment, "Imported from -");
	assert_string_equal(c.platform.os, "linux");
	assert_int_equal(c.n_history, 1);
	assert_string_equal(c.created, "1970-01-02T00:00:00Z");
	image_config_done(&c);
	/* At the same time it is the same image. */
	char again[DIGEST_LEN + 1];
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(store_archive_import(s, &a, again, &e), 0);
	assert_string_equal(again, id);

	_cleanup_free_ char *noise = strf("%s/bad-noise.tar", made);
	_cleanup_close_ int bad = open(noise, O_RDONLY | O_CLOEXEC);
	assert_true(store_archive_import(s, &(ArchiveImport){.fd = bad}, id, &e) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),       test_in_dir(test_unnamed_and_again),
	    cmocka_unit_test(test_bad),        test_in_dir(test_save),
	    test_in_dir(test_save_by_id),      test_in_dir(test_import),
	    test_in_dir(test_save_as_it_came), test_in_dir(test_platforms),
	};
	return cmocka_run_group_tests(tests, make_archives, remove_archives);
}
