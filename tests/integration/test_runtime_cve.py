# SPDX-License-Identifier: Apache-2.0
"""The vulnerabilities that runc and crun have had, each tried against ireko-runtime.

Every test was seen failing with its defence taken out: tests/mutations does that, docs/security-tests.md lists it.
"""
import json
import os
import re
import shutil
import stat
import subprocess
import time

import pytest

from harness import wait_until
from runtime_bundle import CGROUPS, RUNTIME, read_until, receive_console, snapshot, swapping

RACES = 40
LABEL = "system_u:system_r:container_t:s0"


@pytest.fixture
def outside(tmp_path):
    """A directory of the host beside the bundle, which no container has any business in."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("of the host")
    (path / "ptmx").write_text("mine")
    (path / "core").write_text("mine")
    before = snapshot(path)
    yield path
    assert snapshot(path) == before


def up_to(path):
    """The same place by a relative link that climbs more than there is."""
    return "../" * 30 + str(path).lstrip("/")


def replace_by_link(path, target):
    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) and not os.path.islink(path) else None
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(str(target), path)


def with_console(box, tmp_path, *args):
    """A started container with a terminal: its id and the master."""
    box.config["process"].update(terminal=True, args=list(args))
    cid = box.new_id()
    box.save(cid)
    sock = str(tmp_path / f"console-{cid}")
    fd = receive_console(sock, lambda: subprocess.Popen(
        [RUNTIME, "--root", box.state, "create", "-b", box.dir, "--console-socket", sock, cid], stderr=subprocess.DEVNULL))
    box.cmd("start", cid, check=True)
    return cid, fd


def fake_attr(folder):
    """What a runtime would write a label to, if it took this for /proc."""
    files = [os.path.join(folder, d, "attr", *sub) for d in ("self", "thread-self") for sub in (("exec",), ("apparmor", "exec"))]
    for f in files:
        os.makedirs(os.path.dirname(f), exist_ok=True)
        open(f, "w").close()
    return files


# --- runc ---


@pytest.mark.parametrize("how", ["exec", "run"])
def test_cve_2019_5736_overwrite_of_the_runtime(box, tmp_path, how):
    """The image's command is /proc/self/exe: what runs in the container then is the runtime. Somebody in there keeps its file open,
    and opens it again for writing when it has ended."""
    runtime = str(tmp_path / "runtime")
    shutil.copy(RUNTIME, runtime)
    before = open(runtime, "rb").read()

    def call(*args, **kw):
        p = subprocess.run([runtime, "--root", box.state, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, **kw)
        return p.returncode

    box.attacker()
    os.symlink("/proc/self/exe", box.root + "/evil")
    with open(box.root + "/script", "w") as f:
        f.write("#!/proc/self/exe\n")
    os.chmod(box.root + "/script", 0o755)
    box.allow("CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE")
    box.config["process"]["args"] = ["sh", "-c", "exec attack exe PWNED 60 > /tmp/said"]
    box.save("attacker")
    assert call("run", "-d", "-b", box.dir, "attacker") == 0

    def said(what):
        return os.path.exists(box.root + "/tmp/said") and what in open(box.root + "/tmp/said").read()

    wait_until("the attacker to look", lambda: said("looking"))
    if how == "run":
        pid = box.status("attacker")["pid"]
        next(n for n in box.config["linux"]["namespaces"] if n["type"] == "pid")["path"] = f"/proc/{pid}/ns/pid"
        # "update -r -" reads its stdin, so it stays as long as that is open.
        box.config["process"]["args"] = ["/evil", "update", "-r", "-", "x"]
        box.save("evil")
        r, w = os.pipe()
        assert call("run", "-d", "-b", box.dir, "evil", stdin=r) == 0
        os.close(r)
        wait_until("the attacker to catch it", lambda: said("caught"))
        os.close(w)
    else:
        for _ in range(500):
            call("exec", "-d", "attacker", "/script")
            if said("caught"):
                break
    wait_until("the attacker to try", lambda: said("open for writing"))
    assert not said("OVERWRITTEN") and open(runtime, "rb").read() == before
    assert said("EROFS")


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("over", [True, False])
def test_cve_2019_16884_mount_over_proc(box, tmp_path, kind, over):
    """A volume on /proc: nothing but procfs may be there, or labels and masks would go to the image's own files."""
    fake = tmp_path / "fake"
    files = fake_attr(str(fake))
    if not over:
        box.unmount("/proc")
    box.bind(fake, "/proc", kind=kind)
    box.config["process"]["selinuxLabel"] = LABEL
    p = box.run("true")
    assert p.returncode == 1 and "procfs" in p.stderr
    assert [open(f).read() for f in files] == [""] * 4


@pytest.mark.parametrize("link", ["/tmp", "tmp", "../../tmp", "/nowhere"])
@pytest.mark.parametrize("where", ["proc", "sys"])
def test_cve_2019_19921_proc_is_a_symlink(box, link, where):
    """procfs mounted somewhere else is procfs unmasked."""
    replace_by_link(f"{box.root}/{where}", link)
    p = box.run("true")
    assert p.returncode == 1 and "symbolic link" in p.stderr


def test_cve_2023_27561_proc_is_exchanged(box):
    """The same with a neighbour who shares the root filesystem and wins races: wherever procfs ends up, it is masked there."""
    evil = box.root + "/evil"
    os.makedirs(evil + "/sys/kernel")
    open(evil + "/keys", "w").close()
    os.symlink("/evil", box.root + "/x")
    ran = 0
    with swapping(box.root + "/proc", box.root + "/x"):
        for _ in range(RACES):
            p = box.run("sh", "-c", "for d in /proc /x; do cd $d && [ -e self/status ] && stat -c '%t:%T' keys && echo 1 > sys/kernel/panic; done; true")
            # The names go on changing under the script's feet: it may find procfs under neither.
            if not p.stdout:
                continue
            assert p.stdout in ("1:3\n", "1:3\n1:3\n") and "Read-only" in p.stderr, (p.stdout, p.stderr)
            ran += 1
    assert ran > 0


def test_cve_2023_28642_label_through_a_symlinked_proc(box):
    """The label is written to a procfs that is known to be one, also if the container has none at all."""
    files = fake_attr(box.root + "/fake")
    box.unmount("/proc")
    replace_by_link(box.root + "/proc", "/fake")
    box.config["process"]["selinuxLabel"] = LABEL
    p = box.run("true")
    assert p.returncode == 1 and LABEL in p.stderr
    assert [open(f).read() for f in files] == [""] * 4


def test_cve_2021_30465_mount_target_is_exchanged(box, tmp_path, outside):
    """A volume whose inside is swapped for a symlink while the next mount is made in it: that mount is always inside the root."""
    volume, data = tmp_path / "volume", tmp_path / "data"
    (volume / "sub").mkdir(parents=True)
    data.mkdir()
    (data / "here").touch()
    os.symlink(str(outside), volume / "x")
    box.bind(volume, "/vol")
    box.bind(data, "/vol/sub")
    with swapping(volume / "sub", volume / "x"):
        for _ in range(RACES):
            p = box.run("sh", "-c", "grep -c /data /proc/self/mountinfo")
            assert p.returncode == 0 and p.stdout == "1\n", (p.stdout, p.stderr)


def test_cve_2021_43784_long_members(box):
    """A member longer than a 16 bit length can say must not push others out: the namespaces are there."""
    long = "x" * 70000
    box.config["annotations"] = {"long": long, "longer": long * 3}
    box.config["process"]["env"] += [f"LONG={long}"]
    ids = box.sh("for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; echo ${#LONG}").split()
    assert ids.pop() == "70000"
    assert not set(ids) & {os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "net", "ipc", "uts", "mnt", "cgroup")}
    box.config["hostname"] = long
    p = box.run("true")
    assert p.returncode == 1 and "host name" in p.stderr
    box.config["hostname"] = "box"
    box.bind("/" + long, "/x")
    p = box.run("true")
    assert p.returncode == 1 and "bind source" in p.stderr


def status_of(text):
    return {k: int(v, 16) for k, v in re.findall(r"^(Cap\w+):\s+(\w+)", text, re.M)}


def test_cve_2022_29162_inheritable_capabilities_of_exec(box):
    """--cap gives to the sets that count, and to no set from which a file could take it later."""
    cid = box.start("sleep", "100")
    caps = status_of(box.cmd("exec", "--cap", "CAP_NET_RAW", cid, "cat", "/proc/self/status", check=True).stdout)
    assert caps["CapInh"] == 0 and caps["CapAmb"] == 0
    assert caps["CapPrm"] & 1 << 13 and caps["CapBnd"] & 1 << 13
    caps = status_of(box.sh("cat /proc/self/status"))
    assert caps["CapInh"] == 0 and caps["CapAmb"] == 0


def test_cve_2022_27650_inheritable_capabilities_by_default(box):
    """What the caller of the runtime has in its inheritable and ambient sets is not the container's."""
    inherit = "import ctypes,os,sys; c=ctypes.CDLL(None); h=(ctypes.c_uint*2)(0x20080522,0); d=(ctypes.c_uint*6)(); c.capget(h,d); d[2]=d[1]; d[5]=d[4]; " \
              "assert c.capset(h,d)==0; assert c.prctl(47,2,13,0,0)==0; os.execv(sys.argv[1],sys.argv[1:])"
    cid = box.start("sleep", "100")
    for command in (["exec", cid, "cat", "/proc/self/status"], None):
        if not command:
            box.config["process"]["args"] = ["cat", "/proc/self/status"]
            box.save("inh")
            command = ["run", "-b", box.dir, "inh"]
        p = subprocess.run(["/usr/bin/python3", "-c", inherit, RUNTIME, "--root", box.state, *command], stdout=subprocess.PIPE, text=True, timeout=60)
        caps = status_of(p.stdout)
        assert p.returncode == 0 and caps["CapInh"] == 0 and caps["CapAmb"] == 0


@pytest.mark.parametrize("own", ["cgroup namespace", "none"])
def test_cve_2023_25809_cgroup_mount_in_a_user_namespace(box, own):
    """"ro" holds for every hierarchy, with and without a cgroup namespace, and only the container's own cgroup is shown."""
    box.user_namespace(host=0)
    if own == "none":
        box.without_namespace("cgroup")
    box.bind("cgroup", "/sys/fs/cgroup", "nosuid", "noexec", "nodev", "ro", kind="cgroup")
    box.allow("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    out = box.sh("cd /sys/fs/cgroup; find . -name cgroup.procs | while read f; do d=$(dirname $f); grep -qx 1 $f && echo has $d; "
                 "mkdir $d/x 2>&1 | grep -q Read-only || echo writable $d; echo 1 > $d/notify_on_release && echo written $d; done 2>/dev/null; true")
    assert "has ." in out and "writ" not in out, out


def test_cve_2024_21626_working_directory_on_the_host(box):
    """A working directory by way of a descriptor of the runtime's own, given as it is or as a symlink of the image."""
    cid = box.start("sleep", "100")
    for n in range(3, 20):
        os.symlink(f"/proc/self/fd/{n}", f"{box.root}/w{n}")
        for cwd in (f"/proc/self/fd/{n}", f"/w{n}", f"/proc/thread-self/fd/{n}", f"/proc/1/fd/{n}"):
            box.config["process"]["cwd"] = cwd
            p = box.run("sh", "-c", "pwd -P; cat ../../../../../../etc/hostname")
            assert p.returncode == 1 and "cwd" in p.stderr, (cwd, p.stdout, p.stderr)
            p = box.cmd("exec", "--cwd", cwd, cid, "pwd", "-P")
            assert p.returncode == 255 and "cwd" in p.stderr, (cwd, p.stdout, p.stderr)


@pytest.mark.parametrize("how", ["run", "exec"])
def test_cve_2024_21626_leaked_descriptors(box, how):
    """The command has descriptors 0 to 2, and none of them leads to the host."""
    box.attacker()
    command = ["attack", "descriptors", RUNTIME]
    out = box.out(*command) if how == "run" else box.cmd("exec", box.start("sleep", "100"), *command, check=True).stdout
    assert out.split("\n") == ["0", "1", "2", ""]


@pytest.mark.parametrize("link", [str, up_to])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_cve_2024_45310_mount_point_made_on_the_host(box, tmp_path, outside, link, kind):
    """What is missing below a mount point is made inside the root, whatever is exchanged meanwhile for a link to the host."""
    volume, data = tmp_path / "volume", tmp_path / "data"
    (volume / "a").mkdir(parents=True)
    os.symlink(link(outside), volume / "x")
    if kind == "directory":
        data.mkdir()
    else:
        data.touch()
    box.bind(volume, "/vol")
    box.bind(data, "/vol/a/b/c")
    inside = os.open(volume / "a", os.O_RDONLY)
    with swapping(volume / "a", volume / "x"):
        for _ in range(RACES):
            p = box.run("true")
            assert p.returncode == 0 or "error mounting" in p.stderr and "/vol/a/b/c" in p.stderr
            shutil.rmtree("b", dir_fd=inside, ignore_errors=True)
            shutil.rmtree(box.root + str(outside), ignore_errors=True)
    os.close(inside)


@pytest.mark.parametrize("how", ["a link", "exchanged"])
def test_cve_2025_31133_masked_by_something_else(box, how):
    """A masked file is covered by the host's null device, not by what the image has at /dev/null."""
    box.unmount("/dev", "/dev/pts", "/dev/shm")
    open(box.root + "/victim", "w").write("writable")
    os.symlink("/victim", box.root + "/dev/null")
    script = ["sh", "-c", "stat -c '%t:%T' /proc/keys /proc/timer_list"]
    if how == "a link":
        assert box.out(*script) == "1:3\n1:3\n"
        return
    os.mknod(box.root + "/dev/other", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with swapping(box.root + "/dev/null", box.root + "/dev/other"):
        for _ in range(RACES):
            p = box.run(*script)
            # The runtime removes the link where it meets it: there is a new one for the next time.
            os.symlink("/victim", box.root + "/dev/new")
            os.rename(box.root + "/dev/new", box.root + "/dev/other")
            assert p.stdout == "1:3\n1:3\n" or "/dev/null" in p.stderr, (p.stdout, p.stderr)
    assert open(box.root + "/victim").read() == "writable"


@pytest.mark.parametrize("image_has", ["a link", "a directory", "a link to nothing"])
def test_cve_2025_52565_console_over_something_else(box, tmp_path, image_has):
    """The terminal is bound over /dev/console and nowhere else."""
    box.unmount("/dev", "/dev/shm")
    open(box.root + "/victim", "w").write("of the image")
    if image_has == "a directory":
        os.makedirs(box.root + "/dev/console/full")
    else:
        os.symlink("/victim" if image_has == "a link" else "/etc/nothing", box.root + "/dev/console")
    if image_has == "a directory":
        box.config["process"].update(terminal=True, args=["true"])
        box.save("x")
        p = box.cmd("run", "-b", box.dir, "x")
        assert p.returncode == 1 and "/dev/console" in p.stderr
        return
    _, fd = with_console(box, tmp_path, "sh", "-c", "cat /victim; test -e /etc/nothing || echo nothing; stat -c '%F' /dev/console; echo end; read x")
    seen = read_until(fd, b"end\r\n")
    os.close(fd)
    assert b"of the image" in seen and b"nothing\r\n" in seen and b"character special file" in seen


def test_cve_2025_52565_pts_is_a_directory(box, tmp_path):
    """/dev/pts with a hostile ptmx in it, at the start and, later, for exec."""
    fake = tmp_path / "fake"
    fake.mkdir()
    os.mkfifo(fake / "ptmx")
    os.symlink("/etc/passwd", fake / "0")
    pts = box.mount("/dev/pts")
    saved = dict(pts)
    pts.update(type="bind", source=str(fake), options=["rbind"])
    box.config["process"].update(terminal=True, args=["true"])
    box.save("x")
    p = box.cmd("run", "-b", box.dir, "x")
    assert p.returncode == 1 and "devpts" in p.stderr
    pts.clear()
    pts.update(saved)
    box.config["process"]["terminal"] = False
    box.allow("CAP_SYS_ADMIN")
    cid = box.start("sh", "-c", "mount -t tmpfs t /dev/pts; mkfifo /dev/pts/ptmx; touch /tmp/ready; sleep 100")
    while not os.path.exists(box.root + "/tmp/ready"):
        time.sleep(0.01)
    p = box.cmd("exec", "-t", cid, "true")
    assert p.returncode == 255 and "devpts" in p.stderr


def test_cve_2025_52881_sysctl_redirected(box):
    """A sysctl is written to procfs, not to what the image has in its place."""
    fake = box.root + "/proc/sys/net/ipv4/ip_default_ttl"
    os.makedirs(os.path.dirname(fake))
    open(fake, "w").write("64")
    box.unmount("/proc")
    box.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "99"}
    cid = box.start("sleep", "100")
    assert open(fake).read() == "64"
    read = ["nsenter", "-t", str(box.status(cid)["pid"]), "-n", "cat", "/proc/sys/net/ipv4/ip_default_ttl"]
    assert subprocess.check_output(read, text=True) == "99\n"


@pytest.mark.parametrize("userns", [False, True])
def test_cve_2025_52881_label_of_exec_redirected(box, userns):
    """The container covers its /proc, and then a process with a label is put into it."""
    if userns:
        box.user_namespace(host=0)
    box.allow("CAP_SYS_ADMIN")
    files = fake_attr(box.root + "/fake")
    cid = box.start("sh", "-c", "mount -o bind /fake /proc; touch /tmp/ready; exec sleep 100")
    while not os.path.exists(box.root + "/tmp/ready"):
        time.sleep(0.01)
    process = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"], "selinuxLabel": LABEL}
    path = os.path.join(box.dir, "process.json")
    with open(path, "w") as f:
        json.dump(process, f)
    p = box.cmd("exec", "-p", path, cid)
    assert p.returncode == 255 and LABEL in p.stderr and "Invalid argument" in p.stderr
    assert [open(f).read() for f in files] == [""] * 4


@pytest.mark.parametrize("link", [str, up_to])
@pytest.mark.parametrize("mounted", ["nothing", "tmpfs"])
def test_cve_2026_41579_dev_is_a_symlink(box, outside, link, mounted):
    """/dev of the image leads to a directory of the host: nothing is removed or made there."""
    replace_by_link(box.root + "/dev", link(outside))
    box.unmount("/dev/pts", "/dev/shm", *(["/dev"] if mounted == "nothing" else []))
    p = box.run("true")
    assert p.returncode == 1 and "symbolic link" in p.stderr


def test_cve_2026_41579_dev_is_a_volume(box, tmp_path, outside):
    """/dev leads to a volume: its files called "core" and "ptmx" are not the runtime's to remove."""
    replace_by_link(box.root + "/dev", "/vol")
    box.unmount("/dev", "/dev/pts", "/dev/shm")
    box.config["mounts"].insert(0, {"destination": "/vol", "type": "bind", "source": str(outside), "options": ["rbind"]})
    p = box.run("true")
    assert p.returncode == 1 and "symbolic link" in p.stderr


# --- crun ---


@pytest.mark.parametrize("link", [str, up_to])
def test_cve_2019_18837_last_component_is_a_symlink(box, tmp_path, outside, link):
    """A file is mounted over /etc/resolv.conf, which in the image is a link to a file that the host does not have yet."""
    data = tmp_path / "data"
    data.write_text("nameserver\n")
    os.symlink(link(outside / "made"), box.root + "/etc/resolv.conf")
    box.bind(data, "/etc/resolv.conf")
    assert box.sh("cat /etc/resolv.conf") == "nameserver\n"


def test_cve_2025_24965_files_made_through_the_image(box, outside):
    """Every name at the top of the image that a runtime might write to is a link to the host, and so is the working directory."""
    for n in [".krun_config.json", "krun-sev.json", ".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "dev/fd", "dev/core", "dev/console"]:
        replace_by_link(f"{box.root}/{n}", outside / os.path.basename(n))
    for n in ["run", "var", "work"]:
        replace_by_link(f"{box.root}/{n}", outside)
    box.unmount("/dev", "/dev/pts", "/dev/shm")
    box.config["process"]["cwd"] = "/work/deep"
    box.config["mounts"].append({"destination": "/run/x", "type": "tmpfs", "source": "tmpfs"})
    box.config["linux"]["devices"] = [{"path": "/var/dev/null2", "type": "c", "major": 1, "minor": 3}]
    assert box.out("sh", "-c", "stat -c %F /var/dev/null2") == "character special file\n"


@pytest.mark.parametrize("user,ids", [("1", (1, 0)), ("0", (0, 0)), ("1:2", (1, 2)), ("4294967294:5", (4294967294, 5)), ("01", (1, 0))])
def test_cve_2026_30892_user_of_exec(box, user, ids):
    cid = box.start("sleep", "100")
    p = box.cmd("exec", "-u", user, cid, "sh", "-c", "id -u; id -g", check=True)
    assert tuple(map(int, p.stdout.split())) == ids


@pytest.mark.parametrize("user", ["", ":", "1:", ":1", "-1", "-0", "4294967295", "4294967296", "18446744073709551617", "0x1", "1e0", " 1", "1 ", "+1", "root",
                                  "1:2:3", "1:-1", "1:4294967295", "1\n", "１"])
def test_cve_2026_30892_user_of_exec_refused(box, user):
    """What is no user id starts nothing, least of all as root."""
    cid = box.start("sleep", "100")
    p = box.cmd("exec", "-u", user, cid, "touch", "/tmp/started")
    assert p.returncode == 255 and "user" in p.stderr
    assert not os.path.exists(box.root + "/tmp/started")


@pytest.mark.parametrize("link", [str, up_to])
def test_cve_2026_47766_devices_through_a_symlinked_dev(box, outside, link):
    """Device nodes, too, are made in the container's own /dev or not at all."""
    replace_by_link(box.root + "/dev", link(outside))
    box.unmount("/dev", "/dev/pts", "/dev/shm")
    box.config["linux"]["devices"] = [{"path": p, "type": "c", "major": 1, "minor": 3} for p in ("/dev/mine", "/dev/sub/mine")]
    p = box.run("true")
    assert p.returncode == 1 and "symbolic link" in p.stderr


@pytest.mark.parametrize("link", [str, up_to])
@pytest.mark.parametrize("readonly", [False, True])
def test_cve_2026_88264_console_made_through_a_symlink(box, tmp_path, outside, link, readonly):
    """Without a mount on /dev its console is the image's: a link to a file that the host does not have yet."""
    box.unmount("/dev", "/dev/shm")
    os.symlink(link(outside / "made"), box.root + "/dev/console")
    box.config["root"]["readonly"] = readonly
    _, fd = with_console(box, tmp_path, "sh", "-c", "stat -c '%F' /dev/console; echo end; read x")
    assert b"character special file" in read_until(fd, b"end\r\n")
    os.close(fd)


@pytest.mark.parametrize("how", ["run", "exec"])
def test_cve_2026_88265_null_device_reopened_for_stdio(box, how):
    """The caller has no stdin, stdout or stderr to give: what the command gets instead is the null device of the host, not a file of
    the image's choice, and the owner of that file does not change."""
    victim = box.root + "/victim"
    open(victim, "w").write("of root")
    os.chmod(victim, 0o600)
    box.unmount("/dev", "/dev/pts", "/dev/shm")
    cid = box.start("sh", "-c", "rm /dev/null; ln -s /victim /dev/null; touch /tmp/ready; exec sleep 100")
    while not os.path.exists(box.root + "/tmp/ready"):
        time.sleep(0.01)
    script = "said=$(for n in 0 1 2; do stat -L -c '%t:%T' /proc/$$/fd/$n; done); echo \"$said\" > /tmp/said; echo x; exit 7"
    box.config["process"].update(args=["/bin/sh", "-c", script], user={"uid": 1000, "gid": 1000})
    box.save("second")
    words = ["run", "-b", box.dir, "second"] if how == "run" else ["exec", "-u", "1000:1000", cid, "/bin/sh", "-c", script]
    p = subprocess.run(["/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", RUNTIME, "--root", box.state, *words], timeout=60)
    assert p.returncode == 7
    assert open(box.root + "/tmp/said").read() == "1:3\n" * 3
    st = os.stat(victim)
    assert open(victim).read() == "of root" and (st.st_uid, st.st_gid) == (0, 0)


def test_cve_2026_88265_null_device_of_the_engine(ireko, name):
    """The same through the engine, whose shim gives a detached exec no stdio at all."""
    ireko("run", "-d", "--name", name, "busybox", "sh", "-c",
          "echo secret > /victim; chmod 600 /victim; rm /dev/null; ln -s /victim /dev/null; touch /tmp/ready; exec sleep 100")
    wait_until("the container to be ready", lambda: ireko("exec", name, "test", "-e", "/tmp/ready", check=False).returncode == 0)
    ireko("exec", "-d", "-u", "1000", name, "sh", "-c", "said=$(stat -L -c '%t:%T' /proc/$$/fd/1); echo overwritten; echo $said > /tmp/said")
    wait_until("the exec", lambda: ireko("exec", name, "cat", "/tmp/said", check=False).stdout.strip() == "1:3")
    assert ireko.out("exec", name, "sh", "-c", "cat /victim; stat -c %u:%g:%a /victim").split() == ["secret", "0:0:600"]
