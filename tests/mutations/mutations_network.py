# SPDX-License-Identifier: Apache-2.0
"""Names in networks: servers that lie, and networks that nothing leaves."""
from mutation import Mutation

NAMES = "test_network_names.py::"
CACHE = "test_network_dns_cache.py::"
HOSTILE = "test_network_hostile.py::"
SURVIVE = "test_network_survive.py::"

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
    Mutation(
        "names-are-told", "names of containers are asked of the host's name servers",
        [CACHE + "test_names_of_ours_are_not_told_to_others"],
        "src/network/resolver-private.c:private_answer", "what no container has is anybody's",
        [("src/network/resolver-private.c", "	if (!none && !localhost && !nothing)\n", "	if (true)\n")], programs=("irekod",)),
    Mutation(
        "kept-for-anybody", "a container without a way out, or with servers of its own, hears what others asked",
        [CACHE + "test_kept_answers_are_for_who_asks_the_same_servers"],
        "src/network/resolver-forward.c:forward_start", "kept answers are one pool",
        [("src/network/resolver-forward.c", "		key_len = dns_key(key, servers->scope, query, q);\n",
          "		key_len = dns_key(key, 1, query, q);\n")], programs=("irekod",)),
    Mutation(
        "cache-without-shares", "a flood of questions pushes out what others' questions brought",
        [CACHE + "test_one_client_does_not_push_out_what_others_brought"],
        "src/network/dns-cache.c:make_room", "the oldest answer goes, whoever brought it",
        [("src/network/dns-cache.c", "share->n >= CACHE_SHARE ||", "dns_cache_count(c) >= CACHE_SHARE ||"),
         ("src/network/dns-cache.c", "		drop(c, share->first);\n", "		drop(c, c->all);\n")], programs=("irekod",)),
    Mutation(
        "cookies-are-shared", "what a question says of who asks it reaches somebody else with a kept answer",
        [CACHE + "test_what_is_about_who_asks_is_not_shared"],
        "src/network/dns-message.c:dns_question_parse", "options behind the question do not count",
        [("src/network/dns-message.c", "		q->alone = q->alone && get16(r) == DNS_OPT && get16(r + 8) == 0;\n", "")],
        programs=("irekod",)),
    Mutation(
        "networks-reach-each-other", "a container sends to one of another network, by way of the host",
        [HOSTILE + "test_no_frame_leaves_the_network"],
        "src/network/firewall.c:forward", "what nothing asked for passes",
        [("src/network/firewall.c", '    "		oifname @bridges drop\\n"\n    "	}\\n"\n', '    "	}\\n"\n')], programs=("irekod",)),
    Mutation(
        "any-source-is-believed", "a container sends under an address of another network, or of nobody's",
        [HOSTILE + "test_nobody_else_is_believed_to_send"],
        "src/network/firewall.c:guard", "where an address lies is not looked at",
        [("src/network/firewall.c", '    "		fib saddr . iif oif missing drop\\n"\n', "")], programs=("irekod",)),
    Mutation(
        "localhost-is-open", "CVE-2020-8558: a container sends to 127.0.0.1 of the host, where the engine's API may listen",
        [HOSTILE + "test_what_the_host_serves"],
        "src/network/firewall.c:guard", "packets for localhost may come from outside",
        [("src/network/firewall.c", '    "		iifname != \\"lo\\" ip daddr 127.0.0.0/8 drop\\n"\n', "")], programs=("irekod",)),
    Mutation(
        "change-is-forgotten", "a crash in the middle of a connect leaves a container without its way out and its published ports",
        [SURVIVE + "test_kill_9_anywhere"],
        "src/engine/connect.c:connect_recover", "the mark of a change is not looked at",
        [("src/engine/connect.c", "	if (!path || access(path, F_OK) < 0)\n		return;\n", "	if (true)\n		return;\n")], programs=("irekod",)),
]
