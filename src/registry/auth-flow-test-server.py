#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Registries as the large ones sign people in, for auth-flow-test.c: each has a loopback address of its own, all share one port.

Prints "port -" and ends when its standard input does. What the requests carried is judged by the test: GET /seen
tells them, one a line: method, host, path with query, Authorization, body. Nothing here is a real account.
"""
import base64
import http.server
import json
import sys
import threading
import urllib.parse

HUB, HUB_AUTH, ECR, GAR, ACR, GHCR, HARBOR, GITLAB, GITLAB_AUTH, BOTH, STRANGER, OPEN, ODD = (f"127.0.0.{n}" for n in (11, 21, 12, 13, 14, 15, 16, 17, 27, 18, 28, 19, 20))

# user -> password
ACCOUNTS = {
    HUB: {"hub": "dckr_pat_1"}, ECR: {"AWS": "ecr-" + "t" * 2000}, ACR: {"admin": "azure-pw", "00000000-0000-0000-0000-000000000000": "azure-refresh"},
    GAR: {"_json_key": '{\n  "type": "service_account",\n  "private_key": "-----BEGIN\\n"\n}', "oauth2accesstoken": "ya29.token"},
    GHCR: {"octocat": "ghp_1"}, HARBOR: {"robot$ci+x": "harbor-pw"}, GITLAB: {"gitlab": "glpat-1"}, BOTH: {"both": "both-pw"}, ODD: {"odd": "odd-pw"},
}
# registry -> (realm, service)
REALMS = {
    HUB: (HUB_AUTH, "/token", "registry.docker.io"), GAR: (GAR, "/v2/token", "gar.example"), ACR: (ACR, "/oauth2/token", "name.azurecr.io"),
    GHCR: (GHCR, "/token", "ghcr.io"), HARBOR: (HARBOR, "/service/token", "harbor-registry"), GITLAB: (GITLAB_AUTH, "/jwt/auth", "container_registry"),
    BOTH: (STRANGER, "/token", "both"), ODD: (ODD, "/token", "odd"),
}


class State:
    lock = threading.Lock()
    seen = []
    revoked = set()
    issued = 0
    tries = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def here(self):
        return self.server.server_address[0]

    def reply(self, status, document, headers=None):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for k, v in headers or []:
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, message, headers=None):
        self.reply(status, {"errors": [{"code": code, "message": message}]}, headers)

    def basic(self):
        """The account of a Basic header, None without one."""
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind != "Basic":
            return None
        return tuple(base64.b64decode(value).decode().split(":", 1))

    def known(self, registry, account):
        return account is not None and ACCOUNTS[registry].get(account[0]) == account[1]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path == "/seen":
            with State.lock:
                text = "\n".join(State.seen)
                State.seen.clear()
            return self.reply(200, text.encode())
        if self.path == "/revoke":
            with State.lock:
                State.revoked.add(State.issued)
            return self.reply(200, {})
        self.note("-")
        for registry, (host, path, _) in REALMS.items():
            if self.here == host and self.path.split("?")[0] == path:
                return self.token(registry)
        return self.registry()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        self.note(body)
        form = urllib.parse.parse_qs(body)
        if self.here != ACR or self.path != "/oauth2/token":
            return self.reply(404, b"no such page")
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != ["azure-refresh"] or form.get("service") != ["name.azurecr.io"]:
            return self.reply(401, {"error": "invalid_grant", "error_description": "the refresh token\x1b[2J is not valid"})
        return self.reply(200, {"access_token": self.issue(ACR)})

    def note(self, body):
        with State.lock:
            State.seen.append(f"{self.command} {self.here} {self.path} {self.headers.get('Authorization', '-').replace(' ', '_')} {body}")

    def issue(self, registry):
        with State.lock:
            State.issued += 1
            return f"token.{registry}.{State.issued}"

    def busy(self, query):
        """A token server with too much to do, for a repository that is named after its trouble; True if it has said so."""
        kind = query.get("scope", ["x:y:z"])[0].split(":")[1]
        with State.lock:
            State.tries[kind] = State.tries.get(kind, 0) + 1
            tries = State.tries[kind]
        if kind == "limited" and tries <= 2 or kind == "alwayslimited":
            self.reply(429, {"details": "slow down"}, [("Retry-After", "1")])
            return True
        if kind == "cut" and tries == 1:
            self.close_connection = True
            self.connection.shutdown(2)
            return True
        return False

    # ---- token servers
    def token(self, registry):
        account = self.basic()
        query = urllib.parse.parse_qs(self.path.partition("?")[2])
        offline = query.get("offline_token") == ["true"]
        if registry == ODD and self.busy(query):
            return None
        if query.get("service") != [REALMS[registry][2]]:
            return self.error(400, "UNSUPPORTED", "unknown service")
        if account is not None and not self.known(registry, account):
            if registry == HUB:
                return self.reply(401, {"details": "incorrect username or password"})
            if registry in (GHCR, GITLAB):
                return self.error(403, "DENIED", "access forbidden")
            return self.error(401, "UNAUTHORIZED", "authentication required")
        if account is None and registry not in (HUB, BOTH):
            return self.error(401, "UNAUTHORIZED", "authentication required")
        token = self.issue(registry)
        if registry == ACR:
            return self.reply(200, {"access_token": token, **({"refresh_token": "azure-refresh"} if offline else {})})
        if registry == ODD:
            lives = {"short": 1, "negative": -5, "text": "soon", "forever": 10**12}
            kind = query.get("scope", ["x:none:y"])[0].split(":")[1]
            return self.reply(200, {"token": token, **({"expires_in": lives[kind]} if kind in lives else {})})
        lives = {HUB: 300, GAR: 43199, HARBOR: 1800, GITLAB: 300}
        return self.reply(200, {"token": token, **({"expires_in": lives[registry], "issued_at": "2001-01-01T00:00:00Z"} if registry in lives else {})})

    # ---- registries
    def admitted(self):
        auth = self.headers.get("Authorization", "")
        if self.here in (ECR, BOTH) and self.known(self.here, self.basic()):
            return True
        if auth == "Bearer brought-along" or self.here == OPEN:
            return True
        parts = auth.removeprefix("Bearer ").rsplit(".", 1)
        return auth.startswith("Bearer ") and parts[0] == f"token.{self.here}" and int(parts[1]) not in State.revoked

    def challenge(self):
        if self.here == ECR:
            return [("WWW-Authenticate", 'Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"')]
        host, path, service = REALMS[self.here]
        bearer = ("WWW-Authenticate", f'Bearer realm="http://{host}:{self.server.server_port}{path}",service="{service}",scope="repository:any:delete"')
        return [bearer, ("WWW-Authenticate", 'Basic realm="both"')] if self.here == BOTH else [bearer]

    def registry(self):
        if self.here not in REALMS and self.here not in (ECR, OPEN):
            return self.error(404, "NAME_UNKNOWN", "no registry here")
        if not self.admitted():
            return self.error(401, "UNAUTHORIZED", "authentication required", self.challenge())
        return self.reply(200, {"manifest": self.path})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


port = 0
for address in (HUB, HUB_AUTH, ECR, GAR, ACR, GHCR, HARBOR, GITLAB, GITLAB_AUTH, BOTH, STRANGER, OPEN, ODD):
    server = Server((address, port), Handler)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(port, "-", flush=True)
sys.stdin.read()
