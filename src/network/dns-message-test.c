/* SPDX-License-Identifier: Apache-2.0 */
/* DNS messages: what is a question, what is an answer to it, and answers that fit. */
#include "network/dns-message.h"

#include "base/test.h"

#define HEAD(flags, questions, additional) "\x12\x34" flags "\0" questions "\0\0\0\0\0" additional
#define WEB                                "\3WEB\4Test\0\0\1\0\1"

static int parse(const char *m, size_t len, DnsQuestion *q)
{
	return dns_question_parse((const uint8_t *)m, len, q);
}
#define PARSE(m, q) parse(m, sizeof(m) - 1, q)

static void test_question(void **state _unused_)
{
	DnsQuestion q;

	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") WEB, &q), 0);
	assert_string_equal(q.name, "web.test");
	assert_true(q.plain && !q.edns);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(q.type, DNS_A);
	assert_int_equal(q.end, DNS_HEADER + sizeof(WEB) - 1);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") "\0\0\2\0\1", &q), 0);
	assert_string_equal(q.name, "");
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") "\3a.b\0\0\1\0\1", &q), 0);
	assert_false(q.plain); /* one label, though it reads like two */
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") "\3a\0b\0\0\1\0\1", &q), 0);
	assert_false(q.plain);
}

static void test_edns(void **state _unused_)
{
	DnsQuestion q;

	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\1") WEB "\0\0\x29\x10\0\0\0\x80\0\0\0", &q), 0);
	assert_true(q.edns && q.dnssec);
	assert_int_equal(q.udp_size, 4096);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\1") WEB "\0\0\x29\x10\0\0\1\0\0\0\0", &q), DNS_BADVERS);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\1") WEB "\1a\0\0\x29\x10\0\0\0\0\0\0\0", &q),
			 DNS_FORMERR);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\2") WEB "\0\0\x29\x10\0\0\0\0\0\0\0"
							    "\0\0\x29\x10\0\0\0\0\0\0\0",
			       &q),
			 DNS_FORMERR);
	/* Another record first, with a name that is a pointer. */
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\2") WEB "\xc0\x0c\0\1\0\1\0\0\0\0\0\2xx"
							    "\0\0\x29\2\0\0\0\0\0\0\0",
			       &q),
			 0);
	assert_true(q.edns);
}

static void test_what_is_no_question(void **state _unused_)
{
	char many[DNS_HEADER + 5] = HEAD("\1\0", "\1", "\0") "\0\0\1\0", deep[DNS_HEADER + 260 + 4];
	DnsQuestion q;

	assert_int_equal(PARSE("", &q), -EBADMSG);
	assert_int_equal(PARSE("\0\0\1\0\0\1\0\0\0\0\0", &q), -EBADMSG);       /* a byte short */
	assert_int_equal(PARSE(HEAD("\x81\0", "\1", "\0") WEB, &q), -EBADMSG); /* an answer */
	assert_int_equal(PARSE(HEAD("\x29\0", "\1", "\0") WEB, &q), DNS_NOTIMP);
	assert_int_equal(PARSE(HEAD("\1\0", "\0", "\0"), &q), DNS_FORMERR);
	assert_int_equal(PARSE(HEAD("\1\0", "\2", "\0") WEB WEB, &q), DNS_FORMERR);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") "\xc0\x0c\0\1\0\1", &q),
			 DNS_FORMERR); /* a pointer to itself */
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") "\x3f"
							"abc",
			       &q),
			 DNS_FORMERR);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") "\3abc", &q), DNS_FORMERR);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") "\3abc\0\0\1\0", &q), DNS_FORMERR);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\1") WEB "\0\0\x29\x10\0\0\0\0\0\0\5", &q),
			 DNS_FORMERR);    /* data missing */
	many[10] = many[11] = (char)0xFF; /* 65535 records */
	assert_int_equal(parse(many, sizeof(many), &q), DNS_FORMERR);

	/* 127 labels of one letter are the longest name; one more is none. */
	memcpy(deep, HEAD("\1\0", "\1", "\0"), DNS_HEADER);
	for (size_t i = 0; i < 128; i++)
		memcpy(deep + DNS_HEADER + 2 * i, "\1a", 2);
	memset(deep + DNS_HEADER + 254, 0, 6);
	assert_int_equal(parse(deep, DNS_HEADER + 259, &q), 0);
	assert_int_equal(strlen(q.name), 253);
	memcpy(deep + DNS_HEADER + 254, "\1a", 2);
	memset(deep + DNS_HEADER + 256, 0, 6);
	assert_int_equal(parse(deep, DNS_HEADER + 261, &q), DNS_FORMERR);
}

static void test_answers_to(void **state _unused_)
{
	static const char query[] = HEAD("\1\0", "\1", "\0") WEB;
	DnsQuestion q;
	const uint8_t *asked = (const uint8_t *)query;

	assert_int_equal(PARSE(query, &q), 0);
#define IS(m, id) dns_answers((const uint8_t *)(m), sizeof(m) - 1, asked, &q, id)
	assert_true(IS(HEAD("\x81\x80", "\1", "\0") WEB, 0x1234));
	assert_true(IS(HEAD("\x81\x80", "\1", "\0") "\3web\4tESt\0\0\1\0\1", 0x1234));
	assert_false(IS(HEAD("\x81\x80", "\1", "\0") WEB, 0x1235));
	assert_false(IS(HEAD("\1\0", "\1", "\0") WEB, 0x1234));
	assert_false(IS(HEAD("\x81\x80", "\1", "\0") "\3wex\4test\0\0\1\0\1", 0x1234));
	assert_false(IS(HEAD("\x81\x80", "\1", "\0") "\3web\4test\0\0\x1c\0\1", 0x1234));
	assert_false(IS(HEAD("\x81\x80", "\1", "\0") "\3web", 0x1234));
	assert_false(IS(HEAD("\x81\x80", "\0", "\0"), 0x1234));
	assert_true(IS(HEAD("\x81\x81", "\0", "\0"), 0x1234)); /* "what did you say?" */
	assert_false(IS("\x12\x34", 0x1234));
}

static void test_writing(void **state _unused_)
{
	static const char query[] = HEAD("\1\0", "\1", "\1") WEB "\0\0\x29\x10\0\0\0\0\0\0\0";
	static const char want[] =
	    "\x12\x34\x85\x80\0\1\0\1\0\0\0\1" WEB "\xc0\x0c\0\1\0\1\0\0\0\x0a\0\4\xac\x11\0\2"
	    "\0\0\x29\4\xd0\0\0\0\0\0\0";
	uint8_t out[DNS_UDP_PLAIN];
	DnsQuestion q;
	DnsAnswer a;

	assert_int_equal(PARSE(query, &q), 0);
	dns_answer_begin(&a, out, sizeof(out), (const uint8_t *)query, &q, DNS_NOERROR, true);
	dns_answer_address(&a, ip_v4(0xAC110002), 10);
	assert_int_equal(dns_answer_end(&a), sizeof(want) - 1);
	assert_memory_equal(out, want, sizeof(want) - 1);
	dns_answer_begin(&a, out, sizeof(out), (const uint8_t *)query, &q, DNS_NOERROR, true);
	dns_answer_address(&a, (IpAddress)0xFD << 120 | 1, 10);
	assert_int_equal(dns_answer_end(&a), sizeof(want) - 1 + 12);
	assert_memory_equal(out + sizeof(query) - 1 - 11, "\xc0\x0c\0\x1c\0\1\0\0\0\x0a\0\x10\xfd\0", 14);

	dns_answer_begin(&a, out, sizeof(out), (const uint8_t *)query, &q, DNS_NOERROR, true);
	for (uint32_t i = 0; i < 100; i++)
		dns_answer_address(&a, ip_v4(i), 10);
	assert_in_range(dns_answer_end(&a), 480, sizeof(out));
	assert_true(dns_truncated(out));

	dns_answer_begin(&a, out, sizeof(out), (const uint8_t *)query, &q, DNS_BADVERS, false);
	assert_int_equal(dns_answer_end(&a), sizeof(query) - 1);
	assert_int_equal(out[DNS_HEADER + sizeof(WEB) - 1 + 5], 1); /* the upper part of 16 */
}

static uint32_t life(const char *m, size_t len, bool *ret_negative)
{
	return dns_life((const uint8_t *)m, len, DNS_HEADER + sizeof(WEB) - 1, ret_negative);
}
#define LIFE(m) life(m, sizeof(m) - 1, &negative)
#define ANSWER(flags, answers, authorities, additional)                                                      \
	"\x12\x34\x81" flags "\0\1\0" answers "\0" authorities "\0" additional WEB
#define RR_A(ttl)       "\xc0\x0c\0\1\0\1\0\0" ttl "\0\4\xc0\0\2\1"
#define RR_ALIAS(ttl)   "\xc0\x0c\0\5\0\1\0\0" ttl "\0\3\1x\0"
#define RR_SOA(ttl, of) "\0\0\6\0\1\0\0" ttl "\0\x16\0\0aaaabbbbccccdddd\0\0" of
#define RR_OPT(rcode)   "\0\0\x29\4\xd0" rcode "\0\0\0\0\0"

static void test_life(void **state _unused_)
{
	bool negative;

	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\0", "\0") RR_A("\1\0")), 256);
	assert_false(negative);
	assert_int_equal(LIFE(ANSWER("\x80", "\2", "\0", "\0") RR_ALIAS("\0\7") RR_A("\1\0")), 7);
	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\0", "\1") RR_A("\1\0") RR_OPT("\0")), 256);
	/* There is none, for as long as SOA says, or not known for how long. */
	assert_int_equal(LIFE(ANSWER("\x83", "\0", "\1", "\0") RR_SOA("\1\0", "\0\x1e")), 30);
	assert_true(negative);
	assert_int_equal(LIFE(ANSWER("\x80", "\0", "\1", "\0") RR_SOA("\0\x0a", "\0\x1e")), 10);
	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\1", "\0") RR_ALIAS("\0\7") RR_SOA("\0\x0a", "\0\x1e")),
			 7);
	assert_true(negative);
	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\0", "\0") RR_ALIAS("\0\7")), 0);
	assert_int_equal(LIFE(ANSWER("\x83", "\0", "\0", "\0")), 0);
	assert_int_equal(LIFE(ANSWER("\x83", "\0", "\1", "\0") RR_ALIAS("\0\7")), 0);
	/* Failures, what is cut short, and what is not whole. */
	assert_int_equal(LIFE(ANSWER("\x82", "\1", "\0", "\0") RR_A("\1\0")), 0);
	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\0", "\1") RR_A("\1\0") RR_OPT("\1")), 0);
	assert_int_equal(LIFE("\x12\x34\x83\x80\0\1\0\1\0\0\0\0" WEB RR_A("\1\0")), 0);
	assert_int_equal(LIFE(ANSWER("\x80", "\2", "\0", "\0") RR_A("\1\0")), 0);
	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\0", "\0") RR_A("\1\0") "x"), 0);
	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\0", "\0") "\xc0\x0c\0\1\0\1\0\0\1\0\0\5\1\2\3\4"), 0);
	assert_int_equal(LIFE(ANSWER("\x80", "\1", "\0", "\0") "\xc0\x0c\0\1\0\1\x80\0\1\0\0\4\1\2\3\4"), 0);
}

static void test_age_and_cut(void **state _unused_)
{
	static const char m[] =
	    ANSWER("\x80", "\1", "\1", "\1") RR_A("\0\x32") RR_SOA("\0\x0a", "\0\x1e") RR_OPT("\0");
	static const char want[] =
	    ANSWER("\x80", "\1", "\1", "\1") RR_A("\0\x28") RR_SOA("\0\0", "\0\x1e") RR_OPT("\0");
	static const char cut[] = "\x12\x34\x83\x80\0\1\0\0\0\0\0\1" WEB "\0\0\x29\4\xd0\0\0\0\0\0\0";
	uint8_t buf[sizeof(m)], out[DNS_UDP_PLAIN];

	memcpy(buf, m, sizeof(m));
	dns_age(buf, sizeof(m) - 1, 10);
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(dns_cut(out, buf, DNS_HEADER + sizeof(WEB) - 1, true), sizeof(cut) - 1);
	assert_memory_equal(out, cut, sizeof(cut) - 1);
	assert_int_equal(dns_cut(out, buf, DNS_HEADER + sizeof(WEB) - 1, false),
			 DNS_HEADER + sizeof(WEB) - 1);
	assert_int_equal(out[11], 0);
}

static void test_rotation(void **state _unused_)
{
#define LAST(n) "\xc0\x0c\0\1\0\1\0\0\0\x05\0\4\xc0\0\2" n
	static const char m[] =
	    ANSWER("\x80", "\4", "\0", "\1") RR_ALIAS("\0\7") LAST("\1") LAST("\2") LAST("\3") LAST("\4");
	static const char want[] =
	    ANSWER("\x80", "\4", "\0", "\1") RR_ALIAS("\0\7") LAST("\2") LAST("\3") LAST("\1") LAST("\4");
	static const char short_one[] = ANSWER("\x80", "\2", "\0", "\0") LAST("\1") "\xc0\x0c\0\1\0\1";
	uint8_t buf[sizeof(m)];

	memcpy(buf, m, sizeof(m));
	dns_rotate(buf, sizeof(m) - 1, 4);
	assert_memory_equal(buf, want, sizeof(want)); /* the last one is additional */
	dns_rotate(buf, sizeof(m) - 1, 2);
	assert_memory_equal(buf, m, sizeof(m));
	memcpy(buf, short_one, sizeof(short_one));
	dns_rotate(buf, sizeof(short_one) - 1, 1);
	assert_memory_equal(buf, short_one, sizeof(short_one));
}

static size_t key_of(const char *m, size_t len, uint8_t key[DNS_KEY_MAX])
{
	DnsQuestion q;

	assert_int_equal(parse(m, len, &q), 0);
	memset(key, 0, DNS_KEY_MAX);
	return dns_key(key, 1, (const uint8_t *)m, &q);
}
#define KEY(m, key) key_of(m, sizeof(m) - 1, key)

/* What makes another answer makes another key; letters do not. */
static void test_keys(void **state _unused_)
{
	static const char query[] = HEAD("\1\0", "\1", "\1") WEB "\0\0\x29\4\xd0\0\0\x80\0\0\0";
	uint8_t a[DNS_KEY_MAX], b[DNS_KEY_MAX];
	size_t n = KEY(HEAD("\1\0", "\1", "\0") WEB, a);
	DnsQuestion q;

	assert_int_equal(KEY(HEAD("\1\0", "\1", "\0") "\3web\4tesT\0\0\1\0\1", b), n);
	assert_memory_equal(a, b, sizeof(a));
#define DIFFERS(m) (KEY(m, b), memcmp(a, b, sizeof(a)) != 0)
	assert_true(DIFFERS(HEAD("\1\0", "\1", "\0") "\3wex\4test\0\0\1\0\1"));
	assert_true(DIFFERS(HEAD("\1\0", "\1", "\0") "\3web\4test\0\0\x1c\0\1"));
	assert_true(DIFFERS(HEAD("\1\0", "\1", "\0") "\3web\4test\0\0\1\0\3"));
	assert_true(DIFFERS(HEAD("\0\0", "\1", "\0") WEB));
	assert_true(DIFFERS(HEAD("\1\x10", "\1", "\0") WEB));
	assert_true(DIFFERS(HEAD("\1\x20", "\1", "\0") WEB));
	assert_true(DIFFERS(query));
	memcpy(a, b, sizeof(a));
	assert_true(DIFFERS(HEAD("\1\0", "\1", "\1") WEB "\0\0\x29\4\xd0\0\0\0\0\0\0")); /* without DO */

	memcpy(b, query, sizeof(query));
	assert_int_equal(PARSE(query, &q), 0);
	assert_true(q.alone);
	dns_set_udp_size(b, &q, 700);
	assert_int_equal(parse((char *)b, sizeof(query) - 1, &q), 0);
	assert_int_equal(q.udp_size, 700);
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\1") WEB "\0\0\x29\4\xd0\0\0\0\0\0\4\0\x0a\0\0", &q), 0);
	assert_false(q.alone); /* a cookie is somebody's */
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\1") WEB "\0\0\xfa\0\xff\0\0\0\0\0\0", &q), 0);
	assert_false(q.alone); /* so is a signature */
	assert_int_equal(PARSE(HEAD("\1\0", "\1", "\0") WEB "x", &q), 0);
	assert_false(q.alone);
}

static void test_names(void **state _unused_)
{
	static const char *const bad[] = {
	    "4.3.2.1",
	    "4.3.2.in-addr.arpa",
	    "4.3.2.256.in-addr.arpa",
	    "04.3.2.1.in-addr.arpa",
	    " 4.3.2.1.in-addr.arpa",
	    "+4.3.2.1.in-addr.arpa",
	    "4.3.2.1.in-addr.arpa.x",
	    "4.3.2.in-addr.arpa.ip6.arpa",
	    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.0.0.d.ip6.arpa",
	    "g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.0.0.d.f.ip6.arpa",
	    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.0.0.d:f.ip6.arpa",
	    "1.0.0.0.0.0.0.a.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
	    "x",
	    ""};
	static const char query[] = HEAD("\1\0", "\1", "\0") "\0\0\x0c\0\1";
	uint8_t out[DNS_UDP_PLAIN];
	IpAddress address = 0;
	char label[66];
	DnsQuestion q;
	DnsAnswer a;

	assert_true(dns_reverse_name("2.0.17.172.in-addr.arpa", &address));
	assert_string_equal(ip_text(address).s, "172.17.0.2");
	assert_true(
	    dns_reverse_name("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.f.0.0.d.f.ip6.arpa",
			     &address));
	assert_string_equal(ip_text(address).s, "fd00:f000::1");
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (dns_reverse_name(bad[i], &address))
			fail_msg("\"%s\" was taken for an address", bad[i]);

	assert_int_equal(PARSE(query, &q), 0);
	dns_answer_begin(&a, out, sizeof(out), (const uint8_t *)query, &q, DNS_NOERROR, true);
	dns_answer_name(&a, "web.net", 10);
	assert_int_equal(dns_answer_end(&a), sizeof(query) - 1 + 12 + 9);
	assert_memory_equal(out + sizeof(query) - 1 + 12, "\3web\3net", 9);
	memset(label, 'a', 64);
	label[64] = '\0';
	dns_answer_begin(&a, out, sizeof(out), (const uint8_t *)query, &q, DNS_NOERROR, true);
	dns_answer_name(&a, label, 10);
	dns_answer_name(&a, "a..b", 10);
	assert_int_equal(dns_answer_end(&a), sizeof(query) - 1); /* no names, so not there */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_question),
	    cmocka_unit_test(test_edns),
	    cmocka_unit_test(test_what_is_no_question),
	    cmocka_unit_test(test_answers_to),
	    cmocka_unit_test(test_writing),
	    cmocka_unit_test(test_life),
	    cmocka_unit_test(test_age_and_cut),
	    cmocka_unit_test(test_rotation),
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
