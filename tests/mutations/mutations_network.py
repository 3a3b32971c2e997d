# SPDX-License-Identifier: Apache-2.0
"""Names in networks: servers that lie, and networks that nothing leaves."""
from mutation import Mutation

NAMES = "test_network_names.py::"

ALL = [
    Mutation(
        "resolver-believes-anyone", "a name server's answer is forged: another id, another question, no answer at all",
        [NAMES + "test_lies_of_servers_are_not_believed"],
        "src/network/dns-message.c:dns_answers", "whatever comes from the server's address is the answer",
        [("src/network/resolver-forward.c", "	if (!dns_answers(m, len, f->query, &f->q, f->id))\n", "	if (len < DNS_HEADER)\n")],
        programs=("irekod",)),
    Mutation(
        "internal-asks-outside", "data leaves an internal network as questions for names",
        [NAMES + "test_questions_for_others_are_forwarded"],
        "src/network/resolver-servers.c:servers_of", "every container's questions are forwarded",
        [("src/network/resolver-servers.c", "	if (!way_out)\n		return NULL;\n", "")], programs=("irekod",)),
    Mutation(
        "resolver-serves-early", "an engine that starts again answers while it does not know all names yet, so one is told to strangers",
        [NAMES + "test_questions_wait_for_the_next_engine"],
        "src/engine/endpoint-names.c:names_adopted", "the first container's sockets are served at once",
        [("src/engine/endpoint-names.c", "	if (r >= 0 && !en->resolver_serves && !en->adopting) {\n", "	if (r >= 0 && !en->resolver_serves) {\n")],
        programs=("irekod",)),
]
