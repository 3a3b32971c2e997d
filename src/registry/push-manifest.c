/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest or an index to a repository, under a tag or its digest (distribution-spec 1.1, "Pushing Manifests").
 *
 * A registry that does not know a kind of document says so in several ways, and one that somebody else writes to at the same moment may contradict what it
 * was given; the latter is tried again.
 */
#include "registry/push.h"
#include "base/str.h"

#define MANIFEST_TRIES 4

typedef enum Taken { TAKEN, UNKNOWN_KIND, NOT_NOW } Taken;

/* What a registry means that refuses a manifest, with its words in e. NOT_NOW: it contradicts what it was given, as some do when
 * somebody else writes the same tag at the same moment. */
static Taken read_refusal(const HttpReply *reply)
{
	_cleanup_free_ char *why = session_error_text(reply);

	if (reply->status == 415)
		return UNKNOWN_KIND;
	if (reply->status != 400 || !why)
		return TAKEN;
	if (str_starts(why, "manifest invalid") || str_starts(why, "unsupported"))
		return UNKNOWN_KIND;
	return str_starts(why, "digest invalid") || str_starts(why, "manifest blob unknown") ? NOT_NOW
											     : TAKEN;
}

static int put_once(Session *s, HttpClient *c, const Outgoing *o, const char *tag, Taken *ret, Err *e)
{
	_cleanup_free_ char *what = strf("manifests/%s", tag);
	HttpRequest q = {.method = "PUT", .content_type = o->type, .data = o->text, .data_len = o->len};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	*ret = TAKEN;
	if (!what)
		return err_oom(e);
	int r = session_do_patiently(s, c, what, &q, &reply, e);
	if (r < 0)
		return r;
	if (reply.status != 201 && reply.status != 200 && reply.status != 202) {
		*ret = read_refusal(&reply);
		return upload_refusal(s, "push the manifest", &reply, e);
	}
	if (digest_is_valid(reply.digest) && !streq(reply.digest, o->digest))
		return err_new(e, ERR_INVALID,
			       "manifest digest mismatch: the registry says %s, what was sent has %s",
			       reply.digest, o->digest);
	return 0;
}

int push_manifest(Session *s, HttpClient *c, const Outgoing *o, const char *tag, Err *e)
{
	for (int n = 1;; n++) {
		Taken taken;
		int r = put_once(s, c, o, tag, &taken, e);

		if (taken == UNKNOWN_KIND)
			return 1;
		if (taken != NOT_NOW || n == MANIFEST_TRIES)
			return r;
		r = session_wait_ms(s, retry_delay_ms(n, 0), e);
		if (r < 0)
			return r;
	}
}
