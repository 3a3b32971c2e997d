/* SPDX-License-Identifier: Apache-2.0 */
/* build: its options, and which way is taken (build.h). */
#include "build.h"
#include "base/fd.h"
#include "base/str.h"
#include "client.h"
#include "config.h"
#include "endpoint.h"
#include "verbs.h"

#define O(field) offsetof(BuildOptions, field)
static const Flag flags[] = {
    {"add-host", 0, FLAG_LIST, O(hosts), "Entry of /etc/hosts: HOST:IP", NULL},
    {"allow", 0, FLAG_CSV, O(allow), "What RUN may ask for: network.host, security.insecure", NULL},
    {"annotation", 0, FLAG_LIST, O(annotations),
     "Annotation of the image's manifest: KEY=VALUE; of its index: index:KEY=VALUE", NULL},
    {"attest", 0, FLAG_LIST, O(attests),
     "What is attested of the image: type=sbom or type=provenance[,mode=max]", NULL},
    {"build-arg", 0, FLAG_LIST, O(args), "Set an ARG: NAME=VALUE, or NAME to take our variable", NULL},
    {"build-context", 0, FLAG_LIST, O(contexts),
     "Another context: NAME=DIR, or NAME=docker-image://IMAGE, a URL or a git repository", NULL},
    {"builder", 0, FLAG_STRING, O(builder), NULL, NULL},
    {"cache-from", 0, FLAG_LIST, O(cache_from),
     "Where cached steps are taken from: an image, or type=registry,ref=IMAGE or type=local,src=DIR", NULL},
    {"cache-to", 0, FLAG_LIST, O(cache_to),
     "Where cached steps are written to: type=registry,ref=IMAGE, type=local,dest=DIR or type=inline", NULL},
    {"call", 0, FLAG_STRING, O(call),
     "Do not build, but tell about the Dockerfile: check, outline or targets[,format=json]", NULL},
    {"cgroup-parent", 0, FLAG_STRING, O(cgroup_parent), "Parent cgroup of RUN", NULL},
    {"check", 0, FLAG_BOOL, O(check), "The same as --call=check", NULL},
    {"compress", 0, FLAG_BOOL, O(compress), NULL, NULL},
    {"cpu-period", 0, FLAG_INT, O(resources.cpu_period), "Period of the CPU quota in microseconds", NULL},
    {"cpu-quota", 0, FLAG_INT, O(resources.cpu_quota), "CPU time in each period in microseconds", NULL},
    {"cpu-shares", 'c', FLAG_INT, O(resources.cpu_shares), "Relative weight of CPU time", NULL},
    {"cpuset-cpus", 0, FLAG_STRING, O(resources.cpuset_cpus), "CPUs to run on (0-3, 0,1)", NULL},
    {"cpuset-mems", 0, FLAG_STRING, O(resources.cpuset_mems), "Memory nodes to use (0-3, 0,1)", NULL},
    {"disable-content-trust", 0, FLAG_BOOL, O(disable_content_trust), NULL, NULL},
    {"explain", 0, FLAG_BOOL, O(explain), "Say for each step why it was or was not taken from the cache",
     NULL},
    {"file", 'f', FLAG_STRING, O(file), "Dockerfile (default PATH/Dockerfile), - for standard input", NULL},
    {"force-rm", 0, FLAG_BOOL, O(force_rm), "Remove the container of a RUN that fails, whatever --rm says",
     NULL},
    {"iidfile", 0, FLAG_STRING, O(iidfile), "Write the image's id to this file", NULL},
    {"isolation", 0, FLAG_STRING, O(isolation), NULL, NULL},
    {"label", 0, FLAG_LIST, O(labels), "Set a label of the image", NULL},
    {"load", 0, FLAG_BOOL, O(load), "The image is for the engine's images (as it is without --output)", NULL},
    {"memory", 'm', FLAG_BYTES, O(resources.memory), "Limit of memory", NULL},
    {"memory-swap", 0, FLAG_BYTES, O(resources.memory_swap),
     "Limit of memory and swap together; -1: no limit", NULL},
    {"metadata-file", 0, FLAG_STRING, O(metadata_file),
     "Write what is known of the result to this file, as JSON", NULL},
    {"network", 0, FLAG_STRING, O(network), "Network of RUN", NULL},
    {"no-cache", 0, FLAG_BOOL, O(no_cache), "Run every step anew", NULL},
    {"no-cache-filter", 0, FLAG_CSV, O(no_cache_filter), "Run the steps of these stages anew", NULL},
    {"output", 'o', FLAG_LIST, O(outputs),
     "Where the result goes: DIR, - or type=local|tar|docker|oci|image|registry|cacheonly[,dest=PATH]", NULL},
    {"platform", 0, FLAG_CSV, O(platforms), "Platforms of the image: OS/ARCH[/VARIANT], several with commas",
     NULL},
    {"progress", 0, FLAG_STRING, O(progress), "How progress is shown: auto, tty, plain, rawjson or quiet",
     NULL},
    {"provenance", 0, FLAG_STRING, O(provenance), "Attest what the image was made from: true, mode=max",
     NULL},
    {"pull", 0, FLAG_BOOL, O(pull), "Look for newer base images", NULL},
    {"push", 0, FLAG_BOOL, O(push), "Push the image to its registry afterwards", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Print only the image's id", NULL},
    {"rm", 0, FLAG_TRI, O(rm), "Remove the container of a RUN that fails (default true)", NULL},
    {"sbom", 0, FLAG_STRING, O(sbom), "Attest which packages are in the image: true", NULL},
    {"secret", 0, FLAG_LIST, O(secrets), "A secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=NAME]",
     NULL},
    {"security-opt", 0, FLAG_CSV, O(security_opts), "Security option of RUN: of other engines", NULL},
    {"shell-on-fail", 0, FLAG_BOOL, O(shell_on_fail), "Open a shell in what a failed RUN has left", NULL},
    {"shm-size", 0, FLAG_BYTES, O(shm_size), "Size of /dev/shm in RUN", NULL},
    {"squash", 0, FLAG_BOOL, O(squash), "Make one layer of the new ones", NULL},
    {"ssh", 0, FLAG_LIST, O(agents), "An ssh agent for RUN --mount=type=ssh: default or ID[=SOCKET]", NULL},
    {"tag", 't', FLAG_LIST, O(tags), "Name of the image: NAME[:TAG]", NULL},
    {"target", 0, FLAG_STRING, O(target), "Stage to build", NULL},
    {"ulimit", 0, FLAG_LIST, O(ulimits), "Resource limit of RUN: NAME=SOFT[:HARD]", "ulimit"},
    {0},
};
#undef O

void build_outcome_done(BuildOutcome *o)
{
	free(o->id);
	free(o->digest);
	free(o->failed_container);
	free(o->failed_image);
	close_fd(&o->held_fd);
}

static void plan_done(BuildPlan *p)
{
	context_done(&p->context);
	build_output_done(&p->output);
	strv_free(p->tags);
	free(p->platform);
}

static int not_offered(const char *flag, const char *value, const char *remedy, Err *e)
{
	return err_new(e, ERR_UNSUPPORTED, "--%s %s is not offered: %s", flag, value, remedy);
}

/* What an engine or we cannot do is refused by its name. */
static int check_offered(const BuildOptions *o, Err *e)
{
	if (!str_empty(o->builder) && !streq(o->builder, "default"))
		return not_offered("builder", o->builder, "the engine of the context builds (see --context)",
				   e);
	return 0;
}

/* Why the tar is the way to go, or NULL. */
static const char *classic_reason(const Cli *cli, const BuildPlan *p)
{
	const char *wanted = getenv("DOCKER_BUILDKIT");

	if (wanted && (streq(wanted, "0") || streq(wanted, "false")))
		return "DOCKER_BUILDKIT=0";
	if (cli->dial.kind != DIAL_SOCKET || !cli->address.path)
		return "an engine that is not on this machine";
	if (p->o->security_opts.v || p->o->isolation)
		return "--security-opt and --isolation";
	return NULL;
}

static int run_plan(Call *call, const BuildPlan *p, BuildOutcome *out, Err *e)
{
	const char *reason, *lacks;
	int r = endpoint_find(call->cli, e);

	if (r < 0)
		return r;
	reason = classic_reason(call->cli, p);
	if (!reason) {
		r = build_local(call, p, out, e);
		if (r <= 0)
			return r;
		reason = "an engine that cannot be handed directories";
	}
	lacks = build_classic_lacks(p);
	return lacks ? err_new(e, ERR_UNSUPPORTED, "%s cannot be used with %s", lacks, reason)
		     : build_classic(call, p, out, e);
}

/* What needs an index or a manifest, and where it has no place. */
static int check_documents(const BuildPlan *p, Err *e)
{
	bool several = p->platform && strchr(p->platform, ',');
	bool image = p->output.kind == OUT_IMAGE || p->output.kind == OUT_ARCHIVE;

	if ((p->provenance || p->sbom || p->o->annotations.v) && !image)
		return err_new(
		    e, ERR_INVALID,
		    "--annotation, --provenance and --sbom say something of an image, and --output "
		    "writes files: leave them away, or use type=oci");
	if (p->output.kind == OUT_ARCHIVE && streq(p->output.format, "docker") &&
	    (several || p->provenance || p->sbom || p->o->annotations.v))
		return err_new(e, ERR_INVALID,
			       "an archive of type=docker has one image and nothing about it: use type=oci");
	return 0;
}

static int make_plan(const Call *call, BuildPlan *p, Err *e)
{
	BuildOptions *o = call->opts;
	int r = check_offered(o, e);

	if (r == 0)
		r = config_add_proxies(call->cli, &o->args.v, e);
	if (r == 0 && o->iidfile && unlink(o->iidfile) < 0 && errno != ENOENT)
		r = err_sys(e, errno, "remove the old image ID file %s", o->iidfile);
	if (r == 0)
		r = build_output_parse(o, &p->output, &p->tags, e);
	if (r == 0 && o->platforms.v && !(p->platform = strv_join(o->platforms.v, ",")))
		r = err_oom(e);
	if (r == 0)
		r = build_attest_parse(o, p, e);
	if (r == 0)
		r = check_documents(p, e);
	return r == 0 ? context_open(call->args[0], o->file, &p->context, e) : r;
}

/* The engine removes what it held, and then has nothing more to say. */
static void let_go(BuildOutcome *out)
{
	char buf[256];
	ssize_t n;

	(void)shutdown(out->held_fd, SHUT_WR);
	do
		n = read(out->held_fd, buf, sizeof(buf));
	while (n > 0 || (n < 0 && errno == EINTR));
	close_fd(&out->held_fd);
}

/* With what a step has left. */
static int after_failure(Cli *cli, BuildOutcome *out, Err *e)
{
	int r = 0;

	if (out->failed_image) {
		r = build_shell_image(cli, out->failed_image, e);
		let_go(out);
	} else
		cli_complain(cli, "The step's container is kept: %s builder shell %.12s", cli->program,
			     out->failed_container);
	return r < 0 ? r : 1;
}

/* "build shell [CONTAINER]" is "builder shell", where no directory is called so. */
static bool is_shell(const Call *call)
{
	return streq(call->args[0], "shell") && access("shell", F_OK) < 0;
}

static int run_build(Call *call, Err *e)
{
	BuildOptions *o = call->opts;
	_cleanup_(plan_done) BuildPlan p = {.o = o, .context = {.fd = -1}};
	_cleanup_(build_outcome_done) BuildOutcome out = {.held_fd = -1};
	bool image;
	int r;

	if (is_shell(call)) {
		call->args++;
		call->n_args--;
		return cmd_builder_shell.run(call, e);
	}
	if (call->n_args > 1)
		return err_new(e, ERR_INVALID, "'%s %s' requires 1 argument", call->cli->program, call->path);
	r = make_plan(call, &p, e);
	if (r == 0 && (o->check || (o->call && !streq(o->call, "build"))))
		return build_call(call, &p, o->check ? "check" : o->call, e);
	if (r == 0)
		r = run_plan(call, &p, &out, e);
	if (r < 0 && out.failed_container) {
		cli_complain(call->cli, "%s", err_msg(e, r));
		return after_failure(call->cli, &out, e);
	}
	if (r < 0)
		return r;
	image = p.output.kind == OUT_IMAGE || p.output.kind == OUT_ARCHIVE;
	if (image && !out.id && (o->quiet || o->iidfile || p.output.kind == OUT_ARCHIVE))
		return err_new(e, ERR_INTERNAL, "the engine did not tell the image's id");
	if (o->quiet && image)
		(void)printf("%s\n", out.id);
	return build_output_finish(call->cli, &p, &out, e);
}

const Command cmd_build = {.usage = "[OPTIONS] PATH | URL | -",
			   .summary = "Build an image from a Dockerfile",
			   .flags = flags,
			   .opts_size = sizeof(BuildOptions),
			   .min = 1,
			   .max = 2,
			   .run = run_build};
