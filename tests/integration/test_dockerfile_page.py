# SPDX-License-Identifier: Apache-2.0
"""docs/dockerfile.md names a test for each line of the language's checklist; each exists."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_line_of_the_checklist_has_tests_that_exist():
    page = (ROOT / "docs/dockerfile.md").read_text()
    ours = "\n".join(p.read_text() for p in ROOT.glob("tests/*/test_*.py"))
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| what |", "| rules |"))]
    assert len(rows) > 40
    missing = []
    for row in rows:
        tests = re.findall(r"`((?:\w+: )?\w+)`", row.rsplit("|", 2)[1])
        assert tests, row
        for test in tests:
            file, _, name = test.rpartition(": ")
            known = (ROOT / f"src/dockerfile/{file}-test.c").read_text() if file else ours
            found = f"cmocka_unit_test({name})" in known if file else f"\ndef {name}(" in known
            if not found:
                missing.append(test)
    assert not missing
