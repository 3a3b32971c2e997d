/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-dial-tls: one TLS connection, to an engine for the command line or to a log server for a shim, which are static and small and link no OpenSSL.
 *
 *     ireko-dial-tls [--ca=FILE] [--cert=FILE --key=FILE] [--skip-verify] HOST PORT
 *
 * Standard input and output are one stream socket, whose bytes are relayed in clear. What keeps the connection from coming
 * about is told as an Err through descriptor 3; it is closed in silence when all is well. Run by src/cmd/ireko/dial.c and src/shim/remote-tls.c only.
 */
#include "base/fd.h"
#include "base/str.h"
#include "dial-tls.h"

#include <signal.h>

#define REPORT_FD 3

static int parse(int argc, char **argv, TlsOptions *o, Err *e)
{
	int i = 1;

	for (; i < argc && str_starts(argv[i], "--"); i++) {
		if (str_starts(argv[i], "--ca="))
			o->ca = str_after(argv[i], "--ca=");
		else if (str_starts(argv[i], "--cert="))
			o->cert = str_after(argv[i], "--cert=");
		else if (str_starts(argv[i], "--key="))
			o->key = str_after(argv[i], "--key=");
		else if (streq(argv[i], "--skip-verify"))
			o->skip_verify = true;
		else
			return err_new(e, ERR_INVALID, "ireko-dial-tls: unknown option %s", argv[i]);
	}
	if (argc - i != 2)
		return err_new(e, ERR_INVALID, "ireko-dial-tls: expected HOST and PORT");
	o->host = argv[i];
	o->port = argv[i + 1];
	return 0;
}

int main(int argc, char **argv)
{
	TlsOptions o = {0};
	SSL *ssl = NULL;
	Err e = {0};
	int r;

	(void)fd_fill_stdio();
	/* A peer that is gone is an error of the call. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)fd_set_cloexec(REPORT_FD, true);
	r = parse(argc, argv, &o, &e);
	if (r == 0)
		r = tls_dial(&o, &ssl, &e);
	if (r < 0) {
		err_send(REPORT_FD, &e);
		return 1;
	}
	(void)close(REPORT_FD);
	relay(ssl, STDIN_FILENO);
	return 0;
}
