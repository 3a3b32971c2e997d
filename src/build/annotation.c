/* SPDX-License-Identifier: Apache-2.0 */
/* Annotations as command lines have them; see annotation.h. */
#include "build/annotation.h"

#include "base/str.h"

#define ANNOTATION_MAX (64u << 10)

static const struct {
	const char *name;
	unsigned place;
} places[] = {
    {"manifest", ANNOTATE_MANIFEST},
    {"index", ANNOTATE_INDEX},
    {"manifest-descriptor", ANNOTATE_DESCRIPTOR},
};

void annotation_done(Annotation *a)
{
	free(a->platform);
	free(a->key);
	free(a->value);
	*a = (Annotation){0};
}

/* The same for whoever writes amd64 as x86_64. */
static int platform_set(Annotation *a, const char *text, size_t len, Err *e)
{
	_cleanup_free_ char *word = strndup(text, len);
	ImagePlatform p = {0};
	int r = word ? image_platform_parse(word, &p, e) : err_oom(e);

	if (r >= 0) {
		free(a->platform);
		a->platform = image_platform_text(&p);
		r = a->platform ? 0 : err_oom(e);
	}
	image_platform_done(&p);
	return r;
}

/* "manifest[linux/arm64]" */
static int place_parse(Annotation *a, const char *word, Err *e)
{
	size_t n = strcspn(word, "["), len = strlen(word);

	for (size_t i = 0; i < ELEMENTSOF(places); i++) {
		if (strlen(places[i].name) != n || strncmp(places[i].name, word, n) != 0)
			continue;
		a->places |= places[i].place;
		if (n == len)
			return 0;
		if (word[len - 1] == ']' && len > n + 2 && places[i].place != ANNOTATE_INDEX)
			return platform_set(a, word + n + 1, len - n - 2, e);
	}
	return err_new(e, ERR_INVALID,
		       "annotation of \"%.100s\": expected manifest, manifest-descriptor, either with "
		       "[PLATFORM], or index",
		       word);
}

static int places_parse(Annotation *a, const char *text, size_t len, Err *e)
{
	_cleanup_free_ char *list = strndup(text, len);
	_cleanup_strv_ char **words = list ? strv_split(list, ',') : NULL;
	int r = words ? 0 : err_oom(e);

	for (char **w = words; r >= 0 && w && *w; w++)
		r = place_parse(a, *w, e);
	return r;
}

int annotation_parse(const char *text, Annotation *ret, Err *e)
{
	Annotation a = {0};
	const char *equals = strchr(text, '='), *key = text, *colon;
	int r = 0;

	if (!equals || strlen(text) > ANNOTATION_MAX)
		return err_new(e, ERR_INVALID, "invalid annotation \"%.100s\": expected [PLACE:]KEY=VALUE",
			       text);
	colon = memchr(text, ':', (size_t)(equals - text));
	if (colon) {
		key = colon + 1;
		r = places_parse(&a, text, (size_t)(colon - text), e);
	} else {
		a.places = ANNOTATE_MANIFEST;
	}
	if (r >= 0 && key == equals)
		r = err_new(e, ERR_INVALID, "invalid annotation \"%.100s\": it has no key", text);
	if (r >= 0) {
		a.key = strndup(key, (size_t)(equals - key));
		a.value = strdup(equals + 1);
		r = a.key && a.value ? 0 : err_oom(e);
	}
	if (r < 0)
		annotation_done(&a);
	else
		*ret = a;
	return r;
}

static bool belongs(const Annotation *a, AnnotationPlace place, const char *platform)
{
	return (a->places & place) && (!a->platform || streq0(platform, a->platform));
}

static int member_set(json_t *doc, const Annotation *a, Err *e)
{
	json_t *all = json_object_get(doc, "annotations");

	if (!all && json_object_set_new(doc, "annotations", all = json_object()) < 0)
		return err_oom(e);
	return json_object_set_new(all, a->key, json_string(a->value)) < 0
		   ? err_new(e, ERR_INVALID, "annotation %.100s: not UTF-8, or out of memory", a->key)
		   : 0;
}

int annotations_add(json_t *doc, char *const *texts, AnnotationPlace place, const ImagePlatform *platform,
		    Err *e)
{
	_cleanup_free_ char *name = platform ? image_platform_text(platform) : NULL;
	int r = platform && !name ? err_oom(e) : 0;

	for (char *const *t = texts; r >= 0 && t && *t; t++) {
		Annotation a = {0};

		r = annotation_parse(*t, &a, e);
		if (r >= 0 && belongs(&a, place, name))
			r = member_set(doc, &a, e);
		annotation_done(&a);
	}
	return r;
}

int annotations_places(char *const *texts, unsigned *ret, Err *e)
{
	int r = 0;

	*ret = 0;
	for (char *const *t = texts; r >= 0 && t && *t; t++) {
		Annotation a = {0};

		r = annotation_parse(*t, &a, e);
		*ret |= a.places;
		annotation_done(&a);
	}
	return r;
}
