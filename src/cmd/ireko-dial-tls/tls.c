/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See dial-tls.h. TLS 1.2 at least. The certificate must be signed by the given CA alone, or else by one that the system trusts, and
 * be for the name or address that was dialled.
 */
#include "dial-tls.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>

#define TIMEOUT_S 15 /* of connecting, and of each read and write of the handshake */

/* The last thing that OpenSSL complained about. */
static int fail(Err *e, const char *what, const char *on)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return err_new(e, ERR_UNAVAILABLE, "%s %s: %s", what, on, reason ? reason : "TLS failed");
}

static void set_timeout(int fd, int seconds)
{
	struct timeval limit = {.tv_sec = seconds};

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static int connect_one(const struct addrinfo *a)
{
	_cleanup_close_ int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -errno;
	set_timeout(fd, TIMEOUT_S);
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0)
		return errno == EINPROGRESS || errno == EAGAIN ? -ETIMEDOUT : -errno;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	return take_fd(&fd);
}

static int connect_tcp(const TlsOptions *o, Err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int bad = getaddrinfo(o->host, o->port, &hints, &list), fd = -EHOSTUNREACH;

	if (bad != 0)
		return err_new_no(e, ERR_UNAVAILABLE, EHOSTUNREACH, "look up %s: %s", o->host,
				  gai_strerror(bad));
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = connect_one(a);
	freeaddrinfo(list);
	if (fd < 0)
		return err_new_no(e, ERR_UNAVAILABLE, -fd, "connect to %s port %s: %s", o->host, o->port,
				  strerror(-fd));
	return fd;
}

static int no_passphrase(char *buf, int size, int rwflag, void *user)
{
	return 0;
}

static int load_files(SSL_CTX *ctx, const TlsOptions *o, Err *e)
{
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (o->ca && SSL_CTX_load_verify_locations(ctx, o->ca, NULL) != 1)
		return fail(e, "read the CA certificate", o->ca);
	if (!o->ca && !o->skip_verify && SSL_CTX_set_default_verify_paths(ctx) != 1)
		return fail(e, "read", "the system's CA certificates");
	if (o->cert && SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1)
		return fail(e, "read the certificate", o->cert);
	if (o->key && SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1)
		return fail(e, "read the key", o->key);
	return 0;
}

static int set_name(SSL *ssl, const TlsOptions *o, Err *e)
{
	unsigned char address[sizeof(struct in6_addr)];
	bool is_address =
	    inet_pton(AF_INET, o->host, address) == 1 || inet_pton(AF_INET6, o->host, address) == 1;

	if (is_address && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), o->host) != 1)
		return fail(e, "check certificates for", o->host);
	if (!is_address && (SSL_set1_host(ssl, o->host) != 1 || SSL_set_tlsext_host_name(ssl, o->host) != 1))
		return fail(e, "check certificates for", o->host);
	return 0;
}

static int shake_hands(SSL *ssl, const TlsOptions *o, Err *e)
{
	if (SSL_connect(ssl) == 1)
		return 0;
	long verdict = SSL_get_verify_result(ssl);
	if (!o->skip_verify && verdict != X509_V_OK)
		return err_new(e, ERR_UNAVAILABLE, "the certificate of %s port %s is not good: %s", o->host,
			       o->port, X509_verify_cert_error_string(verdict));
	if (ERR_peek_last_error() == 0)
		return err_new(e, ERR_UNAVAILABLE,
			       "%s port %s: it hung up, or says nothing, where TLS was expected", o->host,
			       o->port);
	return fail(e, "TLS handshake with", o->host);
}

int tls_dial(const TlsOptions *o, SSL **ret, Err *e)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;
	int fd = -1, r = ctx ? load_files(ctx, o, e) : fail(e, "set up", "TLS");

	if (r == 0) {
		(void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
		SSL_CTX_set_verify(ctx, o->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
		ssl = SSL_new(ctx);
		r = ssl ? set_name(ssl, o, e) : fail(e, "set up", "TLS");
	}
	SSL_CTX_free(ctx); /* the connection keeps it */
	if (r == 0) {
		fd = connect_tcp(o, e);
		r = fd < 0 ? fd : SSL_set_fd(ssl, fd) == 1 ? 0 : fail(e, "set up", "TLS");
	}
	if (r == 0)
		r = shake_hands(ssl, o, e);
	if (r < 0) {
		SSL_free(ssl);
		closep(&fd);
		return r;
	}
	set_timeout(fd, 0);
	*ret = ssl;
	return 0;
}
