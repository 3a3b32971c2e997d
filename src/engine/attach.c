/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attaching clients: their sockets go to the shim by descriptor, so that bytes flow past irekod.
 *
 * A client may attach before the start (docker run does); it is then kept on the container's pending
 * list and handed over before the first instruction runs, so that no output is missed.
 */
#include "engine/engine-internal.h"

#include <ctype.h>

#define DEFAULT_DETACH_KEYS "ctrl-p,ctrl-q"

void pending_free(PendingAttach *p)
{
	while (p) {
		PendingAttach *next = p->next;

		close_fd(&p->fd);
		free(p->prefix);
		free(p);
		p = next;
	}
}

/* "ctrl-p,ctrl-q,a" -> bytes 0x10 0x11 'a' */
int detach_keys_parse(const char *text, char *ret, size_t cap, size_t *ret_n, Err *e)
{
	_cleanup_strv_ char **keys = strv_split(str_empty(text) ? DEFAULT_DETACH_KEYS : text, ',');

	if (!keys)
		return err_oom(e);
	*ret_n = 0;
	for (size_t i = 0; keys[i]; i++) {
		const char *k = keys[i], *ctrl = str_after(k, "ctrl-");
		int c = -1;

		if (ctrl && strlen(ctrl) == 1) {
			if (isalpha((unsigned char)*ctrl))
				c = tolower((unsigned char)*ctrl) - 'a' + 1;
			else if (*ctrl == '@')
				c = 0;
			else if (strchr("[\\]^_", *ctrl))
				c = *ctrl - '[' + 27;
		} else if (strlen(k) == 1) {
			c = (unsigned char)*k;
		} else if (streq(k, "DEL")) {
			c = 127;
		}
		if (c < 0 || *ret_n >= cap)
			return err_new(e, ERR_INVALID,
				       "Invalid detach keys (%s) provided: expected up to %zu of a letter or "
				       "ctrl-<letter>, "
				       "separated by commas",
				       text, cap);
		ret[(*ret_n)++] = (char)c;
	}
	return 0;
}

int container_shim(Container *c, Shim **ret, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&c->state);
	if (c->shim && (c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED))
		*ret = shim_ref(c->shim);
	else
		r = err_new(e, ERR_CONFLICT, "container %s is not running", c->id);
	pthread_mutex_unlock(&c->state);
	return r;
}

int attach_to_shim(Container *c, Shim *shim, const PendingAttach *p, Err *e)
{
	ShimAttach a = {
	    .fd = p->fd,
	    .framing = c->config.tty || p->raw ? SHIM_RAW : SHIM_MUX,
	    .want_stdin = p->in && c->config.open_stdin,
	    .want_stdout = p->out,
	    .want_stderr = p->err,
	    .prefix = p->prefix,
	    .prefix_len = p->prefix_len,
	    .detach_keys = p->detach_keys,
	    .n_detach_keys = c->config.tty ? p->n_detach_keys : 0,
	};

	return shim_attach(shim, &a, e);
}

/* ---- replay of the log (logs=1) ---- */

typedef struct Replay {
	int fd;
	bool mux;
} Replay;

static int replay_line(void *user, const EngineLogRecord *r)
{
	const Replay *p = user;
	size_t len = r->len;
	uint8_t head[8] = {(uint8_t)r->stream,  0,           0, 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
			   (uint8_t)(len >> 8), (uint8_t)len};

	if (p->mux && fd_write_all(p->fd, head, sizeof(head)) < 0)
		return 1;
	return fd_write_all(p->fd, r->text, len) < 0;
}

static int replay_log(Engine *en, Container *c, const EngineAttach *a, Err *e)
{
	Replay p = {a->fd, !c->config.tty && !a->raw};
	EngineLogs l = {.out = a->out, .err = a->err, .tail = -1};

	return MIN2(engine_container_logs(en, c->id, &l, replay_line, &p, a->fd, e), 0);
}

static int pending_make(const EngineAttach *a, PendingAttach **ret, Err *e)
{
	PendingAttach *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_oom(e);
	p->fd = -1;
	p->in = a->in;
	p->out = a->out;
	p->err = a->err;
	p->raw = a->raw;
	r = a->no_detach_keys ? 0
			      : detach_keys_parse(a->detach_keys, p->detach_keys, sizeof(p->detach_keys),
						  &p->n_detach_keys, e);
	if (r >= 0 && a->prefix_len > 0) {
		p->prefix = malloc(a->prefix_len);
		if (!p->prefix)
			r = err_oom(e);
		else {
			memcpy(p->prefix, a->prefix, a->prefix_len);
			p->prefix_len = a->prefix_len;
		}
	}
	if (r >= 0) {
		p->fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 3);
		if (p->fd < 0)
			r = err_sys(e, errno, "keep the client's connection");
	}
	if (r < 0) {
		pending_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

/* Enters the client for the next start; false if the container is running meanwhile. */
static bool pending_add(Container *c, PendingAttach *p)
{
	bool added = false;

	pthread_mutex_lock(&c->state);
	if (c->status != CONTAINER_RUNNING && c->status != CONTAINER_PAUSED) {
		p->next = c->pending;
		c->pending = p;
		added = true;
	}
	pthread_mutex_unlock(&c->state);
	return added;
}

int engine_container_attach(Engine *en, const char *ref, const EngineAttach *a, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	PendingAttach *p;
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	ContainerStatus s = container_status(c);
	if (s == CONTAINER_PAUSED)
		return err_new(e, ERR_CONFLICT, "container %s is paused, unpause the container before attach",
			       ref);
	if (s == CONTAINER_RESTARTING)
		return err_new(e, ERR_CONFLICT,
			       "container %s is restarting, wait until the container is running", ref);
	if (a->logs) {
		r = replay_log(en, c, a, e);
		if (r < 0 || !a->stream)
			return r;
	}
	if (!a->stream)
		return 0;
	r = pending_make(a, &p, e);
	if (r < 0)
		return r;
	if (pending_add(c, p)) {
		container_event(en, c, "attach", NULL);
		return 0;
	}
	r = container_shim(c, &shim, e);
	if (r >= 0)
		r = attach_to_shim(c, shim, p, e);
	pending_free(p);
	if (r >= 0)
		container_event(en, c, "attach", NULL);
	return r;
}

int engine_container_resize(Engine *en, const char *ref, uint16_t rows, uint16_t cols, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	int r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = container_shim(c, &shim, e);
	if (r >= 0)
		r = shim_resize(shim, NULL, rows, cols, e);
	if (r >= 0) {
		char height[8], width[8];

		snprintf(height, sizeof(height), "%u", rows);
		snprintf(width, sizeof(width), "%u", cols);
		container_event(en, c, "resize", "height", height, "width", width, NULL);
	}
	return r;
}
