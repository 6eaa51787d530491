"""Buckets, containers and servers: what they hold, and the bytes of it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import PurePath, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies

from ingestion.remote.errors import StorageError, Unreachable, explain
from ingestion.remote.files import BLOCK, Remote, TooLarge
from ingestion.remote.names import public
from ingestion.remote.schemes import CONNECT_SECONDS, HTTP, SCHEMES, SFTP

Blocks = Generator[bytes, None, None]
_LOGGERS = ("s3fs", "gcsfs", "azure", "asyncssh", "asyncio")  # what they say, a problem says
_TRIES = 2  # s3fs makes five, each of which is botocore's three
_SAFE = "%/:=&?~+!$,;'@()*[]"


@dataclass(frozen=True)
class Entry:
    """A line of a listing."""

    key: str
    is_folder: bool
    size: int | None = None
    version: str | None = None
    is_link: bool = False

    @property
    def name(self) -> str:
        return self.key.rstrip("/").rpartition("/")[2]


class Store:
    """A bucket, a container or a server. All that goes wrong in it is a StorageError."""

    missing = "no such file or folder"

    def __init__(self, scheme_name: str, authority: str) -> None:
        self.unreachable: Unreachable | None = None
        self.scheme_name = scheme_name
        self.scheme = SCHEMES[scheme_name]
        self.host = authority.rpartition("@")[2]
        self.authority = authority
        with self.asking():
            self.fs: Any = self._connected()
            if self.scheme.address is not None:
                _reach(self.scheme.address(self.fs))

    def _connected(self) -> Any:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            import fsspec

            options = self.scheme.options(self.authority)
            fs = fsspec.filesystem(self.scheme.protocol, skip_instance_cache=True, **options)
        except ImportError:
            raise StorageError(
                f"{self.scheme_name}:// needs the package {self.scheme.package};"
                f" run `pip install {self.scheme.package}`"
            ) from None
        fs.retries = _TRIES
        return fs

    # Names

    def key(self, path: str) -> str:
        """What the store itself calls the file at a path of its URLs."""
        return path

    def url(self, key: str) -> str:
        return public(f"{self.scheme_name}://{self.authority}{key}")

    def path(self, key: str) -> PurePath:
        return PurePosixPath(key)

    def location(self, entry: Entry) -> Remote:
        return Remote(self.url(entry.key), self, entry.key, entry.size, entry.version)

    # Listings

    def info(self, key: str) -> Entry | None:
        """What stands at a key, None when nothing does."""
        with self.asking():
            try:
                return self._entry(self.fs.info(key))
            except FileNotFoundError:
                return None

    def entries(self, folder: str) -> list[Entry]:
        """What a folder holds, by one listing."""
        with self.asking():
            listed = [self._entry(info) for info in self.fs.ls(folder, detail=True)]
        return [entry for entry in listed if entry.key.strip("/") != folder.strip("/")]

    def files(
        self, folder: str, failed: Callable[[str, StorageError], None], hidden: tuple[str, ...]
    ) -> Iterator[Entry]:
        """All files below a folder but those whose names begin as hidden ones do.

        `failed` is told of each folder below that cannot be listed.
        """
        for entry in self.entries(folder):
            if entry.name.startswith(hidden):
                continue
            if not entry.is_folder:
                yield entry
                continue
            if entry.is_link:  # might lead round in a circle
                continue
            try:
                yield from self.files(entry.key, failed, hidden)
            except StorageError as error:
                failed(self.url(entry.key), error)

    def _entry(self, info: dict[str, Any]) -> Entry:
        version = next(
            (str(info[name]).strip('"') for name in ("ETag", "etag") if info.get(name)), None
        )
        is_folder = info["type"] == "directory" or info["name"].endswith("/")
        return Entry(info["name"], is_folder, info.get("size"), version)

    # Bytes

    def size(self, key: str) -> int | None:
        entry = self.info(key)
        return entry.size if entry is not None else None

    def blocks(
        self, file: Remote, start: int, at_most: int | None = None
    ) -> Generator[bytes, None, None]:
        """A generator of the file's bytes from `start` on. Raises TooLarge beyond `at_most`."""
        read = 0
        with self.asking(), closing(self._open(file.key)) as opened:
            size = self._length(opened)
            if at_most is not None and size is not None and size > at_most:
                raise TooLarge(size)
            self._skip(opened, start)
            while block := opened.read(BLOCK):
                read += len(block)
                if at_most is not None and read > at_most:
                    raise TooLarge(size)
                yield block

    def _open(self, key: str) -> Any:
        return self.fs.open(key, "rb")

    def _length(self, opened: Any) -> int | None:
        return None

    def _skip(self, opened: Any, start: int) -> None:
        opened.seek(start)

    # Problems

    def problem(self, error: BaseException) -> StorageError:
        problem = explain(error, self.scheme.credentials, self.place())
        if isinstance(problem, Unreachable):
            self.unreachable = problem
        return problem

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Whatever the library raises becomes a StorageError.

        A server that nobody could reach is not asked again in this run: libraries try it for a
        minute and more, with each file.
        """
        if self.unreachable is not None:
            raise self.unreachable
        try:
            yield
        except (StorageError, TooLarge):
            raise
        except Exception as error:
            raise self.problem(error) from None

    def place(self) -> str:
        return self.host


class ObjectStore(Store):
    """Keys that only look like folders: one listing tells all of a prefix, requests have ranges."""

    missing = "no such file, folder or bucket"

    def __init__(self, scheme_name: str, authority: str) -> None:
        super().__init__(scheme_name, authority)
        self.bucket: str = self.fs._strip_protocol(f"{scheme_name}://{authority}/").strip("/")

    def key(self, path: str) -> str:
        return (self.bucket + path).rstrip("/")

    def url(self, key: str) -> str:
        return super().url(key[len(self.bucket) :])

    def path(self, key: str) -> PurePath:
        return PurePosixPath("/", key)

    def place(self) -> str:
        bucket = f"{self.scheme_name}://{self.host}"
        endpoint = os.environ.get(self.scheme.endpoint or "")
        return f"{bucket} at {public(endpoint)}" if endpoint else bucket

    def files(
        self, folder: str, failed: Callable[[str, StorageError], None], hidden: tuple[str, ...]
    ) -> Iterator[Entry]:
        with self.asking():
            found = self.fs.find(folder, detail=True)
        for entry in map(self._entry, found.values()):
            below = entry.key[len(folder) :].strip("/").split("/")
            if not entry.is_folder and not any(name.startswith(hidden) for name in below):
                yield entry

    def blocks(
        self, file: Remote, start: int, at_most: int | None = None
    ) -> Generator[bytes, None, None]:
        size = file.listed if file.listed is not None else self.size(file.key)
        if size is None:
            raise StorageError("there is no such file any more; list it again")
        if at_most is not None and size > at_most:
            raise TooLarge(size)
        if size < BLOCK:
            # One request is one state of the object, also when it has grown since it was listed.
            block = self._range(file.key, start, BLOCK) if start < size else b""
            if len(block) >= BLOCK - start:
                raise StorageError("it grew while it was read; run again when it is complete")
            if block:
                yield block
            return
        for offset in range(start, size, BLOCK):
            end = min(offset + BLOCK, size)
            block = self._range(file.key, offset, end)
            if len(block) != end - offset:
                raise StorageError("it was replaced while it was read; run again")
            yield block
        now = self.info(file.key)
        if now is None or (file.version and now.version and now.version != file.version):
            raise StorageError("it was replaced while it was read; run again")

    def _range(self, key: str, start: int, end: int) -> bytes:
        with self.asking():
            block: bytes = self.fs.cat_file(key, start=start, end=end)
        return block


class SftpServer(Store):
    """Folders and links as a file system has them."""

    def entries(self, folder: str) -> list[Entry]:
        return super().entries(folder.rstrip("/") or "/")

    def _entry(self, info: dict[str, Any]) -> Entry:
        if info["type"] != "link":
            return super()._entry(info)
        try:
            target = self.fs.info(info["name"])
        except OSError:
            return Entry(info["name"], False)  # said when its turn to be read comes
        is_folder = target["type"] == "directory"
        return Entry(info["name"], is_folder, target["size"], is_link=True)


class WebServer(Store):
    """A folder is a page with links; a file is whatever a GET gives."""

    def key(self, path: str) -> str:
        return f"{self.scheme_name}://{self.host}{quote(path, safe=_SAFE)}"

    def url(self, key: str) -> str:
        return public(key)

    def path(self, key: str) -> PurePath:
        return PurePosixPath(unquote(urlsplit(key).path) or "/")

    def info(self, key: str) -> Entry | None:
        path = urlsplit(key).path
        return Entry(key, path in ("", "/") or path.endswith("/"))

    def entries(self, folder: str) -> list[Entry]:
        with self.asking():
            page = self.fs.cat_file(folder).decode(errors="replace")
        parser = _Links()
        parser.feed(page)
        base = folder.partition("?")[0]
        found = {}
        for link in parser.links:
            url = urljoin(base, link)
            if url.startswith(base) and url != base and not set("?#") & set(url):
                first, slash, rest = url[len(base) :].partition("/")
                if not rest:
                    found[url] = Entry(base + first + slash, bool(slash))
        return list(found.values())

    def size(self, key: str) -> int | None:
        with self.asking():
            try:
                size: int | None = self.fs.info(key)["size"]
            except FileNotFoundError:  # whatever it has against HEAD; a GET shows what is wrong
                size = None
        return size

    def _open(self, key: str) -> Any:
        opened = self.fs.open(key, block_size=0, size=1)  # with a size it asks for none
        kind = opened.r.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            opened.close()
            raise StorageError("it is a web page, no log; the URL of a folder ends with /")
        return opened

    def _length(self, opened: Any) -> int | None:
        length = opened.r.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None

    def _skip(self, opened: Any, start: int) -> None:
        while start > 0:
            block = opened.read(min(start, BLOCK))
            if not block:
                return
            start -= len(block)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def _reach(address: str) -> None:
    """Raises OSError when nobody answers there, where a library would wait for a minute."""
    server = urlsplit(address)
    if server.hostname is None or getproxies().get(server.scheme):
        return
    port = server.port or (443 if server.scheme == "https" else 80)
    try:
        socket.create_connection((server.hostname, port), CONNECT_SECONDS).close()
    except TimeoutError as error:
        raise ConnectionRefusedError(str(error)) from None


def connect(scheme_name: str, authority: str) -> Store:
    kind = {HTTP: WebServer, SFTP: SftpServer}.get(SCHEMES[scheme_name], ObjectStore)
    return kind(scheme_name, authority)
