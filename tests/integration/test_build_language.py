# SPDX-License-Identifier: Apache-2.0
"""What each line of the Dockerfile language does to an image. The expectations are those that docker 28's BuildKit meets: IREKO_CLIENTS=all holds them against it, too.

Most of what is expected is asked by RUN steps in the Dockerfiles themselves: a wrong answer fails the build.
"""
import json
import os
import re

import pytest

from builders import Ours, Theirs
from compose import ALL
from harness import add_file, make_tar

IS = 'is() { test "$1" = "$2" || { echo "got <$1>, not <$2>" >&2; exit 1; }; }; '
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


@pytest.fixture(scope="module", params=["ireko", "docker 28"] if ALL else ["ireko"])
def _builder(request):
    made = Ours(request.getfixturevalue("_shared_engine")) if request.param == "ireko" else Theirs()
    yield made
    made.close()


@pytest.fixture
def build(_builder):
    yield _builder
    _builder.forget()


def env_of(image):
    return dict(e.split("=", 1) for e in image.config.get("Env", []))


# ---- variables
def test_all_variables_of_a_line_are_those_before_it(build):
    image = build("FROM busybox\nENV a=1\nENV a=2 b=$a c=${a}x\nLABEL l=$a$b\n")
    assert env_of(image) == {"PATH": "/usr/bin:/bin", "a": "2", "b": "1", "c": "1x"} and image.config["Labels"] == {"l": "21"}


def test_expansion(build):
    forms = {
        "$v": "a.b.tar.gz", "${v}": "a.b.tar.gz", "${n:-w}": "w", "${n-w}": "w", "${e:-w}": "w", "${e-w}": "", "${v:+w}": "w", "${e:+w}": "", "${e+w}": "w", "${n+w}": "", "${v#*.}": "b.tar.gz",
        "${v##*.}": "gz", "${v%.*}": "a.b.tar", "${v%%.*}": "a", "${v/./-}": "a-b.tar.gz", "${v//./-}": "a-b-tar-gz", "${v#?.}": "b.tar.gz", "${n:-${v%%.*}z}": "az", "'$v'": "$v", '"$v"': "a.b.tar.gz",
        "\\$v": "$v", "x${v}y": "xa.b.tar.gzy", '"a b"': "a b", "a\\ b": "a b", "\"${v:?not said}\"": "a.b.tar.gz", "a'b'\"c\"": "abc", "$n": "", "${v%nothing}": "a.b.tar.gz", "${v/nothing/-}": "a.b.tar.gz"}
    labels = build("FROM busybox\nENV v=a.b.tar.gz e=\nLABEL " + " ".join(f"l{i}={form}" for i, form in enumerate(forms)) + "\n").config["Labels"]
    assert {form: labels[f"l{i}"] for i, form in enumerate(forms)} == forms


@pytest.mark.parametrize("text, words", [("${n:?it is wanted}", "it is wanted"), ("${e:?not empty}", "not empty"), ("${n?nothing}", "nothing"), ("${v", "Dockerfile:3"), ("${v:x}", "Dockerfile:3")])
def test_expansion_that_fails(build, text, words):
    said = build.fails(f"FROM busybox\nENV v=1 e=\nLABEL l=\"{text}\"\n")
    assert words in said and "Dockerfile:3" in said, said


def test_where_variables_are_expanded(build):
    """Everywhere but in commands, whose shell does it."""
    image = build("""FROM busybox
ENV p=80 d=/data u=user s=SIGINT w=/work f=a.txt e=from-env
COPY $f ${w}/copied
ADD ${f} $w/added
EXPOSE $p ${p}1/udp
VOLUME $d
WORKDIR $w
USER $u
STOPSIGNAL ${s}
LABEL $u=$p
CMD echo $e
ENTRYPOINT ["echo", "$e"]
HEALTHCHECK CMD echo $e
ONBUILD RUN echo $e
""", {"a.txt": "a"})
    c = image.config
    assert {"/work/copied", "/work/added"} <= set(image.tree)
    assert set(c["ExposedPorts"]) == {"80/tcp", "801/udp"} and set(c["Volumes"]) == {"/data"} and c["WorkingDir"] == "/work" and c["User"] == "user" and c["StopSignal"] == "SIGINT"
    assert c["Labels"] == {"user": "80"} and c["Cmd"] == ["/bin/sh", "-c", "echo $e"] and c["Entrypoint"] == ["echo", "$e"]
    assert c["Healthcheck"]["Test"] == ["CMD-SHELL", "echo $e"] and c["OnBuild"] == ["RUN echo $e"]


def test_env_forms(build):
    image = build('FROM busybox\nENV one=1 two="a b" \\\n  three=c\\ d\nENV legacy the rest of   the line\nENV empty=\n')
    assert env_of(image) == {"PATH": "/usr/bin:/bin", "one": "1", "two": "a b", "three": "c d", "legacy": "the rest of   the line", "empty": ""}


# ---- words of instructions: what a variable or an array holds is neither split nor unquoted a second time
WORDS = {
    'ENV a="x y" b=\'$a\' c="a\'b" d=\\$a e="\\$a" f=a\\ b g="q\\"q"': {"a": "x y", "b": "$a", "c": "a'b", "d": "$a", "e": "$a", "f": "a b", "g": 'q"q'},
    'ENV a="x  y $z"\nENV b=$a c="$a" d=${a}z': {"a": "x  y ", "b": "x  y ", "c": "x  y ", "d": "x  y z"},
    "ENV a=b=c d==e": {"a": "b=c", "d": "=e"},
    "ENV a=n\nENV $a=1 x$a=2": {"a": "n", "n": "1", "xn": "2"},
    "ENV x=1\nENV a $x \\$x ${x}y  'z'": {"x": "1", "a": "1 $x 1y  z"},
}


@pytest.mark.parametrize("lines", WORDS)
def test_words_of_env(build, lines):
    env = env_of(build(f"FROM busybox\n{lines}\n"))
    assert {k: v for k, v in env.items() if k != "PATH"} == WORDS[lines]


CONFIGS = [
    ('ENV k="a b"\nLABEL "$k"=1 \'$k\'=3 "x y"="z w"', "Labels", {"a b": "1", "$k": "3", "x y": "z w"}),
    ("LABEL a=\\$x b=\"\\${x}\" c='$x' e=a$ f=${x:-}$", "Labels", {"a": "$x", "b": "${x}", "c": "$x", "e": "a$", "f": "$"}),
    ('ENV p="80 81" q=90-91\nEXPOSE $p $q 1/udp', "ExposedPorts", {f"{p}": {} for p in ("80/tcp", "81/tcp", "90/tcp", "91/tcp", "1/udp")}),
    ("EXPOSE 127.0.0.1:80:90 [::1]:80:91/udp 5000:6000 1-2:3-4 82/", "ExposedPorts", {f"{p}": {} for p in ("90/tcp", "91/udp", "6000/tcp", "3/tcp", "4/tcp", "82/tcp")}),
    ("EXPOSE $nosuch", "ExposedPorts", None),
    ('ENV d=/a\nVOLUME ["$d", "/b c", "/d$x", " /x "]', "Volumes", {"/a": {}, "/b c": {}, "/d": {}, "/x": {}}),
    ('ENV d="/a /b"\nVOLUME $d "/q"', "Volumes", {"/a /b": {}, "/q": {}}),
    ('VOLUME ["/a\\\\b"]', "Volumes", {"/ab": {}}),
    ('ENV u="a b"\nUSER $u', "User", "a b"),
    ("USER a   b", "User", "a   b"),
    ('USER "a:b"', "User", "a:b"),
    ("USER 5\nUSER $nosuch", "User", None),
    ('ENV d="/x y"\nWORKDIR $d/z\nWORKDIR "p q"', "WorkingDir", "/x y/z/p q"),
    ("WORKDIR /a\\ b\nWORKDIR $nosuch", "WorkingDir", "/a b"),
    ("WORKDIR '/a$b'", "WorkingDir", "/a$b"),
    ('ENV s=9\nSTOPSIGNAL "$s"', "StopSignal", "9"),
    ('CMD ["$a", "b c", "d\\"e"]', "Cmd", ["$a", "b c", 'd"e']),
    ("CMD echo \"a  b\"   'c' $x \\$y", "Cmd", ["/bin/sh", "-c", "echo \"a  b\"   'c' $x \\$y"]),
    ("CMD", "Cmd", ["/bin/sh", "-c", ""]),
    ('CMD ["a"]\nENTRYPOINT ["b"]', "ArgsEscaped", True),
    ('ARG "a"=b\nARG n=x\nARG $n=5\nLABEL l=$a$x m=$n', "Labels", {"l": "", "m": "x"}),
    ("HEALTHCHECK --interval=5s NONE", "Healthcheck", {"Test": ["NONE"]}),
]


@pytest.mark.parametrize("lines, key, value", CONFIGS)
def test_words_of_the_configuration(build, lines, key, value):
    assert build(f"FROM busybox\n{lines}\n").config.get(key) == value


def test_words_of_copy(build):
    files = {"a b": "x", "c$d": "y"}
    image = build('FROM busybox\nENV f="a b"\nCOPY ["$f", "/d $f/"]\nCOPY $f /e/\nCOPY c\\$d /g/\nCOPY ["c\\\\$d", "/h/"]\n', files)
    assert {"/d a b/a b", "/e/a b", "/g/c$d", "/h/c$d"} <= set(image.tree)


@pytest.mark.parametrize("line, words", [("EXPOSE x:80", "invalid hostPort: x"), ("EXPOSE 1.2.3:70:80", "invalid IP address: 1.2.3"), ("EXPOSE 81/foo", 'invalid port: "81/foo": invalid proto: foo'),
                                         ("EXPOSE 70000", "invalid containerPort: 70000"), ('VOLUME ""', "VOLUME specified can not be an empty string"), ('VOLUME ["/c\\"d"]', "matching double-quote")])
def test_words_that_are_refused(build, line, words):
    assert words in build.fails(f"FROM busybox\n{line}\n")


def test_a_directory_that_is_a_file(build):
    assert "mkdir /f: not a directory" in build.fails("FROM busybox\nRUN touch /f\nWORKDIR /f\n")


def test_commands_of_nothing(build):
    image = build("FROM busybox\nRUN\nENTRYPOINT\n")
    assert image.config["Entrypoint"] == ["/bin/sh", "-c", ""]


def test_a_directory_of_a_user_who_is_not_there_yet_is_roots(build):
    image = build("FROM busybox\nUSER later\nWORKDIR /w/x\nUSER root\n")
    assert [image.tree[p][2:4] for p in ("/w", "/w/x")] == [(0, 0), (0, 0)]


# ---- ARG
def test_global_args_are_of_from_lines(build):
    build(f"""ARG base=busy
ARG image=${{base}}box given=default
FROM $image AS first
RUN {IS} is "$base$image$given" ""
ARG image
ARG given
ARG base=own
RUN {IS} is "$image $given $base" "busybox other own"
FROM first
RUN {IS} is "$image $given $base" "busybox other own"
""", None, "--build-arg", "given=other")


def test_arg_and_env(build):
    image = build(f"""FROM busybox
RUN {IS} is "$a" ""
ARG a=1 b c=$a
RUN {IS} is "$a-$b-$c" "1--1"
ENV a=env
RUN {IS} is "$a" env
ARG a
ARG d=${{a}}d
RUN {IS} is "$a $d" "env envd"
ARG a=2
RUN {IS} is "$a" 2
ARG PATH=/bin:/sbin
RUN {IS} is "$PATH" /bin:/sbin
ARG given=default
RUN {IS} is "$given" told
""", None, "--build-arg", "given=told")
    assert env_of(image) == {"PATH": "/usr/bin:/bin", "a": "env"}


def test_args_of_a_stage_are_its_own(build):
    build(f"""FROM busybox AS one
ARG a=1
FROM busybox AS two
RUN {IS} is "$a" ""
FROM one
RUN {IS} is "$a" 1
COPY --from=two /etc/passwd /p
""")


def test_predefined_args(build):
    """Proxies are there without being declared; history does not tell them, and they do not change what is cached."""
    text, given = f"FROM busybox\nRUN {IS} is \"$HTTP_PROXY $https_proxy $NO_PROXY\" \"$(cat /proc/sys/kernel/ostype | sed 's,.*,http://p.example http://q.example a.b,')\"\n", ["http://p.example", "http://q.example", "a.b"]
    options = [w for name, value in zip(("HTTP_PROXY", "https_proxy", "NO_PROXY"), given) for w in ("--build-arg", f"{name}={value}")]
    image = build(text, None, *options)
    assert "p.example" not in re.sub("sed.*", "", json.dumps(image.document["history"])) and "p.example" not in json.dumps(image.config)
    again = build("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/u\n", None, *options), build("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid >/u\n", None)
    assert again[0].tree["/u"] == again[1].tree["/u"]


def test_platform_args(build):
    build(f"""ARG TARGETARCH
FROM --platform=$BUILDPLATFORM busybox AS stage-{ARCH}
RUN {IS} is "$TARGETPLATFORM$TARGETOS$BUILDARCH" ""
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH
RUN {IS} is "$TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT $BUILDPLATFORM $BUILDOS $BUILDARCH" "linux/{ARCH} linux {ARCH}  linux/{ARCH} linux {ARCH}"
FROM stage-$TARGETARCH AS last
ARG TARGETSTAGE
RUN {IS} is "$TARGETSTAGE" "last"
""", None, "--target", "last")


# ---- stages
def test_only_what_the_target_needs_is_built(build):
    build("FROM busybox AS bad\nRUN exit 1\nFROM busybox AS good\nRUN true\nFROM bad AS worse\nRUN exit 2\nFROM good\nCOPY --from=good /etc/passwd /p\n")
    image = build("FROM busybox AS a\nLABEL l=a\nFROM a AS b\nLABEL l=b\nFROM busybox\nRUN exit 1\n", None, "--target", "b")
    assert image.config["Labels"] == {"l": "b"}
    assert "nosuch" in build.fails("FROM busybox AS a\n", None, "--target", "nosuch")


def test_names_of_stages(build):
    """Without regard to case; the last of a name wins; numbers."""
    image = build("FROM busybox AS Base\nRUN echo 1 >/f\nFROM busybox AS other\nRUN echo 2 >/g\nFROM base\nCOPY --from=BASE /f /copied\nCOPY --from=1 /g /g\n")
    assert {"/f", "/copied", "/g"} <= set(image.tree)
    image = build("FROM busybox AS busybox\nRUN echo 1 >/f\nFROM busybox\nRUN test -e /f\n")
    assert "/f" in image.tree
    assert "/b" in build("FROM busybox AS twin\nRUN echo a >/a\nFROM busybox AS twin\nRUN echo b >/b\nFROM twin\n").tree


@pytest.mark.parametrize("dockerfile, words", [
    ("FROM busybox AS a\nCOPY --from=b /x /\nFROM busybox AS b\nCOPY --from=a /x /\n", "circular dependency"),
    ("FROM busybox AS a\nCOPY --from=a /etc/passwd /x\n", "circular dependency"),
    ("FROM busybox AS 1a\n", "invalid name for build stage"),
    ("FROM busybox AS a b\n", "FROM requires either one or three arguments"),
    ("FROM\n", "FROM requires either one or three arguments"),
    ("ARG empty\nFROM ${empty}\n", "base name .*should not be blank"),
    ("COPY a b\nFROM busybox\n", "no build stage in current context"),
])
def test_stages_that_cannot_be(build, dockerfile, words):
    said = build.fails(dockerfile)
    assert re.search(words, said), said


def test_scratch(build):
    image = build("FROM scratch\nCOPY a /d/a\n", {"a": "a"})
    assert set(image.tree) == {"/d", "/d/a"} and image.config["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    assert image.document["os"] == "linux" and image.document["architecture"] == ARCH


def test_copy_from_an_image_that_is_no_stage(build):
    assert "/p" in build("FROM scratch\nCOPY --from=busybox /etc/passwd /p\n").tree


# ---- ONBUILD
def test_onbuild(build):
    base = build.build("FROM busybox\nONBUILD COPY a /a\nONBUILD RUN cat /a >/b\nONBUILD ENV o=1\n", {"a": "unused"}, tag="onbuild-base")
    assert build.image(base.tag).config["OnBuild"] == ["COPY a /a", "RUN cat /a >/b", "ENV o=1"]
    image = build("FROM onbuild-base\nRUN test -e /b && test $o = 1\n", {"a": "mine"}, tag="onbuild-child")
    assert {"/a", "/b"} <= set(image.tree) and "OnBuild" not in image.config
    assert "/a" in build("FROM onbuild-child\n", None).tree


def test_onbuild_copies_from_a_stage(build):
    build.build("FROM busybox\nONBUILD COPY --from=tools /tool /tool\n", tag="onbuild-from")
    assert "/tool" in build("FROM busybox AS tools\nRUN echo t >/tool\nFROM onbuild-from\n").tree


def test_triggers_that_need_one_another(build):
    """What a trigger names is known only when its image is there: stages that it needs are made then, and circles are refused."""
    build.build("FROM busybox\nONBUILD COPY --from=late /f /f\n", tag="onbuild-late")
    build.build("FROM busybox\nONBUILD COPY --from=second /f /f\n", tag="onbuild-second")
    image = build("FROM busybox AS lower\nRUN echo f >/f\nFROM busybox AS unused\nRUN exit 1\nFROM lower AS late\nRUN test -e /f\nFROM onbuild-late AS deep\nFROM deep\n")
    assert "/f" in image.tree
    for stages in ("FROM onbuild-late AS late\n", "FROM onbuild-late AS second\nFROM onbuild-second AS late\n", "FROM onbuild-late AS second\nFROM onbuild-second AS late\nFROM busybox\nCOPY --from=second / /\nCOPY --from=late / /\n"):
        said = build.fails(stages)
        # BuildKit finds out in other ways: it makes the stages in the order of the file.
        assert build.name != "ireko" or "circular dependency" in said, said


@pytest.mark.parametrize("line", ["ONBUILD ONBUILD RUN true", "ONBUILD FROM busybox", "ONBUILD MAINTAINER me", "ONBUILD"])
def test_onbuild_refuses(build, line):
    said = build.fails(f"FROM busybox\n{line}\n")
    assert "ONBUILD" in said.upper() and "Dockerfile:2" in said, said


# ---- commands, shells
def test_cmd_and_entrypoint(build):
    assert build("FROM busybox\nCMD a b\n").config["Cmd"] == ["/bin/sh", "-c", "a b"]
    assert build('FROM busybox\nCMD ["a", "b c"]\n').config["Cmd"] == ["a", "b c"]
    assert build("FROM busybox\nCMD [\"a\", 'b']\n").config["Cmd"] == ["/bin/sh", "-c", "[\"a\", 'b']"]
    base = build.build('FROM busybox\nCMD ["base"]\n', tag="cmd-base")
    assert build.image(base.tag).config["Cmd"] == ["base"]
    image = build('FROM cmd-base\nENTRYPOINT ["e"]\n')
    assert image.config["Entrypoint"] == ["e"] and "Cmd" not in image.config
    image = build('FROM cmd-base\nCMD ["own"]\nENTRYPOINT e f\n')
    assert image.config["Entrypoint"] == ["/bin/sh", "-c", "e f"] and image.config["Cmd"] == ["own"]
    assert "Cmd" not in build("FROM cmd-base\nCMD []\n").config


def test_shell(build):
    image = build("""FROM busybox
SHELL ["/bin/sh", "-ec"]
RUN false || echo kept >/kept; test -e /kept
CMD run me
ENTRYPOINT enter
HEALTHCHECK CMD check
""")
    c = image.config
    assert c["Shell"] == ["/bin/sh", "-ec"] and c["Cmd"] == ["/bin/sh", "-ec", "run me"] and c["Entrypoint"] == ["/bin/sh", "-ec", "enter"]
    assert c["Healthcheck"]["Test"] == ["CMD-SHELL", "check"]
    assert "SHELL requires the arguments to be in JSON form" in build.fails("FROM busybox\nSHELL /bin/sh -c\n")
    assert "SHELL requires at least one argument" in build.fails("FROM busybox\nSHELL []\n")


def test_run_forms(build):
    image = build("""FROM busybox
ENV v=x
RUN echo $v a\\
b >/shell
RUN ["sh", "-c", "echo \\"$v\\" $0", "zero"]
RUN ["touch", "/$v"]
RUN [ "a" = "a" ] && touch /bracket
""")
    assert {"/shell", "/$v", "/bracket"} <= set(image.tree)


def test_run_here_documents(build):
    build(f"""FROM busybox
ENV v=env
RUN <<EOF
echo "$v" >/one
echo two >>/one
EOF
RUN <<-"END" cat >/two
\tplain $v
\tEND
RUN cat /dev/stdin <<A >/three && cat <<B >/four
a $v
A
b
B
RUN sh -e <<'X'
echo x >/five
X
RUN {IS} is "$(cat /one /two /three /four /five | tr '\\n' ,)" 'env,two,plain $v,a env,b,x,'
""")


def test_a_here_document_that_names_its_interpreter(build):
    image = build("FROM busybox\nRUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" >\"/awk\" }\nEOF\nRUN test \"$(cat /awk)\" = awk && ! test -e /dev/pipes\n")
    assert "/awk" in image.tree and not [p for p in image.tree if "pipes" in p]


def test_copy_here_documents(build):
    image = build("""FROM busybox
ENV v=value
COPY <<one <<"two" /d/
a $v ${v%e}
one
a $v
two
ADD <<-three.txt /renamed
\t\ttabs
\tthree.txt
COPY --chmod=755 --chown=1:2 <<EOF /bin/script
#!/bin/sh
echo \\$v
EOF
RUN test "$(cat /d/one)" = "a value valu" && test "$(cat /d/two)" = 'a $v' && test "$(cat /renamed)" = tabs && test "$(v=1 script)" = 1
""")
    assert image.tree["/d/one"].mode == 0o644 and image.tree["/bin/script"][1:4] == (0o755, 1, 2)


# ---- the rest of the configuration
def test_healthcheck(build):
    c = build("FROM busybox\nHEALTHCHECK --interval=1m30s --timeout=3s --start-period=5s --start-interval=500ms --retries=4 CMD [\"a\", \"b\"]\n").config
    assert c["Healthcheck"] == {"Test": ["CMD", "a", "b"], "Interval": 90_000_000_000, "Timeout": 3_000_000_000, "StartPeriod": 5_000_000_000, "StartInterval": 500_000_000, "Retries": 4}
    assert build("FROM busybox\nHEALTHCHECK CMD x\nHEALTHCHECK NONE\n").config["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize("line", ["HEALTHCHECK", "HEALTHCHECK CMD", "HEALTHCHECK NONE x", "HEALTHCHECK --interval=x CMD y", "HEALTHCHECK --retries=-1 CMD y", "HEALTHCHECK --interval=1us CMD y", "HEALTHCHECK --nosuch=1 CMD y",
                                  "HEALTHCHECK OTHER x", "EXPOSE", "EXPOSE eighty", "EXPOSE 80000", "EXPOSE 9-8", "VOLUME", "STOPSIGNAL SIGNOSUCH"])
def test_lines_that_are_refused(build, line):
    assert "Dockerfile:2" in build.fails(f"FROM busybox\n{line}\n")


def test_expose(build):
    c = build("FROM busybox\nENV r=8000-8002\nEXPOSE 80 443/tcp 53/UDP 9000-9001/sctp $r\nEXPOSE 80\n").config
    assert set(c["ExposedPorts"]) == {"80/tcp", "443/tcp", "53/udp", "9000/sctp", "9001/sctp", "8000/tcp", "8001/tcp", "8002/tcp"}


def test_volume(build):
    assert set(build('FROM busybox\nVOLUME /a /b\nVOLUME ["/c", "/d e"]\nVOLUME rel\n').config["Volumes"]) == {"/a", "/b", "/c", "/d e", "rel"}
    # What is put there afterwards is kept.
    assert "/a/f" in build("FROM busybox\nVOLUME /a\nRUN mkdir -p /a && echo f >/a/f\n").tree


def test_user(build):
    image = build(f"""FROM busybox
USER user
RUN {IS} is "$(id -u):$(id -g)" 1000:1000; echo >/tmp/mine
USER 1234
RUN {IS} is "$(id -u):$(id -g)" 1234:0
USER 5:6
RUN {IS} is "$(id -u):$(id -g)" 5:6
USER user:extra
RUN {IS} is "$(id -g)" 2000
""")
    assert image.config["User"] == "user:extra" and image.tree["/tmp/mine"][2:4] == (1000, 1000)
    assert "nobody-there" in build.fails("FROM busybox\nUSER nobody-there\nRUN true\n")


def test_workdir(build):
    image = build(f"""FROM busybox
WORKDIR /a
WORKDIR b/../c
RUN {IS} is "$(pwd)" /a/c
ENV d=/e
WORKDIR $d/f
WORKDIR "/with blank"
COPY x here/
""", {"x": "x"})
    assert image.config["WorkingDir"] == "/with blank" and {"/a/c", "/e/f", "/with blank/here/x"} <= set(image.tree)
    assert image.tree["/e/f"][1:4] == (0o755, 0, 0) and "/a/b" not in image.tree


def test_a_workdir_belongs_to_the_user(build):
    image = build("FROM busybox\nUSER user\nWORKDIR /mine/too\nUSER 7:8\nWORKDIR /other\n")
    assert [image.tree[p][2:4] for p in ("/mine", "/mine/too", "/other")] == [(1000, 1000), (1000, 1000), (7, 8)]


def test_stopsignal(build):
    assert build("FROM busybox\nSTOPSIGNAL SIGUSR1\n").config["StopSignal"] == "SIGUSR1"
    assert build("FROM busybox\nSTOPSIGNAL 9\n").config["StopSignal"] == "9"


def test_labels(build):
    image = build('FROM busybox\nLABEL a=1 "b c"="d e" f=\'g h\' \\\n  multi="x \\\ny"\nLABEL legacy the rest\nLABEL a=2\n', None, "--label", "a=3", "--label", "cli=4")
    assert image.config["Labels"] == {"a": "3", "b c": "d e", "f": "g h", "multi": "x y", "legacy": "the rest", "cli": "4"}


def test_maintainer(build):
    assert build("FROM busybox\nMAINTAINER A Name <a@example.invalid>\n").document["author"] == "A Name <a@example.invalid>"


# ---- how it is written
def test_comments_and_continuations(build):
    image = build("""\ufeff# a comment

   # another
from busybox
RuN echo a \\
  # inside
   && echo b >/b \\

   && echo c >/c
LABEL a=1 \\
# commented
  b=2
  ENV indented=1
CMD echo # not a comment \\
""")
    assert {"/b", "/c"} <= set(image.tree) and image.config["Labels"] == {"a": "1", "b": "2"} and env_of(image)["indented"] == "1"
    assert image.config["Cmd"][2].startswith("echo # not a comment")


def test_the_escape_directive(build):
    image = build("# escape=`\nFROM busybox\nENV a=C:\\dir b=`$a\nRUN echo x `\n  >/x\n")
    assert env_of(image)["a"] == "C:\\dir" and env_of(image)["b"] == "$a" and "/x" in image.tree


def test_carriage_returns(build):
    image = build("FROM busybox\r\nENV a=1 \\\r\n  b=2\r\nRUN echo x >/x\r\n")
    assert env_of(image)["b"] == "2" and "/x" in image.tree


@pytest.mark.parametrize("dockerfile, words", [
    ("FROM busybox\nNOSUCH x\n", "unknown instruction: NOSUCH"), ("FROM busybox\nRUNN x\n", "unknown instruction: RUNN"), ("", "file with no instructions|cannot be empty"), ("# only\n", "file with no instructions"),
    ("FROM busybox\nENV a\n", "ENV must have two arguments"), ("FROM busybox\nENV\n", "ENV requires at least one argument"), ("FROM busybox\nCOPY a\n", "COPY requires at least two arguments"),
    ("FROM busybox\nUSER\n", "USER requires exactly one argument"), ("FROM busybox\nWORKDIR\n", "WORKDIR requires exactly one argument"),
    ("FROM busybox\nLABEL x=\"\n", "unexpected end of statement"), ("FROM busybox\nRUN --nosuch true\n", "unknown flag: --?nosuch"), ("FROM busybox\nCOPY --nosuch=1 a b\n", "unknown flag: --?nosuch"),
    ("FROM busybox\nRUN <<EOF\necho\n", "unterminated heredoc|here-document"), ("FROM busybox\nSTOPSIGNAL\n", "STOPSIGNAL requires exactly one argument"), ("FROM busybox\nARG\n", "ARG requires at least one argument"),
    ("FROM busybox\nADD --checksum=x a b\n", "checksum"), ("FROM busybox\nRUN --mount=type=nosuch true\n", "mount type"),
    ("FROM busybox\nRUN --network=nosuch true\n", "network"), ("FROM busybox\nRUN --security=nosuch true\n", "security"), ("FROM busybox\nCOPY missing /x\n", "not found"),
])
def test_mistakes(build, dockerfile, words):
    said = build.fails(dockerfile, {"a": "a"})
    assert re.search(words, said), said


# ---- history
def test_history(build):
    image = build("""FROM busybox AS first
ARG v=1
ENV a=b c="d e"
ENV a=2 z=$a
FROM first
COPY --link --chmod=644 --chown=1:2 $a.txt y /a/
ADD --link=false --chown=user ["x", "/b b/"]
COPY --from=busybox /etc/passwd /p
COPY <<one <<-"two" /d/
1
one
2
two
WORKDIR /w
RUN --network=none --mount=type=tmpfs,target=/x echo "$v" >f
ENV legacy a   b
EXPOSE 80-82 53/udp
VOLUME /a /b
VOLUME ["/c d"]
LABEL "l m"="n o" p='q'
RUN ["touch", "/a b"]
HEALTHCHECK --interval=90s --retries=2 CMD ["a", "b"]
HEALTHCHECK NONE
STOPSIGNAL SIGINT
MAINTAINER me
ONBUILD RUN y
USER user
SHELL ["/bin/sh", "-ec"]
CMD a "b"
ENTRYPOINT ["a", "b"]
ARG q
ARG q=1 r=$a s
RUN <<EOF
echo "$q" >/tmp/x
EOF
""", {"2.txt": "", "x": "x", "y": "y"})
    assert image.history[1:] == [
        ("ARG v=1", True), ("ENV a=b c=d e", True), ("ENV a=2 z=b", True), ("COPY --chown=1:2 --chmod=644 2.txt y /a/ # buildkit", False), ("ADD --chown=user x /b b/ # buildkit", False),
        ("COPY /etc/passwd /p # buildkit", False), ("COPY <<one <<two /d/ # buildkit", False), ("WORKDIR /w", False), ("RUN |1 v=1 /bin/sh -c echo \"$v\" >f # buildkit", False), ("ENV legacy=a   b", True),
        ("EXPOSE [53/udp 80/tcp 81/tcp 82/tcp]", True), ("VOLUME [/a /b]", True), ("VOLUME [/c d]", True), ("LABEL l m=n o p=q", True), ("RUN |1 v=1 touch /a b # buildkit", False),
        ("HEALTHCHECK &{[\"CMD\" \"a\" \"b\"] \"1m30s\" \"0s\" \"0s\" \"0s\" '\\x02'}", True), ("HEALTHCHECK &{[\"NONE\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x00'}", True), ("STOPSIGNAL SIGINT", True),
        ("MAINTAINER me", True), ("USER user", True), ("SHELL [/bin/sh -ec]", True), ("CMD [\"/bin/sh\" \"-ec\" \"a \\\"b\\\"\"]", True), ("ENTRYPOINT [\"a\" \"b\"]", True), ("ARG q", True), ("ARG q=1 r=2 s", True),
        ("RUN |4 v=1 q=1 r=2 s= /bin/sh -ec echo \"$q\" >/tmp/x\n # buildkit", False)]
    assert len([1 for _, empty in image.history if not empty]) == len(image.layers) == len(image.document["rootfs"]["diff_ids"])


# ---- reproducible
def test_source_date_epoch(build):
    image = build("FROM busybox\nRUN echo x >/x\nCOPY a /a\nENV b=c\n", {"a": "a"}, "--build-arg", "SOURCE_DATE_EPOCH=1700000000")
    assert image.document["created"] == "2023-11-14T22:13:20Z"
    assert {h["created"] for h in image.document["history"][1:]} == {"2023-11-14T22:13:20Z"}
    build("FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN test \"$SOURCE_DATE_EPOCH\" = 1700000000\n", None, "--build-arg", "SOURCE_DATE_EPOCH=1700000000")


def test_two_engines_give_the_same_digest(new_engine, folder):
    (folder / "Dockerfile").write_text("FROM busybox AS one\nRUN echo one >/one; mkdir /d; echo x >/d/x; ln /d/x /d/y\nFROM busybox\nWORKDIR /w\nCOPY . .\nCOPY --from=one /d /d\nCOPY --from=one /one /one\n"
                                       "LABEL a=b\nCMD [\"x\"]\n")
    (folder / "sub").mkdir()
    (folder / "sub/f").write_text("f")
    ids = []
    for _ in range(2):
        engine = new_engine()
        engine.cli("build", "-t", "repro", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", folder)
        ids.append(json.loads(engine.cli("image", "inspect", "repro").stdout)[0]["Id"])
    assert ids[0] == ids[1]


# ---- ignore files
def test_dockerignore(build):
    image = build("FROM scratch\nCOPY . /\n", {".dockerignore": "# c\n*.log\n!keep.log\n/top\n**/deep\nsub/*/x\n  spaced  \n", "a.log": "", "keep.log": "", "top": "", "d/top": "", "d/deep/f": "", "sub/1/x": "",
                                               "sub/1/y": "", "spaced": ""})
    assert set(image.tree) == {"/.dockerignore", "/Dockerfile", "/keep.log", "/d", "/d/top", "/sub", "/sub/1", "/sub/1/y"}


def test_archives_are_unpacked_by_add_alone(build):
    tar = make_tar(lambda t: (add_file(t, "in/f", b"f", uid=7, gid=8, mode=0o640), add_file(t, "in/l", type=b"2", linkname="f", mode=0o777)))
    image = build("FROM scratch\nADD a.tar /added\nCOPY a.tar /copied/\n", {"a.tar": tar})
    assert image.tree["/added/in/f"][1:4] == (0o640, 7, 8) and image.tree["/added/in/l"].content == "f" and image.tree["/copied/a.tar"].kind == "file" and "/added/a.tar" not in image.tree
