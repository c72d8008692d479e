# ruff: noqa: T201, S310, N815
"""A service of the standard library that shows what it was given."""

import http.server
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request


def ask(url: str, *, method: str = "GET", body: bytes | None = None, token: str = "") -> dict:
    """Ask the agent beside the task."""
    call = urllib.request.Request(url, method=method, data=body, headers={"Authorization": token})
    try:
        with urllib.request.urlopen(call, timeout=10) as answer:
            return {"status": answer.status, "body": json.load(answer)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers under /api."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer by the path."""
        environment = os.environ
        length = int(self.headers.get("content-length") or 0)
        received = self.rfile.read(length)
        path = self.path.partition("?")[0]
        status = 200
        if path == "/api/slow":
            time.sleep(60)
        if path == "/api/die":
            os._exit(3)
        if path == "/api/status":
            status = int(self.path.partition("?")[2])
        answer: object = {
            "path": self.path,
            "headers": list(self.headers.items()),
            "received": len(received),
            "method": self.command,
        }
        if path == "/api/environment":
            answer = dict(environment)
        if path == "/api/credentials":
            url = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
            token = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
            answer = {"with": ask(url, token=token), "without": ask(url, token="guess")}
        if path == "/api/protect":
            url = f"{environment['ECS_AGENT_URI']}/task-protection/v1/state"
            answer = ask(url, method="PUT", body=received)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.send_header("content-type", "application/json")
        self.send_header("set-cookie", "a=1; Path=/")
        self.send_header("set-cookie", "b=2; Path=/")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host, port = os.environ["LISTEN_ADDRESS"].split(":")
    print("serving version", os.environ["VERSION"])
    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
