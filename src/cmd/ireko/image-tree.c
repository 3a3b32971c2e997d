/* SPDX-License-Identifier: Apache-2.0 */
/* See image-tree.h. */
#include "image-tree.h"
#include "base/str.h"
#include "format.h"
#include "text.h"

static void add_cells(StrBuf *b, const char *name, const char *id, int64_t size, bool used)
{
	_cleanup_free_ char *short_id = text_short_id(id ? id : "");

	text_escape(b, name, false);
	strbuf_addf(b, "\t%s\t%s\t%s\n", short_id ? short_id : "",
		    size < 0 ? "N/A" : text_size((double)size, 3).s, used ? "U" : "");
}

/* All names but the last have a line of their own, as the image has one only. */
static const char *add_names(StrBuf *b, const json_t *tags)
{
	size_t n = json_array_size(tags);

	for (size_t i = 0; i + 1 < n; i++) {
		const char *tag = json_string_value(json_array_get(tags, i));

		text_escape(b, tag ? tag : "", false);
		strbuf_add(b, "\t\t\t\n");
	}
	const char *last = n > 0 ? json_string_value(json_array_get(tags, n - 1)) : NULL;
	return last ? last : "<untagged>";
}

static bool is_image(const json_t *manifest)
{
	const char *kind = json_get_str(manifest, "Kind");

	return streq0(kind, "image");
}

static void add_platforms(StrBuf *b, const json_t *manifests)
{
	size_t left = 0;

	for (size_t i = 0; i < json_array_size(manifests); i++)
		left += is_image(json_array_get(manifests, i));
	for (size_t i = 0; i < json_array_size(manifests); i++) {
		const json_t *m = json_array_get(manifests, i), *data = json_object_get(m, "ImageData");
		const json_t *platform = json_object_get(data, "Platform");
		const char *os = json_get_str(platform, "os"), *arch = json_get_str(platform, "architecture"),
			   *variant = json_get_str(platform, "variant");

		if (!is_image(m))
			continue;
		left--;
		_cleanup_free_ char *name =
		    strf("%s %s/%s%s%s", left > 0 ? "\xe2\x94\x9c\xe2\x94\x80" : "\xe2\x94\x94\xe2\x94\x80",
			 os ? os : "?", arch ? arch : "?", str_empty(variant) ? "" : "/",
			 str_empty(variant) ? "" : variant);
		add_cells(b, name ? name : "", json_get_str(m, "ID"),
			  json_get_int(json_object_get(m, "Size"), "Total", -1),
			  json_array_size(json_object_get(data, "Containers")) > 0);
	}
}

int image_tree_print(const Cli *cli, const json_t *list, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "IMAGE\tID\tDISK USAGE\tIN USE\n");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *im = json_array_get(list, i), *manifests = json_object_get(im, "Manifests");
		const char *name = add_names(&b, json_object_get(im, "RepoTags"));

		add_cells(&b, name, json_get_str(im, "Id"), json_get_int(im, "Size", -1),
			  json_get_int(im, "Containers", 0) > 0);
		add_platforms(&b, manifests);
	}
	return b.oom ? err_oom(e) : format_print_lines(b.s, e);
}
