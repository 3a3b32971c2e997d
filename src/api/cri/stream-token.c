/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: what a URL of the streaming server is worth. They are kept in the order in which they were given, so the one that expires first is the first. One that is looked for is
 * compared with all there are: a thousand, on a path that ends with a process being started.
 */
#include "api/cri/stream-parts.h"

#include "base/id.h"

#include <pthread.h>

typedef struct Token Token;
struct Token {
	Token *next;
	char token[CRI_TOKEN_LEN + 1];
	int64_t until_ns;
	CriStreamRequest request;
};

struct CriTokens {
	pthread_mutex_t lock;
	Token *first, *last;
	size_t n;
};

void cri_stream_request_done(CriStreamRequest *r)
{
	free(r->id);
	strv_free(r->cmd);
	free(r->ports);
	*r = (CriStreamRequest){0};
}

int cri_tokens_new(CriTokens **ret, Err *e)
{
	CriTokens *t = calloc(1, sizeof(*t));

	if (!t)
		return err_oom(e);
	pthread_mutex_init(&t->lock, NULL);
	*ret = t;
	return 0;
}

static void token_free(Token *t)
{
	cri_stream_request_done(&t->request);
	free(t);
}

static Token *pop(CriTokens *t)
{
	Token *x = t->first;

	t->first = x->next;
	if (!t->first)
		t->last = NULL;
	t->n--;
	return x;
}

void cri_tokens_free(CriTokens *t)
{
	if (!t)
		return;
	while (t->first)
		token_free(pop(t));
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static void drop_old(CriTokens *t, int64_t now_ns, size_t keep)
{
	while (t->first && (t->first->until_ns <= now_ns || t->n > keep))
		token_free(pop(t));
}

int cri_token_add(CriTokens *t, CriStreamRequest *r, int64_t now_ns, char ret[CRI_TOKEN_LEN + 1], Err *e)
{
	Token *x = calloc(1, sizeof(*x));

	if (!x)
		return err_oom(e);
	id_random_hex(x->token, CRI_TOKEN_LEN);
	x->until_ns = now_ns + CRI_TOKEN_LIFE_NS;
	x->request = *r;
	*r = (CriStreamRequest){0};
	memcpy(ret, x->token, sizeof(x->token));
	pthread_mutex_lock(&t->lock);
	drop_old(t, now_ns, CRI_TOKENS_MAX - 1);
	if (t->last)
		t->last->next = x;
	else
		t->first = x;
	t->last = x;
	t->n++;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

/* Takes as long for one that is almost right as for another. */
static bool same_token(const char *a, const char *b)
{
	unsigned differs = 0;

	if (strlen(b) != CRI_TOKEN_LEN)
		return false;
	for (size_t i = 0; i < CRI_TOKEN_LEN; i++)
		differs |= (unsigned char)a[i] ^ (unsigned char)b[i];
	return differs == 0;
}

static Token *unlink_token(CriTokens *t, const char *token)
{
	Token *before = NULL, *x = t->first;

	while (x && !same_token(x->token, token)) {
		before = x;
		x = x->next;
	}
	if (!x)
		return NULL;
	if (before)
		before->next = x->next;
	else
		t->first = x->next;
	if (t->last == x)
		t->last = before;
	t->n--;
	return x;
}

bool cri_token_take(CriTokens *t, CriStreamKind kind, const char *token, int64_t now_ns,
		    CriStreamRequest *ret)
{
	bool good;
	Token *x;

	pthread_mutex_lock(&t->lock);
	drop_old(t, now_ns, CRI_TOKENS_MAX);
	x = unlink_token(t, token);
	pthread_mutex_unlock(&t->lock);
	good = x && x->request.kind == kind;
	if (good) {
		*ret = x->request;
		x->request = (CriStreamRequest){0};
	}
	if (x)
		token_free(x);
	return good;
}
