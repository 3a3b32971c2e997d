/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish TABLE ROUNDS OTHERS...: what a published port takes of the firewall alone, in the network namespace that it is started in
 *
 * For each number of OTHERS, in rising order, so many ports are published on a bridge of its own, and then one more comes and goes ROUNDS
 * times. Prints <others> <median of publishing, us> <median of taking back, us> for each.
 */
#include "network/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BRIDGE "irkb-publish"

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void check(int r, const Err *e)
{
	if (r >= 0)
		return;
	fprintf(stderr, "publish: %s\n", err_msg(e, r));
	exit(1);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof(*v), by_size);
	return v[n / 2];
}

static NetworkPort port(unsigned number)
{
	return (NetworkPort){.protocol = IPPROTO_TCP,
			     .host_address = IP_V4_ANY,
			     .host_port = (uint16_t)(10000 + number),
			     .container_port = 80};
}

static void measure(NetworkHost *h, IpAddress to, unsigned others, size_t rounds)
{
	double *came = calloc(rounds, sizeof(*came)), *went = calloc(rounds, sizeof(*went));
	NetworkPort one = port(others);
	Err e = {0};

	if (!came || !went)
		check(err_oom(&e), &e);
	for (size_t i = 0; i < rounds; i++) {
		double start = now_us(), middle;

		check(network_ports_publish(h, BRIDGE, to, &one, 1, &e), &e);
		middle = now_us();
		check(network_ports_unpublish(h, BRIDGE, to, &one, 1, &e), &e);
		came[i] = middle - start;
		went[i] = now_us() - middle;
	}
	printf("%u %.1f %.1f\n", others, median(came, rounds), median(went, rounds));
	free(came);
	free(went);
}

int main(int argc, char **argv)
{
	_cleanup_(network_host_freep) NetworkHost *h = NULL;
	NetworkBridge b = {.name = BRIDGE, .icc = true, .masquerade = true};
	size_t rounds = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned there = 0;
	IpAddress to;
	Err e = {0};

	if (rounds == 0) {
		fprintf(stderr, "usage: publish TABLE ROUNDS OTHERS...\n");
		return 2;
	}
	check(network_host_new(argv[1], &h, &e), &e);
	check(network_subnet_parse("10.62.0.0/24", NULL, &b.ip[IP_V4], &e), &e);
	check(ip_parse("10.62.0.2", &to), &e);
	check(network_bridge_ensure(h, &b, &e), &e);
	for (int i = 3; i < argc; i++) {
		for (unsigned others = (unsigned)strtoul(argv[i], NULL, 10); there < others; there++) {
			NetworkPort one = port(there);

			check(network_ports_publish(h, BRIDGE, to, &one, 1, &e), &e);
		}
		measure(h, to, there, rounds);
	}
	check(network_bridge_remove(h, BRIDGE, &e), &e);
	return 0;
}
