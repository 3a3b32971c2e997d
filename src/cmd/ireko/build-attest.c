/* SPDX-License-Identifier: Apache-2.0 */
/* What is attested of an image: --provenance and --sbom, which are short for --attest type=provenance and type=sbom. The last word counts. */
#include "base/str.h"
#include "build.h"

static int parse_flag(const char *flag, const char *value, Err *e)
{
	if (streq(value, "true") || streq(value, "1"))
		return 1;
	if (streq(value, "false") || streq(value, "0"))
		return 0;
	return err_new(e, ERR_INVALID, "%s=%.100s: expected true or false", flag, value);
}

static int set_provenance(BuildPlan *p, char *const *fields, Err *e)
{
	p->provenance = "min";
	for (char *const *f = fields; *f; f++) {
		if (streq(*f, "type=provenance") || streq(*f, "mode=min") || streq(*f, "disabled=false") ||
		    streq(*f, "version=v1"))
			continue;
		if (streq(*f, "mode=max"))
			p->provenance = "max";
		else if (streq(*f, "disabled=true")) {
			p->provenance = NULL;
			return 0;
		} else
			return err_new(e, ERR_INVALID,
				       "provenance: %.100s: expected mode=min, mode=max or disabled=true",
				       *f);
	}
	return 0;
}

static int set_sbom(BuildPlan *p, char *const *fields, Err *e)
{
	p->sbom = true;
	for (char *const *f = fields; *f; f++) {
		if (streq(*f, "disabled=true"))
			p->sbom = false;
		else if (!streq(*f, "type=sbom") && !streq(*f, "disabled=false"))
			return err_new(
			    e, ERR_INVALID,
			    "sbom: %.100s: expected nothing more: the engine lists the packages of "
			    "dpkg and apk itself",
			    *f);
	}
	return 0;
}

static int parse_one(BuildPlan *p, const char *text, Err *e)
{
	_cleanup_strv_ char **fields = strv_split(text, ',');

	if (!fields)
		return err_oom(e);
	if (strv_has(fields, "type=provenance"))
		return set_provenance(p, fields, e);
	if (strv_has(fields, "type=sbom"))
		return set_sbom(p, fields, e);
	return err_new(e, ERR_INVALID,
		       "invalid argument \"%.100s\" for \"--attest\" flag: expected "
		       "type=provenance or type=sbom",
		       text);
}

int build_attest_parse(const BuildOptions *o, BuildPlan *p, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && o->attests.v && o->attests.v[i]; i++)
		r = parse_one(p, o->attests.v[i], e);
	if (r >= 0 && o->provenance && strchr(o->provenance, '=')) {
		_cleanup_strv_ char **fields = strv_split(o->provenance, ',');

		r = fields ? set_provenance(p, fields, e) : err_oom(e);
	} else if (r >= 0 && o->provenance) {
		r = parse_flag("--provenance", o->provenance, e);
		p->provenance = r > 0 ? "min" : NULL;
	}
	if (r >= 0 && o->sbom) {
		r = parse_flag("--sbom", o->sbom, e);
		p->sbom = r > 0;
	}
	return MIN2(r, 0);
}
