"""A proxy that delays every call to a server."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_SKIPPED = {"connection", "transfer-encoding", "content-length", "date", "server"}


class SlowProxy(ThreadingHTTPServer):
    """Delays every call to the server at `url`; records the calls and their credentials."""

    daemon_threads = True

    def __init__(self, url: str, delay_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.delay_s = urlsplit(url).netloc, delay_s
        self.calls: list[str] = []
        """The calls so far, as `POST /api/2.0/mlflow/runs/create`."""
        self.authorizations: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: SlowProxy

    def log_message(self, *args: object) -> None:
        """Print nothing."""

    def _pass_on(self) -> None:
        proxy = self.server
        proxy.calls.append(f"{self.command} {self.path}")
        proxy.authorizations.add(self.headers["Authorization"])
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(proxy.delay_s)
        there = http.client.HTTPConnection(proxy.target)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _SKIPPED}
            there.request(self.command, self.path, body, headers | {"Host": proxy.target})
            answer = there.getresponse()
            self._answer(answer, answer.read())
        except (OSError, http.client.HTTPException):
            self.close_connection = True  # As if this server died, too.
        finally:
            there.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def _answer(self, answer: http.client.HTTPResponse, body: bytes) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _SKIPPED:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def slow_proxy(url: str, delay_s: float) -> Iterator[SlowProxy]:
    """Serve it until the block ends."""
    proxy = SlowProxy(url, delay_s)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
