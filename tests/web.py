"""A web server for tests of downloads: it counts what it sends, and fails in the ways that real ones do."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file and how it is served.

    Args:
        content: its bytes.
        etag: its version; None for a server that tells none.
        ranges: whether a part may be asked for.
        kind: the content type.
        codes: answered with these errors first, one an answer.
        cuts: the connection is cut after so many bytes, one an answer; None lets an answer pass.
        pauses: seconds of silence in the middle, one an answer.
    """

    content: bytes
    etag: str | None = '"1"'
    ranges: bool = True
    kind: str = "application/octet-stream"
    codes: list[int] = field(default_factory=list)
    cuts: list[int | None] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)


class Web(ThreadingHTTPServer):
    """``files`` by their paths (for a proxy: by their addresses); ``asked`` and ``sent`` tell what went on."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.sent = 0  # bytes of content
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        served = self.server.files.get(self.path)
        if served is None or served.codes:
            self.send_error(served.codes.pop(0) if served else 404)
            return
        start = 0
        if wanted and served.ranges and self.headers.get("If-Range") in (None, served.etag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))
            if start >= len(served.content):
                self.send_error(416)
                return
        body = served.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", served.kind)
        self.send_header("Content-Length", str(len(body)))
        if served.etag:
            self.send_header("ETag", served.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}")
        self.end_headers()
        body = body[: served.cuts.pop(0)] if served.cuts else body
        half = len(body) // 2
        self._send(body[:half])
        if served.pauses:
            time.sleep(served.pauses.pop(0))
        self._send(body[half:])

    def _send(self, body: bytes) -> None:
        self.server.sent += len(body)  # before the client has it, who may ask at once
        self.wfile.write(body)
        self.wfile.flush()


@contextmanager
def serving() -> Iterator[Web]:
    """A server as long as the context lasts."""
    web = Web()
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.shutdown()
        web.server_close()
