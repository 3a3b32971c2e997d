/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI runtimes that containers may ask for by name: ours, and the programs that the engine was told of.
 *
 * The names of runc stand for ours unless a program has been given one: clients send them although their users never chose.
 */
#include "engine/engine-internal.h"

static const char *const own_names[] = {ENGINE_OWN_RUNTIME, "runc", "io.containerd.runc.v2"};

static bool is_own(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(own_names); i++)
		if (streq(name, own_names[i]))
			return true;
	return false;
}

int runtime_find(Engine *en, const char *name, const char **ret_program, Err *e)
{
	const char *program = strv_env_get((char **)(uintptr_t)en->options.runtimes, name);

	if (!program && !is_own(name))
		return err_new(e, ERR_INVALID, "unknown or invalid runtime name: %s", name);
	*ret_program = program;
	return 0;
}

char *runtime_state_root(Engine *en, const char *name, const char *program)
{
	return program ? strf("%s/runtime-%s", en->options.exec_root, name) : strdup(en->runtime_root);
}

int runtimes_check(Engine *en, Err *e)
{
	const char *program;
	int r = runtime_find(en, en->options.default_runtime, &program, NULL);

	if (r < 0)
		return err_new(e, ERR_INVALID, "--default-runtime %s: no runtime has that name",
			       en->options.default_runtime);
	for (char *const *v = en->options.runtimes; v && *v; v++) {
		const char *path = strchr(*v, '=') + 1;

		/* No reason to leave the containers of the others alone. */
		if (access(path, X_OK) < 0)
			log_warn("runtime %.*s: %s: %s", (int)(path - *v - 1), *v, path, strerror(errno));
	}
	return 0;
}

char *const *engine_runtimes(Engine *en)
{
	return en->options.runtimes;
}

const char *engine_default_runtime(Engine *en)
{
	return en->options.default_runtime;
}
