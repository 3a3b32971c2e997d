/* SPDX-License-Identifier: Apache-2.0 */
/* The address plan of `network create`. */
#pragma once

#include "base/json.h"

/* IPAM.Config: each range, gateway and auxiliary address ("name=ip") goes to the subnet that holds it. A
 * new array, or NULL with the Err filled. */
json_t *ipam_config(char *const *subnets, char *const *ranges, char *const *gateways, char *const *aux,
		    Err *e);
