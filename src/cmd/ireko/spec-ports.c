/* SPDX-License-Identifier: Apache-2.0 */
/* Ports on the command line; see spec.h. */
#include "base/str.h"
#include "spec.h"

#include <arpa/inet.h>
#include <strings.h>

typedef struct Range {
	int first, last;
} Range;

/* In docker's words, which name the part that is wrong. */
static int invalid(const char *why, const char *part, Err *e)
{
	return err_new(e, ERR_INVALID, "%s: %s", why, part);
}

static int parse_range(const char *s, Range *ret)
{
	const char *dash = strchr(s, '-');
	_cleanup_free_ char *first = dash ? strndup(s, (size_t)(dash - s)) : strdup(s);
	Range r;

	if (!first)
		return -ENOMEM;
	if (str_to_int(first, 0, 65535, &r.first) < 0)
		return -EINVAL;
	r.last = r.first;
	if (dash && str_to_int(dash + 1, r.first, 65535, &r.last) < 0)
		return -EINVAL;
	*ret = r;
	return 0;
}

/* Cuts "/proto" off s; the protocol in lower case. */
static int take_protocol(char *s, const char **ret)
{
	static const char *const known[] = {"tcp", "udp", "sctp"};
	char *slash = strchr(s, '/');

	*ret = "tcp";
	if (!slash)
		return 0;
	*slash = '\0';
	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (strcasecmp(slash + 1, known[i]) == 0) {
			*ret = known[i];
			return 0;
		}
	return -EINVAL;
}

static int expose(json_t *exposed, int port, const char *proto)
{
	char key[24];

	snprintf(key, sizeof(key), "%d/%s", port, proto);
	return json_object_set_new(exposed, key, json_object());
}

int spec_add_exposed(const char *s, json_t *exposed, Err *e)
{
	_cleanup_free_ char *copy = strdup(s);
	const char *proto;
	Range r;

	if (!copy)
		return err_oom(e);
	if (take_protocol(copy, &proto) < 0)
		return err_new(e, ERR_INVALID, "invalid proto: %s", s);
	if (parse_range(copy, &r) < 0)
		return err_new(e, ERR_INVALID, "invalid range format for --expose: %s", s);
	for (int p = r.first; p <= r.last; p++)
		if (expose(exposed, p, proto) < 0)
			return err_oom(e);
	return 0;
}

static int bind_port(json_t *bindings, int port, const char *proto, const char *ip, const char *host_port)
{
	char key[24];
	json_t *list;

	snprintf(key, sizeof(key), "%d/%s", port, proto);
	list = json_object_get(bindings, key);
	if (!list && json_object_set_new(bindings, key, list = json_array()) < 0)
		return -ENOMEM;
	return json_array_append_new(list, json_pack("{s:s, s:s}", "HostIp", ip, "HostPort", host_port));
}

/* Splits "[ip:][host:]container"; ip and host are "" when absent. */
static int split_spec(char *s, const char **ip, const char **host, const char **container)
{
	char *colon = strrchr(s, ':'), *end;

	*ip = *host = "";
	*container = s;
	if (!colon)
		return 0;
	*colon = '\0';
	*container = colon + 1;
	colon = strrchr(s, ':');
	if (!colon) {
		*host = s;
		return 0;
	}
	*colon = '\0';
	*host = colon + 1;
	*ip = s;
	if (*s == '[') {
		end = strchr(s, ']');
		if (!end || end[1])
			return -EINVAL;
		*end = '\0';
		*ip = s + 1;
	}
	return 0;
}

static bool is_address(const char *ip)
{
	struct in6_addr a;
	_cleanup_free_ char *plain = strndup(ip, strcspn(ip, "%"));

	return plain && (inet_pton(AF_INET, plain, &a) == 1 || inet_pton(AF_INET6, plain, &a) == 1);
}

static int add_ports(const char *s, Range in, const char *host, const char *ip, const char *proto,
		     json_t *exposed, json_t *bindings, Err *e)
{
	Range out = {0};
	bool any = in.first == in.last && strchr(host, '-'); /* one of a range: the engine chooses */

	if (*host && parse_range(host, &out) < 0)
		return invalid("invalid hostPort", host, e);
	if (*host && !any && out.last - out.first != in.last - in.first)
		return invalid("invalid ranges specified for container and host Ports", s, e);
	for (int i = 0; i <= in.last - in.first; i++) {
		char text[24] = "";

		if (*host && any)
			snprintf(text, sizeof(text), "%d-%d", out.first, out.last);
		else if (*host)
			snprintf(text, sizeof(text), "%d", out.first + i);
		if (expose(exposed, in.first + i, proto) < 0 ||
		    bind_port(bindings, in.first + i, proto, ip, text) < 0)
			return err_oom(e);
	}
	return 0;
}

int spec_add_port(const char *s, json_t *exposed, json_t *bindings, Err *e)
{
	_cleanup_free_ char *copy = strdup(s);
	const char *ip, *host, *container, *proto;
	Range in;

	if (!copy)
		return err_oom(e);
	if (take_protocol(copy, &proto) < 0)
		return invalid("invalid proto", strrchr(s, '/') + 1, e);
	if (split_spec(copy, &ip, &host, &container) < 0)
		return invalid("invalid IP address (an IPv6 address needs [ ] around it)", s, e);
	if (!*container)
		return err_new(e, ERR_INVALID, "no port specified: %s<empty>", s);
	if (*ip && !is_address(ip))
		return invalid("invalid IP address", ip, e);
	if (parse_range(container, &in) < 0 || in.first == 0)
		return invalid("invalid containerPort", container, e);
	return add_ports(s, in, host, ip, proto, exposed, bindings, e);
}
