# SPDX-License-Identifier: Apache-2.0
"""Build checks: warnings of a build point at the Dockerfile's line, and may be errors where the Dockerfile wants it so."""
import pytest


@pytest.fixture
def build(engine, folder, name):
    """build(dockerfile, *options) -> what the builder printed, colours off."""
    def run(dockerfile, *options, check=True):
        (folder / "Dockerfile").write_text(dockerfile)
        p = engine.cli("build", "--progress=plain", "-t", name, *options, folder, check=check)
        return p.stdout + p.stderr

    yield run
    engine.cli("rmi", "-f", name, check=False)


def test_a_warning_names_its_rule_and_line(build, folder):
    (folder / ".dockerignore").write_text("secret\n")
    (folder / "secret").write_text("x")
    said = build("FROM busybox AS Base\nWORKDIR /${undefinde}\nCMD sleep 1\n")
    assert "Stage name 'Base' should be lowercase (line 1)" in said
    assert "Usage of undefined variable '$undefinde' (line 2)" in said
    assert "JSON arguments recommended for CMD" in said and "(line 3)" in said


def test_warnings_are_shown_as_buildx_shows_them(engine, folder, name):
    (folder / "Dockerfile").write_text("FROM scratch AS Base\nLABEL a b\n")
    said = engine.cli("build", folder).stderr
    assert "\n 2 warnings found (use --debug to expand):\n - StageNameCasing: Stage name 'Base' should be lowercase (line 1)\n - LegacyKeyValueFormat: " in said
    assert "More info" not in said
    said = engine.cli("--debug", "build", folder).stderr
    assert """ 2 warnings found:
 - StageNameCasing: Stage name 'Base' should be lowercase (line 1)
Stage names should be lowercase
More info: https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
Dockerfile:1
--------------------
   1 | >>> FROM scratch AS Base
   2 |     LABEL a b
""" in said


def test_a_base_images_environment_is_not_missed(build, engine, name):
    build(f"FROM busybox\nENV of_{name.replace('-', '_')}=1\n")
    said = build(f"FROM {name}\nWORKDIR /x$of_{name.replace('-', '_')}$PATH\nWORKDIR /y$nothing\n")
    assert "undefined variable '$nothing'" in said
    assert said.count("undefined variable") == said.count("undefined variable '$nothing'")


def test_rules_are_skipped_and_made_errors(build):
    text = "FROM busybox AS Base\nLABEL a b\n"
    assert "should be" not in build("# check=skip=all\n" + text)
    said = build("# check=error=true;skip=StageNameCasing\n" + text, check=False)
    assert "lint violation found for rules: LegacyKeyValueFormat" in said
    said = build(text, "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=LegacyKeyValueFormat;error=true", check=False)
    assert "lint violation found for rules: StageNameCasing" in said
    assert "invalid check option" in build("# check=nonsense\n" + text, check=False)


def test_a_parse_error_shows_the_lines(build):
    said = build("FROM busybox\n\nFRO busybox\n", check=False)
    assert "unknown instruction: FRO (did you mean FROM?)" in said
    assert "   3 | >>> FRO busybox" in said
