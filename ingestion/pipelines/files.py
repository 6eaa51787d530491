"""Log files → the raw schema, in one transaction (semantics sections 1 and 2).

A file goes through reader → contract → warehouse in batches. Nothing counts before all files of
the run are there, so that a second run after a death at any moment gives what an undisturbed
first one would have given.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import adbc_driver_manager
import duckdb
import pyarrow as pa

from ingestion import contract as contracts
from ingestion.contract import Contract, Router
from ingestion.discovery import Candidate, Problem, find_files, no_stream, usual_format
from ingestion.errors import UserError, WrongUsage
from ingestion.pipelines import drift, raw
from ingestion.pipelines.backfill import renew_identities
from ingestion.pipelines.judge import Judge
from ingestion.pipelines.layouts import described
from ingestion.pipelines.progress import Meter, Progress
from ingestion.pipelines.schema import ensure_tables, is_of_last_load
from ingestion.pipelines.scratch import in_memory
from ingestion.pipelines.writers import Load, Writer, open_writer, record_load
from ingestion.readers.avro_reader import MAGIC, read_avro
from ingestion.readers.batch import DOCUMENTS, Batch, Layout, fault_batch
from ingestion.readers.csv_reader import read_csv
from ingestion.readers.json_reader import read_json
from ingestion.readers.source import Source
from ingestion.storage import Location, read_ahead
from ingestion.warehouse import RAW, Warehouse, rows, undone


@dataclass(frozen=True)
class FileResult:
    """What became of one file: `loaded`, `skipped` (known content) or `failed` (not readable)."""

    path: Location
    stream: str | None
    status: str
    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    message: str = ""

    @property
    def read(self) -> int:
        return self.accepted + sum(self.rejected.values())


@dataclass(frozen=True)
class LoadReport:
    """One run: a result a file; `load_id` is None when nothing was loaded."""

    load_id: str | None
    files: tuple[FileResult, ...]
    seconds: float

    @property
    def read(self) -> int:
        return sum(file.read for file in self.files)

    @property
    def rejected(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.rejected)
        return total


def load_files(
    paths: Sequence[str],
    warehouse: Warehouse,
    *,
    stream: str | None = None,
    contract: str | None = None,
    progress: Progress | None = None,
) -> LoadReport:
    """Load files, folders and glob patterns, local or behind URLs, into the raw schema.

    `contract` is the name or the YAML file of a feed's layout. `progress` is told of each file
    that is done, and of a large one also while it is read. Raises UserError when nothing can be
    loaded; a file that cannot be read is a result with the status `failed`.
    """
    began = time.perf_counter()
    feed = contracts.find(contract) if contract else None
    if stream is not None and stream not in contracts.streams():
        known = ", ".join(contracts.streams())
        raise WrongUsage(f"the stream {stream!r} is not known; use one of {known}")
    if feed is not None and stream is not None and feed.stream != stream:
        raise WrongUsage(
            f"the contract {contract} is for the stream {feed.stream}, not for {stream};"
            " leave --stream out"
        )
    candidates, problems = find_files(paths, stream or (feed.stream if feed else None))
    results = [_failed(problem) for problem in problems]
    load = _Load(warehouse, feed, Meter(progress, len(candidates)), contract)
    load_id = load.run(candidates) if candidates else None
    return LoadReport(load_id, (*results, *load.results), time.perf_counter() - began)


def _failed(problem: Problem, stream: str | None = None) -> FileResult:
    return FileResult(problem.path, stream, "failed", message=problem.message)


@dataclass(frozen=True)
class _Loaded:
    """A file that was read to its end; `size` in bytes, `seconds` without its judgement."""

    path: Location
    stream: str
    size: int
    content_hash: str
    layout: Layout
    records: int
    seconds: float


class Unreadable(Exception):
    """The file system refused a file."""


class _Load:
    """One run over the files found: judged and written as one load."""

    def __init__(
        self,
        warehouse: Warehouse,
        feed: Contract | Router | None,
        meter: Meter,
        contract: str | None = None,
    ) -> None:
        self.warehouse = warehouse
        self.feed = feed
        self.meter = meter
        self.contract = contract
        self.results: list[FileResult] = []
        self.known: dict[str, dict[int, set[str]]] = {}
        self.source: Source | None = None  # of the last file that was looked at
        # Its own pool keeps more of what was freed.
        pa.set_memory_pool(pa.system_memory_pool())
        self.connection = in_memory()

    def run(self, found: list[Candidate]) -> str | None:
        # From before what is loaded is looked up: another load may end in between.
        with self.warehouse.for_loading() as connection:
            self.load = Load.now()  # loads that wait for each other end in the order of their times
            return self._run(found, connection)

    def _run(self, found: list[Candidate], warehouse: Any) -> str | None:
        schema_version = ensure_tables(self.warehouse)
        with self.warehouse.connect() as connection:
            sql = f"select stream, size, content_hash from {RAW}.{raw.LOADED}"
            for stream, size, digest in rows(connection, sql):
                self._remember(stream, size, digest)
        # Known ones up to the first that is not: the others are asked when their turn comes, so
        # that what was read ahead of a remote file serves both the question and the load.
        candidates: Iterator[Candidate] = itertools.dropwhile(self._skipped, _ahead(found))
        first = next(candidates, None)
        if first is None:
            return None
        try:
            writer = open_writer(warehouse, self.load)
            try:
                if not is_of_last_load(self.warehouse, schema_version):
                    renew_identities(self.warehouse, writer, self.load)
                return self._load(itertools.chain([first], candidates), writer, schema_version)
            finally:
                writer.close()
        except (duckdb.Error, adbc_driver_manager.Error, OSError) as error:
            raise undone(self.warehouse, "the load into", error) from None
        finally:
            self.connection.close()

    def _load(
        self, candidates: Iterable[Candidate], writer: Writer, schema_version: str
    ) -> str | None:
        watch = drift.Watch(writer, self.connection, [self.feed] if self.feed else [])
        judge = Judge(self.connection, watch, self.load)
        loaded: list[_Loaded] = []
        for candidate in candidates:
            if self._skipped(candidate):  # its like came earlier in this very run
                continue
            outcome = self._take(candidate, judge)
            if isinstance(outcome, FileResult):
                self._report(outcome)
                continue
            loaded.append(outcome)
            self.meter.done(outcome.path, outcome.stream, "read", outcome.size, outcome.records)
        judge.finish()
        table = [self._row(file, judge) for file in loaded]
        for file in loaded:
            self.results.append(
                FileResult(
                    file.path,
                    file.stream,
                    "loaded",
                    judge.accepted[str(file.path)],
                    dict(sorted(judge.rejected[str(file.path)].items())),
                    file.seconds,
                )
            )
        if not table:
            return None
        writer.write(raw.LOADED, pa.Table.from_pylist(table, raw.loaded_row_schema()))
        watch.write_found(str(file.path) for file in loaded)
        record_load(writer, self.load, schema_version)
        writer.commit()
        return self.load.id

    def _row(self, file: _Loaded, judge: Judge) -> dict[str, Any]:
        """The file's row of `loaded_files`."""
        accepted = judge.accepted[str(file.path)]
        rejected = judge.rejected[str(file.path)].total()
        if accepted + rejected != file.records:
            raise UserError(
                f"{file.path}: {file.records} records were read, but {accepted} accepted and"
                f" {rejected} rejected; this is a defect of the loader, nothing was loaded"
            )
        return {
            "file": str(file.path),
            "size": file.size,
            "content_hash": file.content_hash,
            "stream": file.stream,
            "records_read": file.records,
            "accepted": accepted,
            "rejected": rejected,
            "layout": described(
                file.layout,
                self.contract
                if self.feed is not None and self.feed.stream == file.stream
                else None,
            ),
        }

    def _skipped(self, candidate: Candidate) -> bool:
        """Whether the file's content was loaded before, which is a result of its own."""
        if candidate.stream is None:
            return False
        self.meter.start()
        try:
            known = self._is_known(candidate.path, candidate.stream)
        except Unreadable:
            return False  # said when its turn comes
        if known:
            self._report(
                FileResult(
                    candidate.path,
                    candidate.stream,
                    "skipped",
                    message="its content was loaded before",
                )
            )
        return known

    def _report(self, result: FileResult) -> None:
        self.results.append(result)
        self.meter.done(result.path, result.stream, result.status)

    def _take(self, candidate: Candidate, judge: Judge) -> FileResult | _Loaded:
        """Read one file and hand its records to the judge."""
        path, stream = candidate.path, candidate.stream
        if stream is None:
            return _failed(Problem(path, no_stream()))
        began = time.perf_counter()
        self.meter.start()
        if self.source is None or self.source.path is not path:
            self.source = Source(path)
        source = self.source
        records, layout = 0, DOCUMENTS
        try:
            for batch in read_records(source, self._contract(stream).format, self.connection):
                records += batch.table.num_rows
                if batch.layout is not DOCUMENTS:  # which is also that of a reader's fault
                    layout = batch.layout
                judge.add(str(path), self._contract(stream), batch)
                self.meter.reading(path, stream, source.size, records)
        except Unreadable as error:
            judge.discard(str(path))
            return _failed(Problem(path, str(error)), stream)
        self._remember(stream, source.size, source.content_hash)
        seconds = time.perf_counter() - began
        return _Loaded(path, stream, source.size, source.content_hash, layout, records, seconds)

    # Known contents --------------------------------------------------------------------------

    def _remember(self, stream: str, size: int, digest: str) -> None:
        self.known.setdefault(stream, {}).setdefault(size, set()).add(digest)

    def _is_known(self, path: Location, stream: str) -> bool:
        """Whether this content is loaded; a file is only hashed ahead if its size is known."""
        try:
            sizes = self.known.get(stream)
            if not sizes:
                return False
            size = path.size()
            digests = set().union(*sizes.values()) if size is None else sizes.get(size)
            if not digests:
                return False
            self.source = Source(path)
            return self.source.hash_ahead() in digests
        except OSError as error:
            raise Unreadable(_why(error)) from None

    # Reading and judging ---------------------------------------------------------------------

    def _contract(self, stream: str) -> Contract | Router:
        if self.feed is not None and self.feed.stream == stream:
            return self.feed
        return contracts.streams()[stream]


def read_records(
    source: Source, usual: str, connection: duckdb.DuckDBPyConnection
) -> Iterator[Batch]:
    """The file's records, and one more for what could not be unpacked.

    `usual` is the format to take where neither bytes nor name tell.
    """
    pieces = _readable(source)
    head = next(pieces, b"")
    while len(head) < 64 and (more := next(pieces, b"")):
        head += more
    format_ = _format(source.path, head, usual)

    def whole() -> Iterator[bytes]:
        if head:
            yield head
        yield from pieces

    if not head and source.damage is not None:
        fault, total = "a damaged compressed file", source.damaged
        yield fault_batch(source.damage, fault, position=0, line=None, total=total)
        return
    match format_:
        case "json":
            batches = read_json(whole(), connection)
        case "csv":
            batches = read_csv(whole())
        case _:
            batches = read_avro(whole())
    last: pa.Table | None = None
    for batch in batches:
        yield batch
        last = batch.table
    for _ in pieces:
        pass
    if source.damage is not None:
        yield fault_batch(
            source.damage,
            "a damaged or cut compressed file; this is what did not unpack",
            position=1 if last is None else last["position"][-1].as_py() + 1,
            line=None if last is None else last["line"][-1].as_py(),
            total=source.damaged,
        )


def _ahead(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    return read_ahead(
        candidates,
        lambda candidate: candidate.path,
        lambda candidate, fetched: replace(candidate, path=fetched),
    )


def _readable(source: Source) -> Iterator[bytes]:
    """The pieces of a file; the file system's complaints become `Unreadable`."""
    pieces = source.pieces()
    while True:
        try:
            piece = next(pieces, None)
        except OSError as error:
            raise Unreadable(_why(error)) from None
        if piece is None:
            return
        yield piece


def _why(error: OSError) -> str:
    return f"cannot read it: {error.strerror or error}; mend that, then run again"


def _format(path: Location, head: bytes, usual: str) -> str:
    """The format that a file's bytes show, else its name, else the stream's usual one."""
    if head.startswith(MAGIC):
        return "avro"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "json"
    return usual_format(path.path) or usual
