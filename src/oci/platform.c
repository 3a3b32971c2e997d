/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Platforms: which entry of an index runs here.
 *
 * Architectures have many spellings and some have levels (arm v5..v8, arm64 v8.., amd64 v1..v4). A
 * machine of a level runs everything of its own level and below, so the best entry is the highest
 * level not above what is wanted; a missing level means the one that everybody meant before there were
 * levels. Names are those of Go's GOOS and GOARCH, as the image-spec wants.
 */
#include "oci/image.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>
#include <sys/utsname.h>

/* What people, kernels and distributions say, in Go's words. The variant counts if none was given. */
static const struct {
	const char *alias, *architecture, *variant;
} aliases[] = {
    {"x86_64", "amd64", NULL},    {"x86-64", "amd64", NULL},    {"i386", "386", NULL},
    {"i686", "386", NULL},        {"i586", "386", NULL},        {"aarch64", "arm64", NULL},
    {"armhf", "arm", "v7"},       {"armel", "arm", "v6"},       {"armv7l", "arm", "v7"},
    {"armv6l", "arm", "v6"},      {"armv8l", "arm", "v7"},      {"mips64el", "mips64le", NULL},
    {"ppc64el", "ppc64le", NULL}, {"loong64", "loong64", NULL}, {"loongarch64", "loong64", NULL},
};

static bool is_part(const char *s)
{
	return *s && strlen(s) <= 64 &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(s);
}

static char *lower_dup(const char *s)
{
	char *copy = strdup(s);

	for (char *p = copy; p && *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return copy;
}

static bool is_os(const char *s)
{
	static const char *const known[] = {"linux",   "darwin", "macos",   "windows",  "freebsd",
					    "openbsd", "netbsd", "solaris", "illumos",  "android",
					    "aix",     "plan9",  "wasip1",  "dragonfly"};

	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (strcasecmp(s, known[i]) == 0)
			return true;
	return false;
}

static int set_os(ImagePlatform *p, const char *s)
{
	p->os = strcasecmp(s, "macos") == 0 ? strdup("darwin") : lower_dup(s);
	return p->os ? 0 : -ENOMEM;
}

static int set_architecture(ImagePlatform *p, const char *s, const char *variant)
{
	_cleanup_free_ char *arch = lower_dup(s);
	_cleanup_free_ char *level = variant ? lower_dup(variant) : NULL;
	const char *name = arch;

	if (!arch || (variant && !level))
		return -ENOMEM;
	for (size_t i = 0; i < ELEMENTSOF(aliases); i++)
		if (streq(arch, aliases[i].alias)) {
			name = aliases[i].architecture;
			if (!level && aliases[i].variant) {
				level = strdup(aliases[i].variant);
				if (!level)
					return -ENOMEM;
			}
		}
	p->architecture = strdup(name);
	if (level)
		p->variant = isdigit((unsigned char)*level) ? strf("v%s", level) : take_ptr(level);
	return !p->architecture || ((level || variant) && !p->variant) ? -ENOMEM : 0;
}

static int set_own_architecture(ImagePlatform *p)
{
	struct utsname u;

	if (uname(&u) < 0)
		return -errno;
	return set_architecture(p, u.machine, NULL);
}

static int fill(ImagePlatform *p, char *const *parts, size_t n)
{
	int r;

	if (n == 1 && *parts[0] && !is_os(parts[0])) {
		r = set_os(p, "linux");
		return r < 0 ? r : set_architecture(p, parts[0], NULL);
	}
	r = set_os(p, n >= 1 && *parts[0] ? parts[0] : "linux");
	if (r < 0)
		return r;
	return n < 2 ? set_own_architecture(p) : set_architecture(p, parts[1], n == 3 ? parts[2] : NULL);
}

int image_platform_parse(const char *s, ImagePlatform *ret, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(s ? s : "", '/');
	ImagePlatform p = {0};
	size_t n = strv_len(parts);

	if (!parts)
		return err_oom(e);
	for (size_t i = 0; !str_empty(s) && i < n; i++)
		if (n > 3 || !is_part(parts[i]))
			return err_new(
			    e, ERR_INVALID,
			    "invalid platform \"%.100s\": write os/architecture or os/architecture/variant, "
			    "for example linux/arm64",
			    s);
	int r = fill(&p, parts, n);
	if (r < 0) {
		image_platform_done(&p);
		return err_sys(e, r, "platform");
	}
	*ret = p;
	return 0;
}

void image_platform_done(ImagePlatform *p)
{
	free(p->os);
	free(p->architecture);
	free(p->variant);
	free(p->os_version);
	*p = (ImagePlatform){0};
}

char *image_platform_text(const ImagePlatform *p)
{
	return strf("%s/%s%s%s", p->os ? p->os : "", p->architecture ? p->architecture : "",
		    str_empty(p->variant) ? "" : "/", p->variant ? p->variant : "");
}

/* The level of an architecture that has levels, times ten ("v8.1" is 81); 0 when it has none; -1 unreadable. */
static int level_of(const char *arch, const char *variant)
{
	int otherwise = streq(arch, "arm") ? 70 : streq(arch, "arm64") ? 80 : streq(arch, "amd64") ? 10 : 0;

	if (otherwise == 0 || str_empty(variant))
		return otherwise;
	if (*variant == 'v')
		variant++;
	if (!isdigit((unsigned char)variant[0]))
		return -1;
	if (!variant[1])
		return (variant[0] - '0') * 10;
	if (variant[1] == '.' && isdigit((unsigned char)variant[2]) && !variant[3])
		return (variant[0] - '0') * 10 + variant[2] - '0';
	return -1;
}

/* How well an entry suits: 0 not at all, higher is better. */
static int rank(const ImagePlatform *have, const ImagePlatform *want)
{
	ImagePlatform n = {0};
	int score = 0;

	if (!streq0(have->os, want->os) || str_empty(have->architecture) || !want->architecture)
		return 0;
	if (set_architecture(&n, have->architecture, str_empty(have->variant) ? NULL : have->variant) == 0) {
		int has = level_of(n.architecture, n.variant),
		    wants = level_of(want->architecture, want->variant);

		if (streq(n.architecture, want->architecture)) {
			if (wants == 0)
				score = streq(n.variant ? n.variant : "", want->variant ? want->variant : "")
					    ? 1000
					    : 0;
			else if (has > 0 && has <= wants)
				score = 1000 + has;
		} else if (streq(want->architecture, "amd64") && streq(n.architecture, "386"))
			score = 1; /* runs, if there is nothing better */
	}
	image_platform_done(&n);
	return score;
}

static bool is_image(const ImageDescriptor *d)
{
	static const char *const types[] = {MEDIA_OCI_MANIFEST, MEDIA_OCI_INDEX, MEDIA_DOCKER_MANIFEST,
					    MEDIA_DOCKER_LIST};

	for (size_t i = 0; d->media_type && i < ELEMENTSOF(types); i++)
		if (streq(d->media_type, types[i]))
			return true;
	return str_empty(d->media_type);
}

const ImageDescriptor *image_index_select(const ImageIndex *i, const ImagePlatform *want)
{
	const ImageDescriptor *best = NULL, *unmarked = NULL;
	size_t n_images = 0;
	int best_rank = 0;

	for (size_t k = 0; k < i->n_manifests; k++) {
		const ImageDescriptor *d = &i->manifests[k];
		int r = d->has_platform ? rank(&d->platform, want) : 0;

		if (!is_image(d))
			continue;
		n_images++;
		if (!d->has_platform)
			unmarked = d;
		if (r > best_rank) {
			best = d;
			best_rank = r;
		}
	}
	/* An index around a single image often does not say for which platform it is. */
	return best || n_images > 1 ? best : unmarked;
}
