# SPDX-License-Identifier: Apache-2.0
"""Small servers on loopback for builds: files over http, repositories over git's dumb http protocol and over ssh."""
import http.server
import os
import random
import shutil
import socket
import subprocess
import threading

from harness import program, temp_folder, wait_until


class Site:
    """A small http server: site.files[path] = bytes or (status, headers, bytes); site.asked lists "GET /path"."""

    def __init__(self, root=None):
        site = self
        self.files, self.asked = {}, []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *a, **k):
                super().__init__(*a, directory=str(root or "/nonexistent"), **k)

            def answer(self, body):
                site.asked.append(f"{self.command} {self.path}")
                known = site.files.get(self.path)
                if known is None:
                    return (super().do_GET if body else super().do_HEAD)() if root else self.send_error(404)
                status, headers, data = known if isinstance(known, tuple) else (200, {}, known)
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body:
                    self.wfile.write(data)

            def do_GET(self):
                self.answer(True)

            def do_HEAD(self):
                self.answer(False)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def git(*args, cwd):
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    return subprocess.run(["git", *args], cwd=cwd, env=env, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


class Repo:
    """A repository behind a site, as git's dumb http protocol serves it."""

    def __init__(self, root):
        self.work = root / "work tree"
        self.work.mkdir(parents=True)
        self.served = root / "served"
        self.served.mkdir()
        git("init", "-q", "-b", "main", ".", cwd=self.work)
        self.site = Site(self.served)
        self.url = f"{self.site.url}/repo.git"

    def commit(self, files, links=()):
        for path, text in files.items():
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text(text)
        for path, to in links:
            (self.work / path).symlink_to(to)
        git("add", "-A", ".", cwd=self.work)
        git("commit", "-q", "-m", "c", cwd=self.work)
        return self.publish()

    def publish(self):
        git("clone", "-q", "--bare", str(self.work), str(self.served / "new.git"), cwd=self.work)
        git("update-server-info", cwd=self.served / "new.git")
        subprocess.run(["rm", "-rf", self.served / "repo.git"], check=True)
        (self.served / "new.git").rename(self.served / "repo.git")
        return git("rev-parse", "HEAD", cwd=self.work)


SSHD = """mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/sshd && mount --bind "$1/passwd" /etc/passwd && exec "$2" -D -e -f "$1/config" """


class SshHost:
    """sshd on an address of this machine's own, for one user, "git", with one key (client_key): what people's git hosts are. The address is chosen so that port 22 is free there."""
    UID = 65533

    def __init__(self):
        self.root = root = temp_folder("ssh")
        root.chmod(0o755)
        for key in ("host_key", "client_key", "other_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / key], check=True, timeout=60)
        (root / "passwd").write_text(f"root:x:0:0:root:/root:/bin/sh\nsshd:*:65532:65534::/run/sshd:/bin/false\ngit:*:{self.UID}:65534::/:/bin/sh\nnobody:*:65534:65534::/:/bin/false\n")
        self.start()

    def start(self):
        self.address = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(2, 255)}"
        (self.root / "config").write_text(f"""ListenAddress {self.address}:22
HostKey "{self.root}/host_key"
AuthorizedKeysFile "{self.root}/client_key.pub"
PidFile none
UsePAM no
UseDNS no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
""")
        self.log = (self.root / "log").open("ab")
        self.p = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", SSHD, "sh", self.root, program("sshd")], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_until(lambda: f"sshd listens: {self.said()}", self.listens)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex((self.address, 22)) == 0

    def said(self):
        return (self.root / "log").read_text(errors="replace")

    def serve(self, repo, name="repo"):
        """A repository that `git` may read here: what follows its address."""
        target = self.root / f"{name}.git"
        subprocess.run(["rm", "-rf", target], check=True)
        git("clone", "-q", "--bare", str(repo), str(target), cwd=repo)
        subprocess.run(["chown", "-R", f"{self.UID}:65534", target], check=True)
        return str(target)

    def close(self):
        self.p.terminate()
        self.p.wait(timeout=20)
        self.log.close()
        shutil.rmtree(self.root)


class SshAgent:
    """ssh-agent with a key."""

    def __init__(self, path, key):
        self.path = path
        self.p = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until("the agent listens", path.exists)
        subprocess.run(["ssh-add", "-q", key], env={"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": str(path)}, check=True, timeout=60, stderr=subprocess.DEVNULL)

    def close(self):
        self.p.terminate()
        self.p.wait(timeout=20)
        self.path.unlink(missing_ok=True)
