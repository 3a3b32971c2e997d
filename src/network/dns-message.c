/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing of DNS messages: see dns-message.h. */
#include "network/dns-message.h"

#include "base/str.h"

#include <ctype.h>

#define FLAG_RESPONSE  0x8000
#define OPCODE_MASK    0x7800
#define FLAG_AUTHORITY 0x0400
#define FLAG_TRUNCATED 0x0200
#define FLAG_RECURSE   0x0100
#define FLAG_AVAILABLE 0x0080
#define FLAG_AUTHENTIC 0x0020
#define FLAG_CHECKING  0x0010 /* checking disabled: copied */
#define OPT_BYTES      11
#define ROTATED_MAX    64
#define RECORDS_MAX    64 /* behind the question, before one is taken for a nuisance */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

void dns_set_id(uint8_t *m, uint16_t id)
{
	put16(m, id);
}

static void add_label(DnsQuestion *q, size_t *at, const uint8_t *label, size_t n)
{
	if (*at > 0)
		q->name[(*at)++] = '.';
	for (size_t i = 0; i < n; i++) {
		if (label[i] <= ' ' || label[i] >= 0x7F || label[i] == '.')
			q->plain = false;
		q->name[(*at)++] = (char)tolower(label[i]);
	}
}

/* The place behind the name at `at`, or 0. */
static size_t parse_name(const uint8_t *m, size_t len, size_t at, DnsQuestion *q)
{
	size_t begin = at, text = 0;

	for (;;) {
		size_t n;

		if (at >= len)
			return 0;
		n = m[at++];
		if (n == 0)
			break;
		/* 63 also leaves out compression and what was once meant for other kinds of labels. */
		if (n > 63 || n > len - at || at + n - begin > 254)
			return 0;
		add_label(q, &text, m + at, n);
		at += n;
	}
	q->name[text] = '\0';
	return at;
}

/* The same for a name that nobody reads. */
static size_t skip_name(const uint8_t *m, size_t len, size_t at)
{
	while (at < len) {
		size_t n = m[at++];

		if (n == 0)
			return at;
		if ((n & 0xC0) == 0xC0)
			return at < len ? at + 1 : 0;
		if (n > 63 || n > len - at)
			return 0;
		at += n;
	}
	return 0;
}

/* Looks for OPT behind the question. */
static int parse_rest(const uint8_t *m, size_t len, size_t at, size_t records, size_t additional,
		      DnsQuestion *q)
{
	if (records > RECORDS_MAX)
		return DNS_FORMERR;
	for (size_t i = 0; i < records; i++) {
		bool root = at < len && m[at] == 0;
		const uint8_t *r;

		at = skip_name(m, len, at);
		if (at == 0 || len - at < 10 || (size_t)get16(m + at + 8) > len - at - 10)
			return DNS_FORMERR;
		r = m + at;
		at += 10 + (size_t)get16(r + 8);
		q->alone = q->alone && get16(r) == DNS_OPT && get16(r + 8) == 0;
		if (get16(r) != DNS_OPT || i < records - additional)
			continue;
		if (!root || q->edns)
			return DNS_FORMERR;
		q->edns = true;
		q->opt = (size_t)(r - m) - 1;
		q->udp_size = get16(r + 2);
		q->dnssec = r[6] & 0x80;
		if (r[5] != 0)
			return DNS_BADVERS;
	}
	q->alone = q->alone && at == len;
	return 0;
}

int dns_question_parse(const uint8_t *m, size_t len, DnsQuestion *ret)
{
	size_t at, records;

	*ret = (DnsQuestion){.plain = true, .alone = true, .end = DNS_HEADER, .udp_size = DNS_UDP_PLAIN};
	if (len < DNS_HEADER)
		return -EBADMSG;
	ret->id = get16(m);
	ret->flags = get16(m + 2);
	if (ret->flags & FLAG_RESPONSE)
		return -EBADMSG;
	if (ret->flags & OPCODE_MASK)
		return DNS_NOTIMP;
	if (get16(m + 4) != 1)
		return DNS_FORMERR;
	at = parse_name(m, len, DNS_HEADER, ret);
	if (at == 0 || len - at < 4)
		return DNS_FORMERR;
	ret->type = get16(m + at);
	ret->class = get16(m + at + 2);
	ret->end = at + 4;
	records = (size_t)get16(m + 6) + get16(m + 8) + get16(m + 10);
	return parse_rest(m, len, ret->end, records, get16(m + 10), ret);
}

void dns_set_udp_size(uint8_t *m, const DnsQuestion *q, uint16_t size)
{
	if (q->opt)
		put16(m + q->opt + 3, size);
}

size_t dns_key(uint8_t key[DNS_KEY_MAX], uint64_t scope, const uint8_t *query, const DnsQuestion *q)
{
	size_t at = sizeof(scope) + 8, name = q->end - 4 - DNS_HEADER;

	memcpy(key, &scope, sizeof(scope));
	put16(key + 8, q->flags & (FLAG_RECURSE | FLAG_AUTHENTIC | FLAG_CHECKING));
	put16(key + 10, q->type);
	put16(key + 12, q->class);
	put16(key + 14, (uint16_t)(q->edns << 1 | q->dnssec));
	/* Lengths of labels are below 'A'. */
	for (size_t i = 0; i < name; i++)
		key[at + i] = (uint8_t)tolower(query[DNS_HEADER + i]);
	return at + name;
}

bool dns_answers(const uint8_t *m, size_t len, const uint8_t *query, const DnsQuestion *q, uint16_t id)
{
	if (len < DNS_HEADER || get16(m) != id || !(get16(m + 2) & FLAG_RESPONSE) ||
	    (get16(m + 2) & OPCODE_MASK))
		return false;
	/* Who cannot read the question does not repeat it either. */
	if (get16(m + 4) == 0)
		return dns_rcode(m) != DNS_NOERROR && dns_rcode(m) != DNS_NXDOMAIN;
	if (get16(m + 4) != 1 || len < q->end)
		return false;
	/* Lengths of labels are below 'A', so this compares them exactly. */
	for (size_t i = DNS_HEADER; i < q->end - 4; i++)
		if (tolower(m[i]) != tolower(query[i]))
			return false;
	return memcmp(m + q->end - 4, query + q->end - 4, 4) == 0;
}

/* "2.0.17.172": bytes, the last first. */
static bool reverse_v4(const char *name, size_t len, IpAddress *ret)
{
	uint32_t address = 0;
	size_t at = 0;

	for (unsigned i = 0; i < 4; i++) {
		unsigned v = 0, digits = 0;
		bool zero = name[at] == '0';

		for (; at < len && name[at] >= '0' && name[at] <= '9' && digits < 3; digits++)
			v = v * 10 + (unsigned)(name[at++] - '0');
		if (digits == 0 || (zero && digits > 1) || v > 255 ||
		    (i < 3 && (at == len || name[at++] != '.')))
			return false;
		address |= (uint32_t)v << 8 * i;
	}
	*ret = ip_v4(address);
	return at == len;
}

/* "b.a.9.8. ... .1.0.0.2": 32 digits, the last first. */
static bool reverse_v6(const char *name, size_t len, IpAddress *ret)
{
	IpAddress address = 0;

	if (len != 63)
		return false;
	for (unsigned i = 0; i < 32; i++) {
		char c = name[2 * i];
		unsigned v = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
			     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
						    : 16;

		if (v > 15 || (i < 31 && name[2 * i + 1] != '.'))
			return false;
		address |= (IpAddress)v << 4 * i;
	}
	*ret = address;
	return !ip_is_v4(address);
}

bool dns_reverse_name(const char *name, IpAddress *ret)
{
	size_t n = strlen(name);

	if (str_ends(name, ".in-addr.arpa"))
		return reverse_v4(name, n - strlen(".in-addr.arpa"), ret);
	return str_ends(name, ".ip6.arpa") && reverse_v6(name, n - strlen(".ip6.arpa"), ret);
}

void dns_answer_begin(DnsAnswer *a, uint8_t *m, size_t room, const uint8_t *query, const DnsQuestion *q,
		      int rcode, bool authoritative)
{
	uint16_t flags = (uint16_t)(FLAG_RESPONSE | FLAG_AVAILABLE |
				    (q->flags & (OPCODE_MASK | FLAG_RECURSE | FLAG_CHECKING)));

	*a = (DnsAnswer){
	    .m = m, .room = room - (q->edns ? OPT_BYTES : 0), .len = q->end, .edns = q->edns, .rcode = rcode};
	if (authoritative)
		flags |= FLAG_AUTHORITY;
	memset(m, 0, DNS_HEADER);
	put16(m, q->id);
	put16(m + 2, (uint16_t)(flags | (rcode & 15)));
	put16(m + 4, q->end > DNS_HEADER);
	memcpy(m + DNS_HEADER, query + DNS_HEADER, q->end - DNS_HEADER);
}

/* Room for a record of n bytes about the question's name, its head filled in; NULL if it does not fit. */
static uint8_t *add_record(DnsAnswer *a, uint16_t type, uint32_t ttl, size_t n)
{
	uint8_t *r = a->m + a->len;

	if (a->truncated || a->len + 12 + n > a->room || a->count == UINT16_MAX) {
		a->truncated = true;
		return NULL;
	}
	put16(r, 0xC000 | DNS_HEADER);
	put16(r + 2, type);
	put16(r + 4, DNS_IN);
	put32(r + 6, ttl);
	put16(r + 10, (uint16_t)n);
	a->len += 12 + n;
	a->count++;
	return r + 12;
}

void dns_answer_address(DnsAnswer *a, IpAddress address, uint32_t ttl)
{
	bool v4 = ip_is_v4(address);
	uint8_t *r = add_record(a, v4 ? DNS_A : DNS_AAAA, ttl, v4 ? 4 : 16);

	if (r)
		ip_to_bytes(address, r);
}

/* The bytes of a name, or 0 if it is none. */
static size_t encode_name(const char *name, uint8_t out[256])
{
	size_t at = 0;

	while (*name) {
		size_t n = strcspn(name, ".");

		if (n == 0 || n > 63 || at + n + 2 > 255)
			return 0;
		out[at++] = (uint8_t)n;
		memcpy(out + at, name, n);
		at += n;
		name += n + (name[n] == '.');
	}
	out[at++] = 0;
	return at;
}

void dns_answer_name(DnsAnswer *a, const char *name, uint32_t ttl)
{
	uint8_t bytes[256], *r;
	size_t n = encode_name(name, bytes);

	r = n > 0 ? add_record(a, DNS_PTR, ttl, n) : NULL;
	if (r)
		memcpy(r, bytes, n);
}

size_t dns_answer_end(DnsAnswer *a)
{
	if (a->truncated)
		a->m[2] |= FLAG_TRUNCATED >> 8;
	put16(a->m + 6, a->count);
	if (a->edns) {
		uint8_t *r = a->m + a->len;

		memset(r, 0, OPT_BYTES);
		put16(r + 1, DNS_OPT);
		put16(r + 3, DNS_UDP_MOST);
		r[5] = (uint8_t)(a->rcode >> 4);
		put16(a->m + 10, 1);
		a->len += OPT_BYTES;
	}
	return a->len;
}

/* ---- answers of servers ---- */

typedef struct Record {
	uint16_t type, data_len;
	size_t ttl, data; /* where they are */
} Record;

/* The place behind the record at `at`, or 0. */
static size_t next_record(const uint8_t *m, size_t len, size_t at, Record *ret)
{
	at = skip_name(m, len, at);
	if (at == 0 || len - at < 10 || (size_t)get16(m + at + 8) > len - at - 10)
		return 0;
	*ret = (Record){.type = get16(m + at), .data_len = get16(m + at + 8), .ttl = at + 4, .data = at + 10};
	return ret->data + ret->data_len;
}

/* Signed or over 31 bits is 0 (RFC 2181, 8). */
static uint32_t ttl_of(const uint8_t *m, const Record *record)
{
	uint32_t ttl = get32(m + record->ttl);

	return ttl > INT32_MAX ? 0 : ttl;
}

/* What a SOA says of how long there is nothing (RFC 2308, 5): the last of its five numbers, which two names are before. */
static bool soa_minimum(const uint8_t *m, const Record *record, uint32_t *ret)
{
	size_t end = record->data + record->data_len, at = skip_name(m, end, record->data);

	at = at ? skip_name(m, end, at) : 0;
	if (at == 0 || end - at != 20)
		return false;
	*ret = MIN2(get32(m + at + 16), ttl_of(m, record));
	return true;
}

uint32_t dns_life(const uint8_t *m, size_t len, size_t end, bool *ret_negative)
{
	size_t n_answers = get16(m + 6), n = n_answers + get16(m + 8) + get16(m + 10), at = end;
	bool failed = dns_rcode(m) != DNS_NOERROR && dns_rcode(m) != DNS_NXDOMAIN, said = false;
	uint32_t life = INT32_MAX, minimum;
	uint16_t wanted;
	Record record;

	*ret_negative = true; /* nothing of the type, perhaps at the end of aliases */
	if (failed || dns_truncated(m) || get16(m + 4) != 1 || n == 0)
		return 0;
	wanted = get16(m + end - 4);
	for (size_t i = 0; i < n; i++) {
		at = next_record(m, len, at, &record);
		if (at == 0)
			return 0;
		/* The extended rcode of a failure stands where others have their time to live. */
		if (record.type == DNS_OPT && m[record.ttl] != 0)
			return 0;
		if (record.type != DNS_OPT)
			life = MIN2(life, ttl_of(m, &record));
		if (i < n_answers && (record.type == wanted || wanted == DNS_ANY))
			*ret_negative = false;
		if (record.type == DNS_SOA && i >= n_answers && soa_minimum(m, &record, &minimum)) {
			life = MIN2(life, minimum);
			said = true;
		}
	}
	return at == len && (said || !*ret_negative) ? life : 0;
}

void dns_age(uint8_t *m, size_t len, uint32_t seconds)
{
	size_t n = (size_t)get16(m + 6) + get16(m + 8) + get16(m + 10), at = skip_name(m, len, DNS_HEADER);
	Record record;

	at = at ? at + 4 : len;
	for (size_t i = 0; i < n && at < len; i++) {
		at = next_record(m, len, at, &record);
		if (at == 0)
			return;
		if (record.type != DNS_OPT)
			put32(m + record.ttl, get32(m + record.ttl) - MIN2(get32(m + record.ttl), seconds));
	}
}

void dns_rotate(uint8_t *m, size_t len, unsigned turn)
{
	size_t at = skip_name(m, len, DNS_HEADER), n = 0, where[ROTATED_MAX], size;
	uint8_t data[ROTATED_MAX][16];
	uint16_t wanted;
	Record record;

	if (at == 0 || len - at < 4)
		return;
	wanted = get16(m + at);
	size = wanted == DNS_A ? 4 : 16;
	at += 4;
	/* What changes places is data without names in it, so no pointer notices. */
	for (size_t i = 0; i < get16(m + 6) && n < ROTATED_MAX && (wanted == DNS_A || wanted == DNS_AAAA);
	     i++) {
		at = next_record(m, len, at, &record);
		if (at == 0)
			return;
		if (record.type != wanted || record.data_len != size)
			continue;
		memcpy(data[n], m + record.data, size);
		where[n++] = record.data;
	}
	for (size_t i = 0; i < n; i++)
		memcpy(m + where[i], data[(i + turn) % n], size);
}

size_t dns_cut(uint8_t *out, const uint8_t *m, size_t end, bool edns)
{
	memcpy(out, m, end);
	memset(out + 6, 0, 6);
	out[2] |= FLAG_TRUNCATED >> 8;
	if (!edns)
		return end;
	memset(out + end, 0, OPT_BYTES);
	put16(out + end + 1, DNS_OPT);
	put16(out + end + 3, DNS_UDP_MOST);
	put16(out + 10, 1);
	return end + OPT_BYTES;
}
