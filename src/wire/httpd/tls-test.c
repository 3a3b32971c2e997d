/* SPDX-License-Identifier: Apache-2.0 */
/* The relay between TLS and the server: what the server has said before it closed reaches a slow client, and for how long such a client is waited for. */
#include "base/test.h"

#include "base/clock.h"
#include "wire/httpd/httpd-internal.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#define SAID        150000
#define PARTING_MS  300
#define PARTING_MAX 3

static char dir[64], cert_path[96], key_path[96];
static SSL_CTX *ctx;
static HttpTls *tls;

typedef struct Client {
	int fd;     /* under TLS */
	int server; /* plain: the server's end */
	SSL *ssl;
} Client;

static void make_certificate(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f;

	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)"node", -1,
				   -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	f = fopen(cert_path, "we");
	assert_true(f && PEM_write_X509(f, x) == 1);
	assert_int_equal(fclose(f), 0);
	f = fopen(key_path, "we");
	assert_true(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
	assert_int_equal(fclose(f), 0);
	X509_free(x);
	EVP_PKEY_free(key);
}

static int setup(void **state)
{
	HttpTlsOptions o = {.cert = cert_path,
			    .key = key_path,
			    .parting_ms = PARTING_MS,
			    .parting_max = PARTING_MAX};
	Err e;

	(void)signal(SIGPIPE, SIG_IGN);
	snprintf(dir, sizeof(dir), "/tmp/ireko-tls-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(cert_path, sizeof(cert_path), "%s/cert", dir);
	snprintf(key_path, sizeof(key_path), "%s/key", dir);
	make_certificate();
	ctx = SSL_CTX_new(TLS_client_method());
	return http_tls_new(&o, &tls, &e);
}

static int teardown(void **state)
{
	http_tls_free(tls);
	SSL_CTX_free(ctx);
	unlink(cert_path);
	unlink(key_path);
	return rmdir(dir);
}

/* A client whose network takes little ahead. */
static Client dial(void)
{
	int fds[2], little = 4096;
	Client c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), 0);
	c = (Client){.fd = fds[0], .server = http_tls_accept(tls, fds[1]), .ssl = SSL_new(ctx)};
	assert_true(c.server >= 0 && SSL_set_fd(c.ssl, c.fd) == 1);
	assert_int_equal(SSL_connect(c.ssl), 1);
	return c;
}

static void hang_up(Client *c)
{
	SSL_free(c->ssl);
	close_fd(&c->fd);
	close_fd(&c->server);
}

/* The server says much and closes. */
static void say_and_close(Client *c)
{
	static char text[SAID];

	memset(text, 'x', sizeof(text));
	assert_int_equal(fd_write_all(c->server, text, sizeof(text)), 0);
	close_fd(&c->server);
}

/* Bytes until the end; *ret_whole if it was announced. */
static size_t read_all(Client *c, bool *ret_whole)
{
	char buf[1000];
	size_t got = 0;
	int n;

	while ((n = SSL_read(c->ssl, buf, sizeof(buf))) > 0)
		got += (size_t)n;
	*ret_whole = SSL_get_error(c->ssl, n) == SSL_ERROR_ZERO_RETURN;
	return got;
}

static void wait_ms(int ms)
{
	(void)poll(NULL, 0, ms);
}

static void a_slow_client_gets_all_of_it(void **state)
{
	Client c = dial();
	bool whole;

	say_and_close(&c);
	wait_ms(50);
	assert_int_equal(read_all(&c, &whole), SAID);
	assert_true(whole);
	hang_up(&c);
}

/* Also when the server has not read all that the client said, and the client goes on. */
static void words_that_nobody_reads(void **state)
{
	Client c = dial();
	bool whole;

	assert_int_equal(SSL_write(c.ssl, "before", 6), 6);
	wait_ms(20);
	say_and_close(&c);
	assert_int_equal(SSL_write(c.ssl, "after", 5), 5);
	wait_ms(50);
	assert_int_equal(read_all(&c, &whole), SAID);
	assert_true(whole);
	hang_up(&c);
}

/* Taking something now and then is enough. */
static void progress_renews_the_time(void **state)
{
	Client c = dial();
	char buf[16384];
	bool whole;
	size_t got = 0;

	say_and_close(&c);
	for (int i = 0; i < 5; i++) {
		int n = SSL_read(c.ssl, buf, sizeof(buf));

		assert_true(n > 0);
		got += (size_t)n;
		wait_ms(PARTING_MS / 2);
	}
	assert_int_equal(got + read_all(&c, &whole), SAID);
	hang_up(&c);
}

static void one_that_takes_nothing_is_given_up(void **state)
{
	Client c = dial();
	int64_t begun = clock_mono_ns();
	struct pollfd p = {c.fd, POLLRDHUP, 0};
	bool whole;

	say_and_close(&c);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(clock_mono_ns() - begun >= PARTING_MS * 900000ll);
	assert_true(read_all(&c, &whole) < SAID && !whole);
	hang_up(&c);
}

static void too_many_that_take_nothing(void **state)
{
	Client c[PARTING_MAX + 1];
	struct pollfd p;
	int64_t begun = clock_mono_ns();

	for (size_t i = 0; i <= PARTING_MAX; i++) {
		c[i] = dial();
		say_and_close(&c[i]);
		wait_ms(10);
	}
	p = (struct pollfd){c[0].fd, POLLRDHUP, 0};
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(clock_mono_ns() - begun < PARTING_MS * 900000ll);
	p.fd = c[1].fd;
	assert_int_equal(poll(&p, 1, 0), 0);
	for (size_t i = 0; i <= PARTING_MAX; i++)
		hang_up(&c[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_slow_client_gets_all_of_it),
	    cmocka_unit_test(words_that_nobody_reads),
	    cmocka_unit_test(progress_renews_the_time),
	    cmocka_unit_test(one_that_takes_nothing_is_given_up),
	    cmocka_unit_test(too_many_that_take_nothing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
