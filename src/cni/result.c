/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What plugins answer to ADD (SPEC.md, section 5), in the three forms that the versions have:
 *
 *   0.1.0, 0.2.0          "ip4" and "ip6", one address each, with their routes
 *   0.3.0, 0.3.1, 0.4.0   "interfaces", "ips" whose members have a "version", "routes"
 *   1.0.0, 1.1.0          the same without that "version"; interfaces know more
 *
 * A result is a stranger's: its shape, its counts and every address in it are checked before it goes to the next plugin, into a record or to a pod. What a form
 * has no place for is left out when a result is converted to it; of a result that is in the wanted form already, nothing is.
 */
#include "cni/cni-internal.h"

#include <arpa/inet.h>

#define IPS_MAX        256
#define INTERFACES_MAX 256
#define ROUTES_MAX     4096
#define STRINGS_MAX    64 /* of a list of names of dns */

typedef enum Form { FORM_IP4, FORM_VERSIONED, FORM_PLAIN } Form;

static Form form_of(CniVersion v)
{
	return v < CNI_0_3_0 ? FORM_IP4 : v < CNI_1_0_0 ? FORM_VERSIONED : FORM_PLAIN;
}

/* ---- checks ---- */

/* 4 or 6, with the address alone in buf; 0 if it is none. A prefix has to be there or may not be. */
static int address_family(const char *s, bool prefix, char buf[INET6_ADDRSTRLEN])
{
	const char *slash = s ? strchr(s, '/') : NULL;
	size_t n = slash ? (size_t)(slash - s) : s ? strlen(s) : 0;
	struct in6_addr a;
	int bits, family;

	if (n == 0 || n >= INET6_ADDRSTRLEN || prefix != !!slash)
		return 0;
	memcpy(buf, s, n);
	buf[n] = '\0';
	family = inet_pton(AF_INET, buf, &a) == 1 ? 4 : inet_pton(AF_INET6, buf, &a) == 1 ? 6 : 0;
	if (family && slash && str_to_int(slash + 1, 0, family == 4 ? 32 : 128, &bits) < 0)
		return 0;
	return family;
}

static int family_of(const json_t *obj, const char *key, bool prefix)
{
	char buf[INET6_ADDRSTRLEN];

	return address_family(json_get_str(obj, key), prefix, buf);
}

static int bad(Err *e, const char *what, const char *part)
{
	return err_new(e, ERR_INVALID, "%s: its result has %s", what, part);
}

/* Absent, null and "" are none. */
static bool gateway_is_good(const json_t *obj, const char *key)
{
	const json_t *g = json_object_get(obj, key);

	return !g || json_is_null(g) || (json_is_string(g) && json_string_length(g) == 0) ||
	       family_of(obj, key, false);
}

static int check_array(const json_t *j, const char *key, size_t max, const char *what, Err *e)
{
	const json_t *a = json_object_get(j, key), *v;
	size_t i;

	if (!a || json_is_null(a))
		return 0;
	if (!json_is_array(a) || json_array_size(a) > max)
		return err_new(e, ERR_INVALID, "%s: %s of its result are no array of at most %zu", what, key,
			       max);
	json_array_foreach (a, i, v)
		if (!json_is_object(v))
			return err_new(e, ERR_INVALID, "%s: %s of its result has something that is no object",
				       what, key);
	return 0;
}

static int check_routes(const json_t *j, const char *what, Err *e)
{
	const json_t *v;
	size_t i;
	int r = check_array(j, "routes", ROUTES_MAX, what, e);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(j, "routes"), i, v)
		if (!family_of(v, "dst", true) || !gateway_is_good(v, "gw"))
			return bad(e, what, "a route without a good destination or gateway");
	return 0;
}

static int check_interfaces(const json_t *j, const char *what, Err *e)
{
	const json_t *v;
	size_t i;
	int r = check_array(j, "interfaces", INTERFACES_MAX, what, e);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(j, "interfaces"), i, v) {
		const json_t *sandbox = json_object_get(v, "sandbox");

		if (!json_get_str(v, "name") ||
		    (sandbox && !json_is_string(sandbox) && !json_is_null(sandbox)))
			return bad(e, what, "an interface without a name, or a sandbox that is no path");
	}
	return 0;
}

static int check_ips(const json_t *j, const char *what, Err *e)
{
	size_t n = json_array_size(json_object_get(j, "interfaces")), i;
	const json_t *v;
	int r = check_array(j, "ips", IPS_MAX, what, e);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(j, "ips"), i, v) {
		const json_t *at = json_object_get(v, "interface");

		if (!family_of(v, "address", true) || !gateway_is_good(v, "gateway"))
			return bad(e, what, "an address that is none (it needs a prefix), or such a gateway");
		if (at && !json_is_null(at) &&
		    (!json_is_integer(at) || json_integer_value(at) < 0 ||
		     (size_t)json_integer_value(at) >= n))
			return bad(e, what, "an address of an interface that is not in it");
	}
	return 0;
}

static int check_ip4(const json_t *j, const char *key, int family, const char *what, Err *e)
{
	const json_t *ip = json_object_get(j, key);

	if (!ip || json_is_null(ip))
		return 0;
	if (!json_is_object(ip) || family_of(ip, "ip", true) != family || !gateway_is_good(ip, "gateway"))
		return bad(e, what, "an ip4 or ip6 that is none (it needs a prefix), or such a gateway");
	return check_routes(ip, what, e);
}

static int check_dns(const json_t *j, const char *what, Err *e)
{
	static const char *const lists[] = {"nameservers", "search", "options"};
	const json_t *dns = json_object_get(j, "dns"), *v;
	size_t n;

	if (!dns || json_is_null(dns))
		return 0;
	if (!json_is_object(dns))
		return bad(e, what, "a dns that is no object");
	for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
		const json_t *a = json_object_get(dns, lists[i]);

		if (a && !json_is_null(a) && (!json_is_array(a) || json_array_size(a) > STRINGS_MAX))
			return bad(e, what, "a list of dns that is none, or is too long");
		json_array_foreach (a, n, v)
			if (!json_is_string(v))
				return bad(e, what, "a list of dns with something that is no string");
	}
	return 0;
}

static int check(const json_t *j, Form form, const char *what, Err *e)
{
	int r = check_dns(j, what, e);

	if (r >= 0 && form == FORM_IP4) {
		r = check_ip4(j, "ip4", 4, what, e);
		return r < 0 ? r : check_ip4(j, "ip6", 6, what, e);
	}
	if (r >= 0)
		r = check_interfaces(j, what, e);
	if (r >= 0)
		r = check_ips(j, what, e);
	return r < 0 ? r : check_routes(j, what, e);
}

/* ---- from one form to another: NULL without memory ---- */

static int copy_member(const json_t *from, const char *key, json_t *to, const char *as)
{
	json_t *v = json_object_get(from, key);

	return v && !json_is_null(v) ? json_object_set(to, as, v) : 0;
}

static int append_routes(json_t *routes, const json_t *from)
{
	return json_is_array(from) ? json_array_extend(routes, (json_t *)(uintptr_t)from) : 0;
}

/* ip4 or ip6 as a member of ips, its routes among all. */
static int raise_one(const json_t *from, const char *key, json_t *ips, json_t *routes)
{
	const json_t *ip = json_object_get(from, key);
	json_t *to;

	if (!json_is_object(ip))
		return 0;
	to = json_object();
	if (!to || json_array_append(ips, to) < 0) {
		json_decref(to);
		return -1;
	}
	json_decref(to);
	return copy_member(ip, "ip", to, "address") < 0 || copy_member(ip, "gateway", to, "gateway") < 0 ||
		       append_routes(routes, json_object_get(ip, "routes")) < 0
		   ? -1
		   : 0;
}

static json_t *raise(const json_t *from)
{
	_cleanup_json_ json_t *to = json_object(), *ips = json_array(), *routes = json_array();

	if (!to || !ips || !routes || raise_one(from, "ip4", ips, routes) < 0 ||
	    raise_one(from, "ip6", ips, routes) < 0 || json_object_set(to, "ips", ips) < 0 ||
	    json_object_set(to, "routes", routes) < 0 || copy_member(from, "dns", to, "dns") < 0)
		return NULL;
	return take_ptr(to);
}

static int lower_routes(const json_t *from, int family, json_t *ip)
{
	json_t *routes = json_array(), *v;
	size_t i;
	int r = routes ? 0 : -1;

	json_array_foreach (json_object_get(from, "routes"), i, v) {
		json_t *one = r >= 0 && family_of(v, "dst", true) == family ? json_object() : NULL;

		if (r < 0 || family_of(v, "dst", true) != family)
			continue;
		if (!one || copy_member(v, "dst", one, "dst") < 0 || copy_member(v, "gw", one, "gw") < 0 ||
		    json_array_append(routes, one) < 0)
			r = -1;
		json_decref(one);
	}
	if (r >= 0 && json_array_size(routes) > 0)
		r = json_object_set(ip, "routes", routes);
	json_decref(routes);
	return r;
}

/* The first address of each family: the old form has no more. */
static json_t *lower(const json_t *from)
{
	_cleanup_json_ json_t *to = json_object();
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(from, "ips"), i, v) {
		int family = family_of(v, "address", true);
		const char *key = family == 4 ? "ip4" : "ip6";
		_cleanup_json_ json_t *ip = NULL;

		if (json_object_get(to, key))
			continue;
		ip = json_object();
		if (!ip || copy_member(v, "address", ip, "ip") < 0 ||
		    copy_member(v, "gateway", ip, "gateway") < 0 || lower_routes(from, family, ip) < 0 ||
		    json_object_set(to, key, ip) < 0)
			return NULL;
	}
	return to && copy_member(from, "dns", to, "dns") >= 0 ? take_ptr(to) : NULL;
}

/* Each member of ips with its version, or without. */
static json_t *reversion_ips(const json_t *ips, Form form)
{
	_cleanup_json_ json_t *to = json_array();
	json_t *v;
	size_t i;

	json_array_foreach (ips, i, v) {
		json_t *one = json_copy(v);

		if (one && form == FORM_PLAIN)
			(void)json_object_del(one, "version");
		if (!one || !to ||
		    (form == FORM_VERSIONED &&
		     json_object_set_new(one, "version",
					 json_string(family_of(v, "address", true) == 4 ? "4" : "6")) < 0)) {
			json_decref(one);
			return NULL;
		}
		if (json_array_append_new(to, one) < 0)
			return NULL;
	}
	return take_ptr(to);
}

/* What 0.3.0 to 0.4.0 know of one. */
static json_t *lower_interfaces(const json_t *interfaces)
{
	_cleanup_json_ json_t *to = json_array();
	json_t *v;
	size_t i;

	json_array_foreach (interfaces, i, v) {
		json_t *one = json_object();

		if (!one || copy_member(v, "name", one, "name") < 0 ||
		    copy_member(v, "mac", one, "mac") < 0 || copy_member(v, "sandbox", one, "sandbox") < 0 ||
		    !to) {
			json_decref(one);
			return NULL;
		}
		if (json_array_append_new(to, one) < 0)
			return NULL;
	}
	return take_ptr(to);
}

static json_t *reversion(const json_t *from, Form form)
{
	const json_t *ips = json_object_get(from, "ips"), *interfaces = json_object_get(from, "interfaces");
	_cleanup_json_ json_t *to = json_copy((json_t *)(uintptr_t)from);

	if (!to)
		return NULL;
	if (json_is_array(ips) && json_object_set_new(to, "ips", reversion_ips(ips, form)) < 0)
		return NULL;
	if (form == FORM_VERSIONED && json_is_array(interfaces) &&
	    json_object_set_new(to, "interfaces", lower_interfaces(interfaces)) < 0)
		return NULL;
	return take_ptr(to);
}

static json_t *in_form(const json_t *from, Form is, Form want)
{
	_cleanup_json_ json_t *raised = NULL;

	if (is == want)
		return json_copy((json_t *)(uintptr_t)from);
	if (want == FORM_IP4)
		return lower(from);
	if (is != FORM_IP4)
		return reversion(from, want);
	raised = raise(from);
	return raised ? reversion(raised, want) : NULL;
}

int cni_result_convert(const json_t *from, CniVersion fallback, CniVersion want, const char *what,
		       json_t **ret, Err *e)
{
	const json_t *said = json_object_get(from, "cniVersion");
	_cleanup_json_ json_t *to = NULL;
	CniVersion is = fallback;
	int r;

	if (said && !json_is_string(said))
		return bad(e, what, "a cniVersion that is no string");
	if (said && json_string_length(said) > 0 && cni_version_parse(json_string_value(said), &is) < 0)
		return err_new(e, ERR_INVALID,
			       "%s: its result is of version \"%.40s\", which is not known here", what,
			       json_string_value(said));
	r = check(from, form_of(is), what, e);
	if (r < 0)
		return r;
	to = in_form(from, form_of(is), form_of(want));
	if (!to || json_object_set_new(to, "cniVersion", json_string(cni_version_text(want))) < 0)
		return err_oom(e);
	*ret = take_ptr(to);
	return 0;
}

int cni_result_parse(const char *text, size_t len, CniVersion fallback, CniVersion want, const char *what,
		     json_t **ret, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	int r = cni_document_parse(text, len, CNI_OUTPUT_MAX, "its answer", &j, e);

	return r < 0 ? err_ctx(e, r, "%s", what) : cni_result_convert(j, fallback, want, what, ret, e);
}

/* ---- addresses ---- */

/* Whether one of that name is in a sandbox; else the plugins do not say where theirs are. */
static bool says_sandbox(const json_t *result, const char *ifname)
{
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(result, "interfaces"), i, v)
		if (streq0(json_get_str(v, "name"), ifname) && !str_empty(json_get_str(v, "sandbox")))
			return true;
	return false;
}

/* Whether the interface at that place of the result is the one: of the name, and not a namesake on the host. */
static bool is_of(const json_t *result, const json_t *at, const char *ifname)
{
	const json_t *one;

	if (!at || json_is_null(at))
		return true;
	one = json_array_get(json_object_get(result, "interfaces"), (size_t)json_integer_value(at));
	return streq0(json_get_str(one, "name"), ifname) &&
	       (!str_empty(json_get_str(one, "sandbox")) || !says_sandbox(result, ifname));
}

static bool is_loopback(int family, const char *address)
{
	return family == 4 ? str_starts(address, "127.") : streq(address, "::1");
}

static int append_family(const json_t *result, const char *ifname, bool v4, char ***ips)
{
	const json_t *v;
	size_t i;

	json_array_foreach (json_object_get(result, "ips"), i, v) {
		char buf[INET6_ADDRSTRLEN];
		int family = address_family(json_get_str(v, "address"), true, buf);

		if (!family || (family == 4) != v4 || is_loopback(family, buf) ||
		    !is_of(result, json_object_get(v, "interface"), ifname))
			continue;
		if (!strv_has(*ips, buf) && strv_add(ips, buf) < 0)
			return -ENOMEM;
	}
	return 0;
}

int cni_result_ips(const json_t *result, const char *ifname, char ***ret, Err *e)
{
	_cleanup_json_ json_t *plain = NULL;
	_cleanup_strv_ char **ips = NULL;
	int r = cni_result_convert(result, CNI_0_1_0, CNI_1_1_0, "the network", &plain, e);

	if (r < 0)
		return r;
	if (append_family(plain, ifname, true, &ips) < 0 || append_family(plain, ifname, false, &ips) < 0)
		return err_oom(e);
	*ret = take_ptr(ips);
	return 0;
}

void cni_result_done(CniResult *r)
{
	strv_free(r->ips);
	json_decref(r->document);
	*r = (CniResult){0};
}
