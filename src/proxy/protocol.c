/* SPDX-License-Identifier: Apache-2.0 */
/* Messages are checked whole before anything of them is used; see protocol.h. */
#include "proxy/protocol.h"

#define HEAD_SIZE offsetof(ProxyRequest, after)

/* No holes whose contents nobody has set. */
_Static_assert(sizeof(ProxyPort) == PROXY_KEY_MAX + 20, "ProxyPort has a hole");
_Static_assert(sizeof(ProxyRequest) == 20 + sizeof(ProxyPort), "ProxyRequest has a hole");
_Static_assert(offsetof(ProxyReply, ports) == 24 + PROXY_ERROR_MAX, "ProxyReply has a hole");

int proxy_key_check(const char key[PROXY_KEY_MAX], Err *e)
{
	size_t len = strnlen(key, PROXY_KEY_MAX);

	if (len == 0 || len == PROXY_KEY_MAX)
		return err_new(e, ERR_INVALID, "the key of a port has 1 to %d characters", PROXY_KEY_MAX - 1);
	for (size_t i = 0; i < len; i++)
		if (key[i] <= ' ' || key[i] > '~')
			return err_new(e, ERR_INVALID, "the key of a port is printable ASCII without blanks");
	return 0;
}

static bool is_no_target(const struct in6_addr *a)
{
	const uint8_t *v4 = a->s6_addr + 12;

	if (IN6_IS_ADDR_V4MAPPED(a))
		return v4[0] == 0 || v4[0] >= 224; /* "this network", multicast, broadcast */
	return IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_MULTICAST(a);
}

int proxy_port_check(const ProxyPort *p, Err *e)
{
	int r = proxy_key_check(p->key, e);

	if (r < 0)
		return r;
	if (p->protocol != PROXY_TCP && p->protocol != PROXY_UDP)
		return err_new(e, ERR_INVALID,
			       "port %s: protocol %u is not offered by the proxy: only tcp and udp are",
			       p->key, p->protocol);
	if (p->target_port == 0)
		return err_new(e, ERR_INVALID, "port %s: the target has no port", p->key);
	if (is_no_target(&p->target))
		return err_new(e, ERR_INVALID, "port %s: nobody can be reached at the address of the target",
			       p->key);
	return 0;
}

int proxy_request_parse(const void *message, size_t len, size_t n_fds, ProxyRequest *ret, Err *e)
{
	ProxyRequest q = {0};
	int r = 0;

	if (len < HEAD_SIZE)
		return err_new(e, ERR_INVALID, "a request of %zu bytes is none", len);
	memcpy(&q, message, MIN2(len, sizeof(q)));
	if (q.op == PROXY_QUIT) {
		*ret = q;
		return 0;
	}
	if (q.version != PROXY_VERSION)
		return err_new(e, ERR_UNSUPPORTED, "version %u of the protocol is not spoken: only %d is",
			       q.version, PROXY_VERSION);
	if (len != sizeof(q))
		return err_new(e, ERR_INVALID, "a request of %zu bytes is none: it has %zu", len, sizeof(q));
	if (q.op >= PROXY_OP_MAX)
		return err_new(e, ERR_INVALID, "there is no request %u", q.op);
	if (n_fds != (q.op == PROXY_ADD ? 1 : 0))
		return err_new(e, ERR_INVALID, "request %u came with %zu descriptors", q.op, n_fds);
	if (q.op == PROXY_ADD)
		r = proxy_port_check(&q.port, e);
	else if (q.op == PROXY_REMOVE)
		r = proxy_key_check(q.port.key, e);
	if (r == 0)
		*ret = q;
	return r;
}

size_t proxy_reply_size(const ProxyReply *r)
{
	return offsetof(ProxyReply, ports) + r->n * sizeof(r->ports[0]);
}

int proxy_reply_check(const ProxyReply *r, size_t len, Err *e)
{
	if (len >= sizeof(r->version) && r->version != PROXY_VERSION)
		return err_new(e, ERR_UNSUPPORTED, "ireko-proxy speaks version %u of its protocol, not %d",
			       r->version, PROXY_VERSION);
	if (len < offsetof(ProxyReply, ports) || r->n > PROXY_LIST_MAX || len != proxy_reply_size(r) ||
	    strnlen(r->error, sizeof(r->error)) == sizeof(r->error) || r->kind >= ERR_KIND_MAX)
		return err_new_no(e, ERR_INTERNAL, EPROTO, "the answer of ireko-proxy makes no sense");
	for (uint32_t i = 0; i < r->n; i++)
		if (proxy_port_check(&r->ports[i], NULL) < 0)
			return err_new_no(e, ERR_INTERNAL, EPROTO,
					  "ireko-proxy lists a port that makes no sense");
	return 0;
}
