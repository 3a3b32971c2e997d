# SPDX-License-Identifier: Apache-2.0
"""Our command line beside docker's own, on one engine: the same words, to the byte, and the same exit status. What differs on purpose is listed here with its reason."""
import os
import re
import shutil
import subprocess
import time

import pytest

import harness
from harness import BORROWED, BUILD, program


def dockers():
    """Every docker CLI on the machine: the user's, and the one borrowed from Debian's package."""
    found = {shutil.which("docker"), str(BORROWED / "docker") if (BORROWED / "docker").exists() else None} - {None}
    return sorted(found) or ["docker"]


def ageless(text):
    return re.sub(r" +", " ", re.sub(r"(About an?|Less than a|\d+) (second|minute|hour)s?", "AGE", text))


class Pair:
    def __init__(self, engine, docker, folder):
        self.engine, self.docker, self.folder = engine, program(docker), folder
        # As docker, in errors and usages too.
        self.ours = folder / "docker"
        if not self.ours.exists():
            self.ours.symlink_to(BUILD / "ireko")
        text = subprocess.run([self.docker, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.version = int(text.split()[2].split(".")[0])

    def start(self, path, args):
        return subprocess.Popen([path, *args], env=self.engine.env(DOCKER_BUILDKIT="0", COLUMNS="80"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder)

    def end(self, p):
        out, err = p.communicate(timeout=60)
        return subprocess.CompletedProcess(p.args, p.returncode, out, err)

    def run(self, path, args):
        return self.end(self.start(path, args))

    def same(self, *args, errors=True):
        # "1 second ago" may become "2 seconds ago" between the two, and docker joins labels in any order: they are asked as nearly at once as can be, the slower one first.
        lists = args[0] in ("ps", "images", "image", "container", "history", "volume", "network")
        for _ in range(12):
            b = self.start(self.docker, args)
            if lists:
                time.sleep(0.02)
                a = self.start(self.ours, args)
                a, b = self.end(a), self.end(b)
            else:
                b = self.end(b)
                a = self.run(self.ours, args)
            if a.stdout == b.stdout or not lists:
                break
            time.sleep(0.1)
        if lists and a.stdout != b.stdout:
            # A machine so busy that it never is: all but the ages, and the widths that come with them.
            a.stdout, b.stdout = ageless(a.stdout), ageless(b.stdout)
        assert (a.stdout, a.returncode) == (b.stdout, b.returncode), args
        # What docker's client logs about a wait that was overtaken by the error of the start is not what it says to its user.
        b.stderr = re.sub(r'^time="[^\n]* level=error msg="Error waiting for container[^\n]*\n', "", b.stderr, flags=re.M)
        if errors and self.version >= 28:
            assert a.stderr == b.stderr, args
        assert bool(a.stderr) == bool(b.stderr), (args, a.stderr, b.stderr)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """An engine with one of everything."""
    engine = harness.Engine().start()
    folder = tmp_path_factory.mktemp("二つの 端末")
    try:
        engine.load_busybox()
        subnet = harness.free_subnet()
        (folder / "Dockerfile").write_text('FROM busybox\nENV A=b\nLABEL l="a, b"\nRUN echo hi >/x\nEXPOSE 90\nCMD ["true"]\n')
        for args in (["network", "create", "--label", "n=1", "--subnet", subnet, "netw"], ["volume", "create", "--label", "k=v", "--label", "z", "vol1"], ["volume", "create", "vol2"],
                     ["run", "-d", "--name", "web", "-p", "127.0.0.1::80", "-p", "81-83", "--expose", "90", "--label", "a.b-c=x", "--label", "b=y,z", "-v", "vol1:/data", "-v", f"{folder}:/host:ro", "-v", "/anon",
                      "--network", "netw", "--restart", "on-failure:3", "busybox", "sleep", "1000"],
                     ["create", "--name", "made", "-e", "A=b", "busybox", "echo", "a very long command \"quoted\" 'thing'"], ["run", "-dit", "--name", "tty", "busybox", "sh"],
                     ["run", "-d", "--name", "paused", "busybox", "sleep", "1000"], ["pause", "paused"], ["tag", "busybox", "127.0.0.1:5000/some/repo:v1"], ["build", "-q", "-t", "built", str(folder)]):
            engine.cli(*args)
        engine.cli("run", "--name", "dead", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
        engine.cli("create", "--name", "byid", engine.cli("images", "-q", "built").stdout.strip())
        yield engine, folder
    finally:
        engine.destroy()


@pytest.fixture(params=dockers(), ids=os.path.dirname)
def pair(request, town):
    return Pair(town[0], request.param, town[1])


def lines(text):
    return [line.split() for line in text.strip().splitlines()]


LISTS = """
ps
ps -a
ps -aq
ps -aq --no-trunc
ps -a --no-trunc
ps -as
ps -l
ps -n 2
ps -a --filter name=web
ps -a --filter status=exited
ps -a --filter ancestor=busybox
ps -a --filter exited=3 -q
ps --filter label=a.b-c=x
ps --filter network=netw
ps --filter volume=vol1 -q
ps -a --filter since=web --format {{.Names}}
container ls -a
images
images -a
images -q
images --digests
images --no-trunc
images busybox
images bus*
images nope
images --filter dangling=true
image ls
network ls
network ls -q
network ls --no-trunc
network ls --filter driver=bridge
network ls --filter type=custom
volume ls
volume ls -q
volume ls --filter name=vol1
volume ls --filter dangling=true
history built
history -q built
history --no-trunc built
history -H=false built
inspect tty
container inspect dead
image inspect busybox
network inspect bridge
volume inspect vol1
port web
port web 80
port web 80/tcp
top tty
diff dead
diff made
logs dead
logs -n 1 dead
wait dead
version --format {{.Server.Version}}
version --format {{.Server.Os}}/{{.Server.Arch}}
info --format {{.Driver}}
info --format {{.NCPU}}
info --format {{.SecurityOptions}}
info --format {{.Swarm.LocalNodeState}}|{{.Containers}}|{{.CgroupVersion}}|{{.Name}}|{{.DockerRootDir}}
plugin ls
"""


@pytest.mark.parametrize("args", lines(LISTS), ids=" ".join)
def test_lists_and_documents(pair, args):
    # Our history shows a step without a time as docker 28 does, and our inspect what API 1.51 has; 20.10 shows ports in any order.
    old = args[0] in ("history", "container") or args[:2] in (["image", "inspect"], ["port", "web"], ["inspect", "tty"])
    if pair.version < 28 and old:
        assert pair.run(pair.ours, args).returncode == pair.run(pair.docker, args).returncode == 0
        return
    pair.same(*args)


PS = ['{{.ID}}\t{{.Names}}', 'table {{.ID}}\t{{.Names}}\t{{.Labels}}', '{{.Label "a.b-c"}}', 'table {{.Label "a.b-c"}}\t{{.Mounts}}', '{{json .Names}}', '{{.Ports}}',
      '{{.Networks}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Size}}', '{{.CreatedAt}} {{.RunningFor}} {{.State}}', '{{upper .Names}} {{lower .Image}} {{title .State}}', '{{pad .Names 2 3}}|{{truncate .ID 4}}',
      '{{printf "%-10s|%5s|%q" .Names .State .Image}}', '{{println .Names}}', '{{if eq .State "running"}}up{{else if eq .State "exited"}}down{{else}}?{{end}}', '{{with .Ports}}P {{.}}{{else}}none{{end}}',
      '{{len .Names}}', '{{split .Names "e"}} {{join (split .Names "e") "-"}}', '{{- .Names -}} x', '{{/* c */}}{{.Names}}', '{{$x := .Names}}{{$x}}{{$x}}',
      '{{range $i, $e := split .Names ""}}{{$i}}{{$e}} {{end}}', '{{.ID | printf "%s!"}}', '{{and .Ports .ID}} {{or .Ports "x"}} {{not .Ports}}', '{{lt (len .Names) 4}} {{ge 3 3}} {{ne "a" "b"}}',
      '{{html "<a>"}} {{js "a\'b"}} {{urlquery "a b&c"}}', '{{print 1 2 "a" "b" 3}}', 'table', 'raw', '{{.Command}}', 'table {{.Command}}\\t{{.Status}}', '{{.Image}}{{"\\t"}}{{.ID}}',
      '{{eq .State "running" "exited"}}', '{{printf "%d %x %05d %+d %o %b %c %U %t %v %5.2f %e %g %T" 42 255 42 42 8 5 65 65 true "v" 1.5 1.5 1.5 "s"}}', '{{.Nope}}', '{{', '{{.ID', '{{nofunc .ID}}']


@pytest.mark.parametrize("template", PS)
def test_templates_of_ps(pair, template):
    # The words of a template's error are ours: they say the column.
    pair.same("ps", "-a", "--format", template, errors=False)


INSPECT = ['{{.Name}}', '{{json .HostConfig.PortBindings}}', '{{json .State}}', '{{.State.Running}} {{.State.ExitCode}} {{.State.Status}}', '{{range .Mounts}}{{.Type}}:{{.Source}}->{{.Destination}} {{.RW}}\n{{end}}',
           '{{range $p, $c := .NetworkSettings.Ports}}{{if $c}}{{$p}} {{(index $c 0).HostPort}} {{end}}{{end}}', '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}} {{end}}',
           '{{index .Config.Labels "a.b-c"}}|{{index .Config.Labels "nope"}}', '{{.Config.Env}}', '{{range .Config.Env}}{{println .}}{{end}}', '{{join .Config.Cmd " "}}', '{{.NetworkSettings.IPAddress}}',
           '{{(index .Mounts 0).Destination}}', '{{.Nope}}', '{{.State.Nope}}', '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}}', '{{.HostConfig.RestartPolicy.Name}}',
           '{{.Config.ExposedPorts}}', '{{.HostConfig.Binds}}', '{{json .Config.Healthcheck}}', '{{.State.Health}}', '{{.State.Health.Status}}', '{{if .State.Health}}h{{else}}none{{end}}', '{{.Created}}', '{{len .Mounts}}',
           '{{.Config.Labels}}', '{{.Args}} {{.Path}}', '{{.HostConfig.LogConfig.Type}}', '{{.HostConfig.Ulimits}}', '{{.RestartCount}}', '{{.Config.Entrypoint}}', '{{json .Config.Entrypoint}}', '{{.HostConfig.CapAdd}}',
           '{{.State.Pid}}', '{{.LogPath}}', '{{.HostConfig.NetworkMode}}', '{{.HostConfig.Privileged}} {{.HostConfig.ReadonlyRootfs}}', '{{with .Config}}{{.Image}}{{end}}', '{{.SizeRw}}', '{{.Config.Tty}}',
           '{{json .HostConfig.OomKillDisable}}', '{{.HostConfig.PidsLimit}}', '{{.State.StartedAt}}', '{{range .HostConfig.Binds}}{{.}} {{end}}', '{{.Platform}} {{.Driver}} {{.Image}}', '{{.NetworkSettings.Ports}}']


@pytest.mark.parametrize("template", INSPECT)
def test_templates_of_inspect(pair, template):
    pair.same("inspect", "-f", template, "web", errors=False)


OTHERS = [("image", "inspect", "-f", f, "built") for f in ('{{.Id}}', '{{.RepoTags}}', '{{json .RepoDigests}}', '{{.Size}}', '{{.Config.Cmd}} {{.Config.Env}}', '{{.Os}}/{{.Architecture}}', '{{.RootFS.Layers}}',
                                                              '{{.RootFS.Type}}', '{{index .RepoTags 0}}', '{{.Created}}', '{{.Parent}}', '{{.Config.Labels}}', '{{.Config.ExposedPorts}}', '{{len .RootFS.Layers}}',
                                                              '{{.Config.WorkingDir}}|{{.Config.User}}|{{.Config.Entrypoint}}', '{{.Metadata.LastTagTime}}', '{{index .Config.Labels "l"}}')]
OTHERS += [("network", "inspect", "-f", f, "netw") for f in ('{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}}', '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}', '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}',
                                                                '{{.Labels}}', '{{json .Options}}', '{{.EnableIPv6}} {{.Attachable}}', '{{.Id}}', '{{.Created}}')]
OTHERS += [("volume", "inspect", "-f", f, "vol1") for f in ('{{.Name}} {{.Driver}} {{.Mountpoint}} {{.Scope}}', '{{.Labels}}', '{{json .Options}}', '{{.CreatedAt}}')]
OTHERS += [("images", "--format", f) for f in ('{{.Repository}}:{{.Tag}}', 'table {{.Repository}}\t{{.Size}}', '{{.CreatedSince}}|{{.CreatedAt}}|{{.Digest}}', '{{json .}}', '{{.SharedSize}} {{.UniqueSize}} {{.Containers}}', '{{.ID}}', 'raw')]
OTHERS += [("network", "ls", "--format", f) for f in ('{{.Name}} {{.ID}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.CreatedAt}}', 'table {{.Name}}\t{{.CreatedAt}}', '{{.Label "n"}}', 'raw')]
OTHERS += [("volume", "ls", "--format", f) for f in ('{{.Name}} {{.Mountpoint}} {{.Labels}} {{.Links}} {{.Size}}', 'table {{.Name}}\t{{.Driver}}\t{{.Scope}}', '{{.Label "k"}}', 'raw')]
OTHERS += [("history", "--format", f, "built") for f in ('{{.ID}} {{.CreatedBy}} {{.Size}} {{.Comment}}', 'table {{.ID}}\t{{.CreatedBy}}')]


@pytest.mark.parametrize("args", OTHERS, ids=lambda a: " ".join(a))
def test_other_templates(pair, args):
    pair.same(*args, errors=False)


NEW = [["ps", "-a", "--format", "json"], ["ps", "-a", "--format", "{{json .}}"], ["images", "--format", "json"], ["network", "ls", "--format", "json"], ["volume", "ls", "--format", "json"],
       ["history", "--format", "json", "built"], ["history", "--format", "{{.CreatedSince}} {{.CreatedAt}}", "built"], ["inspect", "-f", "json", "tty"], ["image", "inspect", "-f", "{{.VirtualSize}}", "built"]]


@pytest.mark.parametrize("args", NEW, ids=lambda a: " ".join(a))
def test_json(pair, args):
    """"json" is a format since docker 23, and these members are 28's."""
    if pair.version >= 28:
        pair.same(*args)
    else:
        assert pair.run(pair.ours, args).returncode == 0


FAILURES = """
ps --foo
ps extra
ps -a --filter nokey
foo
container foo
run
run --foo
rm
exec web
tag a
logs
inspect nope
volume inspect vol1 nope
container inspect web nope
image inspect built nope
network inspect nope
network create
network connect nope web
network connect netw nope
network disconnect netw made
port web 99
top dead
logs nope
kill dead
kill nope
stop nope
start nope
restart nope
pause dead
unpause dead
rm web
rm nope
rm -f nope
rmi nope
rmi -f nope
tag nope x
exec nope ls
exec dead ls
exec web nope
exec -w /nope web ls
exec -u nobody1 web id
run --rm busybox nope
run --rm busybox /etc
run --rm busybox /etc/passwd
run --rm --network nope busybox true
run --name web busybox true
run --name bad/name busybox true
run --mount type=bind busybox true
run --mount bogus=1 busybox true
run -p 80:bogus busybox true
run -p 99999:80 busybox true
run -e =x busybox true
run --rm --restart always busybox true
run --ulimit nofile busybox true
run --ulimit nofile=5:3 busybox true
run --device /dev/null:rel busybox true
run --security-opt bogus busybox true
run --health-retries -1 busybox true
run --health-interval 1s --no-healthcheck busybox true
run -a bogus busybox true
run --pull bogus busybox true
run --pull never nope-image true
run --cgroupns bogus busybox true
run --pid bogus busybox true
run --uts bogus busybox true
run --userns bogus busybox true
run --add-host bogus busybox true
run --dns bogus busybox true
run --gpus bogus=1 busybox true
run --memory x busybox true
run Bad-Image true
run --rm -it busybox true
create --name made busybox
volume rm nope
volume rm vol1
update nope
attach dead
attach nope
attach paused
export nope
commit nope
cp nope:/x .
cp web:/nope .
volume update vol1
checkpoint ls web
node ls
service ls
version --format {{.Nope}}
"""


@pytest.mark.parametrize("args", lines(FAILURES), ids=" ".join)
def test_failures(pair, args):
    # Older ones have other words, and other statuses for a few.
    if pair.version >= 28:
        pair.same(*args, errors=args[0] != "version")
    elif args[:2] == ["run", "--pull"]:
        # 20.10 does not look at the word.
        assert pair.run(pair.ours, args).returncode == 125
    else:
        a, b = pair.run(pair.ours, args), pair.run(pair.docker, args)
        assert (a.returncode == 0, a.stdout == "") == (b.returncode == 0, b.stdout == ""), args


@pytest.mark.parametrize("group", "container image network volume system context plugin builder".split())
def test_groups_have_dockers_verbs(pair, group):
    def verbs(text):
        return {line.split()[0] for line in text.split("Commands:")[1].split("\n\n")[0].splitlines() if line.startswith("  ")}

    theirs = verbs(pair.run(pair.docker, [group, "--help"]).stdout)
    assert theirs <= verbs(pair.run(pair.ours, [group, "--help"]).stdout)


# docker's help lists them; they mean something on Windows, in a swarm or to Notary only, are accepted and not shown, or refused by name.
NOT_SHOWN = {"help", "cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops", "isolation", "kernel-memory", "disable-content-trust", "use-api-socket", "compress", "tree", "keep-storage", "ingress", "availability",
             "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred", "topology-required", "type", "cluster", "orchestrator", "default-stack-orchestrator", "kubernetes", "stream",
             "platform", "insecure", "time", "kubeconfig", "all-namespaces", "namespace", "squash", "progress", "output", "ssh", "debug", "log-level"}


def test_flags_are_dockers(pair):
    def flags(text):
        return {m[1]: m[0] for m in re.findall(r"^  (?:-(\w), |    )--([\w-]+)", text, re.M)}

    verbs = "run create exec ps build logs rm stop restart kill start attach commit images cp pull push load save import tag rmi history inspect stats events update wait top port rename diff export search login logout info version".split()
    groups = [f"{g} {v}" for g, vs in {"network": "create ls inspect rm connect disconnect prune", "volume": "create ls inspect rm prune", "image": "prune ls", "container": "prune", "system": "df prune", "context": "create ls inspect rm update use",
                                       "builder": "prune"}.items() for v in vs.split()]
    wrong = []
    for verb in verbs + groups:
        theirs, ours = (flags(pair.run(p, [*verb.split(), "--help"]).stdout) for p in (pair.docker, pair.ours))
        wrong += [f"{verb} --{f} is missing" for f in set(theirs) - set(ours) - NOT_SHOWN]
        wrong += [f"{verb} --{f} has another letter" for f in set(theirs) & set(ours) if theirs[f] != ours[f] and f != "time"]
    assert not wrong
