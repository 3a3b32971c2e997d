# SPDX-License-Identifier: Apache-2.0
import dataclasses

EVERYTHING = ("ireko-runtime", "ireko-shim", "ireko-unpack", "ireko-proxy", "ireko-pause", "irekod", "ireko", "docker-credential-ireko")


@dataclasses.dataclass
class Mutation:
    name: str
    attack: str  # the CVE, or the class of the attack
    tests: list  # "test_file.py::test_function", or a single case of it
    defence: str  # file:function
    removed: str  # what the edits do
    edits: list  # (file, old text, new text); the old text occurs once
    programs: tuple = ("ireko-runtime",)
