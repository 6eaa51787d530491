"""From URLs as the user gave them to the files that they lead to."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ingestion.remote.errors import StorageError
from ingestion.remote.names import public
from ingestion.remote.schemes import SCHEMES
from ingestion.remote.stores import Entry, Store, WebServer, connect
from ingestion.storage import Location

HIDDEN = (".", "_")


@dataclass(frozen=True)
class Found:
    """What a URL leads to: its files in order, and whether it is a folder.

    `failed` are the folders below it that could not be listed, with their URLs. `is_pattern` says
    that it stands for names that match.
    """

    root: Location
    files: tuple[Location, ...]
    is_folder: bool = False
    is_pattern: bool = False
    failed: tuple[tuple[str, StorageError], ...] = ()


class Stores:
    """The stores of one run, each connected once."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Store] = {}

    def find(self, url: str) -> Found:
        """A file, a folder or a glob pattern. Raises StorageError when it leads nowhere."""
        scheme, _, rest = url.partition("://")
        scheme = scheme.lower()
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise StorageError(f"{scheme}:// is not known; use a local path or one of {known}")
        authority, slash, path = rest.partition("/")
        if not authority:
            raise StorageError(f"it names no bucket or server; write {scheme}://NAME/PATH")
        store = self._store(scheme, authority)
        key = store.key(slash + path)
        root = Location(public(url))
        failed: list[tuple[str, StorageError]] = []

        def note(where: str, error: StorageError) -> None:
            failed.append((where, error))

        magic = "*[" if isinstance(store, WebServer) else "*?["
        is_pattern = bool(set(magic) & set(path.partition("?")[0] if "?" not in magic else path))
        # What is there under exactly this name comes before what the name matches.
        by_name = not (is_pattern and isinstance(store, WebServer))
        entry = store.info(key) if by_name else None
        if entry is None and is_pattern:
            files = list(_matching(store, key, magic, note))
            return Found(root, _in_order(store, files), is_pattern=True, failed=tuple(failed))
        if entry is None:
            raise StorageError(store.missing)
        if entry.is_folder:
            files = list(store.files(entry.key, note, HIDDEN))
            folder = replace(store.location(entry), uri=root.uri)
            return Found(folder, _in_order(store, files), is_folder=True, failed=tuple(failed))
        return Found(root, (store.location(entry),))

    def _store(self, scheme: str, authority: str) -> Store:
        if (scheme, authority) not in self._stores:
            self._stores[scheme, authority] = connect(scheme, authority)
        return self._stores[scheme, authority]


def _in_order(store: Store, entries: list[Entry]) -> tuple[Location, ...]:
    by_key = {entry.key: store.location(entry) for entry in entries}
    return tuple(sorted(by_key.values(), key=lambda location: location.path.parts))


def _matching(
    store: Store, pattern: str, magic: str, failed: Callable[[str, StorageError], None]
) -> Iterator[Entry]:
    """The files that match; as on a command line, a leading dot only matches itself."""
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if set(magic) & set(part))
    start = "/".join(parts[:first]) + ("/" if isinstance(store, WebServer) else "")
    if "**" in parts:
        from fsspec.utils import glob_translate

        matches = re.compile(glob_translate(pattern)).match
        found = store.files(start, failed, (".",))
        yield from (entry for entry in found if matches(entry.key))
        return
    folders = [start]
    for part in parts[first:]:
        entries = [entry for folder in folders for entry in store.entries(folder)]
        matching = [
            entry
            for entry in entries
            if fnmatch.fnmatchcase(store.path(entry.key).name, part)
            and not (entry.name.startswith(".") and not part.startswith("."))
        ]
        folders = [entry.key for entry in matching if entry.is_folder]
    yield from (entry for entry in matching if not entry.is_folder)
