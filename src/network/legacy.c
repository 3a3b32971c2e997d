/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iptables-legacy: the rules of the kernel's old ip_tables, which stand beside those of nftables and are not shown by it. A packet has
 * to be let through by both. We do not change them (a table is replaced as a whole, by whoever comes last), but a chain FORWARD
 * that drops what containers send is worth a warning, for nothing else would tell why they reach nothing.
 *
 * The table is read only if the kernel has it already: asking for it would make it.
 */
#include "network/foreign-internal.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/netfilter_ipv4/ip_tables.h>

#define NAMES      "/proc/self/net/ip_tables_names"
#define TABLE      "filter"
#define SIZE_MAX_  (64 << 20)
#define VERDICT(v) (-(v)-1)

/* What an entry does with all that a bridge sends; 0: nothing, or with some of it only. */
typedef enum Fate { FATE_NONE, FATE_PASSES, FATE_DROPPED } Fate;

static bool interface_fits(const struct ipt_ip *ip, const char *bridge)
{
	char name[IFNAMSIZ] = "";

	memcpy(name, bridge, strnlen(bridge, sizeof(name) - 1));
	for (size_t i = 0; i < IFNAMSIZ; i++)
		if ((name[i] ^ ip->iniface[i]) & (char)ip->iniface_mask[i])
			return false;
	return true;
}

static bool is_about_all_of(const struct ipt_entry *entry, const char *bridge)
{
	const struct ipt_ip *ip = &entry->ip;

	return entry->target_offset == sizeof(*entry) && ip->invflags == 0 && ip->flags == 0 &&
	       ip->proto == 0 && ip->smsk.s_addr == 0 && ip->dmsk.s_addr == 0 && ip->outiface_mask[0] == 0 &&
	       interface_fits(ip, bridge);
}

static Fate fate_of(const struct ipt_entry *entry, const char *bridge)
{
	size_t len = (size_t)entry->next_offset - entry->target_offset;
	const struct xt_standard_target *target;
	const char *name;

	/* Its target lies right behind it then, and so in its place of memory. */
	if (len < sizeof(target->target) || !is_about_all_of(entry, bridge))
		return FATE_NONE;
	target = (const void *)(entry + 1);
	name = target->target.u.user.name;
	if (strncmp(name, "REJECT", XT_EXTENSION_MAXNAMELEN) == 0)
		return FATE_DROPPED;
	if (*name || len < sizeof(*target))
		return FATE_NONE;
	return target->verdict == VERDICT(NF_DROP)     ? FATE_DROPPED
	       : target->verdict == VERDICT(NF_ACCEPT) ? FATE_PASSES
						       : FATE_NONE;
}

bool legacy_chain_drops(const void *entries, size_t len, size_t first, size_t policy, const char *bridge)
{
	for (size_t at = first; at <= policy;) {
		const struct ipt_entry *entry = (const void *)((const char *)entries + at);
		Fate fate;

		if (at % _Alignof(struct ipt_entry) || len < sizeof(*entry) || at > len - sizeof(*entry) ||
		    entry->target_offset < sizeof(*entry) || entry->next_offset < entry->target_offset ||
		    entry->next_offset == 0 || entry->next_offset > len - at)
			return false;
		fate = fate_of(entry, bridge);
		if (fate != FATE_NONE)
			return fate == FATE_DROPPED;
		at += entry->next_offset;
	}
	return false;
}

static bool in_use(void)
{
	_cleanup_free_ char *names = NULL;

	if (file_read_at(AT_FDCWD, NAMES, 4096, &names, NULL) < 0)
		return false; /* the kernel has no ip_tables */
	for (const char *p = names; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (str_starts(p, TABLE "\n"))
			return true;
	return false;
}

/* malloc'ed; the table may have grown between the two questions (EAGAIN). */
static int table_read(int fd, struct ipt_getinfo *info, struct ipt_get_entries **ret)
{
	struct ipt_get_entries *table;
	socklen_t len = sizeof(*info);
	int r;

	*info = (struct ipt_getinfo){.name = TABLE};
	if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, info, &len) < 0)
		return -errno;
	if (info->size > SIZE_MAX_)
		return -E2BIG;
	table = calloc(1, sizeof(*table) + info->size);
	if (!table)
		return -ENOMEM;
	memcpy(table->name, TABLE, sizeof(TABLE));
	table->size = info->size;
	len = (socklen_t)(sizeof(*table) + info->size);
	if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, table, &len) < 0) {
		r = -errno;
		free(table);
		return r;
	}
	*ret = table;
	return 0;
}

int legacy_drops(char *const *bridges, char ***ret, Err *e)
{
	_cleanup_free_ struct ipt_get_entries *table = NULL;
	_cleanup_close_ int fd = -1;
	struct ipt_getinfo info;
	int r = -EAGAIN;

	if (!bridges || !bridges[0] || !in_use())
		return 0;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0)
		return err_sys(e, errno, "open a socket to read the rules of iptables-legacy");
	for (int i = 0; r == -EAGAIN && i < 5; i++)
		r = table_read(fd, &info, &table);
	if (r < 0)
		return err_sys(e, -r, "read the rules of iptables-legacy");
	for (char *const *b = bridges; *b; b++)
		if (legacy_chain_drops(table->entrytable, info.size, info.hook_entry[NF_INET_FORWARD],
				       info.underflow[NF_INET_FORWARD], *b) &&
		    strv_add(ret, *b) < 0)
			return err_oom(e);
	return 0;
}
