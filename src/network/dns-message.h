/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS messages (RFC 1035, RFC 6891): one question in, an answer to it out. No I/O.
 *
 * What comes in is from containers and from servers, both strangers. A question is read without following a compression pointer (none can
 * be needed in it), and of what comes behind it only the OPT record is looked at. Nothing else of a message is ever believed.
 */
#pragma once

#include "network/ip.h"

#define DNS_HEADER    12
#define DNS_MAX       65535
#define DNS_UDP_PLAIN 512  /* what fits into an answer to who says nothing about its size */
#define DNS_UDP_MOST  1232 /* what is sent to who has room for more: it passes everywhere unfragmented */
#define DNS_QUERY_MAX 4096 /* no question is that long */

enum { DNS_A = 1, DNS_SOA = 6, DNS_PTR = 12, DNS_AAAA = 28, DNS_OPT = 41, DNS_ANY = 255 };
enum { DNS_IN = 1 };
enum {
	DNS_NOERROR,
	DNS_FORMERR,
	DNS_SERVFAIL,
	DNS_NXDOMAIN,
	DNS_NOTIMP,
	DNS_REFUSED,
	DNS_BADVERS = 16,
};

typedef struct DnsQuestion {
	char name[256]; /* lower case, without the dot at the end; "" is the root */
	bool plain;     /* no label has a dot, a blank or a byte that is not printable: `name` says it all */
	uint16_t id, type, class;
	uint16_t flags; /* of the header */
	size_t end;     /* where the question section ends */
	bool edns, dnssec;
	bool
	    alone; /* nothing is behind it but an OPT without options: whoever asks so gets the same answer */
	size_t opt; /* where OPT begins; 0: there is none */
	uint16_t udp_size;
} DnsQuestion;

/* 0; or an rcode to answer with (ret is filled in as far as it was read; `end` is DNS_HEADER if the question was not); or -EBADMSG for what
 * is no question and gets no answer. */
int dns_question_parse(const uint8_t *m, size_t len, DnsQuestion *ret);
/* True if m answers the question of `query` (parsed as q), asked with `id`. */
bool dns_answers(const uint8_t *m, size_t len, const uint8_t *query, const DnsQuestion *q, uint16_t id);
static inline int dns_rcode(const uint8_t *m)
{
	return m[3] & 15;
}
static inline bool dns_truncated(const uint8_t *m)
{
	return m[2] & 2;
}
void dns_set_id(uint8_t *m, uint16_t id);
/* The size that the OPT of a question (parsed as q) announces. */
void dns_set_udp_size(uint8_t *m, const DnsQuestion *q, uint16_t size);

/* What a question is, whoever asks it: type, class, flags and name in lower case. scope sets apart who is answered from different sources. */
#define DNS_KEY_MAX (8 + 8 + 256)
size_t dns_key(uint8_t key[DNS_KEY_MAX], uint64_t scope, const uint8_t *query, const DnsQuestion *q);

/* For how many seconds the answer to a question that ends at `end` may be kept; 0: not at all (not whole, malformed, a failure, or a negative
 * answer that does not say how long it is one: RFC 2308). */
uint32_t dns_life(const uint8_t *m, size_t len, size_t end, bool *ret_negative);
/* Takes seconds off each time to live in a message that dns_life found good. */
void dns_age(uint8_t *m, size_t len, uint32_t seconds);
/* Begins the addresses of such a message with another one, as servers do: many programs take the first. */
void dns_rotate(uint8_t *m, size_t len, unsigned turn);
/* In place of an answer that does not fit: its header and question, marked as truncated. out: at least end + 11 bytes. */
size_t dns_cut(uint8_t *out, const uint8_t *m, size_t end, bool edns);

/* The address that a PTR question is about, by its name in in-addr.arpa or ip6.arpa; false if it is about something else. */
bool dns_reverse_name(const char *name, IpAddress *ret);

/* An answer under way. What does not fit is left out and the answer marked as truncated. */
typedef struct DnsAnswer {
	uint8_t *m;
	size_t room, len;
	uint16_t count;
	bool edns, truncated;
	int rcode;
} DnsAnswer;

/* query is what q was parsed from. room: at least DNS_HEADER + 300. */
void dns_answer_begin(DnsAnswer *a, uint8_t *m, size_t room, const uint8_t *query, const DnsQuestion *q,
		      int rcode, bool authoritative);
/* An A or AAAA record. */
void dns_answer_address(DnsAnswer *a, IpAddress address, uint32_t ttl);
/* name: dotted text of labels of 1 to 63 bytes; what is none is left out. */
void dns_answer_name(DnsAnswer *a, const char *name, uint32_t ttl);
/* The length. */
size_t dns_answer_end(DnsAnswer *a);
