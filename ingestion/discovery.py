"""Which files to load, and as which stream (semantics section 1)."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ingestion.contract import streams
from ingestion.storage import Location, is_url, local

if TYPE_CHECKING:
    from ingestion.remote.find import Stores

_ENDINGS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".avro": "avro",
}
_PACKED = (".gz", ".gzip", ".zst", ".zstd")
_NO_MATCH = "no file matches this pattern"
_ONE_NAME = (
    "another URL of this run has the same name, because a query with secrets is left out of names;"
    " only the first is loaded, so load each of them in a run of its own"
)


@dataclass(frozen=True)
class Candidate:
    """A file to load; `stream` is None where no folder of its path is named like one."""

    path: Location
    stream: str | None


@dataclass(frozen=True)
class Problem:
    """A path that cannot be loaded, and why."""

    path: Location
    message: str


@dataclass(frozen=True)
class _Found:
    """What a path of the user's leads to: files in order, and problems on the way to them."""

    root: Location
    files: Sequence[Location]
    is_folder: bool = False
    problems: Sequence[Problem] = ()


def find_files(paths: Iterable[str], stream: str | None) -> tuple[list[Candidate], list[Problem]]:
    """Files, folders and glob patterns → files in the order of their names, each once.

    Each is a local path or a URL. In a folder, hidden files (`.x`, `_x`) are passed over and so is,
    unless `stream` is given, what lies beside the streams' folders and is no log: another kind of
    file, or one at the very top (a `truth.json`, a manifest). A log in a sub-folder of no stream's
    name is a problem.
    """
    candidates: dict[str, Candidate] = {}
    problems: list[Problem] = []
    find_url = _url_finder()
    for text in paths:
        found = find_url(text) if is_url(text) else _find_local(text)
        problems.extend(found.problems)
        known = [Candidate(file, stream or stream_of(file.path)) for file in found.files]
        if found.is_folder:
            usable = [candidate for candidate in known if candidate.stream is not None]
            lost = [
                Problem(candidate.path, no_stream())
                for candidate in known
                if candidate.stream is None
                and candidate.path.path.parent != found.root.path
                and usual_format(candidate.path.path) is not None
            ]
            problems.extend(lost)
            if not usable and not lost and not found.problems:
                problems.append(Problem(found.root, _no_logs(bool(known))))
            known = usable
        for candidate in known:
            other = candidates.setdefault(candidate.path.uri, candidate)
            if other.path != candidate.path:
                problems.append(Problem(candidate.path, _ONE_NAME))
    return list(candidates.values()), problems


def stream_of(path: PurePath) -> str | None:
    """The nearest folder of the path that is named like a stream."""
    known = streams()
    return next((parent.name for parent in path.parents if parent.name in known), None)


def _find_local(text: str) -> _Found:
    path = Path(os.path.abspath(text))
    root = Location(str(path))
    if path.is_dir():
        problems: list[Problem] = []
        files = sorted(_walk(path, problems))
        return _Found(root, [Location(str(file)) for file in files], True, problems)
    if os.path.lexists(path):
        return _Found(root, [root])
    if not glob.has_magic(text):
        return _Found(root, (), problems=[Problem(root, "no such file or folder")])
    matches = [Path(os.path.abspath(match)) for match in glob.glob(text, recursive=True)]
    files = sorted(match for match in matches if not match.is_dir())
    if not files:
        return _Found(root, (), problems=[Problem(root, _NO_MATCH)])
    return _Found(root, [Location(str(file)) for file in files])


def _walk(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        location = Location(str(error.filename))
        problems.append(Problem(location, f"cannot read it: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in files:
            path = Path(parent, name)
            if not name.startswith((".", "_")) and (path.is_file() or path.is_symlink()):
                yield path


def _url_finder() -> Callable[[str], _Found]:
    """Finds what URLs lead to; each of their servers is connected to once."""
    stores: Stores | None = None

    def find(url: str) -> _Found:
        nonlocal stores
        from ingestion.remote.errors import StorageError
        from ingestion.remote.find import Stores
        from ingestion.remote.names import public

        stores = stores or Stores()
        try:
            found = stores.find(url)
        except StorageError as error:
            root = Location(public(url))
            return _Found(root, (), problems=[Problem(root, str(error))])
        problems = [
            Problem(Location(where), f"cannot read it: {error}") for where, error in found.failed
        ]
        if found.is_pattern and not found.files and not problems:
            problems.append(Problem(found.root, _NO_MATCH))
        return _Found(found.root, found.files, found.is_folder, problems)

    return find


def known_files() -> Callable[[str], Location]:
    """Finds files by their names in the warehouse; each server is connected to once.

    What it gives raises OSError for a URL that leads to no such file.
    """
    stores: Stores | None = None

    def find(name: str) -> Location:
        nonlocal stores
        if not is_url(name):
            return local(name)
        from ingestion.remote.errors import StorageError
        from ingestion.remote.find import Stores

        stores = stores or Stores()
        for file in stores.find(name).files:
            if str(file) == name:
                return file
        raise StorageError("no such file; check the URL")

    return find


def usual_format(path: PurePath) -> str | None:
    """The format that a file's name promises, compressed or not."""
    endings = [ending.lower() for ending in path.suffixes]
    while endings and endings[-1] in _PACKED:
        endings.pop()
    return _ENDINGS.get(endings[-1]) if endings else None


def no_stream() -> str:
    """What to say of a file whose stream is not known."""
    return (
        f"no folder of its path is named like a stream ({', '.join(streams())});"
        " name the stream with --stream"
    )


def _no_logs(any_file: bool) -> str:
    known = ", ".join(streams())
    if any_file:
        return f"no folder in it is named like a stream ({known}); name the stream with --stream"
    return f"no logs in it; expected files in folders named {known}"
