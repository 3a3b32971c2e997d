/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount options by name. The same word may be about the mount (an attribute), about how it propagates,
 * about how we make it, or, if none of these, a parameter of the filesystem. An "r" in front makes an attribute
 * recursive (runtime-spec, "Linux mount options").
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"

static const struct {
	const char *name;
	uint64_t set, clear;
} attributes[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    /* The access time modes are one field: changing it means clearing all of it. */
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"norelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

static const struct {
	const char *name;
	uint64_t flag;
} propagations[] = {{"private", MS_PRIVATE},
		    {"shared", MS_SHARED},
		    {"slave", MS_SLAVE},
		    {"unbindable", MS_UNBINDABLE}};

static const char *const manners[] = {"bind", "rbind", "tmpcopyup", "remount", "idmap", "ridmap"};

/* Says nothing that would change anything here. */
static const char *const without_effect[] = {"defaults", "async", "loud",   "silent", "nofail", "auto",
					     "noauto",   "user",  "nouser", "z",      "Z"};

/* A later word overrides an earlier one. */
static void combine(uint64_t *set, uint64_t *clear, uint64_t more_set, uint64_t more_clear)
{
	*set = (*set & ~more_clear) | more_set;
	*clear = (*clear & ~(more_set & ~MOUNT_ATTR__ATIME)) | more_clear;
}

/* What takes a mode away ("atime") changes nothing about a mount that is there: so mount(8) has always had it. */
static bool sets_atime(const char *word)
{
	return streq(word, "noatime") || streq(word, "relatime") || streq(word, "strictatime") ||
	       streq(word, "nodiratime");
}

static bool take_attribute(const char *word, MountOptions *o)
{
	const char *rest = str_after(word, "r");

	for (size_t i = 0; i < ELEMENTSOF(attributes); i++) {
		if (streq(attributes[i].name, word)) {
			combine(&o->set, &o->clear, attributes[i].set, attributes[i].clear);
			o->atime_given |= sets_atime(word);
			return true;
		}
		/* "ro" and "rw" begin with an r of their own. */
		if (rest && streq(attributes[i].name, rest)) {
			combine(&o->rec_set, &o->rec_clear, attributes[i].set, attributes[i].clear);
			return true;
		}
	}
	return false;
}

static bool take_propagation(const char *word, MountOptions *o)
{
	const char *rest = str_after(word, "r");

	for (size_t i = 0; i < ELEMENTSOF(propagations); i++) {
		bool recursive = rest && streq(propagations[i].name, rest);

		if (!recursive && !streq(propagations[i].name, word))
			continue;
		o->propagation = propagations[i].flag;
		o->propagation_recursive = recursive;
		return true;
	}
	return false;
}

static bool take_manner(const char *word, MountOptions *o)
{
	bool *const flags[] = {&o->bind,    &o->recursive_bind, &o->copy_up,
			       &o->remount, &o->idmap,          &o->recursive_idmap};

	_Static_assert(ELEMENTSOF(manners) == ELEMENTSOF(flags), "one flag for each word");
	for (size_t i = 0; i < ELEMENTSOF(manners); i++) {
		if (streq(manners[i], word)) {
			*flags[i] = true;
			o->bind |= o->recursive_bind;
			o->idmap |= o->recursive_idmap;
			return true;
		}
	}
	return false;
}

static bool is_without_effect(const char *word)
{
	for (size_t i = 0; i < ELEMENTSOF(without_effect); i++)
		if (streq(without_effect[i], word))
			return true;
	return false;
}

/* The attributes and propagations come twice, the second time recursive. */
const char *mount_option_name(size_t i)
{
	static _Thread_local char name[24];
	const size_t n_twice = ELEMENTSOF(attributes) + ELEMENTSOF(propagations);

	if (i < 2 * n_twice) {
		size_t k = i % n_twice;

		snprintf(name, sizeof(name), "%s%s", i < n_twice ? "" : "r",
			 k < ELEMENTSOF(attributes) ? attributes[k].name
						    : propagations[k - ELEMENTSOF(attributes)].name);
		return name;
	}
	i -= 2 * n_twice;
	if (i < ELEMENTSOF(manners))
		return manners[i];
	i -= ELEMENTSOF(manners);
	return i < ELEMENTSOF(without_effect) ? without_effect[i] : NULL;
}

int mount_options_parse(char *const *options, MountOptions *ret, Err *e)
{
	MountOptions o = {0};

	for (size_t i = 0; options && options[i]; i++) {
		const char *word = options[i];

		if (!*word || take_manner(word, &o) || take_propagation(word, &o) ||
		    take_attribute(word, &o) || is_without_effect(word))
			continue;
		if (strv_add(&o.params, word) < 0) {
			mount_options_done(&o);
			return err_oom(e);
		}
	}
	*ret = o;
	return 0;
}

void mount_options_done(MountOptions *o)
{
	strv_free(o->params);
	*o = (MountOptions){0};
}
