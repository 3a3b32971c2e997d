# SPDX-License-Identifier: Apache-2.0
"""The list of mutations: which attack, its tests, the defence, and how to take it out. See run."""
import mutations_api
import mutations_attacks
import mutations_build
import mutations_credentials
import mutations_cve
import mutations_images
import mutations_logs
import mutations_network
import mutations_pods
import mutations_proxy
import mutations_registry
import mutations_rootless
import mutations_volumes

INTRODUCTION = """
# Attacks, and what holds against them

Every test below was seen failing with its defence taken out of the source. `make check-mutations` does that again for all of them
(`tests/mutations/run -k WORD` for some): it applies each replacement of `tests/mutations/` to a copy of the source, builds it and expects the tests to fail.
This page is made from the same list, by `tests/mutations/run --table`.

The tests are in `tests/integration/test_runtime_cve.py` (what befell runc and crun, named after the CVE) and
`tests/integration/test_runtime_attacks.py` (classes of attack); `tests/attacker.c` is the hostile program that they put into the container or let
loose beside it. Those of user namespaces, of callers without privilege and of checkpoints are among the other tests of these.

Hostile layers are in `tests/integration/test_unpack.py`, `test_unpack_hostile.py` and `test_images_hostile.py`; `test_unpack_cage.py` has an archive that has taken `ireko-unpack` over
(`tests/taken_over.c`). Registries that lie are in `test_registry_hostile.py`, `test_registry_hostile_push.py` and `test_registry_hostile_lists.py`, one row a lie. What concerns credentials is in `test_login.py`, volumes in `test_volumes.py`, what `docker cp` has known in `test_cp_hostile.py`, names in networks in `test_network_names.py`, and the proxy of published ports in `test_proxy.py`.
Clients of the API that mean ill are in `test_api_hostile.py`, floods of logs in `test_logs_servers.py`, and who does not keep up with a stream in `test_attach.py`.
The kubelet's door and CNI's plugins are in the files `test_cri_*.py`.
"""

ALL = [*mutations_cve.ALL, *mutations_attacks.ALL, *mutations_rootless.ALL, *mutations_images.ALL, *mutations_registry.ALL, *mutations_credentials.ALL, *mutations_volumes.ALL, *mutations_api.ALL, *mutations_build.ALL, *mutations_logs.ALL, *mutations_network.ALL, *mutations_pods.ALL, *mutations_proxy.ALL]

CLOSING = mutations_attacks.CLOSING
