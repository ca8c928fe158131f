"""The server of the page: it answers its own page on this machine, and nobody else; it stays within its bounds."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.look import server as module
from pellucid.look.answers import Answers
from pellucid.look.server import LookServer
from tests.look.made_page import encoded, lenet_lens, serving


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# Says that it has 65,536 x 65,536 pixels.
BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**16, 2**16, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"")


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(lenet_lens())


@pytest.fixture(scope="module")
def server(answers: Answers) -> Iterator[LookServer]:
    with serving(answers, answers.add(encoded())) as running:
        yield running


class Got:
    """An answer: its status, headers and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: LookServer, path: str, method: str = "GET", body: Any = None, **headers: str | None) -> Got:
    """A request as the page makes it; headers by their names with ``_`` for ``-``, None to leave one out."""
    address = server.hosts[0]
    given: dict[str, str | None] = {"Host": address, "Origin": f"http://{address}", "Sec-Fetch-Site": "same-origin"}
    if body is not None:
        given |= {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in given.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    if body:
        connection.send(body)
    try:
        return Got(connection.getresponse())
    finally:
        connection.close()


def test_it_listens_on_this_machine_alone(server: LookServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server.address)


def test_the_page_runs_nothing_but_its_own(server: LookServer) -> None:
    got = ask(server, "/", Origin=None, Sec_Fetch_Site="none")
    assert got.status == 200
    policy = got.headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)
    assert nonce is not None
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    page = got.body.decode()
    scripts = re.findall(r"<script([^>]*)>", page)
    assert [attributes for attributes in scripts if f'nonce="{nonce[1]}"' not in attributes] == [
        ' type="text/plain" id="start"'  # data, which no browser runs
    ]
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert nonce[1] not in ask(server, "/").body.decode()  # each page has its own


@pytest.mark.parametrize("path", ["/", "/number?at=11[0,0]", "/nothing"])
def test_every_answer_has_the_headers_of_safety(server: LookServer, path: str) -> None:
    headers = ask(server, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Python" not in str(headers)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "", None])
@pytest.mark.parametrize("path", ["/", "/maps?path=0"])
def test_other_names_of_this_machine_get_nothing(server: LookServer, path: str, host: str | None) -> None:
    """A foreign name that was made to point to 127.0.0.1 (DNS rebinding)."""
    got = ask(server, path, Host=host, Origin=None)
    assert got.status == 403
    assert got.json == {"error": "this server answers for this machine alone"}


def test_localhost_is_a_name_of_its_own(server: LookServer) -> None:
    got = ask(server, "/", Host=server.hosts[1], Origin=f"http://{server.hosts[1]}")
    assert got.status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", ""])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_pages_get_nothing(server: LookServer, method: str, origin: str) -> None:
    body = encoded() if method == "POST" else None
    got = ask(server, "/picture" if body else "/maps?path=0", method, body, Origin=origin)
    assert got.status == 403
    assert got.json == {"error": "this server answers its own page alone"}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_without_an_origin_get_nothing(server: LookServer, site: str) -> None:
    """As a picture or a script of a foreign page asks."""
    asked = {"Origin": None, "Sec_Fetch_Site": site, "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}
    assert ask(server, "/", **asked).status == 403
    assert ask(server, "/maps?path=0", **asked).status == 403


def test_a_link_to_the_page_may_be_followed_but_to_no_answer(server: LookServer) -> None:
    asked = {"Origin": None, "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(server, "/", **asked).status == 200
    assert ask(server, "/number?at=11[0,0]", **asked).status == 403


def test_a_picture_is_taken_and_answered(server: LookServer) -> None:
    got = ask(server, "/picture", "POST", encoded(5))
    assert got.status == 200
    name = got.json["picture"]
    assert name == server.answers.add(encoded(5))
    assert ask(server, f"/prediction?picture={name}").json["picture"] == name
    number = ask(server, f"/number?picture={name}&at=11[0,3]").json
    assert number["value"] == server.answers.scene(name).output[0, 3]
    assert ask(server, f"/maps?picture={name}&path=0").json["shown"] == [0, 1, 2, 3, 4, 5]
    assert ask(server, f"/update?picture={name}&at=0.bias[1]").json["optimizer"] == "AdamW"
    assert ask(server, f"/projection?picture={name}&at=0[0,1,2,3]&method=saliency").json["rows"] == 28


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"Origin": None}, 403, "from the page alone"),
        ({"Content_Type": "text/plain"}, 415, "application/octet-stream"),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415, "application/octet-stream"),
        ({"Content_Type": None}, 415, "application/octet-stream"),
        ({"Content_Length": None}, 411, "size is not said"),
        ({"Content_Length": None, "Transfer_Encoding": "chunked"}, 411, "size is not said"),
        ({"Content_Length": "-1"}, 411, "size is not said"),
        ({"Content_Length": "²"}, 411, "size is not said"),
        ({"Content_Length": str(20 * 2**20 + 1)}, 413, "larger than 20 MB"),
        ({"Content_Length": "9" * 400}, 413, "larger than 20 MB"),
    ],
)
def test_what_is_no_upload_of_the_page_is_refused(
    server: LookServer, headers: dict[str, str | None], status: int, said: str
) -> None:
    got = ask(server, "/picture", "POST", b"", **headers)
    assert got.status == status
    assert said in got.json["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no picture", "no picture of a known format"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\nbroken", "cannot be decoded"),
        (BOMB, "its header announces 4294967296 pixels"),
        (encoded()[:200], "cannot be decoded"),
    ],
    ids=["text", "empty", "broken", "bomb", "cut"],
)
def test_what_is_no_picture_is_said_in_a_sentence(server: LookServer, body: bytes, said: str) -> None:
    got = ask(server, "/picture", "POST", body)
    assert got.status == 400
    assert said in got.json["error"]
    assert "\n" not in got.json["error"]


def test_a_picture_that_does_not_arrive_whole_is_refused(server: LookServer) -> None:
    with socket.create_connection(server.server_address[:2], timeout=20) as wire:
        host = server.hosts[0]
        wire.sendall(
            f"POST /picture HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 500\r\n"
            "Content-Type: application/octet-stream\r\n\r\n".encode()
            + encoded()[:100]
        )
        wire.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: wire.recv(4096), b""))
    assert b" 400 " in said.split(b"\r\n")[0]
    assert b"did not arrive whole" in said


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/look.js",
        "/picture",
        "/number/",
    ],
)
def test_no_file_is_served(server: LookServer, path: str) -> None:
    got = ask(server, path)
    assert got.status == 404
    assert b"root:" not in got.body


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/number?at=nonsense", "no address of a number"),
        ("/number?at=nothing[0]", "no node or weight named 'nothing'"),
        ("/number", "no address of a number"),
        ("/maps?path=nothing", "no node or weight named 'nothing'"),
        ("/maps?path=0&first=-3", "first is '-3'"),
        ("/maps?path=0&first=99999999999", "first is '99999999999'"),
        ("/prediction?label=cat", "label is 'cat'"),
        ("/prediction?label=12", "no class 12"),
        ("/projection?at=0[0,1,2,3]&method=magic", "no way to project named 'magic'"),
        ("/update?at=0[0,1,2,3]", "an optimizer updates weights"),
    ],
)
def test_mistakes_are_said_in_json(server: LookServer, path: str, said: str) -> None:
    route, _, query = path.partition("?")
    got = ask(server, f"{route}?picture={server.picture}&{query}")
    assert got.status == 400
    assert said in got.json["error"]
    assert got.headers["Content-Type"] == "application/json; charset=utf-8"


def test_an_unknown_picture_is_said(server: LookServer) -> None:
    got = ask(server, "/prediction?picture=0123")
    assert (got.status, got.json["error"]) == (400, "this picture is no longer in memory; choose it again")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused_in_json(server: LookServer, method: str) -> None:
    got = ask(server, "/", method)
    assert got.status == 501
    assert "Access-Control-Allow-Origin" not in got.headers
    assert "Unsupported method" in got.json["error"]


def test_a_mistake_of_ours_is_answered(server: LookServer, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(server.answers, "number", broken)
    got = ask(server, f"/number?picture={server.picture}&at=11[0,0]")
    assert (got.status, got.json) == (500, {"error": "a mistake of ours: oh"})
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"",
    ],
)
def test_what_is_no_request_leaves_the_server_well(server: LookServer, said: bytes, capfd: Any) -> None:
    with socket.create_connection(server.server_address[:2], timeout=20) as wire:
        wire.sendall(said)
        wire.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: wire.recv(65536), b""))
    assert not got or b'"error":' in got
    assert ask(server, "/nothing").status == 404
    assert capfd.readouterr().err == ""


def test_a_flood_does_not_pile_up(answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 5)
    monkeypatch.setattr("pellucid.look.answers.MOST_PICTURES", 4)
    monkeypatch.chdir(tmp_path)
    statuses, most = [], 0
    with serving(answers) as server:
        quiet = threading.active_count()

        def flood(seed: int) -> None:
            name = ask(server, "/picture", "POST", encoded(seed)).json["picture"]
            statuses.append(ask(server, f"/prediction?picture={name}").status)

        threads = [threading.Thread(target=flood, args=(seed,)) for seed in range(24)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            alive = sum(thread.is_alive() for thread in threads)
            most = max(most, threading.active_count() - quiet - alive)
            time.sleep(0.002)
    assert len(statuses) == 24
    assert set(statuses) <= {200, 400}  # 400: pushed out by the others' pictures before it was asked about
    assert most <= 5 + 3  # a client's thread may end between the two counts
    assert len(answers._pictures) <= 4
    assert len(answers._scenes) <= 4
    assert list(tmp_path.iterdir()) == []  # nothing is ever written


def test_connections_that_say_nothing_are_let_go(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < module._Handler.timeout <= 15
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 2)
    monkeypatch.setattr(module._Handler, "timeout", 0.3)
    with serving(answers) as server:
        silent = [socket.create_connection(server.server_address[:2]) for _ in range(4)]
        assert ask(server, "/nothing").status == 404
        for wire in silent:
            wire.close()
