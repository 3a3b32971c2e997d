/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker-credential-ireko: ireko's own store of credentials, for whoever speaks the credential-helper protocol: ireko itself,
 * docker, podman, skopeo.
 *
 * One word says what is wanted: "get" and "erase" read a server from standard input, "store" a JSON object, "list" nothing. The
 * answer goes to standard output, and so do complaints, as the protocol has it; the exit status tells them apart. A
 * server is known by its key (oci/credentials.h), so that docker and podman, which name Docker Hub differently, find the
 * same credentials.
 */
#include "base/fd.h"
#include "base/secret.h"
#include "base/str.h"
#include "oci/credentials.h"
#include "vault.h"

#define INPUT_MAX (256u << 10)

static const char usage[] =
    "Usage: docker-credential-ireko [--key=file|keyring] get|store|erase|list|version\n"
    "\n"
    "Credentials for registries, kept encrypted; a program for docker, podman, skopeo and ireko, which run "
    "it when\n"
    "config.json says \"credsStore\": \"ireko\" or \"credHelpers\": {\"HOST\": \"ireko\"}.\n"
    "\n"
    "  --key   with store: where the key is kept from now on, in a file of the user's or in the kernel's "
    "keyring\n";

typedef struct Request {
	KeyPlace place; /* 0: not said */
	char *input;
	size_t len;
} Request;

static int server_of(const char *text, char **ret, Err *e)
{
	_cleanup_free_ char *server = str_trim_dup(text);

	if (!server)
		return err_oom(e);
	if (!*server)
		return err_new(e, ERR_INVALID, "no credentials server URL");
	int r = credentials_check_server(server, e);
	if (r < 0)
		return r;
	*ret = credentials_key(server);
	return *ret ? 0 : err_oom(e);
}

static int print(const json_t *j, Err *e)
{
	_cleanup_secret_ char *text = json_text(j);

	if (!text)
		return err_oom(e);
	int r = fd_write_all(STDOUT_FILENO, text, strlen(text));
	if (r == 0)
		r = fd_write_all(STDOUT_FILENO, "\n", 1);
	return r < 0 ? err_sys(e, r, "write the answer") : 0;
}

static int get(const Request *rq, Err *e)
{
	_cleanup_(vault_done) Vault v = {.dir = -1};
	_cleanup_free_ char *server = NULL;
	int r = server_of(rq->input, &server, e);

	if (r == 0)
		r = vault_open(&v, e);
	if (r < 0)
		return r;
	const json_t *entry = json_object_get(v.entries, server);
	if (!entry)
		return err_new(e, ERR_NOT_FOUND, "%s", CREDENTIALS_NOT_FOUND);
	const char *user = json_get_str(entry, "Username"), *secret = json_get_str(entry, "Secret");
	_cleanup_json_ json_t *answer = json_pack("{s:s, s:s, s:s}", "ServerURL", server, "Username",
						  user ? user : "", "Secret", secret ? secret : "");
	return answer ? print(answer, e) : err_oom(e);
}

static int check_entry(const char *user, const char *secret, Err *e)
{
	if (str_empty(user))
		return err_new(e, ERR_INVALID, "no credentials username");
	if (!secret)
		return err_new(e, ERR_INVALID, "no credentials secret");
	if (strlen(user) > CREDENTIALS_USER_MAX || strlen(secret) > CREDENTIALS_SECRET_MAX)
		return err_new(e, ERR_INVALID,
			       "a username of more than %u bytes, or a secret of more than %u",
			       CREDENTIALS_USER_MAX, CREDENTIALS_SECRET_MAX);
	return 0;
}

static int store(const Request *rq, Err *e)
{
	_cleanup_(vault_done) Vault v = {.dir = -1};
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *server = NULL;

	if (json_parse(rq->input, rq->len, "request", &doc, NULL) < 0 || !json_is_object(doc))
		return err_new(e, ERR_INVALID, "the request is not a JSON object");
	const char *url = json_get_str(doc, "ServerURL"), *user = json_get_str(doc, "Username"),
		   *secret = json_get_str(doc, "Secret");
	int r = server_of(url ? url : "", &server, e);
	if (r == 0)
		r = check_entry(user, secret, e);
	if (r == 0)
		r = vault_open_to_write(&v, e);
	if (r < 0)
		return r;
	if (json_object_set_new(v.entries, server,
				json_pack("{s:s, s:s}", "Username", user, "Secret", secret)) < 0)
		return err_oom(e);
	return vault_save(&v, rq->place, e);
}

/* Of what is not there, erasing is no mistake. */
static int erase(const Request *rq, Err *e)
{
	_cleanup_(vault_done) Vault v = {.dir = -1};
	_cleanup_free_ char *server = NULL;
	int r = server_of(rq->input, &server, e);

	if (r == 0)
		r = vault_open_to_write(&v, e);
	if (r < 0)
		return r;
	bool had = json_object_del(v.entries, server) == 0;
	/* A vault that nobody can open any more comes out empty, and goes. */
	return had || (v.there && json_object_size(v.entries) == 0) ? vault_save(&v, 0, e) : 0;
}

static int list(const Request *rq _unused_, Err *e)
{
	_cleanup_(vault_done) Vault v = {.dir = -1};
	_cleanup_json_ json_t *answer = json_object();
	const char *server;
	json_t *entry;
	int r = vault_open(&v, e);

	if (r < 0)
		return r;
	json_object_foreach (v.entries, server, entry) {
		const char *user = json_get_str(entry, "Username");

		if (json_object_set_new(answer, server, json_string(user ? user : "")) < 0)
			return err_oom(e);
	}
	return answer ? print(answer, e) : err_oom(e);
}

static int version(const Request *rq _unused_, Err *e _unused_)
{
	(void)printf("docker-credential-ireko (ireko) v" IREKO_VERSION "\n");
	return 0;
}

static const struct {
	const char *name;
	bool reads;
	int (*run)(const Request *rq, Err *e);
} actions[] = {
    {"get", true, get},    {"store", true, store},      {"erase", true, erase},
    {"list", false, list}, {"version", false, version},
};

static int parse(int argc, char **argv, Request *rq, size_t *ret_action)
{
	int i = 1;

	for (; i < argc && str_starts(argv[i], "--"); i++) {
		const char *key = str_after(argv[i], "--key=");

		if (streq0(key, "file"))
			rq->place = KEY_FILE;
		else if (streq0(key, "keyring"))
			rq->place = KEY_KEYRING;
		else
			return -EINVAL;
	}
	if (i != argc - 1)
		return -EINVAL;
	for (size_t k = 0; k < ELEMENTSOF(actions); k++)
		if (streq(argv[i], actions[k].name)) {
			*ret_action = k;
			return 0;
		}
	return -EINVAL;
}

static int run(size_t action, Request *rq, Err *e)
{
	int r = 0;

	if (actions[action].reads)
		r = fd_read_all(STDIN_FILENO, INPUT_MAX, &rq->input, &rq->len);
	if (r == -EFBIG)
		return err_new(e, ERR_INVALID, "the request is longer than %u bytes", INPUT_MAX);
	if (r < 0)
		return err_sys(e, r, "read the request");
	if (rq->input && strlen(rq->input) != rq->len)
		return err_new(e, ERR_INVALID, "the request has a NUL in it");
	return actions[action].run(rq, e);
}

int main(int argc, char **argv)
{
	Request rq = {0};
	size_t action = 0;
	Err e = {0};

	secret_process();
	secret_wipe_json();
	if (argc == 2 && (streq(argv[1], "--help") || streq(argv[1], "-h"))) {
		(void)fputs(usage, stdout);
		return 0;
	}
	if (parse(argc, argv, &rq, &action) < 0) {
		(void)fputs(usage, stderr);
		return 2;
	}
	int r = run(action, &rq, &e);
	secret_free(rq.input);
	if (r < 0)
		(void)printf("%s\n", err_msg(&e, r));
	return r < 0 || fflush(stdout) != 0 ? 1 : 0;
}
