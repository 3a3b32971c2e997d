# SPDX-License-Identifier: Apache-2.0
"""`make check` runs the clients that are quick to install and to run; IREKO_CLIENTS=all (make check-clients) runs all of them."""
from compose import ALL

collect_ignore = [] if ALL else ["test_devcontainer_cli.py", "test_node.py"]
