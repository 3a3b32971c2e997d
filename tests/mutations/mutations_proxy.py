# SPDX-License-Identifier: Apache-2.0
"""The userland proxy: whoever can reach it, and whoever can reach its control socket."""
from mutation import Mutation

T = "test_proxy.py::"


def proxy(name, attack, tests, defence, removed, *edits):
    return Mutation(name, attack, [T + t for t in tests], defence, removed, list(edits), programs=("ireko-proxy",))


ALL = [
    proxy("proxy-asks-nobody", "a user of the host tells the proxy what to carry", ["test_only_root_may_ask"], "src/proxy/control.c:may_ask", "whoever can open the socket may ask",
          ("src/proxy/control.c", "(who.uid == 0 || who.uid == s->uid)", "(who.uid == 0 || who.uid != s->uid)")),
    proxy("proxy-takes-any-descriptor", "a descriptor that is no socket of a published port", ["test_hostile_messages_are_answered_and_harm_nothing"], "src/proxy/port.c:check_socket",
          "what came along is taken for what it should be", ("src/proxy/port.c", "int family = 0, r = check_socket(info, fd, &family, e);", "int family = AF_INET6, r = info ? 0 : check_socket(info, fd, &family, e);")),
    proxy("proxy-waits-for-askers", "who asks and takes no answers", ["test_who_does_not_take_answers_is_hung_up_on"], "src/proxy/control.c:control_accept", "the connection may block",
          ("src/proxy/control.c", "SOCK_CLOEXEC | SOCK_NONBLOCK", "SOCK_CLOEXEC")),
    proxy("proxy-port-takes-all", "clients of one port, or a container that answers none, take all descriptors", ["test_no_port_takes_all_descriptors"], "src/proxy/server.c:server_has_room",
          "only what there is in all counts", ("src/proxy/server.c", " && own + n <= s->fds_max - s->fds;", " && own <= s->fds_max;")),
    proxy("proxy-keeps-udp-clients", "datagrams from ever new addresses", ["test_the_udp_client_that_was_quiet_longest_makes_room"], "src/proxy/udp-client.c:make_room", "a port may have as many as there are descriptors",
          ("src/proxy/udp-client.c", "p->n >= (size_t)s->options.udp_clients_max || ", "")),
    proxy("proxy-evicts-anyone", "the same: clients that are at work make room for new ones", ["test_the_udp_client_that_was_quiet_longest_makes_room"], "src/proxy/udp-client.c:udp_client_touch",
          "who came first goes first", ("src/proxy/udp.c", "	const struct msghdr there = {0};\n\n	udp_client_touch(s, c);\n", "	const struct msghdr there = {0};\n\n"),
          ("src/proxy/udp.c", "	if (n > 0)\n		udp_client_touch(s, c);\n", "")),
    proxy("proxy-reads-ahead", "a container that does not read, while its clients send", ["test_who_does_not_read_holds_up_nobody_else_and_no_memory_of_ours"], "src/proxy/tcp.c:may_move",
          "what has no room in the socket is waited for by trying", ("src/proxy/tcp.c", "	if (n < 0 && errno == EAGAIN)\n		to->writable = false;\n", "	if (n < 0 && errno == EAGAIN)\n		to->writable = true;\n")),
    proxy("proxy-without-filter", "whoever has taken the proxy over reaches the engine's socket, files and programs", ["test_it_is_caged_and_small"], "src/cmd/ireko-proxy/sandbox.c:sandbox_seal", "no filter of system calls",
          ("src/cmd/ireko-proxy/sandbox.c", "	if (SANITIZED)\n		return 0;\n", "	if (true)\n		return 0;\n")),
    proxy("proxy-with-capabilities", "the same: it has root's rights", ["test_it_is_caged_and_small"], "src/cmd/ireko-proxy/sandbox.c:drop_capabilities", "the capabilities stay",
          ("src/cmd/ireko-proxy/sandbox.c", "		r = capability_apply(&none, e);\n", "		r = 0;\n"), ("src/cmd/ireko-proxy/sandbox.c", "	const CapabilitySets none = {0};\n", "")),
    proxy("proxy-keeps-descriptors", "the same: it has what the engine had open", ["test_it_is_caged_and_small"], "src/cmd/ireko-proxy/sandbox.c:close_descriptors", "standard streams stay what they were",
          ("src/cmd/ireko-proxy/sandbox.c", "	for (int i = 0; i < 3; i++)\n", "	for (int i = 0; i < 0; i++)\n")),
]
