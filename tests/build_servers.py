# SPDX-License-Identifier: Apache-2.0
"""Small servers on loopback for builds: files over http, repositories over git's dumb http protocol."""
import http.server
import os
import subprocess
import threading


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
