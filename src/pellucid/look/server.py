"""The page of a network and a picture, served to one's own machine: ``serve``.

Only 127.0.0.1 is listened to, and only the page's own requests are answered: the ``Host`` is checked, so that a foreign
name that was made to point here gets nothing; ``Origin`` and ``Sec-Fetch-Site``, so that a foreign page gets nothing.
There are a few fixed routes; no file is read or written for a request. Uploads, connections and what is kept in memory
are bounded.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pellucid.draw.look_page import content_policy, look_page
from pellucid.errors import PellucidError, UsageError
from pellucid.look.answers import Answer, Answers

MOST_BYTES = 20 * 2**20  # of a picture's file
MOST_CONNECTIONS = 32
MOST_UPLOADS = 2  # at a time
SECONDS = 10.0  # that a connection may say nothing

Query = Mapping[str, str]


class LookServer(ThreadingHTTPServer):
    """Answers the page of one network.

    Args:
        answers: of the network. picture: the name of the picture that the page begins with, empty where it begins with
            none. port: 0 for any that is free.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, answers: Answers, picture: str = "", port: int = 0) -> None:
        self.answers, self.picture = answers, picture
        self.uploads = threading.BoundedSemaphore(MOST_UPLOADS)
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(("127.0.0.1", port), _Handler)
        number = self.server_address[1]
        self.hosts = (f"127.0.0.1:{number}", f"localhost:{number}")

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return f"http://{self.hosts[0]}/"

    def start(self) -> Answer:
        """What the page begins with."""
        return {
            "live": True,
            "network": self.answers.network(),
            "scene": self.answers.prediction(self.picture) if self.picture else None,
            "most_bytes": MOST_BYTES,
        }

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, of which there are never more than ``MOST_CONNECTIONS``."""
        self._slots.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            traceback.print_exc()

    def server_bind(self) -> None:
        """Without asking the network what this machine is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


def serve(answers: Answers, picture: str = "", *, port: int = 0, ready: Callable[[str], None] | None = None) -> None:
    """Serve the page until the keyboard interrupts.

    Args:
        ready: is called with the address once the server listens.
    """
    with LookServer(answers, picture, port) as server:
        try:
            if ready is not None:
                ready(server.address)
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass


class _Refused(Exception):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


def _answer(answers: Answers, route: str, query: Query) -> Answer:
    """The answer of a fixed route."""
    picture, label = query.get("picture", ""), _number(query, "label")
    match route:
        case "/prediction":
            return answers.prediction(picture, label)
        case "/maps":
            return answers.maps(picture, label, query.get("path", ""), _number(query, "first") or 0)
        case "/number":
            return answers.number(picture, label, query.get("at", ""))
        case "/update":
            return answers.update(picture, label, query.get("at", ""))
        case "/projection":
            return answers.projection(picture, label, query.get("at", ""), query.get("method", ""))
    raise _Refused(HTTPStatus.NOT_FOUND, f"there is nothing at {route}")


def _number(query: Query, name: str) -> int | None:
    given = query.get(name)
    if given is None or given == "":
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise UsageError(f"{name} is '{given[:40]}'", fits="a whole number")
    return int(given)


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    server: LookServer
    timeout = SECONDS
    server_version, sys_version = "pellucid", ""

    def do_GET(self) -> None:
        self._guarded(self._get)

    def do_POST(self) -> None:
        self._guarded(self._post)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong is answered in one sentence."""
        try:
            self._check_sender()
            work()
        except _Refused as refused:
            self._send_json({"error": str(refused)}, refused.status)
        except PellucidError as error:
            fits = error.facts.get("fits")
            self._send_json({"error": error.message + (f"; {fits}" if fits else "")}, HTTPStatus.BAD_REQUEST)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            traceback.print_exc()
            self._send_json({"error": f"a mistake of ours: {error}"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _check_sender(self) -> None:
        """That the request is for this machine by its own name, and from the page itself."""
        if self.headers.get("Host", "") not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "this server answers for this machine alone")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in self._origins():
            raise _Refused(HTTPStatus.FORBIDDEN, "this server answers its own page alone")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") and not self._is_visit():
            raise _Refused(HTTPStatus.FORBIDDEN, "this server answers its own page alone")

    def _origins(self) -> tuple[str, ...]:
        return tuple(f"http://{host}" for host in self.server.hosts)

    def _is_visit(self) -> bool:
        """A link to the page that someone follows."""
        asked = self.headers.get("Sec-Fetch-Mode"), self.headers.get("Sec-Fetch-Dest")
        return self.command == "GET" and urlsplit(self.path).path == "/" and asked == ("navigate", "document")

    def _get(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/":
            nonce = secrets.token_urlsafe(16)
            page = look_page(self.server.start(), self.server.answers.account(), nonce)
            self._send(page.encode(), "text/html; charset=utf-8", HTTPStatus.OK, content_policy(nonce, live=True))
            return
        query = {name: values[-1] for name, values in parse_qs(parts.query, max_num_fields=10).items()}
        self._send_json(_answer(self.server.answers, parts.path, query))

    def _post(self) -> None:
        if urlsplit(self.path).path != "/picture":
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing to be sent here")
        if self.headers.get("Origin") not in self._origins():
            raise _Refused(HTTPStatus.FORBIDDEN, "pictures are taken from the page alone")
        if self.headers.get_content_type() != "application/octet-stream":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a picture is sent as application/octet-stream")
        with self._upload() as length:
            picture = self.server.answers.add(self._body(length))
        self._send_json({"picture": picture})

    def _upload(self) -> _Upload:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "the picture's size is not said")
        if len(length) > 12 or int(length) > MOST_BYTES:
            most = MOST_BYTES // 2**20
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the file is larger than {most} MB")
        return _Upload(self.server.uploads, int(length))

    def _body(self, length: int) -> bytes:
        body = self.rfile.read(length)
        if len(body) != length:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the picture did not arrive whole")
        return body

    def _send_json(self, answer: Answer, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        self._send(body, "application/json; charset=utf-8", status, "default-src 'none'")

    def _send(self, body: bytes, kind: str, status: HTTPStatus, policy: str) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the HTTP machinery refuses, in JSON as well."""
        status = HTTPStatus(code)
        self._send_json({"error": message or status.phrase}, status)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


class _Upload:
    """A place among the uploads that may run at a time, and the size of this one."""

    def __init__(self, places: threading.BoundedSemaphore, length: int) -> None:
        self._places, self._length = places, length

    def __enter__(self) -> int:
        if not self._places.acquire(timeout=SECONDS):
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "other pictures are on their way; try again")
        return self._length

    def __exit__(self, *_: object) -> None:
        self._places.release()
