import getpass
import http.server
import importlib.metadata

from shop import total


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"total {total([1, 2, 3])} shop {importlib.metadata.version('shop')} as {getpass.getuser()}\n".encode())


def main():
    http.server.HTTPServer(("", 8000), Handler).serve_forever()
