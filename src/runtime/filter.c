/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's seccomp filter, compiled or from the cache.
 *
 * A cache entry is one file, "<hash>.bpf": a header, the key, the program. The key is the policy written out in
 * full, with the identity of the compiler; it is compared byte by byte, so a collision of the (not
 * cryptographic) hash costs a compilation and nothing else. Entries are replaced whole; the directory must be the
 * owner's alone, because what is read there becomes the filter.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#define ENTRY_MAX   (4u << 20)
#define ENTRY_MAGIC 0x31504253u /* "SBP1" */

typedef struct EntryHead {
	uint32_t magic, key_len, code_len, reserved;
} EntryHead;

bool filter_has_listener(const OciSeccomp *s)
{
	if (seccomp_action_notifies(s->default_action))
		return true;
	for (size_t i = 0; i < s->n_rules; i++)
		if (seccomp_action_notifies(s->rules[i].action))
			return true;
	return false;
}

static void add_strings(StrBuf *b, char *const *v)
{
	for (size_t i = 0; v && v[i]; i++)
		strbuf_addf(b, "%s ", v[i]);
	strbuf_add_c(b, '\n');
}

static char *key_of(const OciSeccomp *s)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_free_ char *compiler = seccomp_compiler_id();

	if (!compiler)
		return NULL;
	strbuf_addf(&b, "%s\n%s %" PRId64 "\n", compiler, s->default_action ? s->default_action : "",
		    s->default_errno_ret);
	add_strings(&b, s->architectures);
	for (size_t i = 0; i < s->n_rules; i++) {
		const OciSeccompRule *r = &s->rules[i];

		strbuf_addf(&b, "%s %" PRId64, r->action ? r->action : "", r->errno_ret);
		for (size_t k = 0; k < r->n_args; k++)
			strbuf_addf(&b, " %u,%" PRIu64 ",%" PRIu64 ",%s", r->args[k].index, r->args[k].value,
				    r->args[k].value_two, r->args[k].op ? r->args[k].op : "");
		strbuf_add_c(&b, ':');
		add_strings(&b, r->names);
	}
	return strbuf_steal(&b);
}

static uint64_t hash_of(const char *s)
{
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return h;
}

/* 1 and the program, or 0. An unreadable or foreign entry is a miss. */
static int load_cached(const char *path, const char *key, SeccompProgram *ret)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0;
	EntryHead h;

	if (file_read_at(AT_FDCWD, path, ENTRY_MAX, &data, &len) < 0 || len < sizeof(h))
		return 0;
	memcpy(&h, data, sizeof(h));
	if (h.magic != ENTRY_MAGIC || h.key_len != strlen(key) ||
	    len != sizeof(h) + (size_t)h.key_len + h.code_len || h.code_len == 0 ||
	    memcmp(data + sizeof(h), key, h.key_len) != 0)
		return 0;
	ret->code = malloc(h.code_len);
	if (!ret->code)
		return 0;
	memcpy(ret->code, data + sizeof(h) + h.key_len, h.code_len);
	ret->len = h.code_len;
	return 1;
}

static int save_cached(const char *path, const char *key, const SeccompProgram *p, Err *e)
{
	EntryHead h = {ENTRY_MAGIC, (uint32_t)strlen(key), (uint32_t)p->len, 0};
	_cleanup_strbuf_ StrBuf b = {0};
	int r;

	strbuf_add_n(&b, &h, sizeof(h));
	strbuf_add_n(&b, key, h.key_len);
	strbuf_add_n(&b, p->code, p->len);
	if (b.oom)
		return err_oom(e);
	r = file_replace_at(AT_FDCWD, path, b.s, b.len, 0600, false);
	return r < 0 ? err_sys(e, r, "write %s", path) : 0;
}

static int compile(const OciSeccomp *s, bool kept, SeccompProgram *ret, Err *e)
{
	SeccompPolicy p = {
	    .default_action = s->default_action,
	    .default_errno_ret = s->default_errno_ret,
	    .architectures = s->architectures,
	    .n_rules = s->n_rules,
	    .kept = kept,
	};
	_cleanup_free_ SeccompRule *rules = calloc(s->n_rules + 1, sizeof(*rules));
	size_t n_args = 0, at = 0;

	for (size_t i = 0; i < s->n_rules; i++)
		n_args += s->rules[i].n_args;

	_cleanup_free_ SeccompArg *args = calloc(n_args + 1, sizeof(*args));
	if (!rules || !args)
		return err_oom(e);
	for (size_t i = 0; i < s->n_rules; i++) {
		const OciSeccompRule *r = &s->rules[i];

		rules[i] = (SeccompRule){r->names, r->action, r->errno_ret, args + at, r->n_args};
		for (size_t k = 0; k < r->n_args; k++)
			args[at++] = (SeccompArg){r->args[k].index, r->args[k].value, r->args[k].value_two,
						  r->args[k].op};
	}
	p.rules = rules;
	return seccomp_compile(&p, ret, e);
}

int filter_load(const OciSeccomp *s, const char *cache, SeccompProgram *ret, Err *e)
{
	_cleanup_free_ char *key = cache ? key_of(s) : NULL, *path = NULL;
	int r;

	if (!cache)
		return compile(s, false, ret, e);
	if (!key)
		return err_oom(e);
	path = strf("%s/%016" PRIx64 ".bpf", cache, hash_of(key));
	if (!path)
		return err_oom(e);
	if (load_cached(path, key, ret) == 1)
		return 0;
	r = compile(s, true, ret, e);
	/* A cache that cannot be written costs time, not correctness. */
	if (r == 0 && mkdir_parents_at(AT_FDCWD, cache, 0700) == 0)
		(void)save_cached(path, key, ret, NULL);
	return r;
}

int runtime_seccomp_prepare(const OciSeccomp *s, const char *dir, Err *e)
{
	_cleanup_free_ char *key = key_of(s), *path = NULL;
	SeccompProgram p = {0};
	int r;

	if (!key)
		return err_oom(e);
	path = strf("%s/%016" PRIx64 ".bpf", dir, hash_of(key));
	if (!path)
		return err_oom(e);
	if (load_cached(path, key, &p) == 1) {
		seccomp_program_done(&p);
		return 0;
	}
	r = compile(s, true, &p, e);
	if (r == 0) {
		r = mkdir_parents_at(AT_FDCWD, dir, 0700);
		r = r < 0 ? err_sys(e, r, "make %s", dir) : save_cached(path, key, &p, e);
	}
	seccomp_program_done(&p);
	return r;
}

bool filter_may_fetch_listener(void)
{
	return geteuid() == 0 && capability_available(1ULL << CAP_SYS_PTRACE) != 0;
}

int filter_take_listener(int pidfd, const void *number, size_t len, int sent, Err *e)
{
	int n, fd;

	if (sent >= 0)
		return sent;
	if (len != sizeof(n))
		return err_new(e, ERR_INTERNAL, "the process sent no seccomp listener");
	memcpy(&n, number, sizeof(n));
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, n, 0);
	return fd < 0 ? err_sys(e, errno, "fetch the seccomp listener of the process") : fd;
}

/* ContainerProcessState of the runtime-spec: the receiver learns which descriptor of the message is what. */
int filter_send_listener(const char *path, const char *metadata, const State *s, RuntimeStatus status, int fd,
			 Err *e)
{
	_cleanup_json_ json_t *state = state_document(s, status, s->pid), *j = NULL;
	_cleanup_close_ int sock = -1;
	_cleanup_free_ char *text = NULL;

	if (str_empty(path))
		return err_new(e, ERR_INVALID, "seccomp: SCMP_ACT_NOTIFY needs a listenerPath");
	if (state)
		j = json_pack("{s:s, s:[s], s:i, s:s, s:O}", "ociVersion", OCI_VERSION, "fds", "seccompFd",
			      "pid", (int)s->pid, "metadata", metadata ? metadata : "", "state", state);
	text = j ? json_text(j) : NULL;
	if (!text)
		return err_oom(e);
	sock = unix_connect(path, SOCK_STREAM);
	if (sock < 0)
		return err_sys(e, sock, "failed to connect with seccomp agent %s (seccomp.listenerPath)",
			       path);
	ssize_t n = fd_send_msg(sock, text, strlen(text), &fd, 1);

	return n < 0 ? err_sys(e, (int)n, "send to the seccomp listener %s", path) : 0;
}

static void tell_flags(const RuntimeOptions *o, unsigned flags)
{
	char text[48];

	snprintf(text, sizeof(text), "seccomp filter flags: %u", flags);
	if (o->debug)
		o->debug(text);
}

int filter_prepare(const RuntimeOptions *o, const OciSpec *spec, State *s, SeccompProgram *ret, Err *e)
{
	unsigned flags;
	int r;

	if (!spec->has_seccomp || str_empty(spec->seccomp.default_action))
		return 0;
	r = seccomp_flags(spec->seccomp.flags, &flags, e);
	if (r == 0)
		tell_flags(o, flags);
	if (r == 0)
		r = filter_load(&spec->seccomp, o->seccomp_cache, ret, e);
	if (r < 0)
		return r;
	s->has_filter = true;
	s->filter_flags = flags;
	if (filter_has_listener(&spec->seccomp)) {
		if (str_empty(spec->seccomp.listener_path))
			return err_new(e, ERR_INVALID, "seccomp: SCMP_ACT_NOTIFY needs a listenerPath");
		s->listener_path = strdup(spec->seccomp.listener_path);
		s->listener_metadata =
		    strdup(spec->seccomp.listener_metadata ? spec->seccomp.listener_metadata : "");
		if (!s->listener_path || !s->listener_metadata)
			return err_oom(e);
	}
	r = file_replace_at(s->dirfd, STATE_FILTER, ret->code, ret->len, 0600, false);
	return r < 0 ? err_sys(e, r, "write %s", STATE_FILTER) : 0;
}
