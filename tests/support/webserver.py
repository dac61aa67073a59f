"""A web server on loopback that can break off, ignore ranges, change its files, refuse, or wait to be killed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    """A request, and the bytes of body that were sent for it."""

    path: str
    range: str | None
    sent: int = 0


class Web:
    """The objects of the server, its behaviour, and the requests it received."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.ranges = True
        self.if_range = True
        self.tags = True
        self.weak = False
        self.cut: int | None = None
        """Bytes of an answer's body after which the connection is closed; None for all."""
        self.hold: int | None = None
        """Bytes of an answer's body after which the server waits until `go` is set."""
        self.go = threading.Event()
        self.held = threading.Event()
        self.asked: list[Asked] = []
        self.url = ""

    def tag(self, data: bytes) -> str:
        return ("W/" if self.weak else "") + f'"{hashlib.md5(data).hexdigest()}"'

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Return the status, body and headers of an answer."""
        data = self.files.get(path)
        if self.status != 200 or data is None:
            return (self.status if self.status != 200 else 404), b"no", {}
        told = {"ETag": self.tag(data)} if self.tags else {}
        wanted = headers.get("Range", "") if self.ranges else ""
        if self.if_range and headers.get("If-Range", self.tag(data)) != self.tag(data):
            wanted = ""
        if not wanted:
            return 200, data, told
        begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if begin >= len(data):
            return 416, b"", {"Content-Range": f"bytes */{len(data)}"}
        return 206, data[begin:], told | {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}


@contextmanager
def serve() -> Iterator[Web]:
    """Yield a running server; its `url` ends in a slash."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            asked = Asked(path, self.headers.get("Range"))
            web.asked.append(asked)
            status, body, headers = web.answer(path, dict(self.headers))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            cut, hold = web.cut, web.hold
            for part in (body[:hold], body[hold:]) if hold is not None else (body[:cut],):
                self.wfile.write(part)
                self.wfile.flush()
                asked.sent += len(part)
                if hold is not None:
                    web.held.set()
                    web.go.wait(30)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Print nothing: the tests kill clients on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
