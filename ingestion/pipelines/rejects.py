"""Rejected records: what they are, and judging them again (semantics section 2).

A replay is one transaction of the warehouse, as a load is. The records that pass now go to their
stream's table with the file and position that they had; decision 0013 says what is read again.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_manager
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion import contract as contracts
from ingestion.contract import Contract, Router
from ingestion.discovery import known_files
from ingestion.errors import UserError
from ingestion.pipelines import drift, raw
from ingestion.pipelines.files import Unreadable, read_records
from ingestion.pipelines.judge import Judge
from ingestion.pipelines.layouts import Kept, kept, read_again
from ingestion.pipelines.progress import Meter, Progress
from ingestion.pipelines.schema import ensure_tables
from ingestion.pipelines.scratch import copy, held_columns, in_memory, scratch
from ingestion.pipelines.writers import Load, Writer, open_writer, record_load, update
from ingestion.readers.batch import Batch, some
from ingestion.readers.source import Source
from ingestion.storage import Location, is_url
from ingestion.warehouse import RAW, Warehouse, literal, rows, undone

_TEXTS = 20_000  # kept texts that are judged at a time
_VALUES = 500  # files whose counts one statement changes
_CHANGED = ("stream", "line", "raw_text", "reason", "detail")
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Filter:
    """Which rejects: of a stream, of a reason or its kind (`missing`), of a file or a folder."""

    stream: str | None = None
    reason: str | None = None
    file: str | None = None

    def sql(self) -> str:
        """As a condition over `raw.rejected_records`."""
        found = ["file is not null"]
        if self.stream is not None:
            found.append(f"stream = {literal(self.stream)}")
        if self.reason is not None:
            kind = literal(self.reason + ":")
            found.append(f"(reason = {literal(self.reason)} or starts_with(reason, {kind}))")
        if self.file is not None:
            path = _named(self.file)
            names = f"{literal(self.file)}, {literal(path)}"
            folder = literal(path.rstrip("/") + "/")
            found.append(f"(file in ({names}) or starts_with(file, {folder}))")
        return " and ".join(found)


# What is there -----------------------------------------------------------------------------------


def listed(warehouse: Warehouse, which: Filter, samples: int) -> list[dict[str, Any]]:
    """One row a stream and reason: `records`, `files`, and the first `samples` of them.

    A sample has `file`, `line`, `position`, `detail` and the `text`'s first 200 characters.
    """
    groups = warehouse.query(
        f"""
        select stream, reason, count(*) as records, count(distinct file) as files
        from {RAW}.{raw.REJECTED}
        where {which.sql()}
        group by stream, reason
        order by stream, count(*) desc, reason
        """
    )
    found = warehouse.query(
        f"""
        select stream, reason, file, line, position, detail, left(raw_text, 200) as text
        from (
            select
                *,
                row_number() over (
                    partition by stream, reason order by file, position, _dlt_load_id
                ) as number
            from {RAW}.{raw.REJECTED}
            where {which.sql()}
        ) as numbered
        where number <= {samples}
        order by stream, reason, number
        """
    )
    for group in groups:
        group["samples"] = [
            {key: row[key] for key in ("file", "line", "position", "detail", "text")}
            for row in found
            if (row["stream"], row["reason"]) == (group["stream"], group["reason"])
        ]
    return groups


# Replay ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """Records that could not be judged again, and why."""

    file: str
    records: int
    message: str


@dataclass
class ReplayReport:
    """One replay; `load_id` is None when it changed nothing.

    `replayed` counts by former reason what is accepted now, `rejected` by present reason what is
    not, `changed` how many of these have another reason, detail or text than before. `added` are
    accepted records that a reject had swallowed or that were appended to a mended file.
    """

    load_id: str | None = None
    replayed: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: int = 0
    added: int = 0
    left: list[Left] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class _File:
    """A loaded file with rejects: `last` is its last position, `positions` the chosen rejects."""

    path: str
    load_id: str
    loaded_at: dt.datetime
    stream: str
    content_hash: str
    last: int
    whole: bool  # the file as a whole is a reject, at position 0
    kept: Kept
    positions: Positions


class _Shifted(Exception):
    """The same bytes are other records than when they were loaded."""


def replay(
    warehouse: Warehouse,
    which: Filter,
    *,
    contract: str | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Judge rejects again and load those that pass.

    `contract` is the name or YAML file of a feed's layout, for the files of its stream; others
    are read as they were loaded. Raises UserError when it fails; then nothing is changed.
    """
    began = time.perf_counter()
    feed = contracts.find(contract) if contract else None
    with warehouse.for_loading() as connection, scratch() as beside:
        version = ensure_tables(warehouse)
        run = _Replay(warehouse, which, feed, beside, progress)
        try:
            run.run(connection, version)
        except (duckdb.Error, adbc_driver_manager.Error, OSError) as error:
            raise undone(warehouse, "the replay in", error) from None
    run.report.seconds = time.perf_counter() - began
    return run.report


class _Replay:
    def __init__(
        self,
        warehouse: Warehouse,
        which: Filter,
        feed: Contract | Router | None,
        beside: duckdb.DuckDBPyConnection,
        progress: Progress | None,
    ) -> None:
        self.warehouse = warehouse
        self.which = which
        self.feed = feed
        self.beside = beside
        self.progress = progress
        self.find = known_files()
        self.load = Load.now()
        self.report = ReplayReport()
        self.mended: dict[tuple[str, str], tuple[int, str]] = {}  # size and hash by file and load

    def run(self, connection: Any, schema_version: str) -> None:
        copy(
            self.warehouse,
            "select stream, file, position, line, raw_text, reason, detail,"
            f" _dlt_load_id as load_id, _loaded_at as loaded_at from {RAW}.{raw.REJECTED}"
            f" where {self.which.sql()}",
            self.beside,
            "old",
        )
        files = self._files()
        if not files:
            return
        self.beside.execute("create table passed (stream varchar, file varchar, position bigint)")
        self.beside.execute("create table now_passed as select *, '' as load_id from passed")
        self.beside.execute(
            "create table judged (stream varchar, file varchar, position bigint, line bigint,"
            " raw_text varchar, reason varchar, detail varchar)"
        )
        self.beside.execute("create table now_judged as select *, '' as load_id from judged")
        writer = open_writer(connection, self.load)
        try:
            used = [found for file in files if (found := self._contract(file)) is not None]
            watch = drift.Watch(writer, self.beside, dict.fromkeys(used))
            sink = _Sink(watch, self.beside)
            meter = Meter(self.progress, len(files))
            for some_files in _rounds(files):
                with in_memory() as connection:
                    judge = Judge(connection, sink, self.load)
                    for file in some_files:
                        self._judge(file, judge, sink, meter)
                    judge.finish()
                self._sort({file.path: file.load_id for file in some_files})
            watch.write_found(dict.fromkeys(file.path for file in files))
            if self._write(writer, files):
                record_load(writer, self.load, schema_version)
                writer.commit()
                self.report.load_id = self.load.id
        finally:
            writer.close()

    # What to judge ---------------------------------------------------------------------------

    def _files(self) -> list[_File]:
        """The files of the chosen rejects, in the order in which they were loaded."""
        whole = f"select distinct file, _dlt_load_id from {RAW}.{raw.REJECTED} where position = 0"
        with self.warehouse.connect() as connection:
            as_whole = set(rows(connection, whole))
            known = rows(
                connection,
                "select file, load_id, loaded_at, stream, content_hash, records_read, layout"
                f" from {RAW}.{raw.LOADED}",
            )
        self.contents = {
            (stream, content_hash): (file, load_id)
            for file, load_id, _, stream, content_hash, records, _ in known
            if records
        }
        self.remembered = {(stream, content_hash) for _, _, _, stream, content_hash, *_ in known}
        found: defaultdict[tuple[str, str], Positions] = defaultdict(lambda: np.empty(0, np.int64))
        listed = self.beside.execute(
            "select file, load_id, list(position order by position) from old group by all"
        )
        while batch := listed.fetchmany(1000):
            for path, load_id, positions in batch:
                found[path, load_id] = np.array(positions, np.int64)
        files = []
        for path, load_id, loaded_at, stream, content_hash, records, layout in known:
            if (path, load_id) in found:
                is_whole = (path, load_id) in as_whole
                files.append(
                    _File(
                        path, load_id, loaded_at, stream, content_hash, records - is_whole,
                        is_whole, kept(layout), found.pop((path, load_id)),
                    )
                )  # fmt: skip
        for (path, _), positions in found.items():
            self._leave(path, len(positions), "no loaded file has this name any more")
        return sorted(files, key=lambda file: (file.loaded_at, file.load_id, file.path))

    def _contract(self, file: _File) -> Contract | Router | None:
        """The contract to judge a file by; None when the feed's own is not to be found."""
        if self.feed is not None and self.feed.stream == file.stream:
            return self.feed
        if file.kept.contract is None:
            return contracts.streams().get(file.stream)
        try:
            return contracts.find(file.kept.contract)
        except UserError:
            return None

    def _judge(self, file: _File, judge: Judge, sink: _Sink, meter: Meter) -> None:
        """Hand the file's rejects to the judge, from the file itself where it can be read."""
        meter.start()
        contract = self._contract(file)
        if contract is None:
            self._leave(
                file.path,
                len(file.positions),
                f"its contract {file.kept.contract!r} cannot be used; name one with --contract",
            )
            meter.done(file.path, file.stream, "failed")
            return
        source = self._source(file)
        if isinstance(source, Source):
            why = "the file holds something else now"
            same = source.content_hash == file.content_hash
            try:
                if same or self._is_mended(file, contract, source):
                    records = self._again(file, contract, source, judge, meter, grows=not same)
                    meter.done(file.path, file.stream, "read", source.size, records)
                    return
            except _Shifted:
                judge.discard(file.path)
                sink.forget(file.path)
                if self._is_mended(file, contract, source):
                    records = self._again(file, contract, source, judge, meter, grows=True)
                    meter.done(file.path, file.stream, "read", source.size, records)
                    return
        else:
            why = source
        self._from_texts(file, contract, judge, why)
        meter.done(file.path, file.stream, "read", 0, len(file.positions))

    def _source(self, file: _File) -> Source | str:
        """The file with its size and content hash, or why it cannot be read."""
        try:
            source = Source(self.find(file.path).fetched())
            for _ in source.stored():
                pass
        except FileNotFoundError:
            return "the file is gone"
        except OSError as error:
            return f"the file cannot be read ({error.strerror or error})"
        return source

    def _again(
        self,
        file: _File,
        contract: Contract | Router,
        source: Source,
        judge: Judge,
        meter: Meter,
        *,
        grows: bool,
    ) -> int:
        """Read the file; judge what stands at the rejects' places and, if it grows, what follows.

        Returns how many records it has. Raises _Shifted when a file that may not grow does.
        """
        reader = Source(source.path)
        last, count, zero = 0, 0, False
        there = [np.empty(0, np.int64)]
        with in_memory() as connection:
            for batch in _records(reader, contract, connection):
                positions = batch.table["position"].to_numpy()
                last, count = max(last, int(positions[-1])), count + len(positions)
                zero |= not positions[0]
                chosen = np.isin(positions, file.positions)
                there.append(positions[chosen])
                if grows:
                    chosen |= positions > file.last
                if chosen.any():
                    judge.add(file.path, contract, some(batch, pa.array(chosen)))
                meter.reading(file.path, file.stream, reader.size, count)
        if reader.content_hash != source.content_hash:
            raise UserError(f"{file.path} changed while it was read; run the same command again")
        if not grows:
            if (last, zero) != (file.last, file.whole):
                raise _Shifted
            return count
        if source.content_hash != file.content_hash:
            self.mended[file.path, file.load_id] = (source.size, source.content_hash)
        gone = np.setdiff1d(file.positions, np.concatenate(there))
        if len(gone) and not gone[0] and last > file.last:  # its records stand in its place
            self.beside.execute(
                "insert into now_passed values (?, ?, 0, ?)", [file.stream, file.path, file.load_id]
            )
            gone = gone[1:]
        if len(gone):
            self._leave(file.path, len(gone), "nothing stands in their place any more")
        return count

    def _from_texts(self, file: _File, contract: Contract | Router, judge: Judge, why: str) -> None:
        """Judge rejects by the text that was kept of them."""
        layout = file.kept.layout
        usable = "reason <> 'malformed'"
        if layout.columns is None:
            usable += " and starts_with(ltrim(raw_text), '{')"
        found = self.beside.cursor().execute(
            "select position, line, raw_text from old where file = ? and load_id = ?"
            f" and {usable} order by position",
            [file.path, file.load_id],
        )
        count = 0
        while batch := found.fetchmany(_TEXTS):
            positions, lines, texts = zip(*batch, strict=True)
            for records in read_again(layout, texts, positions, lines):
                judge.add(file.path, contract, records)
            count += len(positions)
        if count < len(file.positions):
            self._leave(
                file.path,
                len(file.positions) - count,
                f"{why}, and their text alone does not tell the record; if you have the file,"
                " mended, under any name, load it with adx load",
            )

    def _leave(self, path: str, records: int, message: str) -> None:
        self.report.left.append(Left(path, records, message))

    # Whether a file was mended ---------------------------------------------------------------

    def _is_mended(self, file: _File, contract: Contract | Router, source: Source) -> bool:
        """Whether every record that was accepted still stands in its place, with its values.

        A file that was loaded as it is now is not: its records are there.
        """
        loaded = self.contents.get((file.stream, source.content_hash))
        if loaded is not None and loaded != (file.path, file.load_id):
            return False
        now = _Capture(self.beside)
        try:
            with in_memory() as connection:
                judge = Judge(connection, now, self.load)
                for batch in _records(Source(source.path), contract, connection):
                    judge.add(file.path, contract, batch)
                judge.finish()
            targets = [contract.stream] if isinstance(contract, Contract) else contract.targets
            return all(self._stands(file, contracts.stream(name), now) for name in targets)
        finally:
            now.drop()

    def _stands(self, file: _File, stream: Contract, now: _Capture) -> bool:
        names = [each.name for each in stream.fields if each.type != "json"]
        columns = held_columns(stream)
        stored = copy(
            self.warehouse,
            f"select _position, {columns} from {RAW}.{stream.stream}"
            f" where _file = {literal(file.path)} and _dlt_load_id = {literal(file.load_id)}",
            self.beside,
            "stored",
        )
        if not stored:
            return True
        if stream.stream not in now.tables:
            return False
        # A field that was absent may be one that the contract did not name then.
        other = " or ".join(
            f'(stored."{name}" is not null and stored."{name}" is distinct from now."{name}")'
            for name in names
        )
        found = self.beside.execute(
            f"select count(*) from stored left join (select _position, {columns}"
            f" from now_{stream.stream}) as now on stored._position = now._position"
            f" where now._position is null or {other}"
        ).fetchone()
        return found == (0,)

    # What came of it -------------------------------------------------------------------------

    def _sort(self, loads: dict[str, str]) -> None:
        """Note to which load the files of the judgements so far belong."""
        table = pa.table({"file": list(loads), "load_id": list(loads.values())})
        for name in ("passed", "judged"):
            self.beside.from_arrow(table).query(
                "loads",
                f"insert into now_{name} select {name}.*, loads.load_id from {name}"
                f" inner join loads on {name}.file = loads.file",
            )
            self.beside.execute(f"delete from {name}")

    def _write(self, writer: Writer, files: list[_File]) -> bool:
        """Write everything but the accepted rows, which are written; whether anything changed."""
        same = "now.file = old.file and now.load_id = old.load_id and now.position = old.position"
        replayed = self._arrow(
            "select now.stream, old.file, old.position, old.line, old.raw_text, old.reason,"
            f" old.load_id as rejected_load_id from old inner join now_passed as now on {same}"
        )
        changed = self._arrow(
            "select now.stream, now.file, now.position, now.line, now.raw_text, now.reason,"
            f" now.detail, {literal(self.mark)} || old.load_id as _dlt_load_id,"
            " old.loaded_at as _loaded_at"
            f" from old inner join now_judged as now on {same} where "
            + " or ".join(f"now.{name} is distinct from old.{name}" for name in _CHANGED)
        )
        times = pa.table(
            {
                "file": pa.array([file.path for file in files], pa.string()),
                "load_id": pa.array([file.load_id for file in files], pa.string()),
                "loaded_at": pa.array([file.loaded_at for file in files], pa.timestamp("us")),
            }
        )
        self.beside.from_arrow(times).query("arriving", "create table files as from arriving")
        new = self._arrow(
            "select now.stream, now.file, now.position, now.line, now.raw_text, now.reason,"
            " now.detail, now.load_id as _dlt_load_id, files.loaded_at as _loaded_at"
            " from now_judged as now"
            " inner join files on now.file = files.file and now.load_id = files.load_id"
            f" left join old on {same} where old.file is null"
        )
        self._count(same)
        deltas = self.beside.execute(
            f"""
            with moves as (
                select now.file, now.load_id, old.file is null as is_new, true as is_accepted
                from now_passed as now left join old on {same} where now.position > 0
                union all
                select now.file, now.load_id, true, false
                from now_judged as now left join old on {same} where old.file is null
                union all
                select file, load_id, null, false from now_passed where position = 0
            )
            select
                file,
                load_id,
                count(*) filter (is_accepted)
                    as accepted,
                count(*) filter (is_new and not is_accepted)
                    - count(*) filter (not is_new) - count(*) filter (is_new is null)
                    as rejected
            from moves
            group by all
            order by all
            """
        ).fetchall()
        if not (replayed.num_rows or changed.num_rows or deltas):
            return False
        writer.write(raw.REPLAYED, replayed)
        writer.execute(
            f"delete from {RAW}.{raw.REJECTED} as rejected where exists (select 1"
            f" from {RAW}.{raw.REPLAYED} as replayed where replayed.load_id = '{self.load.id}'"
            " and replayed.file = rejected.file and replayed.position = rejected.position"
            " and replayed.rejected_load_id = rejected._dlt_load_id)"
        )
        writer.write(raw.REJECTED, changed)
        update(writer, raw.REJECTED, _CHANGED, self.mark)
        writer.write(raw.REJECTED, new)
        self._change_counts(writer, deltas)
        self._remember(writer, files)
        self.report.changed = changed.num_rows
        return True

    @property
    def mark(self) -> str:
        return f"{self.load.id}:"

    def _arrow(self, sql: str) -> pa.Table:
        return self.beside.execute(sql).to_arrow_table()

    def _count(self, same: str) -> None:
        """Count by reason for the report."""
        for stream, reason, count in self.beside.execute(
            "select now.stream, old.reason, count(*)"
            f" from old inner join now_passed as now on {same} group by all"
        ).fetchall():
            self.report.replayed[stream, reason] = count
        for stream, reason, count in self.beside.execute(
            "select stream, reason, count(*) from now_judged group by all"
        ).fetchall():
            self.report.rejected[stream, reason] = count
        found = self.beside.execute(
            f"select count(*) from now_passed as now left join old on {same} where old.file is null"
        ).fetchone()
        self.report.added = found[0] if found else 0

    def _change_counts(self, writer: Writer, deltas: list[tuple[str, str, int, int]]) -> None:
        for start in range(0, len(deltas), _VALUES):
            values = ", ".join(
                f"({literal(file)}, {literal(load_id)}, {accepted}, {rejected})"
                for file, load_id, accepted, rejected in deltas[start : start + _VALUES]
            )
            writer.execute(
                f"update {RAW}.{raw.LOADED} as loaded set"
                " records_read = loaded.records_read + found.accepted + found.rejected,"
                " accepted = loaded.accepted + found.accepted,"
                " rejected = loaded.rejected + found.rejected"
                f" from (values {values}) as found (file, load_id, accepted, rejected)"
                " where loaded.file = found.file and loaded.load_id = found.load_id"
            )

    def _remember(self, writer: Writer, files: list[_File]) -> None:
        """A row for each mended content, so that the next load knows it."""
        table = []
        for file in files:
            size, digest = self.mended.get((file.path, file.load_id), (0, ""))
            if digest and (file.stream, digest) not in self.remembered:
                self.remembered.add((file.stream, digest))
                table.append(
                    {
                        "file": file.path,
                        "size": size,
                        "content_hash": digest,
                        "stream": file.stream,
                        "records_read": 0,
                        "accepted": 0,
                        "rejected": 0,
                        "layout": None,
                    }
                )
        if table:
            writer.write(raw.LOADED, pa.Table.from_pylist(table, raw.loaded_row_schema()))


class _Sink:
    """Passes accepted rows on and notes their places; keeps rejects beside the warehouse."""

    def __init__(self, watch: drift.Watch, beside: duckdb.DuckDBPyConnection) -> None:
        self.watch = watch
        self.beside = beside

    def write(self, table: str, rows: pa.Table) -> None:
        if table == raw.REJECTED:
            names = ("stream", "file", "position", "line", "raw_text", "reason", "detail")
            self.beside.from_arrow(rows).query(
                "arriving", f"insert into judged select {', '.join(names)} from arriving"
            )
            return
        self.beside.from_arrow(rows.select(["_file", "_position"])).query(
            "arriving", f"insert into passed select '{table}', _file, _position from arriving"
        )
        self.watch.write(table, rows)

    def forget(self, file: str) -> None:
        self.watch.forget(file)
        for name in ("passed", "judged"):
            self.beside.execute(f"delete from {name} where file = ?", [file])

    def execute(self, sql: str) -> None:
        self.watch.execute(sql)

    def commit(self) -> None:
        self.watch.commit()

    def close(self) -> None:
        self.watch.close()


class _Capture:
    """Keeps accepted rows as tables `now_<stream>` beside the warehouse."""

    def __init__(self, beside: duckdb.DuckDBPyConnection) -> None:
        self.beside = beside
        self.tables: set[str] = set()

    def write(self, table: str, rows: pa.Table) -> None:
        if table == raw.REJECTED:
            return
        verb = f"create table now_{table} as from arriving"
        if table in self.tables:
            verb = f"insert into now_{table} by name from arriving"
        self.beside.from_arrow(rows.drop_columns(["_file"])).query("arriving", verb)
        self.tables.add(table)

    def drop(self) -> None:
        for table in self.tables:
            self.beside.execute(f"drop table now_{table}")

    def execute(self, sql: str) -> None:
        raise AssertionError(sql)

    def commit(self) -> None:
        raise AssertionError

    def close(self) -> None:
        return


def _rounds(files: Iterable[_File]) -> list[list[_File]]:
    """The files in groups in which no path stands twice: one may have been loaded several times."""
    found: list[list[_File]] = []
    seen: Counter[str] = Counter()
    for file in files:
        number = seen[file.path]
        seen[file.path] += 1
        if number == len(found):
            found.append([])
        found[number].append(file)
    return found


def _named(path: str) -> str:
    """The name in the warehouse of a file or folder as the user gave it."""
    if is_url(path):
        from ingestion.remote.names import public

        return public(path)
    return str(Location(os.path.abspath(path)))


def _records(
    source: Source, contract: Contract | Router, connection: duckdb.DuckDBPyConnection
) -> Iterator[Batch]:
    try:
        yield from read_records(source, contract.format, connection)
    except Unreadable as error:
        raise UserError(f"{source.path}: {error}; nothing is changed") from None
