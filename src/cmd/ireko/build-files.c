/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes with a build as descriptors: the context, named directories, the Dockerfile from elsewhere, secrets. What is a secret is
 * read here, with our rights, and handed over in a file without a name (memfd): it is in no argument, no document and no folder.
 */
#include "base/fd.h"
#include "base/path.h"
#include "base/secret.h"
#include "base/str.h"
#include "build.h"
#include "text.h"

#include <fcntl.h>
#include <sys/mman.h>

#define SECRET_MAX (500u << 10)

int build_files_add(BuildFiles *f, const char *kind, const char *name, int fd, Err *e)
{
	if (f->n >= ELEMENTSOF(f->fds)) {
		(void)close(fd);
		return err_new(e, ERR_INVALID, "more than %zu contexts and secrets", ELEMENTSOF(f->fds));
	}
	f->fds[f->n++] = fd;
	if (!f->docs)
		f->docs = json_array();
	json_t *doc =
	    name ? json_pack("{s:s, s:s}", "kind", kind, "name", name) : json_pack("{s:s}", "kind", kind);
	if (!f->docs || json_array_append_new(f->docs, doc) < 0)
		return err_new(e, ERR_INVALID, "%s %s: out of memory, or the name is no UTF-8", kind,
			       name ?: "");
	return 0;
}

void build_files_done(BuildFiles *f)
{
	for (size_t i = 0; i < f->n; i++)
		(void)close(f->fds[i]);
	json_decref(f->docs);
	strv_free(f->contexts);
	strv_free(f->agents);
}

static int add_text(BuildFiles *f, const char *kind, const char *name, const char *text, size_t len, Err *e)
{
	int fd = memfd_create("build", MFD_CLOEXEC), r;

	if (fd < 0)
		return err_sys(e, errno, "make a file in memory");
	r = fd_write_all(fd, text, len);
	if (r < 0) {
		(void)close(fd);
		return err_sys(e, r, "write to a file in memory");
	}
	return build_files_add(f, kind, name, fd, e);
}

static int add_directory(BuildFiles *f, const char *name, const char *path, Err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, errno, "unable to prepare context: path \"%s\"", path)
		      : build_files_add(f, "directory", name, fd, e);
}

/* ---- --build-context NAME=VALUE */

static bool is_elsewhere(const char *value)
{
	return context_is_remote(value) || str_starts(value, "docker-image://") ||
	       str_starts(value, "target:");
}

/* oci-layout://DIR[:TAG][@DIGEST]: the engine is told the name by which it has the directory in DIR's place. */
static int add_layout(BuildFiles *f, const char *name, const char *value, Err *e)
{
	size_t n = strcspn(value, ":@");
	_cleanup_free_ char *dir = strndup(value, n), *key = strf("layout%zu", f->n);

	if (!dir || !key || strv_take(&f->contexts, strf("%s=oci-layout://%s%s", name, key, value + n)) < 0)
		return err_oom(e);
	return add_directory(f, key, dir, e);
}

static int add_context(BuildFiles *f, const char *text, Err *e)
{
	const char *eq = strchr(text, '=');
	_cleanup_free_ char *name = eq ? strndup(text, (size_t)(eq - text)) : NULL, *key = NULL;
	int r;

	if (!eq || eq == text || !eq[1])
		return err_new(e, ERR_INVALID, "invalid context value: %s, expected key=value", text);
	if (name && str_starts(eq + 1, "oci-layout://"))
		return add_layout(f, name, str_after(eq + 1, "oci-layout://"), e);
	if (is_elsewhere(eq + 1))
		return strv_add(&f->contexts, text) < 0 ? err_oom(e) : 0;
	key = name ? strf("named:%s", name) : NULL;
	if (!key || strv_take(&f->contexts, strf("%s=local:%s", name, key)) < 0)
		return err_oom(e);
	r = add_directory(f, key, eq + 1, e);
	return r;
}

/* ---- --secret id=X[,src=FILE|,env=NAME] */

typedef struct SecretSpec {
	const char *id, *src, *env;
} SecretSpec;

static int parse_secret(const char *text, char *const *fields, SecretSpec *s, Err *e)
{
	const char *type = NULL;

	for (; *fields; fields++) {
		const char *f = *fields;
		const char *v;

		if ((v = str_after(f, "id=")))
			s->id = v;
		else if ((v = str_after(f, "src=")) || (v = str_after(f, "source=")))
			s->src = v;
		else if ((v = str_after(f, "env=")))
			s->env = v;
		else if ((v = str_after(f, "type=")))
			type = v;
		else
			return err_new(e, ERR_INVALID,
				       "invalid argument \"%s\" for \"--secret\" flag: unexpected key '%s': "
				       "expected id, src, env or type",
				       text, f);
	}
	if (type && !streq(type, "file") && !streq(type, "env"))
		return err_new(e, ERR_INVALID, "unsupported secret type \"%s\"", type);
	if (streq0(type, "env") && s->src && !s->env) {
		s->env = s->src;
		s->src = NULL;
	}
	if (str_empty(s->id))
		return err_new(e, ERR_INVALID,
			       "invalid argument \"%s\" for \"--secret\" flag: id is required", text);
	if (!s->src && !s->env) {
		if (!streq0(type, "file") && getenv(s->id))
			s->env = s->id;
		else
			s->src = s->id;
	}
	return 0;
}

static int add_secret(BuildFiles *f, const char *text, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	_cleanup_secret_ char *data = NULL;
	SecretSpec s = {0};
	size_t len = 0;
	int r;

	if (strv_split_csv(text, &fields) < 0)
		return err_new(e, ERR_INVALID,
			       "invalid argument \"%s\" for \"--secret\" flag: a quote is not closed", text);
	r = parse_secret(text, fields, &s, e);
	if (r < 0)
		return r;
	if (s.env) {
		const char *value = getenv(s.env);

		if (!value)
			return err_new(e, ERR_NOT_FOUND, "secret %s: environment variable %s is not set",
				       s.id, s.env);
		return add_text(f, "secret", s.id, value, strlen(value), e);
	}
	r = file_read_at(AT_FDCWD, s.src, SECRET_MAX, &data, &len);
	if (r == -EFBIG)
		return err_new(e, ERR_INVALID, "secret %s: %s is larger than 500 KiB", s.id, s.src);
	if (r < 0)
		return err_sys(e, r, "secret %s: read %s", s.id, s.src);
	return add_text(f, "secret", s.id, data, len, e);
}

/* ---- --ssh default|ID[=SOCKET] */

static int add_agent(BuildFiles *f, const char *text, Err *e)
{
	const char *eq = strchr(text, '=');
	_cleanup_free_ char *id = eq ? strndup(text, (size_t)(eq - text)) : strdup(text);
	const char *path = eq ? eq + 1 : getenv("SSH_AUTH_SOCK");
	struct stat st;

	if (!id)
		return err_oom(e);
	if (str_empty(path))
		return err_new(
		    e, ERR_INVALID,
		    "invalid empty ssh agent socket: start an agent, so that SSH_AUTH_SOCK names its "
		    "socket, or give it as --ssh %s=SOCKET",
		    id);
	if (stat(path, &st) < 0)
		return err_sys(e, errno, "ssh agent %s: %s", id, path);
	if (!S_ISSOCK(st.st_mode))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "ssh agent %s: %s is no socket: keys from files are not offered, add the key to an "
		    "agent with ssh-add",
		    id, path);
	return strv_take(&f->agents, strf("%s=%s", id, path)) < 0 ? err_oom(e) : 0;
}

static int each(BuildFiles *f, const List *list, int (*add)(BuildFiles *, const char *, Err *), Err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && list->v && list->v[i]; i++)
		r = add(f, list->v[i], e);
	return r;
}

/* The directory of a Dockerfile from elsewhere, which may have its .dockerignore beside it; else the text itself. */
static int add_dockerfile(BuildFiles *f, const BuildPlan *p, Err *e)
{
	_cleanup_free_ char *dir = NULL;
	const char *base;

	if (!p->context.text)
		return 0;
	base = build_files_dockerfile(p);
	if (!base)
		return add_text(f, "dockerfile", NULL, p->context.text, p->context.text_len, e);
	dir = base == p->o->file ? strdup(".") : strndup(p->o->file, (size_t)(base - p->o->file));
	return dir ? add_directory(f, "dockerfile", dir, e) : err_oom(e);
}

const char *build_files_dockerfile(const BuildPlan *p)
{
	if (!p->context.text || p->context.fd < 0 || !p->o->file || streq(p->o->file, "-"))
		return NULL;
	return path_base(p->o->file);
}

int build_files_open(const BuildPlan *p, BuildFiles *ret, Err *e)
{
	BuildFiles f = {0};
	int r = 0;

	if (p->context.fd >= 0) {
		int fd = fcntl(p->context.fd, F_DUPFD_CLOEXEC, 3);

		r = fd < 0 ? err_sys(e, errno, "copy a descriptor")
			   : build_files_add(&f, "directory", "context", fd, e);
	}
	if (r == 0)
		r = add_dockerfile(&f, p, e);
	if (r == 0)
		r = each(&f, &p->o->contexts, add_context, e);
	if (r == 0)
		r = each(&f, &p->o->secrets, add_secret, e);
	if (r == 0)
		r = each(&f, &p->o->agents, add_agent, e);
	if (r < 0)
		build_files_done(&f);
	else
		*ret = f;
	return r;
}
