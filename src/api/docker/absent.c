/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints of what is not offered: swarm mode, plugins, checkpoints. They answer as a dockerd does that is in no swarm, has no plugin and
 * is not experimental, so that clients which look whether there is something find out that there is not.
 */
#include "api/docker/door-internal.h"

int h_plugins(HttpRequest *rq, void *user, Err *e)
{
	return reply_doc(rq, 200, json_array(), e);
}

int h_plugin(HttpRequest *rq, void *user, Err *e)
{
	return err_new(e, ERR_NOT_FOUND, "plugin \"%s\" not found", http_param(rq, "name"));
}

int h_plugin_new(HttpRequest *rq, void *user, Err *e)
{
	return err_new(e, ERR_UNSUPPORTED, "plugins are not offered");
}

int h_swarm(HttpRequest *rq, void *user, Err *e)
{
	return err_new(e, ERR_UNAVAILABLE,
		       "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" "
		       "to connect this node to swarm "
		       "and try again.");
}

int h_swarm_join(HttpRequest *rq, void *user, Err *e)
{
	return err_new(e, ERR_UNSUPPORTED, "swarm mode is not offered");
}

int h_swarm_leave(HttpRequest *rq, void *user, Err *e)
{
	return err_new(e, ERR_UNAVAILABLE, "This node is not part of a swarm");
}

int h_checkpoint(HttpRequest *rq, void *user, Err *e)
{
	return err_new(e, ERR_UNSUPPORTED,
		       "This experimental feature is disabled by default. Start the Docker daemon in "
		       "experimental mode in order to enable it.");
}

/* Browsers ask before they send; there is nothing to say. */
int h_options(HttpRequest *rq, void *user, Err *e)
{
	return http_reply_empty(rq, 200);
}
