# SPDX-License-Identifier: Apache-2.0
"""Registries that lie: what is believed of them, and where secrets go."""
from mutation import Mutation

LIES = "test_registry_hostile.py::test_lies"
HTTP = "src/registry/http.c"
AUTH = "src/registry/auth.c"
MANIFEST = "src/registry/manifest.c"
IMAGE = "src/oci/image-manifest.c"


def registry(name, attack, rows, defence, removed, edits):
    """rows: of the table in test_registry_hostile.py, or whole tests of it."""
    tests = [r if "::" in r else f"{LIES}[{r}]" for r in rows]
    return Mutation("registry-" + name, attack, tests, defence, removed, edits, ("irekod", "ireko", "ireko-unpack", "ireko-shim"))


ALL = [
    # --- secrets
    registry("secrets-follow-redirects", "a redirect to another host", ["layer_on_another_host", "manifest_on_another_host"], HTTP + ":follow", "the Authorization header goes wherever the registry sends us",
             [(HTTP, "http_same_origin(url, q->url) ? q->authorization : NULL", "q->authorization")]),
    registry("any-realm", "a token server on the attacker's host", ["realm_on_another_host"], AUTH + ":auth_realm_is_trusted", "every realm is of the same party",
             [(AUTH, "	if (streq(registry_host, realm_host))\n		return true;\n", "	if (true)\n		return true;\n")]),
    registry("realm-in-the-clear", "a token server without TLS", ["test_registry_hostile.py::test_a_token_server_in_the_clear"], "src/registry/token.c:check_realm", "the scheme is not looked at",
             [("src/registry/token.c", "	if (plain && !insecure &&", "	if (false &&")]),
    registry("line-breaks", "a token with a line break: header injection", ["token_with_a_line_break"], HTTP + ":add_header", "values are sent as they are",
             [(HTTP, "		if ((unsigned char)*p < 0x20 || *p == 0x7F)\n", "		if (false)\n")]),
    # --- where it sends us
    registry("to-this-machine", "redirects to loopback and link-local addresses", ["redirect_to_loopback", "redirect_to_loopback_by_name", "redirect_to_loopback_as_a_number", "realm_on_this_machine"], HTTP + ":on_socket",
             "addresses are not looked at", [(HTTP, "	if (local && x->deny_local && !x->proxied) { /* a proxy is where the user has it */\n", "	if (false) {\n")]),
    registry("downgrade", "a redirect from https to http", ["redirect_from_https_to_http"], HTTP + ":next_url", "the scheme may change",
             [(HTTP, "	if (str_starts(from, \"https:\") && !str_starts(next, \"https:\"))\n", "	if (false)\n")]),
    registry("circles", "redirects without end", ["redirect_in_circles", "redirect_to_and_fro"], HTTP + ":follow", "hops are not counted", [(HTTP, "hop == HTTP_HOPS_MAX)", "false)")]),
    # --- how much
    registry("bodies", "documents without end", ["manifest_in_chunks_without_end", "config_without_end", "token_of_100_megabytes"], HTTP + ":keep_body", "bodies have no budget",
             [(HTTP, "	if (success && len > max - x->body.len)\n", "	if (false)\n"), (HTTP, "	strbuf_add_n(&x->body, data, MIN2(len, max - x->body.len));\n", "	strbuf_add_n(&x->body, data, len);\n"),
              (HTTP, "	if (x->drained > MAX2((size_t)ERROR_DRAIN_MAX, max))\n", "	if (false)\n")]),
    registry("headers", "headers without end", ["headers_without_end"], HTTP + ":on_header", "headers are not counted", [(HTTP, "	if (x->header_bytes > HEADERS_MAX)\n", "	if (false)\n")]),
    registry("layer-size", "a layer longer than its descriptor says", ["body_is_longer_than_the_manifest_says", "layer_in_chunks_without_end"], "src/registry/layers.c:on_data", "whatever comes is written",
             [("src/registry/layers.c", "	if ((int64_t)len > l->d->size - have)\n", "	if (false)\n")]),
    # --- what is believed
    registry("ranges", "parts that start elsewhere", ["range_that_starts_elsewhere", "range_without_a_word", "part_that_nobody_asked_for"], HTTP + ":begin_body", "Content-Range is not looked at",
             [(HTTP, "	if (x->q->range_from <= 0 || x->content_range != x->q->range_from)\n", "	if (false)\n")]),
    registry("blob-digest", "a layer with other bytes and the right contents", ["layer_in_another_packing"], "src/store/content.c:check", "digests of blobs are not compared",
             [("src/store/content.c", "	if (want_digest && !streq(want_digest, digest))\n		return err_new(e, ERR_INVALID, \"digest mismatch", "	if (false)\n		return err_new(e, ERR_INVALID, \"digest mismatch")]),
    registry("diff-id", "a layer with the right bytes and other contents", ["layer_unpacks_to_another"], "src/store/layer-image.c, src/store/layer.c:unpack_draft", "what was unpacked is believed",
             [("src/store/layer.c", "	if (a->want_diff_id && !streq(a->want_diff_id, done->diff_id))\n", "	if (false)\n"),
              ("src/store/layer-image.c", "	if (a->want_diff_id && !streq(a->want_diff_id, u->done->diff_id))\n", "	if (false)\n")]),
    registry("manifest-digest", "a manifest with other bytes", ["manifest_by_digest_has_other_bytes"], MANIFEST + ":check_bytes", "the digest that was asked for is not compared",
             [(MANIFEST, "	if (want && !streq(want, digest))\n", "	if (false)\n")]),
    registry("config-digest", "a config with other bytes", ["config_has_other_bytes"], MANIFEST + ":fetch_config", "its digest is not compared", [(MANIFEST, "	if (!streq(digest, d->digest))\n", "	if (false)\n")]),
    registry("ambiguous", "a manifest that is an index too (CVE-2021-41190)", ["manifest_and_index_in_one"], IMAGE + ":image_document_kind", "the members of the other kind are ignored",
             [(IMAGE, "	if (((config || layers) && manifests) || fs_layers)\n", "	if (false)\n")]),
    registry("twice", "members that are there twice", ["members_that_are_there_twice"], "src/base/json.c:json_parse", "the last one counts",
             [("src/base/json.c", "JSON_REJECT_DUPLICATES, &je)", "0, &je)")]),
    registry("nesting", "indexes in indexes", ["indexes_in_circles"], MANIFEST + ":manifest_resolve", "any depth is followed", [(MANIFEST, "		if (depth == INDEX_DEPTH_MAX)\n", "		if (false)\n")]),
    registry("escapes", "errors that speak to terminals", ["errors_that_speak_to_terminals"], "src/wire/httpd/respond.c:http_plain_text; src/registry/session.c:first_error", "a stranger's words are shown as they are",
             [("src/wire/httpd/respond.c", "		if ((*p < 0x20 && *p != '\\n' && *p != '\\t') || *p == 0x7F)\n", "		if (false)\n"), ("src/registry/session.c", "		if ((unsigned char)b.s[i] < 0x20 || b.s[i] == 0x7F)\n", "		if (false)\n")]),
    # --- TLS
    registry("certificates", "certificates that are expired, of another name or of nobody", ["test_registry_hostile.py::test_certificates_that_do_not_hold"], HTTP + ":set_options", "certificates are not verified",
             [(HTTP, "	long verify = x->q->unverified_tls ? 0 : 1;\n", "	long verify = 0;\n")]),
    registry("in-the-clear", "a registry that offers no TLS", ["test_registry_hostile.py::test_plain_http_where_https_is_due"], "src/registry/registry.c:endpoint_init", "plain HTTP is tried for everybody",
             [("src/registry/registry.c", "	ep->try_http = insecure;\n", "	ep->try_http = true;\n")]),
]
