"""Batches of many files → accepted and rejected rows in the spool.

DuckDB plans one statement for a contract and a layout in tens of milliseconds, so small files are
judged together: rows wait, with the number of their file, until there are enough of them.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion import checks
from ingestion import contract as contracts
from ingestion.contract import Contract, Router
from ingestion.pipelines import raw
from ingestion.pipelines.spool import Spool
from ingestion.readers.batch import Batch, Layout, RawOf, kept_text

_ROWS = 100_000
_BYTES = 48 * 2**20


@dataclass
class _Waiting:
    """Batches of one contract and layout."""

    tables: list[pa.Table] = field(default_factory=list)
    raws: list[RawOf] = field(default_factory=list)
    rows: int = 0
    size: int = 0


class Judge:
    """Counts by file what it puts into the spool: `accepted`, and `rejected` by reason."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        spool: Spool,
        loaded_at: dt.datetime,
        load_id: str,
    ) -> None:
        self.connection = connection
        self.spool = spool
        self.loaded_at = loaded_at
        self.load_id = load_id
        self.accepted: Counter[str] = Counter()
        self.rejected: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.files: list[str] = []
        self.waiting: dict[tuple[Contract | Router, Layout], _Waiting] = {}

    def add(self, file: str, contract: Contract | Router, batch: Batch) -> None:
        """Take a file's next records."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        table = batch.table.append_column(
            "file", pa.repeat(pa.scalar(len(self.files) - 1, pa.int32()), batch.table.num_rows)
        ).append_column("row", pa.array(np.arange(batch.table.num_rows, dtype=np.int64)))
        faulty = pc.is_valid(table["fault"])
        faults = table.filter(faulty)
        if faults.num_rows:
            raws = batch.raw(faults["row"].combine_chunks())
            reasons = ["malformed"] * faults.num_rows
            self._reject(contract.stream, faults, reasons, faults["fault"], raws)
            table = table.filter(pc.invert(faulty))
        if not table.num_rows:
            return
        waiting = self.waiting.setdefault((contract, batch.layout), _Waiting())
        # The number of the record's batch, above that of its row in the batch.
        numbers = pc.add(table["row"], len(waiting.raws) << 32)
        waiting.tables.append(table.set_column(table.schema.get_field_index("row"), "row", numbers))
        waiting.raws.append(batch.raw)
        waiting.rows += table.num_rows
        waiting.size += table.nbytes
        total = sum(found.size for found in self.waiting.values())
        if waiting.rows >= _ROWS or waiting.size >= _BYTES:
            self._judge(contract, batch.layout)
        elif total >= 2 * _BYTES:
            self.finish()

    def discard(self, file: str) -> None:
        """Forget all that came from a file."""
        self.finish()
        self.spool.discard(file)
        self.accepted.pop(file, None)
        self.rejected.pop(file, None)

    def finish(self) -> None:
        """Judge whatever still waits."""
        for contract, layout in list(self.waiting):
            self._judge(contract, layout)

    def _judge(self, contract: Contract | Router, layout: Layout) -> None:
        waiting = self.waiting.pop((contract, layout))
        batch = self.connection.from_arrow(pa.concat_tables(waiting.tables))
        for judgement in checks.judgements(contract, _stream, layout):
            judged = batch.query("batch", judgement.sql).to_arrow_table()
            good = pc.is_null(judged["reason"])
            self._accept(_stream(judgement.stream), judged.filter(good))
            bad = judged.filter(pc.invert(good))
            raws = [
                waiting.raws[row >> 32](pa.array([row & 0xFFFFFFFF], pa.int64()))[0]
                for row in bad["row"].to_pylist()
            ]
            self._reject(judgement.stream, bad, bad["reason"].to_pylist(), bad["detail"], raws)

    def _accept(self, contract: Contract, judged: pa.Table) -> None:
        files = self._files(judged)
        columns = []
        for column in raw.stream_schema(contract):
            match column.name:
                case "_file":
                    columns.append(files)
                case "_position":
                    columns.append(judged["position"])
                case "_loaded_at":
                    columns.append(self._every(self.loaded_at, column.type, judged))
                case "_dlt_load_id":
                    columns.append(self._every(self.load_id, column.type, judged))
                case name:
                    columns.append(judged[name].cast(column.type))
        for count in pc.value_counts(files).to_pylist():
            self.accepted[count["values"]] += count["counts"]
        self.spool.write(contract.stream, pa.table(columns, schema=raw.stream_schema(contract)))

    def _reject(
        self,
        stream: str,
        records: pa.Table,
        reasons: list[str],
        details: pa.ChunkedArray,
        raws: list[bytes],
    ) -> None:
        files = self._files(records)
        for file, reason in zip(files.to_pylist(), reasons, strict=True):
            self.rejected[file][reason] += 1
        texts = [kept_text(value) for value in raws]
        columns = [
            self._every(stream, pa.string(), records),
            files,
            records["position"],
            records["line"],
            pa.array(texts, pa.string()),
            pa.array(reasons, pa.string()),
            details.cast(pa.string()),
            self._every(self.loaded_at, pa.timestamp("us"), records),
            self._every(self.load_id, pa.string(), records),
        ]
        self.spool.write(raw.REJECTED, pa.table(columns, schema=raw.REJECTED_SCHEMA))

    def _files(self, records: pa.Table) -> pa.ChunkedArray:
        names = pa.array(self.files, pa.string())
        return pa.chunked_array(
            [names.take(chunk) for chunk in records["file"].chunks], pa.string()
        )

    @staticmethod
    def _every(value: object, type_: pa.DataType, records: pa.Table) -> pa.Array:
        return pa.repeat(pa.scalar(value, type_), records.num_rows)


def _stream(name: str) -> Contract:
    found = contracts.streams()[name]
    assert isinstance(found, Contract)
    return found
