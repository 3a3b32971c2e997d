# SPDX-License-Identifier: Apache-2.0
"""One for each class of attack."""
from mutation import Mutation  # noqa: F401

ALL = []

CLOSING = ""
