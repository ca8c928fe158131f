"""Downloads of known data sets: checked, resumed where they stopped, there whole or not at all.

A file grows as ``NAME.part``; beside it, ``NAME.part.json`` remembers which version of it the server had (its ETag or
date), so that a later request continues that version and no other (RFC 9110, Range and If-Range). When its checksum is
right it is renamed. The checksums are those that the data sets' authors publish.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import shutil
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pellucid.cache import cache_folder
from pellucid.errors import FetchError, unknown

Progress = Callable[[str, int, int | None], None]
"""Called with (file, bytes there, bytes in all or None)."""

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0
_ATTEMPTS = 5  # in a row that bring nothing
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EFBIG, errno.EPERM}
_PAUSE_S = 0.5  # before the second attempt; doubled each time


@dataclass(frozen=True)
class Remote:
    """One file of a data set. digest: "sha256:..." or "md5:..."."""

    url: str
    digest: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Known:
    """A data set that can be fetched: its files, and what an archive among them unpacks to (names and sizes)."""

    remotes: tuple[Remote, ...]
    unpacked: tuple[tuple[str, int], ...] = ()


def _idx(base: str, digests: dict[str, str]) -> Known:
    return Known(tuple(Remote(f"{base}/{part}-ubyte.gz", f"sha256:{digest}") for part, digest in digests.items()))


KNOWN = {
    "fashion-mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        {
            "train-images-idx3": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "mnist": _idx(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        {
            "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "cifar10": Known(
        (
            Remote(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "md5:c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        tuple(
            (f"cifar-10-batches-bin/{name}.bin", 30_730_000)
            for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
        ),
    ),
}


def fetch(
    name: str, to: str | Path | None = None, progress: Progress | None = None, *, known: dict[str, Known] | None = None
) -> Path:
    """Download a known data set into the folder `to` (else the user's cache) and say where it is.

    What is already there and whole is not fetched again. `known` may name other data sets than `KNOWN`.
    Raises UsageError for an unknown name, FetchError where a file cannot be had or is not what it should be.
    """
    table = KNOWN if known is None else known
    if name not in table:
        raise unknown("data set to fetch", name, table)
    folder = Path(to).expanduser() if to is not None else cache_folder() / name
    wanted = table[name]
    if wanted.unpacked and _is_unpacked(folder, wanted):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"the folder {folder} cannot be made: {error.strerror}", try_="--to FOLDER") from None
    for remote in wanted.remotes:
        download(remote.url, folder / remote.file, remote.digest, progress)
        if wanted.unpacked:
            _unpack(folder / remote.file, folder, wanted)
    return folder


def download(
    url: str,
    target: Path,
    digest: str,
    progress: Progress | None = None,
    *,
    attempts: int = _ATTEMPTS,
    pause_s: float = _PAUSE_S,
) -> None:
    """Bring one file to `target`, continuing where an earlier try stopped.

    Connections that break are taken up again, up to `attempts` times in a row without a byte gained.
    Raises FetchError; what has come so far stays for the next try, unless it is known to be wrong.
    """
    if target.is_file() and _digest(target, digest) == digest:
        if progress:
            progress(target.name, target.stat().st_size, target.stat().st_size)
        return
    with _alone(target):
        part = _Part(target)
        continued = part.size > 0
        _complete(url, part, progress, attempts, pause_s)
        if (found := _digest(part.path, digest)) != digest and continued:
            part.forget()  # the beginning may have been of another version: once more from there
            _complete(url, part, progress, attempts, pause_s)
            found = _digest(part.path, digest)
        if found != digest:
            part.forget()
            raise FetchError(f"{url} is not the file that was expected", expected=digest, found=found)
        part.path.replace(target)
        part.note.unlink(missing_ok=True)


class _Part:
    """What has come so far, and which version of the file it belongs to."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str | None:
        try:
            version = json.loads(self.note.read_text("utf-8"))["version"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return version if isinstance(version, str) else None

    def begin(self, version: str | None) -> None:
        self.path.write_bytes(b"")
        self.note.write_text(json.dumps({"version": version}), "utf-8")

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


class _Interrupted(Exception):
    """A connection that broke or a server that is busy: worth another attempt."""


def _complete(url: str, part: _Part, progress: Progress | None, attempts: int, pause_s: float) -> None:
    """Ask until all of the file is in `part`."""
    failures = 0
    while True:
        before = part.size
        try:
            _request(url, part, progress)
            return
        except _Interrupted as error:
            failures = 0 if part.size > before else failures + 1
            if failures >= attempts:
                raise FetchError(
                    f"{url} could not be fetched: {error}",
                    so_far=f"{part.size:,} bytes, from which the next try goes on",
                    try_="the same command again, when the network is better",
                ) from None
            time.sleep(pause_s * 2**failures if failures else 0)


def _request(url: str, part: _Part, progress: Progress | None) -> None:
    """One request, for what is missing."""
    have, version = part.size, part.version
    request = urllib.request.Request(url, headers={"User-Agent": "pellucid", "Accept-Encoding": "identity"})
    if have and version:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            _receive(response, part, have, progress)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.forget()
            raise _Interrupted("the server has less of it than is already here") from None
        if error.code in (408, 429) or error.code >= 500:
            raise _Interrupted(f"the server says {error.code} {error.reason}") from None
        raise FetchError(f"{url} could not be fetched: the server says {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Interrupted(str(error.reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Interrupted(str(error) or type(error).__name__) from None
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise _Interrupted(str(error)) from None
        raise _disk(error, part) from None


def _receive(response: Any, part: _Part, have: int, progress: Progress | None) -> None:
    """Append a partial answer (206) that begins where we stopped; start again with a whole one (200)."""
    length = response.headers.get("Content-Length")
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.forget()
            raise _Interrupted("the server sent another part than was asked for")
    else:
        etag = response.headers.get("ETag")
        strong = etag if etag and not etag.startswith("W/") else None  # a weak one does not promise equal bytes
        part.begin(strong or response.headers.get("Last-Modified"))
        have = 0
    total = have + int(length) if length and length.isdecimal() else None
    _check_room(part.path.parent, total, have)
    with part.path.open("ab") as out:
        while block := response.read(_CHUNK_BYTES):
            out.write(block)
            have += len(block)
            if progress:
                progress(part.path.name.removesuffix(".part"), have, total)
        out.flush()
        os.fsync(out.fileno())
    if total is not None and have < total:
        raise _Interrupted(f"the connection ended after {have:,} of {total:,} bytes")


def _check_room(folder: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(folder).free
    if total is not None and total - have > free:
        raise FetchError(
            f"there is no space left in {folder}: {total - have:,} bytes are to come, {free:,} are free",
            try_="--to FOLDER on a disk with room",
        )


def _disk(error: OSError, part: _Part) -> FetchError:
    why = "there is no space left" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    return FetchError(f"{part.path} cannot be written: {why}", try_="--to FOLDER on a disk with room")


def _digest(file: Path, like: str) -> str:
    """The digest of a file, by the algorithm that `like` begins with."""
    algorithm = like.partition(":")[0]
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keeps a second process from writing the same file (where the system has flock; it ends with the process)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = target.with_name(f".{target.name}.lock")
    try:
        held: IO[bytes] = lock.open("wb")
    except OSError as error:
        raise FetchError(f"{target.parent} cannot be written: {error.strerror}", try_="--to FOLDER") from None
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchError(f"another process is fetching {target}", fits="wait for it") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _is_unpacked(folder: Path, wanted: Known) -> bool:
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in wanted.unpacked)


def _unpack(archive: Path, folder: Path, wanted: Known) -> None:
    """The plain files of the archive's own folder, written beside their place and renamed; then the archive goes."""
    inside = wanted.unpacked[0][0].partition("/")[0]
    made = Path(tempfile.mkdtemp(prefix=".unpack-", dir=folder))
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if member.isfile() and len(parts) == 2 and parts[0] == inside and (content := tar.extractfile(member)):
                    with content, (made / parts[1]).open("wb") as out:
                        shutil.copyfileobj(content, out)
        shutil.rmtree(folder / inside, ignore_errors=True)
        made.rename(folder / inside)
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(f"{archive} cannot be unpacked: {error}") from None
    except OSError as error:
        raise FetchError(f"{archive} cannot be unpacked into {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if not _is_unpacked(folder, wanted):
        raise FetchError(
            f"{archive} does not hold what it should", expected=", ".join(name for name, _ in wanted.unpacked)
        )
    archive.unlink()
