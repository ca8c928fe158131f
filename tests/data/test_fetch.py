"""Downloads from a local server that behaves well, breaks off, ignores ranges, lies, or has changed its mind."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.data import fetch as fetch_set
from pellucid.data import load
from pellucid.data.fetch import KNOWN, Known, Remote, download
from pellucid.errors import FetchError, UsageError

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Files, how to misbehave, and what was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: {"/file.bin": CONTENT})
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)  # after so many bytes of the next answers, the connection ends
    statuses: list[int] = field(default_factory=list)  # of the next answers, instead of a file
    shift: int = 0  # partial answers begin this much too late
    announce: bool = True  # Content-Length
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append({name.lower(): value for name, value in self.headers.items()})
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            content = server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = self._start(len(content))
            if start > len(content) - 1:
                self.send_error(416)
                return
            self._answer(content, start)

        def _start(self, length: int) -> int:
            """Where the answer begins: 0 for a whole one."""
            asked = self.headers.get("Range")
            version = self.headers.get("If-Range")
            if not asked or not server.ranges or (version and version not in (server.etag, server.modified)):
                return 0
            return int(asked.removeprefix("bytes=").removesuffix("-"))

        def _answer(self, content: bytes, start: int) -> None:
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start + server.shift}-{len(content) - 1}/{len(content)}")
            if server.announce:
                self.send_header("Content-Length", str(len(content) - start))
            if server.etag:
                self.send_header("ETag", server.etag)
            if server.modified:
                self.send_header("Last-Modified", server.modified)
            self.end_headers()
            rest = content[start:]
            self.wfile.write(rest[: server.cuts.pop(0)] if server.cuts else rest)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def get(server: Server, target: Path, progress: Any = None, digest: str = DIGEST, attempts: int = 3) -> None:
    download(f"{server.url}/file.bin", target, digest, progress, attempts=attempts, pause_s=0.0)


def test_a_file_comes_whole_and_alone(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    get(server, tmp_path / "file.bin", lambda *call: seen.append(call))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]
    counts = [done for _, done, _ in seen]
    assert counts == sorted(counts)
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    seen: list[tuple[str, int, int | None]] = []
    get(server, tmp_path / "file.bin", lambda *call: seen.append(call))
    assert server.asked == []
    assert seen == [("file.bin", len(CONTENT), len(CONTENT))]


def test_what_is_there_but_wrong_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1])
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("by", ["etag", "modified"])
def test_a_connection_cut_off_halfway_is_taken_up_there(by: str, server: Server, tmp_path: Path) -> None:
    if by == "modified":
        server.etag, server.modified = None, "Wed, 30 Aug 2017 10:00:00 GMT"
    server.cuts = [150_000, 50_000]
    get(server, tmp_path / "file.bin", attempts=1)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [asked.get("range") for asked in server.asked] == [None, "bytes=150000-", "bytes=200000-"]
    assert server.asked[1]["if-range"] == (server.etag or server.modified)


def test_a_new_process_goes_on_where_the_last_one_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = [150_000, 0, 0]
    with pytest.raises(
        FetchError, match=r"could not be fetched: the connection ended after 150,000 of 300,000 bytes\n.*so far"
    ):
        get(server, tmp_path / "file.bin", attempts=2)
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").stat().st_size == 150_000
    seen: list[int] = []
    get(server, tmp_path / "file.bin", lambda _, done, __: seen.append(done))
    assert server.asked[-1]["range"] == "bytes=150000-"
    assert seen[0] > 150_000
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]


def test_a_server_that_ignores_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [150_000]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.asked[1]["range"] == "bytes=150000-"


def test_a_file_that_changed_meanwhile_begins_anew(server: Server, tmp_path: Path) -> None:
    old = bytes(reversed(CONTENT))
    server.files["/file.bin"], server.etag, server.cuts = old, '"old"', [150_000, 0, 0]
    with pytest.raises(FetchError, match="the connection ended"):
        get(server, tmp_path / "file.bin", attempts=2)
    server.files["/file.bin"], server.etag = CONTENT, '"new"'
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_file_that_changed_behind_an_unchanged_tag_is_fetched_once_more(server: Server, tmp_path: Path) -> None:
    server.files["/file.bin"], server.cuts = bytes(reversed(CONTENT)), [150_000, 0, 0]
    with pytest.raises(FetchError, match="the connection ended"):
        get(server, tmp_path / "file.bin", attempts=2)
    server.files["/file.bin"] = CONTENT
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [asked.get("range") for asked in server.asked[-2:]] == ["bytes=150000-", None]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_version_it_begins_anew(etag: str | None, server: Server, tmp_path: Path) -> None:
    server.etag, server.cuts = etag, [150_000]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert "range" not in server.asked[1]


def test_a_part_that_begins_elsewhere_is_not_used(server: Server, tmp_path: Path) -> None:
    server.shift, server.cuts = 7, [150_000]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert "range" not in server.asked[-1]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / "file.bin.part.json").write_text('{"version": "\\"one\\""}')
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["", "{}", "[1]", '{"version": 3}', "\x00"])
def test_a_damaged_note_begins_anew(note: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something")
    (tmp_path / "file.bin.part.json").write_text(note)
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_nothing_stays(server: Server, tmp_path: Path) -> None:
    server.files["/file.bin"] = CONTENT[:-1] + b"?"
    with pytest.raises(FetchError, match=r"is not the file that was expected\n +expected +sha256:.*\n +found +sha256:"):
        get(server, tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_without_length_is_checked_all_the_same(server: Server, tmp_path: Path) -> None:
    server.announce = False
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    server.cuts = [1000]
    with pytest.raises(FetchError, match="is not the file that was expected"):
        get(server, tmp_path / "again.bin")


def test_a_busy_server_is_asked_again_and_a_refusal_is_final(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    get(server, tmp_path / "file.bin")
    assert len(server.asked) == 3
    server.statuses = [403]
    with pytest.raises(FetchError, match="the server says 403 Forbidden"):
        get(server, tmp_path / "again.bin")
    assert len(server.asked) == 4
    server.statuses = [503] * 9
    with pytest.raises(FetchError, match="the server says 503 Service Unavailable"):
        get(server, tmp_path / "again.bin", attempts=3)
    assert len(server.asked) == 7


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"could not be fetched: .*refused(.*\n)*.*so far +0 bytes"):
        download("http://127.0.0.1:9/file.bin", tmp_path / "file.bin", DIGEST, attempts=2, pause_s=0.0)


def test_too_little_room_is_seen_before_anything_comes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 1000))  # type: ignore[attr-defined]
    with pytest.raises(
        FetchError, match=r"there is no space left in .*: 300,000 bytes are to come, 1,000 are free\n.*--to"
    ):
        get(server, tmp_path / "file.bin")


def test_a_disk_that_fills_up_on_the_way(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FetchError, match=r"file\.bin\.part cannot be written: there is no space left"):
            get(server, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_two_at_once_do_not_mix(server: Server, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".file.bin.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match=r"another process is fetching .*file\.bin"):
            get(server, tmp_path / "file.bin")
    get(server, tmp_path / "file.bin")


def cifar_like(folder: str = "cifar-10-batches-bin") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in [f"{folder}/data_batch_1.bin", f"{folder}/test_batch.bin", "../outside", "/absolute"]:
            info = tarfile.TarInfo(name)
            info.size = 2 * 3073
            tar.addfile(info, io.BytesIO(bytes([1]) + bytes(3072) + bytes([2]) + bytes(3072)))
        link = tarfile.TarInfo(f"{folder}/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return packed.getvalue()


def packed_set(server: Server, content: bytes) -> dict[str, Known]:
    server.files["/set.tar.gz"] = content
    remote = Remote(f"{server.url}/set.tar.gz", "md5:" + hashlib.md5(content).hexdigest())
    names = ("cifar-10-batches-bin/data_batch_1.bin", "cifar-10-batches-bin/test_batch.bin")
    return {"tiny": Known((remote,), tuple((name, 2 * 3073) for name in names))}


def test_an_archive_is_unpacked_within_its_folder_and_removed(server: Server, tmp_path: Path) -> None:
    known = packed_set(server, cifar_like())
    folder = fetch_set("tiny", to=tmp_path / "sets" / "tiny", known=known)
    names = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if not file.is_dir())
    assert names == [f"sets/tiny/cifar-10-batches-bin/{name}" for name in ("data_batch_1.bin", "test_batch.bin")]
    assert load(folder).train.labels.tolist() == [1, 2]
    fetch_set("tiny", to=folder, known=known)
    assert len(server.asked) == 1


def test_an_archive_of_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"set\.tar\.gz does not hold what it should\n.*data_batch_1\.bin"):
        fetch_set("tiny", to=tmp_path, known=packed_set(server, cifar_like("other")))
    with pytest.raises(FetchError, match=r"set\.tar\.gz cannot be unpacked"):
        fetch_set("tiny", to=tmp_path, known=packed_set(server, b"no archive"))


def test_into_the_users_cache_and_found_there_by_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    files = {}
    for part, count in (("train", 20), ("t10k", 5)):
        pixels = np.zeros((count, 28, 28), np.uint8)
        files[f"{part}-images-idx3-ubyte.gz"] = b"\0\0\x08\x03" + struct.pack(">3I", *pixels.shape) + pixels.tobytes()
        files[f"{part}-labels-idx1-ubyte.gz"] = (
            b"\0\0\x08\x01" + struct.pack(">I", count) + bytes(i % 10 for i in range(count))
        )
    server.files = {f"/{name}": gzip.compress(content) for name, content in files.items()}
    remotes = tuple(
        Remote(server.url + path, "sha256:" + hashlib.sha256(content).hexdigest())
        for path, content in server.files.items()
    )
    folder = fetch_set("mnist", known={"mnist": Known(remotes)})
    assert folder == tmp_path / "pellucid" / "mnist"
    data = load("mnist")
    assert (len(data.train), data.origin) == (20, "mnist")


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no data set to fetch named 'cifar'; did you mean 'cifar10'"):
        fetch_set("cifar", to=tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FetchError, match="the folder .*file/mnist cannot be made"):
        fetch_set("mnist", to=tmp_path / "file" / "mnist")


def test_the_checksums_are_those_of_the_original_fashion_mnist(fashion_mnist: Path) -> None:
    """Debian packs the same streams without name and time in the gzip header; with both, the files are as published."""
    times = {"train": 1504176606, "t10k": 1504176627}  # 31 August 2017
    for remote in KNOWN["fashion-mnist"].remotes:
        packed = (fashion_mnist / remote.file).read_bytes()
        header = b"\x1f\x8b\x08\x08" + struct.pack("<I", times[remote.file.partition("-")[0]]) + b"\0\x03"
        original = header + remote.file.removesuffix(".gz").encode() + b"\0" + packed[10:]
        assert "sha256:" + hashlib.sha256(original).hexdigest() == remote.digest, remote.file
