/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The little languages of run's flags: -p, --expose, -v, --mount, --tmpfs, --network, --ulimit, --device,
 * --gpus, --security-opt. Each adds to the JSON that the Engine API wants. Errors repeat what was given.
 */
#pragma once

#include "base/json.h"

/* "[ip:][host[-host]:]container[-container][/proto]": exposed["80/tcp"] = {}, bindings["80/tcp"] +=
 * {HostIp, HostPort}. */
int spec_add_port(const char *s, json_t *exposed, json_t *bindings, Err *e);
/* "80", "80-90/udp" */
int spec_add_exposed(const char *s, json_t *exposed, Err *e);
/* "[src:]dst[:options]": a bind or named volume goes to binds, relative sources made absolute; an
 * anonymous one to volumes. */
int spec_add_volume(const char *s, json_t *binds, json_t *volumes, Err *e);
/* "type=bind,src=...,dst=...,readonly" */
int spec_add_mount(const char *s, json_t *mounts, Err *e);
/* "/path[:options]" */
int spec_add_tmpfs(const char *s, json_t *tmpfs, Err *e);
/* "name" or "name=net,alias=a,ip=...": the endpoint's settings; *ret_name is malloc'ed. */
int spec_parse_network(const char *s, char **ret_name, json_t **ret_endpoint, Err *e);
/* "nofile=1024[:2048]" */
int spec_add_ulimit(const char *s, json_t *ulimits, Err *e);
/* "host[:container[:rwm]]"; a device of the CDI form ("vendor.com/class=name") goes to requests. */
int spec_add_device(const char *s, json_t *devices, json_t *requests, Err *e);
/* "all", "2", "device=0,1", "driver=..,capabilities=..,count=.." */
int spec_add_gpus(const char *s, json_t *requests, Err *e);
/* seccomp profiles are read and inlined; "systempaths=unconfined" is told by *ret_unconfined. */
int spec_add_security_opt(const char *s, json_t *opts, bool *ret_unconfined, Err *e);
/* "/dev/sda:10mb" for the device limits; the number may be bytes or plain. */
int spec_add_throttle(const char *s, bool bytes, json_t *list, Err *e);
/* "k=v" assignments as an object; a bare "k" is "" . */
int spec_map(char *const *assignments, json_t **ret, Err *e);
