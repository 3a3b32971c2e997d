# SPDX-License-Identifier: Apache-2.0
"""Clients of the API that flood it, say what two parsers read differently, or are web pages; containers that try to reach it."""
from mutation import Mutation

HERE = "test_api_hostile.py::"
PARSE, BODY, SERVER, REQUEST, ROUTE = (f"src/wire/httpd/{n}.c" for n in ("parse", "body", "server", "request", "route"))


def api(name, attack, tests, defence, removed, edits):
    return Mutation("api-" + name, attack, [t if "::" in t else HERE + t for t in tests], defence, removed, edits, ("irekod",))


def parsers(*cases):
    return [f"test_two_parsers_could_disagree[{c}]" for c in cases]


def chunks(*cases):
    return [f"test_malformed_chunks[{c}]" for c in cases]


def pages(*cases):
    return [f"test_web_pages_and_rebinding[{c}]" for c in cases]


ALL = [
    # --- many and slow
    api("idle", "10,000 idle connections", ["test_ten_thousand_idle_connections"], "src/wire/httpd/connection.c:http_conn_receive", "a connection has a buffer of 4 KiB from the first moment on",
        [("src/wire/httpd/connection.c", "	*c = (HttpConnection){.server = s, .fd = fd, .transport = transport};\n",
          "	*c = (HttpConnection){.server = s, .fd = fd, .transport = transport, .in = malloc(4096), .cap = 4096};\n	memset(c->in, 1, 4096);\n")]),
    api("slow-bodies", "slow clients: bodies that trickle", ["test_slow_short_bodies"], "src/wire/httpd/connection.c:short_body", "a thread waits for each body",
        [("src/wire/httpd/connection.c", "	return n <= body_max && n + len <= HTTP_HEAD_MAX ? n : 0;\n", "	return 0;\n")]),
    api("arriving", "slow clients: large heads that never end", ["test_slow_heads_of_the_greatest_size"], SERVER + ":expire", "unfinished requests have no budget together",
        [(SERVER, " || s->arriving_bytes > ARRIVING_MAX))", "))")]),
    api("last-threads", "more followers, wrong requests and trickling bodies than there are threads", [f"test_more_clients_that_hang_on_than_threads[{n}]" for n in ("followers", "slow bodies")],
        "src/wire/httpd/worker.c:http_may_stay", "whoever takes as long as he likes may have every thread", [("src/wire/httpd/worker.c", "	c->stays = s->staying < most;\n", "	c->stays = most > 0;\n")]),
    api("silent-archives", "loads of images that send nothing", ["test_silent_archives_start_no_end_of_programs"], "src/store/unpack-client.c:take_place", "each has a program of its own",
        [("src/store/unpack-client.c", "#define UNPACKERS_MAX    128\n", "#define UNPACKERS_MAX    100000\n")]),
    api("slow-follower", "followers of events that never read", ["test_followers_that_never_read"], "src/engine/events.c:deliver", "events are sent under the lock that who makes one needs",
        [("src/engine/events.c", "			r = sink(user, &ev);\n", "			pthread_mutex_lock(&h->lock), r = sink(user, &ev), pthread_mutex_unlock(&h->lock);\n")]),
    # --- big
    api("body-length", "bodies of a gigabyte that say so", ["test_a_body_of_a_gigabyte"], BODY + ":http_body_buffer", "a body that says its length has no budget",
        [(BODY, "	if (rq->body_kind == BODY_LENGTH && rq->body_left > max)\n", "	if (false)\n")]),
    api("body-chunks", "bodies of a gigabyte in chunks", ["test_a_body_of_a_gigabyte"], BODY + ":http_body_buffer", "a body in chunks has no budget",
        [(BODY, "		if (rq->body_len > max)\n", "		if (false)\n")]),
    api("members-twice", "JSON: members that are there twice", ["test_documents[twice]"], "src/base/json.c:json_parse", "the last one counts",
        [("src/base/json.c", "text ? len : 0, JSON_REJECT_DUPLICATES, &je", "text ? len : 0, 0, &je")]),
    api("values", "huge JSON: four megabytes of {}", [f"test_documents_that_are_small_as_text_only[{n}]" for n in ("{}", "[]", "1", '""', '{"a":1}')], "src/base/json.c:json_parse_bounded",
        "values are not counted", [("src/base/json.c", "len > COST_MAX / COST_NESTED && costs_too_much(text, len)", "false")]),
    api("spellings", "huge JSON: one member in all of its spellings", ["test_members_in_every_spelling"], "src/base/json.c:decode_other_spellings", "each spelling is looked for among all members",
        [("src/base/json.c", "		if (had[f - table])\n			continue;\n",
          "		const char *k;\n		json_t *v;\n		const json_t *found = NULL;\n		json_object_foreach ((json_t *)obj, k, v)\n			if (!found && strcasecmp(k, f->name) == 0)\n				found = v;\n"
          "		if (had[f - table] && found)\n			continue;\n")]),
    api("patterns", "patterns that explode, of filters and of log options", [f"test_patterns_that_explode[{what}-{n}]" for what in ("containers", "networks", "volumes") for n in ("nested", "in a row")] + ["test_logs.py::test_what_create_refuses[json-file-options12-nested +]"],
        "src/base/pattern.c:pattern_is_bounded", "nested + are compiled", [("src/base/pattern.c", "		if (*p == '+' && !set && !one && ++doubles > DOUBLES_MAX)\n", "		if (false)\n")]),
    api("pattern-braces", "filters: repeated repetitions behind a [\\]", ["test_patterns_that_explode[containers-braces behind a set]"], "src/base/pattern.c:pattern_is_bounded", "a backslash in a set hides the end of the set",
        [("src/base/pattern.c", "		if (*p == '\\\\' && p[1] && !set) {\n", "		if (*p == '\\\\' && p[1]) {\n")]),
    api("filters", "filters of absurd size", ["test_filters_of_absurd_size"], "src/api/docker/filters.c:add", "values are not counted", [("src/api/docker/filters.c", "	if (f->n == FILTERS_MAX)\n", "	if (false)\n")]),
    api("head-size", "heads without end", ["test_heads_that_are_too_big"], "src/wire/httpd/connection.c:http_conn_scan", "a head may be 16 times as large",
        [("src/wire/httpd/httpd-internal.h", "#define HTTP_HEAD_MAX    65536u\n", "#define HTTP_HEAD_MAX    1048576u\n")]),
    api("header-lines", "header lines without end", ["test_heads_that_are_too_big"], PARSE + ":parse_header", "ten times as many are taken",
        [("src/wire/httpd/httpd-internal.h", "#define HTTP_HEADERS_MAX 100\n", "#define HTTP_HEADERS_MAX 1000\n")]),
    api("query", "query parameters without end", ["test_heads_that_are_too_big"], PARSE + ":parse_query", "they are not counted", [(PARSE, "	if (n > HTTP_QUERY_MAX)\n", "	if (false)\n")]),
    # --- ambiguous
    api("length-and-chunks", "smuggling: Content-Length and Transfer-Encoding", parsers("length and chunked"), PARSE + ":parse_framing", "chunks win", [(PARSE, " ||\n	    (length && coding))\n", ")\n")]),
    api("two-lengths", "smuggling: two Content-Lengths", parsers("two lengths"), PARSE + ":parse_framing", "the first one counts", [(PARSE, "	if (header_count(rq, \"Content-Length\") > 1 || ", "	if (")]),
    api("odd-lengths", "smuggling: Content-Lengths that are no numbers", parsers("list of lengths", "signed length", "hexadecimal length"), PARSE + ":parse_framing", "the number in front counts",
        [(PARSE, "		if (strlen(length) > 18 || !*length || strspn(length, \"0123456789\") != strlen(length))\n", "		if (!*length)\n")]),
    api("odd-names", "smuggling: a blank behind a header's name", parsers("blank behind a name"), PARSE + ":parse_header", "any name is a name", [(PARSE, "	*value++ = '\\0';\n	if (!is_token(line))\n", "	*value++ = '\\0';\n	if (!*line)\n")]),
    api("folded", "smuggling: folded lines", parsers("folded line", "blank before a name"), PARSE + ":parse_header", "they are overlooked",
        [(PARSE, "		return err_new(e, ERR_INVALID, \"folded header lines are not supported\");\n", "		return 0;\n")]),
    api("codings", "smuggling: other transfer codings, and chunks in HTTP/1.0", parsers("another coding", "two codings", "chunked in 1.0"), PARSE + ":parse_framing", "every coding is chunked",
        [(PARSE, "		if (strcasecmp(coding, \"chunked\") != 0 || rq->minor == 0) {\n", "		if (false) {\n")]),
    api("two-codings", "smuggling: Transfer-Encoding twice", parsers("coding twice"), PARSE + ":parse_framing", "the first one counts", [(PARSE, " || header_count(rq, \"Transfer-Encoding\") > 1 ||\n", " ||\n")]),
    api("bare-lf", "smuggling: a line end without CR", parsers("bare LF"), PARSE + ":next_line", "control characters are part of a value", [(PARSE, "		if ((unsigned char)*p < 0x20 && *p != '\\t')\n", "		if (false)\n")]),
    api("bare-cr", "smuggling: a line end without LF", parsers("bare CR"), PARSE + ":next_line", "a CR alone ends a line too",
        [(PARSE, "	else if (cr + 1 >= end || cr[1] != '\\n')\n		*bad = true;\n", ""), (PARSE, "	*pos = cr + 2 < end ? cr + 2 : (char *)end;\n", "	*pos = cr < end ? cr + 1 + (cr[1] == '\\n') : (char *)end;\n")]),
    api("nul", "smuggling: NUL in a head", parsers("NUL"), PARSE + ":http_parse_head", "a value ends there",
        [(PARSE, "	if (memchr(head, '\\0', len))\n", "	if (false)\n"), (PARSE, "		if ((unsigned char)*p < 0x20 && *p != '\\t')\n", "		if (*p && (unsigned char)*p < 0x20 && *p != '\\t')\n")]),
    api("hosts", "two hosts, or none", parsers("two hosts", "no host"), PARSE + ":parse_connection", "they are not counted", [(PARSE, "	if (hosts > 1 || (hosts == 0 && rq->minor == 1))\n", "	if (hosts > 2)\n")]),
    api("versions", "another version of HTTP", parsers("another version", "blank at the end"), PARSE + ":parse_request_line", "every version is 1.1",
        [(PARSE, "	if (!version || strchr(version + 1, ' '))\n", "	if (!version)\n"), (PARSE, "	} else {\n		*ret_status = str_starts(version, \"HTTP/\") ? 505 : 400;\n", "	} else if (!str_starts(version, \"HTTP/\")) {\n		*ret_status = 400;\n")]),
    api("targets", "targets with a host of their own", parsers("absolute target"), PARSE + ":parse_request_line", "what is before the path is overlooked",
        [(PARSE, "	if (*target != '/')\n", "	if (str_starts(target, \"http://\"))\n		target = strchrnul(target + 7, '/');\n	if (*target != '/')\n")]),
    api("methods", "methods with odd characters", ["test_two_parsers_could_disagree[NUL in the method]"], PARSE + ":parse_request_line, http_parse_head", "any method is a method",
        [(PARSE, "	if (memchr(head, '\\0', len))\n", "	for (char *p = head; (p = memchr(p, '\\0', len - (size_t)(p - head)));)\n		*p = 'E';\n	if (false)\n")]),
    api("goes-on", "a refused request with another one behind it", ["test_two_parsers_could_disagree[NUL]", "test_two_parsers_could_disagree[two lengths]"], REQUEST + ":run_request", "the connection goes on",
        [(REQUEST, "		rq->close_after = true;\n		(void)http_reply_error(rq, status, e.msg);\n		linger(c);\n		return false;\n", "		(void)http_reply_error(rq, status, e.msg);\n		return true;\n")]),
    api("chunk-sizes", "chunks of odd sizes", chunks("blank", "negative", "hexadecimal", "larger than any number"), BODY + ":chunk_next", "the number in front counts",
        [(BODY, "	if (digits == 0 || digits > 15 || (line[digits] && line[digits] != ';'))\n", "	if (digits > 200)\n")]),
    api("chunk-ends", "chunks that are longer than they say", chunks("no end"), BODY + ":chunk_next", "what is behind one is overlooked", [(BODY, "		if (r < 0 || *line)\n", "		if (r < 0)\n")]),
    api("chunk-lines", "chunks: a line end without CR", chunks("bare LF"), BODY + ":chunk_line", "LF alone ends a line",
        [(BODY, "		if (n < 1 || n > CHUNK_LINE_MAX || lf[-1] != '\\r' || memchr(start, '\\0', n))\n			return -EPROTO;\n		memcpy(buf, start, n - 1);\n		buf[n - 1] = '\\0';\n",
          "		if (n > CHUNK_LINE_MAX)\n			return -EPROTO;\n		memcpy(buf, start, n);\n		buf[n] = '\\0';\n		if (n > 0 && lf[-1] == '\\r')\n			buf[n - 1] = '\\0';\n")]),
    api("trailers", "trailers and extensions of chunks without end", chunks("long extension", "long trailer"), BODY + ":chunk_line, chunk_next", "they have no limit",
        [(BODY, "		if (i == 32)\n", "		if (i == 3200)\n"), (BODY, "#define CHUNK_LINE_MAX 256\n", "#define CHUNK_LINE_MAX 2560\n")]),
    api("unread", "the body of a refused request as the next request", [f"test_what_nobody_read_is_no_request[{n}]" for n in ("length", "chunks")], BODY + ":http_body_discard", "what was not read is not read away",
        [(BODY, "	return rq->body_done;\n}\n\nconst char *http_body(", "	return true;\n}\n\nconst char *http_body("), (BODY, "	for (size_t total = 0; !rq->body_done && total < 65536;) {\n", "	for (size_t total = 0; rq->method && false;) {\n")]),
    api("expectations", "expectations that nobody knows", ["test_expectations"], PARSE + ":parse_connection", "they are overlooked", [(PARSE, "	if (expect && strcasecmp(expect, \"100-continue\") != 0) {\n", "	if (false) {\n")]),
    # --- browsers
    api("rebinding", "DNS rebinding", pages("Host: evil.example\\r\\n-403", "Host: 127.0.0.1.evil.example\\r\\n-403", "Host: localhost:80@evil\\r\\n-403"), PARSE + ":http_check_browser", "any Host is ours", [(PARSE, "	if (transport == HTTP_TCP && (!host || !host_is_local(host)))\n", "	if (false)\n")]),
    api("origins", "CSRF: a page that sends a request", pages("Host: localhost\\r\\nOrigin: http://localhost\\r\\n-403", "Host: localhost\\r\\nOrigin: null\\r\\n-403") + ["test_no_site_is_given_leave"], PARSE + ":http_check_browser", "Origin is not looked at",
        [(PARSE, "	if ((http_header(rq, \"Origin\") && !same_origin_websocket(rq)) ||\n", "	if ((http_header(rq, \"Origin\") && rq->minor > 1) ||\n")]),
    api("sites", "CSRF: a page that has an image or a form", pages("Host: localhost\\r\\nSec-Fetch-Site: cross-site\\r\\n-403", "Host: localhost\\r\\nSec-Fetch-Site: same-origin\\r\\n-403"), PARSE + ":http_check_browser", "Sec-Fetch-Site is not looked at",
        [(PARSE, "	    (site && strcasecmp(site, \"none\") != 0))\n", "	    (site && !*site))\n")]),
    api("web-sockets", "a page that opens a WebSocket to attach", [f"test_web_sockets_of_other_sites[{n}]" for n in ("http://evil.example-403", "http://localhost:1-403")], PARSE + ":same_origin_websocket", "any page may open one",
        [(PARSE, "strcasecmp(upgrade, \"websocket\") == 0 && rest && host && streq(rest, host);", "strcasecmp(upgrade, \"websocket\") == 0 && rest && host;")]),
    api("forms", "CSRF: forms and beacons, whose content type a page may choose", [f"test_forms_are_no_requests[{n}]" for n in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "")],
        BODY + ":http_body_json", "any type is JSON", [(BODY, "	if (mime != 16 || strncasecmp(type, \"application/json\", 16) != 0)\n", "	if (mime > 1000)\n")]),
    api("reading-is-harmless", "CSRF: images whose address is an action", ["test_asking_changes_nothing"], ROUTE + ":http_route_find", "a GET may do what a POST may", [(ROUTE, "		if (!streq(routes->method, rq->method))\n", "		if (!streq(routes->method, rq->method) && !streq(rq->method, \"GET\"))\n")]),
    api("leave-for-all", "CORS", ["test_no_site_is_given_leave"], "structural: no answer has such a header", "every site may read every answer",
        [("src/api/docker/system.c", "	http_set_header(rq, \"Ostype\", \"linux\");\n", "	http_set_header(rq, \"Ostype\", \"linux\");\n	http_set_header(rq, \"Access-Control-Allow-Origin\", \"*\");\n")]),
    # --- names
    api("escapes", "%00 and half escapes in paths", [f"test_escapes_that_are_none[{n}]" for n in ("/containers/a%00b/json", "/containers/%zz/json", "/containers/json?a=%00")], ROUTE + ", " + PARSE + ":http_percent_decode", "what is no escape stays as it is, %00 ends the name",
        [(PARSE, "			if (lo < 0 || (hi == 0 && lo == 0))\n				return -EINVAL;\n", "			if (lo < 0) {\n				*to++ = *s;\n				continue;\n			}\n")]),
    api("volume-names", "names that climb: volumes", ["test_names_with_dots"], "src/engine/volume.c:volume_name_check", "any name is a name", [("src/engine/volume.c", "	if (ok && strlen(name) <= 255)\n", "	if (*name)\n")]),
    # --- containers
    api("tcp-for-all", "an API that every container and neighbour reaches (CVE-2025-9074)", ["test_service.py::test_tcp_for_all_only_in_so_many_words"], "src/wire/httpd/listen.c:http_tcp_listen", "every address is served without TLS",
        [("src/wire/httpd/listen.c", "	if (loopback_only && !is_loopback(ai->ai_addr))\n", "	if (loopback_only && !ai->ai_addr)\n")]),
    api("socket-mode", "other users of the machine", ["test_nobody_else_may_open_the_socket"], "src/cmd/irekod/listen.c:listen_unix", "the socket is for everybody", [("src/cmd/irekod/listen.c", "unix_listen(path, SOCK_STREAM, 0660)", "unix_listen(path, SOCK_STREAM, 0666)")]),
    api("certificates", "clients over TLS without a certificate, or with one of somebody else's", ["test_service.py::test_who_is_not_let_in"], "src/wire/httpd/tls.c:load_files", "nobody has to have one", [("src/wire/httpd/tls.c", "SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT", "SSL_VERIFY_NONE")]),
]
