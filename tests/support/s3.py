"""An S3 server on loopback (moto), and a proxy before it that counts, refuses strangers and is often too busy."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY, SECRET = "AKIDOFTHETESTS", "the/secret+of/the+tests"
BUCKET = "bucket"
EVERY = 5
"""Every so-many-th request is answered 503 SlowDown."""
_NOT_FORWARDED = {"connection", "content-length", "transfer-encoding", "date", "server"}


class Proxy(ThreadingHTTPServer):
    """Passes requests on to another port of this machine, but for those that it answers with a fault."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = port
        self.lock = threading.Lock()
        self.requests: list[str] = []
        """Method and path of every request, also of those answered with a fault."""
        self.faults = 0
        self.every = EVERY

    @property
    def url(self) -> str:
        """Address of the proxy, as AWS_ENDPOINT_URL has it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, request: str) -> str | None:
        """Count a request and return whether it is refused, or done while its sender is told that it was not."""
        with self.lock:
            self.requests.append(request)
            if not self.every or len(self.requests) % self.every:
                return None
            self.faults += 1
            return "refused" if self.faults % 2 else "done, unheard"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            self._say(403, [], b"<Error><Code>InvalidAccessKeyId</Code></Error>")
            return
        fault = self.server.fault(f"{self.command} {self.path}")
        if fault != "refused":
            status, headers, answer = ask(self.server.upstream, self.command, self.path, body, dict(self.headers))
        if fault:
            status, headers, answer = 503, [], b"<Error><Code>SlowDown</Code></Error>"
        self._say(status, headers, answer)

    def _say(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() not in _NOT_FORWARDED:
                self.send_header(name, value)
            elif name.lower() == "content-length" and self.command == "HEAD":
                length = value
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


@contextlib.contextmanager
def bucket() -> Iterator[Proxy]:
    """Yield the proxy before a server that has one empty bucket."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        )
        try:
            port = _port_of(server, log.fileno())
            assert ask(port, "PUT", f"/{BUCKET}")[0] == 200
            proxy = Proxy(port)
            thread = threading.Thread(target=proxy.serve_forever, daemon=True)
            thread.start()
            try:
                yield proxy
            finally:
                proxy.shutdown()
                thread.join()
                proxy.server_close()
        finally:
            server.terminate()
            server.wait()


def _port_of(server: subprocess.Popen[bytes], log: int) -> int:
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline and server.poll() is None:
        said = os.pread(log, 100_000, 0)
        if found := re.search(rb"http://127\.0\.0\.1:(\d+)", said):
            return int(found[1])
        time.sleep(0.05)
    raise RuntimeError(f"moto did not start: {os.pread(log, 100_000, 0).decode()}")


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of the answer to one request; moto takes it unsigned."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1200)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()


def environment(proxy: Proxy) -> dict[str, str]:
    """Return the environment variables with which a process uses the server through the proxy."""
    return {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }
