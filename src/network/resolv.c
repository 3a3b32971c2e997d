/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of /etc/resolv.conf and /etc/hosts (resolv.conf(5), hosts(5)).
 *
 * What users give (--dns, --add-host) is refused if it could end the line it stands in. What the host's own file has is
 * kept where a container can use it: not resolvers on the host's loopback, nor IPv6 ones, because these networks are IPv4.
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>

#define RESOLV_CONF      "/etc/resolv.conf"
#define SYSTEMD_RESOLVED "/run/systemd/resolve/resolv.conf"
#define FILE_MAX_BYTES   65536
#define WORD_MAX_BYTES   253 /* the longest domain name */
#define LIST_MAX         64

typedef struct Resolv {
	char **nameservers;
	char **search;
	char **options;
} Resolv;

static void resolv_done(Resolv *r)
{
	strv_free(r->nameservers);
	strv_free(r->search);
	strv_free(r->options);
}

static bool word_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > WORD_MAX_BYTES)
		return false;
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7F || *s == '#')
			return false;
	return true;
}

static bool address_ok(const char *s)
{
	char plain[INET6_ADDRSTRLEN];
	struct in6_addr any;
	size_t n = strcspn(s, "%");

	if (n >= sizeof(plain) || !word_ok(s))
		return false;
	memcpy(plain, s, n);
	plain[n] = '\0';
	return inet_pton(AF_INET6, plain, &any) == 1 ||
	       (s[n] == '\0' && inet_pton(AF_INET, plain, &any) == 1);
}

/* Words of a line go to the list, up to its bound; what is no word is left out. */
static int take_words(char *line, char ***list, bool addresses)
{
	char *word;

	while ((word = strsep(&line, " \t\r"))) {
		if (!word_ok(word) || (addresses && !address_ok(word)) || strv_len(*list) >= LIST_MAX)
			continue;
		if (strv_add(list, word) < 0)
			return -ENOMEM;
		if (addresses)
			return 0;
	}
	return 0;
}

static int parse_line(char *line, Resolv *ret)
{
	char *word = strsep(&line, " \t");
	char ***list = NULL;

	if (!line)
		return 0;
	if (streq(word, "nameserver"))
		list = &ret->nameservers;
	else if (streq(word, "options"))
		list = &ret->options;
	else if (streq(word, "search") || streq(word, "domain")) {
		/* The last one counts (resolv.conf(5)). */
		list = &ret->search;
		strv_free(take_ptr(ret->search));
	}
	return list ? take_words(line, list, list == &ret->nameservers) : 0;
}

/* A missing file is an empty one. */
static int resolv_read(const char *path, Resolv *ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int r = file_read_at(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL);
	char *rest, *line;

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(e, r, "read %s", path);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		line[strcspn(line, "#;")] = '\0';
		if (parse_line(line, ret) < 0)
			return err_oom(e);
	}
	return 0;
}

static bool is_usable(const char *server)
{
	struct in_addr in;

	return inet_pton(AF_INET, server, &in) == 1 && ntohl(in.s_addr) >> 24 != 127 && in.s_addr != 0;
}

static bool any_loopback(char *const *servers)
{
	for (size_t i = 0; servers && servers[i]; i++)
		if (str_starts(servers[i], "127."))
			return true;
	return false;
}

static void keep_usable(char **servers)
{
	size_t kept = 0;

	for (size_t i = 0; servers && servers[i]; i++) {
		if (is_usable(servers[i]))
			servers[kept++] = servers[i];
		else
			free(servers[i]);
	}
	if (servers)
		servers[kept] = NULL;
}

/* The host's settings as containers can use them; without any usable nameserver the list is empty. */
static int resolv_of_host(bool host_mode, Resolv *ret, Err *e)
{
	_cleanup_(resolv_done) Resolv behind = {0};
	int r = resolv_read(RESOLV_CONF, ret, e);

	if (r < 0 || host_mode)
		return r;
	if (any_loopback(ret->nameservers)) {
		r = resolv_read(SYSTEMD_RESOLVED, &behind, e);
		if (r < 0)
			return r;
		keep_usable(behind.nameservers);
	}
	keep_usable(ret->nameservers);
	if (strv_len(behind.nameservers) > 0 && strv_len(ret->nameservers) == 0) {
		strv_free(ret->nameservers);
		ret->nameservers = take_ptr(behind.nameservers);
	}
	return 0;
}

int resolv_host_nameservers(char ***ret, Err *e)
{
	_cleanup_(resolv_done) Resolv host = {0};
	int r = resolv_of_host(false, &host, e);

	if (r < 0)
		return r;
	*ret = take_ptr(host.nameservers);
	return 0;
}

int resolv_host_own(char ***ret_nameservers, char ***ret_options, Err *e)
{
	_cleanup_(resolv_done) Resolv host = {0};
	int r = resolv_of_host(true, &host, e);

	if (r < 0)
		return r;
	*ret_nameservers = take_ptr(host.nameservers);
	*ret_options = take_ptr(host.options);
	return 0;
}

static int check_words(char *const *words, const char *what, bool addresses, Err *e)
{
	for (size_t i = 0; words && words[i]; i++)
		if (!word_ok(words[i]) || (addresses && !address_ok(words[i])))
			return err_new(e, ERR_INVALID, "invalid %s \"%.64s\": %s", what, words[i],
				       addresses ? "not an IP address"
						 : "blanks and control characters are not allowed");
	if (strv_len(words) > LIST_MAX)
		return err_new(e, ERR_INVALID, "too many entries for %s: at most %d", what, LIST_MAX);
	return 0;
}

static void add_line(StrBuf *b, const char *keyword, char *const *words)
{
	if (strv_len(words) == 0)
		return;
	strbuf_add(b, keyword);
	for (size_t i = 0; words[i]; i++)
		strbuf_addf(b, " %s", words[i]);
	strbuf_add_c(b, '\n');
}

/* The host had nothing a container could ask: Docker's choice, said aloud. */
static void add_public_resolvers(StrBuf *b)
{
	strbuf_add(
	    b, "# The host lists no resolver that a container can reach, so Google's public ones are used.\n"
	       "# Choose others with --dns or in the daemon's configuration.\n"
	       "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
}

static int check_given(char *const *nameservers, char *const *search, char *const *options, Err *e)
{
	int r = check_words(nameservers, "DNS server", true, e);

	if (r >= 0)
		r = check_words(search, "DNS search domain", false, e);
	return r < 0 ? r : check_words(options, "DNS option", false, e);
}

/* "." asks for no search list at all. */
static void add_search(StrBuf *b, char *const *given, char *const *host)
{
	if (!given)
		add_line(b, "search", host);
	else if (!strv_has(given, "."))
		add_line(b, "search", given);
}

int network_resolv_conf(char *const *nameservers, char *const *search, char *const *options, bool host_mode,
			char **ret, Err *e)
{
	_cleanup_(resolv_done) Resolv host = {0};
	_cleanup_strbuf_ StrBuf b = {0};
	int r = check_given(nameservers, search, options, e);

	if (r >= 0 && (!nameservers || !search || !options))
		r = resolv_of_host(host_mode, &host, e);
	if (r < 0)
		return err_ctx(e, r, "resolv.conf");

	char *const *servers = nameservers ? nameservers : host.nameservers;

	for (size_t i = 0; servers && servers[i]; i++)
		strbuf_addf(&b, "nameserver %s\n", servers[i]);
	if (strv_len(servers) == 0 && !host_mode)
		add_public_resolvers(&b);
	add_search(&b, search, host.search);
	add_line(&b, "options", options ? options : host.options);
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}

static const char *ndots_of(char *const *options)
{
	for (size_t i = 0; options && options[i]; i++)
		if (str_starts(options[i], "ndots:"))
			return options[i];
	return NULL;
}

/* Names of containers have no dot, so a resolver shall ask for them before it tries the search list. */
static void add_internal_options(StrBuf *b, char *const *options)
{
	strbuf_add(b, "options");
	for (size_t i = 0; options && options[i]; i++)
		strbuf_addf(b, " %s", options[i]);
	if (!ndots_of(options))
		strbuf_add(b, " ndots:0");
	strbuf_add_c(b, '\n');
}

/* What tools that take the resolver's place (as that of kind) read. */
static void add_comments(StrBuf *b, char *const *given, char *const *host, bool search, char *const *options)
{
	char *const *servers = given ? given : host;

	strbuf_add(b, "\n# Based on host file: '" RESOLV_CONF "' (internal resolver)\n# ExtServers: [");
	for (size_t i = 0; servers && servers[i]; i++)
		strbuf_addf(b, given ? "%s%s" : "%shost(%s)", i ? " " : "", servers[i]);
	strbuf_add(b, "]\n# Overrides: [");
	strbuf_addf(b, "%s%s%s%s%s]\n", given ? "nameservers" : "", given && search ? " " : "",
		    search ? "search" : "", (given || search) && options ? " " : "",
		    options ? "options" : "");
}

int network_resolv_conf_internal(char *const *nameservers, char *const *search, char *const *options,
				 char **ret, Err *e)
{
	_cleanup_(resolv_done) Resolv host = {0};
	_cleanup_strbuf_ StrBuf b = {0};
	int r = check_given(nameservers, search, options, e);

	if (r >= 0)
		r = resolv_of_host(true, &host, e);
	if (r < 0)
		return err_ctx(e, r, "resolv.conf");

	char *const *all = options ? options : host.options;

	strbuf_add(&b, "# Generated by ireko.\n\nnameserver " NETWORK_RESOLVER_ADDRESS "\n");
	add_search(&b, search, host.search);
	add_internal_options(&b, all);
	add_comments(&b, nameservers, host.nameservers, search != NULL, options);
	strbuf_addf(&b, "# Option ndots from: %s\n",
		    !ndots_of(all) ? "internal"
		    : options      ? "override"
				   : "host");
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}

static int add_extra(StrBuf *b, const char *entry, Err *e)
{
	size_t n = strcspn(entry, ":");
	_cleanup_free_ char *name = strndup(entry, n), *ip = NULL;

	if (!name)
		return err_oom(e);
	if (entry[n] == ':') {
		const char *address = entry + n + 1;
		size_t len = strlen(address);
		bool brackets = len > 2 && address[0] == '[' && address[len - 1] == ']';

		ip = brackets ? strndup(address + 1, len - 2) : strdup(address);
		if (!ip)
			return err_oom(e);
	}
	if (!ip || !word_ok(name) || !address_ok(ip))
		return err_new(e, ERR_INVALID, "invalid extra host \"%.128s\": write it as name:address",
			       entry);
	strbuf_addf(b, "%s\t%s\n", ip, name);
	return 0;
}

static int add_own(StrBuf *b, const char *address, const char *hostname, const char *domainname, Err *e)
{
	if (str_empty(hostname))
		return 0;
	if (!address_ok(address) || !word_ok(hostname) || (!str_empty(domainname) && !word_ok(domainname)))
		return err_new(e, ERR_INVALID, "invalid host name \"%.64s\" or domain name \"%.64s\"",
			       hostname, domainname ? domainname : "");
	if (str_empty(domainname))
		strbuf_addf(b, "%s\t%s\n", address, hostname);
	else
		strbuf_addf(b, "%s\t%s.%s %s\n", address, hostname, domainname, hostname);
	return 0;
}

int network_hosts_file(char *const *addresses, const char *hostname, const char *domainname,
		       char *const *extra, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	int r = 0;

	strbuf_add(&b, "127.0.0.1\tlocalhost\n"
		       "::1\tlocalhost ip6-localhost ip6-loopback\n"
		       "fe00::\tip6-localnet\n"
		       "ff00::\tip6-mcastprefix\n"
		       "ff02::1\tip6-allnodes\n"
		       "ff02::2\tip6-allrouters\n");
	for (size_t i = 0; r >= 0 && extra && extra[i]; i++)
		r = add_extra(&b, extra[i], e);
	for (size_t i = 0; r >= 0 && addresses && addresses[i]; i++)
		r = add_own(&b, addresses[i], hostname, domainname, e);
	if (r < 0)
		return err_ctx(e, r, "hosts file");
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}

int network_hosts_change(const char *text, const char *remove, const char *add, const char *hostname,
			 const char *domainname, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	size_t len = remove ? strlen(remove) : 0;
	int r = 0;

	while (*text) {
		size_t line = strcspn(text, "\n"), whole = line + (text[line] == '\n');

		if (!remove || line <= len || strncmp(text, remove, len) != 0 || !strchr(" \t", text[len]))
			strbuf_add_n(&b, text, whole);
		text += whole;
	}
	if (add) {
		if (b.len > 0 && b.s[b.len - 1] != '\n')
			strbuf_add_c(&b, '\n');
		r = add_own(&b, add, hostname, domainname, e);
	}
	if (r < 0)
		return err_ctx(e, r, "hosts file");
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}
