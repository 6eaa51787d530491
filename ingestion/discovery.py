"""Which files to load, and as which stream (semantics section 1)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingestion.contract import streams

_ENDINGS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".avro": "avro",
}
_PACKED = (".gz", ".gzip", ".zst", ".zstd")


@dataclass(frozen=True)
class Candidate:
    """A file to load; `stream` is None where no folder of its path is named like one."""

    path: Path
    stream: str | None


@dataclass(frozen=True)
class Problem:
    """A path that cannot be loaded, and why."""

    path: Path
    message: str


def find_files(paths: Iterable[str], stream: str | None) -> tuple[list[Candidate], list[Problem]]:
    """Files, folders and glob patterns → files in the order of their names, each once.

    In a folder, hidden files (`.x`, `_x`) are passed over and so is, unless `stream` is given, what
    lies beside the streams' folders and is no log: another kind of file, or one at the very top
    (a `truth.json`, a manifest). A log in a sub-folder of no stream's name is a problem.
    """
    candidates: dict[Path, Candidate] = {}
    problems: list[Problem] = []
    for text in paths:
        path = Path(os.path.abspath(text))
        if path.is_dir():
            found = sorted(_walk(path, problems))
            known = [Candidate(file, stream or stream_of(file)) for file in found]
            usable = [candidate for candidate in known if candidate.stream is not None]
            for candidate in known:
                lost = candidate.stream is None and candidate.path.parent != path
                if lost and usual_format(candidate.path) is not None:
                    problems.append(Problem(candidate.path, no_stream()))
            if not usable and not any(problem.path.is_relative_to(path) for problem in problems):
                problems.append(Problem(path, _no_logs(bool(found))))
        elif os.path.lexists(path):
            usable = [Candidate(path, stream or stream_of(path))]
        elif glob.has_magic(text):
            matches = [Path(os.path.abspath(match)) for match in glob.glob(text, recursive=True)]
            files = sorted(match for match in matches if not match.is_dir())
            usable = [Candidate(file, stream or stream_of(file)) for file in files]
            if not usable:
                problems.append(Problem(path, "no file matches this pattern"))
        else:
            usable = []
            problems.append(Problem(path, "no such file or folder"))
        for candidate in usable:
            candidates.setdefault(candidate.path, candidate)
    return list(candidates.values()), problems


def stream_of(path: Path) -> str | None:
    """The nearest folder of the path that is named like a stream."""
    known = streams()
    return next((parent.name for parent in path.parents if parent.name in known), None)


def _walk(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        problems.append(Problem(Path(error.filename), f"cannot read it: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in files:
            path = Path(parent, name)
            if not name.startswith((".", "_")) and (path.is_file() or path.is_symlink()):
                yield path


def usual_format(path: Path) -> str | None:
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
