"""Batches of many files → accepted and rejected rows, on their way into the warehouse.

Planning a statement takes DuckDB milliseconds, so records wait, with the number of their file,
until there are enough of them: first all of a contract and a layout, then those that are in doubt.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion import checks
from ingestion import contract as contracts
from ingestion.contract import Contract, Router
from ingestion.pipelines import raw
from ingestion.pipelines.writers import Load, Writer, discard
from ingestion.plain import Plain
from ingestion.readers.batch import Batch, Layout, kept_text, some, whole
from ingestion.readers.json_reader import document_faults

_ROWS = 61_440  # half of what DuckDB appends at once best
_BYTES = 40 * 2**20


@dataclass
class _Waiting:
    """Records of one contract and layout."""

    batches: list[Batch] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.rows += batch.table.num_rows
        self.size += batch.table.get_total_buffer_size()

    @property
    def full(self) -> bool:
        return self.rows >= _ROWS or self.size >= _BYTES

    def together(self) -> Batch:
        """All of them as one batch."""
        first = self.batches[0]
        if len(self.batches) == 1:
            return first
        batches = self.batches
        begins = np.cumsum([0, *(batch.table.num_rows for batch in batches)])

        def bytes_of(numbers: Sequence[int]) -> list[bytes]:
            found: list[bytes] = [b""] * len(numbers)
            owners = np.searchsorted(begins, numbers, side="right") - 1
            for owner in np.unique(owners).tolist():
                places = np.flatnonzero(owners == owner).tolist()
                mine = [numbers[place] - int(begins[owner]) for place in places]
                for place, value in zip(places, batches[owner].raw(mine), strict=True):
                    found[place] = value
            return found

        table = pa.concat_tables([batch.table for batch in batches])
        return Batch(table, first.layout, bytes_of)


def _split(batch: Batch, count: int) -> tuple[Batch, Batch]:
    """The first `count` records, and the others."""
    return (
        Batch(batch.table.slice(0, count), batch.layout, batch.raw),
        Batch(
            batch.table.slice(count),
            batch.layout,
            lambda numbers: batch.raw([count + number for number in numbers]),
        ),
    )


class Judge:
    """Counts by file what it hands to the writer: `accepted`, and `rejected` by reason."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        writer: Writer,
        load: Load,
    ) -> None:
        self.connection = connection
        self.writer = writer
        self.load = load
        load_time = (load.at - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
        checks.register(connection)
        connection.execute(f"set variable load_time = {load_time}")
        self.plain = Plain(connection, load_time)
        self.accepted: Counter[str] = Counter()
        self.rejected: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.files: list[str] = []
        self.waiting: dict[tuple[Contract | Router, Layout], _Waiting] = {}
        self.doubtful: dict[tuple[Contract | Router, Layout], _Waiting] = {}

    def add(self, file: str, contract: Contract | Router, batch: Batch) -> None:
        """Take a file's next records."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        count = batch.table.num_rows
        number = pa.repeat(pa.scalar(len(self.files) - 1, pa.int32()), count)
        batch = Batch(batch.table.append_column("file", number), batch.layout, batch.raw)
        batch = self._without_faults(contract.stream, batch)
        if not batch.table.num_rows:
            return
        key = contract, batch.layout
        while (
            room := _ROWS - self.waiting.setdefault(key, _Waiting()).rows
        ) < batch.table.num_rows:
            begin, batch = _split(batch, room)
            self.waiting[key].add(begin)
            self._sort(*key)
        waiting = self.waiting[key]
        waiting.add(batch)
        if waiting.full:
            self._sort(*key)
        elif sum(found.size for found in self.waiting.values()) >= 2 * _BYTES:
            self._sort_all()

    def _without_faults(self, stream: str, batch: Batch) -> Batch:
        """Reject the records that are malformed; the others."""
        if batch.table["fault"].null_count == batch.table.num_rows:
            return batch
        faulty = pc.is_valid(batch.table["fault"])
        faults = some(batch, faulty)
        self._reject(stream, faults, faults.table["fault"], None)
        return some(batch, pc.invert(faulty))

    def discard(self, file: str) -> None:
        """Take back everything of a file that turned out not to be readable to its end."""
        self.finish()
        self.accepted.pop(file, None)
        self.rejected.pop(file, None)
        discard(self.writer, file, self.load)

    def finish(self) -> None:
        """Judge what still waits."""
        self._sort_all()
        for contract, layout in list(self.doubtful):
            self._judge(contract, layout)

    def _sort_all(self) -> None:
        for contract, layout in list(self.waiting):
            self._sort(contract, layout)

    def _sort(self, contract: Contract | Router, layout: Layout) -> None:
        """Accept the plain records; the others wait for the contract's SQL."""
        batch = self.waiting.pop((contract, layout)).together()
        if isinstance(contract, Contract):
            schema = raw.stream_schema(contract)
            typed = self.plain.typed(contract, layout, batch.table, schema)
            if typed is not None and typed.sure.any():
                sure = pa.array(typed.sure)
                columns = pa.table(typed.columns)
                if typed.sure.all():
                    self._accept(contract, columns, batch.table)
                    return
                self._accept(contract, columns.filter(sure), batch.table.filter(sure))
                batch = some(batch, pc.invert(sure))
        # Few records out of many batches may wait for long: without the batches that they are of.
        kept = batch.raw(range(batch.table.num_rows))
        waiting = self.doubtful.setdefault((contract, layout), _Waiting())
        waiting.add(Batch(batch.table, layout, lambda numbers: [kept[index] for index in numbers]))
        if waiting.full:
            self._judge(contract, layout)

    def _judge(self, contract: Contract | Router, layout: Layout) -> None:
        batch = self.doubtful.pop((contract, layout)).together()
        if layout.unchecked:
            faults = document_faults(whole(batch.table["document"]), self.connection)
            if faults.null_count < len(faults):
                faulty = some(batch, faults.is_valid())
                self._reject(contract.stream, faulty, faults.drop_null(), None)
                batch = some(batch, faults.is_null())
        records = pa.array(np.arange(batch.table.num_rows, dtype=np.int64))
        relation = self.connection.from_arrow(batch.table.append_column("record", records))
        for judgement in checks.judgements(contract, contracts.stream, layout):
            judged = relation.query("batch", judgement.sql).to_arrow_table()
            good = pc.is_null(judged["reason"])
            accepted = judged.filter(good)
            stream = contracts.stream(judgement.stream)
            self._accept(stream, accepted, batch.table.take(accepted["record"]))
            bad = judged.filter(pc.invert(good))
            if bad.num_rows:
                rejected = some(batch, bad["record"])
                self._reject(judgement.stream, rejected, bad["detail"], bad["reason"])

    def _accept(self, contract: Contract, typed: pa.Table, records: pa.Table) -> None:
        if not typed.num_rows:
            return
        typed = self._identified(contract, typed)
        columns = {
            column.name: typed[column.name].cast(column.type)
            for column in raw.stream_schema(contract)
            if column.name in typed.column_names
        }
        columns |= {"_file": self._file_names(records), "_position": records["position"]}
        counts = np.bincount(records["file"].to_numpy(), minlength=0)
        for number in np.flatnonzero(counts).tolist():
            self.accepted[self.files[number]] += int(counts[number])
        self.writer.write(contract.stream, pa.table(columns))

    def _identified(self, contract: Contract, typed: pa.Table) -> pa.Table:
        """With what identifies the records that have no id of their own."""
        name = raw.identity_column(contract)
        if name in typed.column_names:
            return typed
        without = pa.repeat(pa.scalar(True), typed.num_rows)
        if contract.identity is not None:
            without = whole(typed[contract.identity]).is_null()
        found = pa.nulls(typed.num_rows, pa.string())
        if without.true_count:
            relation = self.connection.from_arrow(typed.filter(without))
            made = relation.query("batch", checks.identity_sql(contract)).to_arrow_table()
            found = pc.replace_with_mask(found, without, whole(made[name]))
        return typed.append_column(name, found)

    def _reject(
        self,
        stream: str,
        batch: Batch,
        details: pa.Array | pa.ChunkedArray,
        reasons: pa.ChunkedArray | None,
    ) -> None:
        """Records with their reasons; without these they are malformed."""
        records = batch.table
        why = ["malformed"] * records.num_rows if reasons is None else reasons.to_pylist()
        for number, reason in zip(records["file"].to_pylist(), why, strict=True):
            self.rejected[self.files[number]][reason] += 1
        texts = [kept_text(value) for value in batch.raw(range(records.num_rows))]
        columns = {
            "stream": pa.repeat(pa.scalar(stream), records.num_rows),
            "file": self._file_names(records),
            "position": records["position"],
            "line": records["line"],
            "raw_text": pa.array(texts, pa.string()),
            "reason": pa.array(why, pa.string()),
            "detail": details.cast(pa.string()),
        }
        self.writer.write(raw.REJECTED, pa.table(columns))

    def _file_names(self, records: pa.Table) -> pa.Array:
        numbers = whole(records["file"])
        return pa.DictionaryArray.from_arrays(numbers, pa.array(self.files, pa.string()))
