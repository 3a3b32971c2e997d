# SPDX-License-Identifier: Apache-2.0
"""COPY, all of it: what is taken, where it goes, what it looks like there, and trees that are out to do harm."""
import json
import os
import re
import stat
import struct
import subprocess
import tarfile
import threading

import pytest


@pytest.fixture
def box(ireko, folder, name):
    """box(dockerfile, files={...}, *options): builds in a fresh context with blanks in its name; returns what was printed."""
    made = set()

    def build(dockerfile, files=None, *options, check=True, tag=None):
        for path, data in (files or {}).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
        (folder / "Dockerfile").write_text(dockerfile)
        made.add(tag or name)
        p = ireko("build", "-t", tag or name, *options, folder, check=check)
        return p.stdout + p.stderr

    yield build
    for tag in made:
        ireko("rmi", "-f", tag, check=False)


@pytest.fixture
def look(ireko, name):
    """look(command): what a shell in the image says."""
    return lambda command: ireko.out("run", "--rm", "--network", "none", name, "sh", "-c", command)


def refused(box, line, pattern, files=None):
    out = box(f"FROM busybox\n{line}\n", files, check=False)
    assert re.search(pattern, out) and "Successfully" not in out, out


# ---- flags ----

def test_chown(box, look):
    box("""FROM busybox
ARG WHO=7:8
RUN echo 'app:x:1001:0::/:/bin/sh' >> /etc/passwd && echo 'staff:x:50:' >> /etc/group
COPY --chown=app a /named
COPY --chown=app:staff a /both
COPY --chown=33 a /number
COPY --chown=app:77 a /mixed
COPY --chown=$WHO a /variable
COPY --chown=app:staff d /new/way/to
COPY a /root
""", {"a": "a", "d/x": "x"})
    assert look("stat -c '%u:%g' /named /both /number /mixed /variable /root /new /new/way /new/way/to /new/way/to/x").split() == [
        "1001:0", "1001:50", "33:33", "1001:77", "7:8", "0:0", "1001:50", "1001:50", "1001:50", "1001:50"]
    refused(box, "COPY --chown=nobodyhere a /x", r"unable to find user nobodyhere")


def test_chmod(box, look, folder):
    (folder / "run.sh").write_text("x")
    (folder / "run.sh").chmod(0o640)
    box("""FROM busybox
ARG M=u+x,go=rX
COPY --chmod=4711 run.sh /octal
COPY --chmod=$M run.sh /symbolic
COPY --chmod=go=u run.sh /copied
COPY --chmod=a=rX d /dir
COPY run.sh /kept
""", {"d/sub/f": "f"})
    assert look("stat -c %a /octal /symbolic /copied /dir/sub /dir/sub/f /kept").split() == ["4711", "755", "666", "555", "444", "640"]
    refused(box, "COPY --chmod=8888 run.sh /x", r"invalid chmod parameter: '8888'. it should be octal string and between 0 and 07777")
    refused(box, "COPY --chmod=u+q run.sh /x", r"invalid chmod parameter: 'u\+q'")


def test_exclude(box, look):
    box("""FROM busybox
ARG P=*.log
COPY --exclude=**/*.md --exclude=$P d /a
COPY --exclude=*.txt --exclude=sub/ *.* /b/
COPY --exclude=* --exclude=!sub --exclude=sub/*.md d /c
""", {"d/a.md": "", "d/a.txt": "", "d/x.log": "", "d/sub/b.md": "", "d/sub/c.txt": "", "d/sub/x.log": "", "one.txt": "", "two.bin": ""})
    assert look("cd /a; find . -type f | sort; cd /b; find . -type f; cd /c; find . -type f | sort").split() == [
        "./a.txt", "./sub/c.txt", "./sub/x.log", "./two.bin", "./sub/c.txt", "./sub/x.log"]


def test_parents(box, look):
    files = {"x/a.txt": "", "x/deep/er/b.txt": "", "x/deep/c.bin": "", "y/d.txt": "", "y/私/e.txt": ""}
    box("""FROM busybox
COPY --parents x/a.txt y/d.txt /plain/
COPY --parents ./x/./deep/er/b.txt /pivot/
COPY --parents **/*.txt /stars/
COPY --parents x/./**/*.txt /both/
COPY --parents y /whole/
COPY --parents nothing*/at/all /none/
""", files)
    assert look("for d in plain pivot stars both whole; do cd /$d; find . -type f | sort; done; ls -d /none; stat -c %a /stars/x").split() == [
        "./x/a.txt", "./y/d.txt", "./deep/er/b.txt", "./x/a.txt", "./x/deep/er/b.txt", "./y/d.txt", "./y/私/e.txt", "./a.txt", "./deep/er/b.txt", "./y/d.txt", "./y/私/e.txt",
        "/none", "755"]
    refused(box, "COPY --parents x/missing /y/", r'"/x/missing": not found')


def test_link(box, look):
    box("""FROM busybox
RUN mkdir /real && ln -s real /way && echo old > /real/f
COPY --link a /way/f
COPY --link=true --chown=1:1 --chmod=600 a /other/f
COPY --link=false a /real/g
""", {"a": "new"})
    # A layer of its own: the link of the image is not followed, a directory takes its place.
    assert look("cat /way/f /real/f /real/g; stat -c '%F %u %a' /way /other/f").split("\n") == ["newold", "newdirectory 0 755", "regular file 1 600"]


def test_flags_are_known_and_single(box):
    refused(box, "COPY --form=x a /b", r"unknown flag: (--)?form", {"a": ""})
    refused(box, "COPY --checksum=sha256:00 a /b", r"unknown flag: (--)?checksum|checksum can't be specified for COPY")
    refused(box, "COPY --chown=1 --chown=2 a /b", r"duplicate flag specified: (--)?chown")
    refused(box, "COPY --link=maybe a /b", r"expecting boolean value for flag (--)?link")


# ---- sources ----

def test_wildcards(box, look):
    files = {f"w/{n}": n for n in ("a1.txt", "a2.txt", "b1.txt", "a*c", "c.txt")}
    files["w/sub/deep/x.h"] = "x"
    box("""FROM busybox
COPY w/a?.txt /q/
COPY w/[^a]*.txt /n/
COPY w/[a-b]1.txt /r/
COPY ["w/a[*]c", "/l/"]
COPY */*/*/x.h /d/
COPY w/b1.txt w/none* /some/
""", files)
    assert look("cd /; for d in q n r l d some; do ls /$d; done").split() == ["a1.txt", "a2.txt", "b1.txt", "c.txt", "a1.txt", "b1.txt", "a*c", "x.h", "b1.txt"]
    refused(box, "COPY w/none /x", r'"/w/none": not found')
    refused(box, "COPY w/*.txt /single", r"destination must be a directory and end with a /")


def test_variables_and_json(box, look):
    box("""FROM busybox
ARG NAME="with blank" EXT=txt
WORKDIR /work
COPY ["$NAME.txt", "to $EXT"]
COPY ${NAME}.${EXT} ${EXT:-none}/
""", {"with blank.txt": "x"})
    assert look("ls /work; ls /work/txt").split("\n") == ["to txt", "txt", "with blank.txt"]


def test_ignored_files_are_not_there(box, look, folder):
    files = {".dockerignore": "*.secret\nhidden\n!hidden/shown\n/Dockerfile\n", "a.secret": "s", "b.txt": "b", "hidden/in": "s", "hidden/shown": "y"}
    box("FROM busybox\nCOPY . /c/\nCOPY hidden /h/\nCOPY hidden/shown /s\n", files)
    assert look("cd /c; find . -type f | sort; ls /h").split() == ["./.dockerignore", "./b.txt", "./hidden/shown", "shown"]
    for line in ("COPY a.secret /x", "COPY hidden/in /x", "COPY Dockerfile /x"):
        refused(box, line, r'"/[^"]*": not found')
    assert "a.secret" not in look("find / -xdev -name a.secret")


def test_links_among_sources(box, look, folder):
    (folder / "d").mkdir()
    (folder / "d/f").write_text("f")
    (folder / "to-file").symlink_to("d/f")
    (folder / "to-dir").symlink_to("d")
    (folder / "d/inner").symlink_to("f")
    (folder / "d/away").symlink_to("/etc/hostname")
    (folder / "broken").symlink_to("nowhere")
    box("FROM busybox\nCOPY to-file /file\nCOPY to-dir /dir\nCOPY to-dir/f /through\nCOPY broken /broken\n")
    assert look("stat -c %F /file /dir /through /broken; readlink /dir/inner; readlink /dir/away; readlink /broken").split("\n") == [
        "regular file", "directory", "regular file", "symbolic link", "f", "/etc/hostname", "nowhere"]


def test_heredocs(box, look):
    box("""FROM busybox
ENV NAME=world
COPY <<hello.txt <<"raw.txt" /h/
hello $NAME ${NAME%d} \\$NAME 'it is $NAME'
hello.txt
hello $NAME \\n
raw.txt
COPY --chmod=755 --chown=5:6 <<-EOF /script
	#!/bin/sh
	echo ran
	EOF
""")
    assert look("cat /h/hello.txt /h/raw.txt; /script; stat -c '%a %u:%g' /h/hello.txt /script").split("\n") == [
        "hello world worl $NAME 'it is world'", "hello $NAME \\n", "ran", "644 0:0", "755 5:6"]


# ---- destinations ----

def test_destinations(box, look):
    box("""FROM busybox
RUN mkdir -p /usr/real /t/sub && ln -s /usr/real /ld && echo old > /usr/old && ln -s ../usr/old /t/lf && ln -s ../usr/new /t/ln && chmod 700 /t/sub
WORKDIR /w
COPY a rel
COPY a rel-dir/
COPY a .
COPY a /ld
COPY a /t/lf
COPY a /t/ln
COPY d /t
COPY a /made/on/the/way
""", {"a": "new", "d/sub/x": "x", "d/y": "y"})
    assert look("cat /w/rel /w/rel-dir/a /w/a /usr/real/a /usr/old /usr/new; readlink /ld; readlink /t/lf").replace("\n", " ") == "new" * 6 + "/usr/real ../usr/old"
    assert look("stat -c '%a %u' /made /made/on/the /t/sub; ls /t/sub").split() == ["755", "0", "755", "0", "755", "0", "x"]
    refused(box, "COPY a /etc/passwd/", r"cannot copy to non-directory")
    refused(box, "COPY d /etc/passwd", r"cannot copy to non-directory")
    refused(box, "RUN mkdir -p /z/y\nCOPY d /z", r"cannot replace to directory y with file")
    refused(box, "RUN mkdir /z && ln -s /etc /z/sub\nCOPY d /z", r"cannot copy to non-directory: sub")
    refused(box, "RUN ln -s round /round\nCOPY a /round", r"symbolic link")


# ---- what is kept ----

def test_kept_in_copies_from_images(box, look, name):
    box("""FROM busybox AS made
RUN mkdir /s && cd /s && echo x > a && ln a b && mkdir d && ln a d/c && mkfifo fifo && mknod null c 1 3 && ln -s a l && chown 12:34 a && chown -h 5:6 l && chmod 4750 a && chmod 1777 d \\
    && touch -d '2001-02-03 04:05:06' a && truncate -s 10000000 sparse && echo end >> sparse
FROM busybox
COPY --from=made /s /t
COPY --from=made /s/sparse /s/null /u/
""")
    out = look("cd /t; stat -c '%n %F %u:%g %a %h' a b d/c fifo l d; stat -c '%t,%T' null; stat -c %Y a; stat -c '%s %b' sparse; stat -c %F /u/null; readlink l").split("\n")
    assert out[:3] == [f"{n} regular file 12:34 4750 3" for n in ("a", "b", "d/c")]
    assert out[3:8] == ["fifo fifo 0:0 644 1", "l symbolic link 5:6 777 1", "d directory 0:0 1777 2", "1,3", str(981173106)]
    size, blocks = map(int, out[8].split())
    assert size == 10000004 and blocks < 100
    assert out[9:] == ["character special file", "a"]


def test_attributes_are_kept(box, ireko, name, folder):
    capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0).decode("latin-1")
    with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as t:
        entry = tarfile.TarInfo("ping")
        entry.pax_headers = {"SCHILY.xattr.user.note": "mine", "SCHILY.xattr.security.capability": capability}
        t.addfile(entry)
    box("FROM busybox AS made\nADD a.tar /s/\nFROM busybox\nCOPY --from=made --chown=1:1 --chmod=755 /s /t\n")
    ireko("save", "-o", folder / "out.tar", name)
    with tarfile.open(folder / "out.tar") as archive:
        layers = [archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()]
    assert any(b"SCHILY.xattr.security.capability=" in d and b"SCHILY.xattr.user.note=mine" in d and b"t/ping" in d for d in layers)


def test_times_of_the_context_are_kept(box, look, folder):
    (folder / "f").write_text("x")
    os.utime(folder / "f", ns=(1, 1234567890123456789))
    box("FROM busybox\nCOPY f /f\n")
    assert look("stat -c %Y /f") == "1234567890"


def test_same_inputs_same_layer_with_source_date_epoch(box, ireko, name, folder):
    def layers(tag):
        return json.loads(ireko.out("image", "inspect", tag))[0]["RootFS"]["Layers"]

    text = "FROM busybox\nWORKDIR /a/b\nCOPY f /new/dir/f\nCOPY <<EOF /h\ntext\nEOF\n"
    box(text, {"f": "x"}, "--build-arg", "SOURCE_DATE_EPOCH=1000000000")
    first = layers(name)
    os.utime(folder / "f")
    box(text, None, "--build-arg", "SOURCE_DATE_EPOCH=1000000000", "--no-cache", tag=f"{name}-again")
    assert layers(f"{name}-again") == first


# ---- the cache ----

def test_key_is_what_is_taken(box, folder):
    files = {"d/a": "1", "d/b": "2", "other": "x", ".dockerignore": "d/skipped\n"}
    text = "FROM busybox\nCOPY --exclude=log d /d\n"

    def cached():
        return len(re.findall("CACHED|Using cache", box(text))) == 1

    box(text, files)
    assert cached()
    (folder / "other").write_text("changed")
    (folder / "d/log").write_text("excluded")
    (folder / "d/skipped").write_text("ignored")
    os.utime(folder / "d/a", (1, 1))
    assert cached()
    for change in (lambda: (folder / "d/a").write_text("3"), lambda: (folder / "d/a").chmod(0o755), lambda: (folder / "d/new").write_text(""), lambda: (folder / "d/new").rename(folder / "d/newer"),
                   lambda: (folder / "d/l").symlink_to("a")):
        change()
        assert not cached()
        assert cached()


def test_a_file_with_its_old_size_and_time_is_seen(box, folder, look):
    text = "FROM busybox\nCOPY f /f\n"
    for content in ("one", "two", "six"):
        (folder / "f").write_text(content)
        os.utime(folder / "f", (1000, 1000))
        box(text)
        assert look("cat /f") == content


def test_digests_survive_damage(box, folder, engine, look):
    text = "FROM busybox\nCOPY f /f\n"
    box(text, {"f": "one"})
    os.utime(folder / "f", (1000, 1000))
    memo = engine.data_root / "build/digests"
    memo.parent.mkdir(exist_ok=True)
    memo.write_bytes(b"garbage" * 1000)
    box(text, {"f": "two"})
    assert look("cat /f") == "two"


# ---- harm ----

def test_special_files_of_a_context(box, folder, look):
    os.mkfifo(folder / "fifo")
    import socket
    with socket.socket(socket.AF_UNIX) as s:
        at = os.open(folder, os.O_RDONLY)
        s.bind(f"/proc/self/fd/{at}/sock")
        os.close(at)
        box("FROM busybox\nCOPY . /c\nCOPY fifo /f\n")
    assert look("ls /c; stat -c %F /f").split() == ["Dockerfile", "fifo", "fifo"]
    os.mknod(folder / "dev", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    refused(box, "COPY . /c", r"dev(: it is a device| is not allowed here)")
    refused(box, "COPY dev /c", r"dev(: it is a device| is not allowed here)")


def test_links_of_a_context_lead_nowhere(box, folder, look):
    (folder / "up").symlink_to("../../../../../../../../etc")
    (folder / "abs").symlink_to("/etc")
    (folder / "proc").symlink_to("/proc/self/root/etc/hostname")
    for line in ("COPY up/hostname /x", "COPY abs/passwd /x", "COPY ../../../../etc/passwd /x", "COPY /etc/passwd /x"):
        refused(box, line, r'"/[^"]*": not found')
    box("FROM busybox\nCOPY proc /p\n")
    assert look("readlink /p") == "/proc/self/root/etc/hostname"


def test_a_tree_that_is_too_deep(box, folder):
    at = os.open(folder, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d", dir_fd=at)
        deeper = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    try:
        refused(box, "COPY . /c", r"nested more than \d+ deep")
    finally:
        subprocess.run(["rm", "-rf", folder / "d"], check=True)


def test_a_huge_sparse_file_is_refused_before_it_is_read(box, folder):
    with open(folder / "huge", "wb") as f:
        f.truncate(1 << 43)
    refused(box, "COPY huge /h", r"larger than the limit of \d+ bytes")


def test_a_tree_that_changes_under_the_build(box, folder, look):
    """Whatever comes of it, the layer is never found again under the key of other contents."""
    stop = threading.Event()
    (folder / "d").mkdir()
    for i in range(200):
        (folder / f"d/{i}").write_text("0" * 1000)

    def change():
        n = 0
        while not stop.is_set():
            n += 1
            (folder / f"d/{n % 200}").write_text(str(n) * 300)
            (folder / "d/swap").unlink(missing_ok=True)
            (folder / "d/swap").symlink_to("/etc") if n % 2 else (folder / "d/swap").write_text("file")

    t = threading.Thread(target=change)
    t.start()
    try:
        out = box("FROM busybox\nCOPY d /d\n", None, check=False)
    finally:
        stop.set()
        t.join()
    if "naming to" not in out:
        assert re.search(r"build again|No such file|no such file", out), out
    box("FROM busybox\nCOPY d /d\n")
    want = {f"{i}": (folder / f"d/{i}").read_text() for i in range(200)}
    assert {f"{i}": line for i, line in enumerate(look("for i in $(seq 0 199); do cat /d/$i; echo; done").split("\n"))} == want


# ---- --link
def layers(ireko, name):
    return json.loads(ireko.out("image", "inspect", name))[0]["RootFS"]["Layers"]


def test_a_linked_layer_outlives_its_base(box, ireko, name):
    """It is the same layer over another base, and what comes after it is made anew."""
    text = f"COPY --link --chown=7:8 f /{name}/f\nRUN cat /{name}/f /base >/seen\n"
    box(f"FROM busybox AS base\nRUN echo 1 >/base\nFROM base\n{text}", {"f": "linked"})
    first = layers(ireko, name)
    said = box(f"FROM busybox AS base\nRUN echo 2 >/base\nFROM base\n{text}", {"f": "linked"}, "--progress=plain")
    again = layers(ireko, name)
    assert first[-2] == again[-2] and first[-3] != again[-3] and first[-1] != again[-1]
    steps = {line.split()[0]: line for line in said.splitlines() if "COPY" in line or "RUN cat" in line}
    cached = [number for number in steps if f"{number} CACHED" in said]
    assert [steps[n] for n in cached if "COPY" in steps[n]] and not [n for n in cached if "RUN cat" in steps[n]]
    assert ireko.out("run", "--rm", name, "cat", "/seen") == "linked2"
    assert ireko.out("run", "--rm", name, "stat", "-c", "%u:%g", f"/{name}", f"/{name}/f").split() == ["7:8", "7:8"]
    # And over nothing at all.
    box(f"FROM scratch\nCOPY --link --chown=7:8 f /{name}/f\n", {"f": "linked"})
    assert layers(ireko, name) == [first[-2]]


def test_directories_that_are_there_stay_as_they_are(box, ireko, name):
    for text in ("COPY --link --chown=7:8 f /d/f\nCOPY --link --chown=7:8 f /d/e/g/h\n", "COPY --link --chown=7:8 . /d/\nCOPY --link --chown=7:8 f /d/e/g/h\n", "COPY --link --chown=7:8 --chmod=600 f /d/f\nCOPY --link --chown=7:8 f /d/e/g/h\n"):
        box(f"FROM busybox\nRUN mkdir -m 750 /d && chown 3:4 /d && mkdir -m 711 /d/e\n{text}", {"f": "x"})
        assert ireko.out("run", "--rm", name, "stat", "-c", "%a %u:%g", "/d", "/d/f", "/d/e", "/d/e/g", "/d/e/g/h").splitlines() == [
            "750 3:4", "600 7:8" if "chmod" in text else "644 7:8", "711 0:0", "755 7:8", "644 7:8"]
    # A base in which it looks different is another one.
    box("FROM busybox\nRUN mkdir -m 700 /d\nCOPY --link --chown=7:8 f /d/f\n", {"f": "x"})
    assert ireko.out("run", "--rm", name, "stat", "-c", "%a %u:%g", "/d").strip() == "700 0:0"


def test_a_name_is_who_the_base_says(box, ireko, name):
    for number in (50, 60):
        box(f"FROM busybox\nRUN echo someone:x:{number}:{number}::/:/bin/sh >>/etc/passwd\nCOPY --link --chown=someone f /owned\n", {"f": "x"})
        assert ireko.out("run", "--rm", name, "stat", "-c", "%u", "/owned").strip() == str(number)


def test_a_linked_directory_replaces_a_link(box, ireko, name):
    box("FROM busybox\nRUN mkdir /real && ln -s real /way && chmod 700 /real\nCOPY --link f /way/f\n", {"f": "x"})
    assert ireko.out("run", "--rm", name, "sh", "-c", "test ! -L /way && cat /way/f && ls -A /real && stat -c %a /way") == "x755"
