"""Fields that a contract names now, moved out of `extra` into their columns.

Values are parsed by the contract's own SQL. What identifies a record without an id of its own is
made anew, because its text has all the contract's fields: so a copy that is sent again is still
the same event. All of it is one transaction of the warehouse (decision 0014), and a load that says
so in `raw.rewrites`, so that the next build takes nothing for built (decision 0015).
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import adbc_driver_manager
import duckdb
import pyarrow as pa

from ingestion import checks
from ingestion import contract as contracts
from ingestion.contract import Contract, Field
from ingestion.errors import WrongUsage
from ingestion.pipelines import raw
from ingestion.pipelines.schema import ensure_tables
from ingestion.pipelines.scratch import copy, held_columns, scratch, typed_columns
from ingestion.pipelines.writers import Load, Writer, open_writer, record_load, update
from ingestion.readers.batch import DOCUMENTS
from ingestion.warehouse import RAW, Warehouse, literal, undone

_BATCH = 50_000


@dataclass
class BackfillReport:
    """By stream and field how many records were `filled`; `refused` by stream and reason: their
    values stay in `extra`. `identities`: by stream, records whose text or its md5 is another."""

    filled: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)
    changed: bool = False
    seconds: float = 0.0


def backfill(
    warehouse: Warehouse, *, stream: str | None = None, name: str | None = None
) -> BackfillReport:
    """Fill the column of a stream's field from `extra`; without names, of all streams and fields.

    Raises WrongUsage for a stream or a field that no contract has, UserError when it fails; then
    nothing is changed.
    """
    began = time.perf_counter()
    chosen = _chosen(stream, name)
    report = BackfillReport()
    with warehouse.for_loading() as connection:
        load = Load.now()
        schema_version = ensure_tables(warehouse)
        try:
            writer = open_writer(connection, load)
            try:
                for contract, fields in chosen:
                    _fill(warehouse, writer, load, contract, fields, report)
                if report.changed:
                    record_load(writer, load, schema_version)
                    writer.commit()
            finally:
                writer.close()
        except (duckdb.Error, adbc_driver_manager.Error, OSError) as error:
            raise undone(warehouse, "the back-fill of", error) from None
    report.seconds = time.perf_counter() - began
    return report


def renew_identities(warehouse: Warehouse, writer: Writer, load: Load) -> None:
    """Make the identities anew of the streams whose contract has grown, as part of a load."""
    for contract in contracts.event_streams():
        _fill(warehouse, writer, load, contract, (), BackfillReport())


def _chosen(stream: str | None, name: str | None) -> list[tuple[Contract, tuple[Field, ...]]]:
    """Every contract with its fields to fill, perhaps none: its identities are made anew too."""
    known = {contract.stream: contract for contract in contracts.event_streams()}
    if stream is not None and stream not in known:
        raise WrongUsage(f"the stream {stream!r} has no table; use one of {', '.join(known)}")
    found = [
        (
            contract,
            tuple(each for each in contract.fields if name in (None, each.name))
            if stream in (None, contract.stream)
            else (),
        )
        for contract in known.values()
    ]
    if not any(fields for _, fields in found):
        where = f"the contract of {stream}" if stream is not None else "any contract"
        raise WrongUsage(f"no field of {where} is called {name!r}")
    return found


def _fill(
    warehouse: Warehouse,
    writer: Writer,
    load: Load,
    contract: Contract,
    fields: Sequence[Field],
    report: BackfillReport,
) -> None:
    with scratch() as beside:
        run = _Stream(warehouse, beside, contract, report)
        if not run.hold(fields, load.at):
            return
        for each in fields:
            run.fill(each)
        run.identify()
        run.write(writer, fields, f"{load.id}:")


class _Stream:
    """The rows of one stream that may change, held beside the warehouse as the table `held`."""

    def __init__(
        self,
        warehouse: Warehouse,
        beside: duckdb.DuckDBPyConnection,
        contract: Contract,
        report: BackfillReport,
    ) -> None:
        self.warehouse = warehouse
        self.beside = beside
        self.contract = contract
        self.report = report
        self.table = f"{RAW}.{contract.stream}"
        self.identity = raw.identity_column(contract)
        # Only a new column of these types is null: with a default, none that was loaded is.
        self.defaulted = {
            each.name: checks.DEFAULTS[each.type]
            for each in contract.fields
            if each.type in checks.DEFAULTS
        }
        self.other_names: dict[str, set[str]] = {}  # CSV headers by the name that they stand for

    def hold(self, fields: Sequence[Field], now: dt.datetime) -> int:
        """Get the rows; how many there are."""
        names = sorted({path.text for each in fields for path in each.sources})
        # A first choice, in SQL of any engine: a CSV header is in `extra` as it was written.
        keys = "replace(replace(lower(extra), ' ', '_'), '-', '_')"
        wanted = [
            f"strpos({keys}, {literal(chr(34) + checks.column_name(name) + chr(34))}) > 0"
            for name in names
        ]
        wanted += [f"{checks.quoted(name)} is null" for name in self.defaulted]
        if self._is_stale():
            wanted.append(f"{self.identity} is not null")
        if not wanted:
            return 0
        count = copy(
            self.warehouse,
            f"select {held_columns(self.contract)}, extra, {self.identity}, _file, _position,"
            f" _dlt_load_id from {self.table}"
            f" where _file is not null and ({' or '.join(wanted)})",
            self.beside,
            "arrived",
        )
        if not count:
            return 0
        microseconds = (now - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
        self.beside.execute(f"set variable load_time = {microseconds}")
        self.beside.execute(
            "create table held as select row_number() over () - 1 as record, false as changed,"
            f" {typed_columns(self.contract)}, extra, {self.identity}, _file, _position,"
            " _dlt_load_id from arrived"
        )
        self.beside.execute("drop table arrived")
        for name, value in self.defaulted.items():
            self.beside.execute(
                f'update held set "{name}" = {literal(value)}, changed = true'
                f' where "{name}" is null'
            )
        self._name_columns(names)
        return count

    def _is_stale(self) -> bool:
        """Whether the texts of the records are another contract's: one of them tells."""
        where = f"{self.identity} is not null and _file is not null"
        found = copy(
            self.warehouse,
            f"select {held_columns(self.contract)}, {self.identity} as before"
            f" from {self.table} where {where} limit 1",
            self.beside,
            "one",
        )
        if not found:
            return False
        stale = self.beside.execute(
            f"select before is distinct from {self.identity} from"
            f" (select before, {checks.identity(self.contract)} from"
            f" (select before, {typed_columns(self.contract)} from one))"
        ).fetchone()
        return bool(stale and stale[0])

    def _name_columns(self, names: Sequence[str]) -> None:
        """Headers of CSV files under the names that they stand for (semantics section 1)."""
        copy(
            self.warehouse,
            f"select distinct file from {RAW}.{raw.LOADED}"
            """ where strpos(layout, '"columns"') > 0""",
            self.beside,
            "csv_files",
        )
        meant = {checks.column_name(name): name for name in names}
        headers = self.beside.execute(
            "select distinct unnest(json_keys(extra)) from held"
            " where _file in (select file from csv_files)"
        ).fetchall()
        for (header,) in headers:
            name = meant.get(checks.column_name(header))
            if name is None or name == header or '"' in header:
                continue
            self.other_names.setdefault(name, set()).add(header)
            value = f"json_extract_string(extra, {_path(header)})"
            self.beside.execute(
                "update held set extra = json_merge_patch(extra,"
                f" json_object({literal(header)}, null, {literal(name)}, {value}))::varchar"
                f" where {value} is not null and not json_exists(extra, {_path(name)})"
                " and _file in (select file from csv_files)"
            )

    def fill(self, field: Field) -> None:
        """Move one field's values that pass, in rows that have none."""
        stream, name = self.contract.stream, field.name
        sources = tuple(path for path in field.sources if not path.nested)
        there = " or ".join(f"json_exists(extra, {_path(path.text)})" for path in sources)
        absent = f'"{name}" is null'
        if name in self.defaulted:
            absent += f' or "{name}" = {literal(self.defaulted[name])}'
        self.beside.execute(
            "create or replace table batch as select record, extra as document from held"
            f" where extra is not null and ({there or 'false'}) and ({absent})"
        )
        alone = replace(field, required=False, sources=sources)
        judged = checks.judgements(
            Contract("", "", (alone,), None, reference=True), contracts.stream, DOCUMENTS
        )
        self.beside.execute(f"create or replace table verdicts as {judged[0].sql}")
        self.beside.execute(
            f'update held set "{name}" = verdicts."{name}", extra = verdicts.extra, changed = true'
            " from verdicts where held.record = verdicts.record and verdicts.reason is null"
        )
        counts = self.beside.execute(
            "select reason, count(*) from verdicts"
            f' where reason is not null or "{name}" is not null group by reason'
        ).fetchall()
        for reason, count in counts:
            if reason is None:
                self.report.filled[stream, name] += count
            else:
                self.report.refused[stream, reason] += count

    def identify(self) -> None:
        """Make texts and md5 anew of what is held."""
        self.beside.execute(
            f"create table made as select record, {checks.identity(self.contract)} from held"
        )
        self.report.identities[self.contract.stream] += len(
            self.beside.execute(
                f"update held set {self.identity} = made.{self.identity}, changed = true from made"
                " where held.record = made.record"
                f" and held.{self.identity} is distinct from made.{self.identity}"
                " returning held.record"
            ).fetchall()
        )

    def write(self, writer: Writer, fields: Sequence[Field], mark: str) -> None:
        """Set what has changed in the warehouse, and forget what is no longer unknown."""
        names = {each.name for each in fields} | set(self.defaulted)
        changed = [each.name for each in self.contract.fields if each.name in names]
        changed += ["extra", self.identity]
        columns = ", ".join(checks.quoted(name) for name in changed)
        with self.beside.cursor() as reading:
            reader = reading.execute(
                f"select {columns}, _file, _position, {literal(mark)} || _dlt_load_id"
                " as _dlt_load_id from held where changed"
            ).fetch_record_batch(_BATCH)
            count = 0
            for batch in reader:
                count += batch.num_rows
                writer.write(self.contract.stream, pa.Table.from_batches([batch]))
        if count:
            update(writer, self.contract.stream, changed, mark)
            rewrite = {"stream": self.contract.stream, "records": count}
            writer.write(raw.REWRITES, pa.Table.from_pylist([rewrite]))
            self.report.changed = True
        refused = {
            reason.partition(":")[2]
            for stream, reason in self.report.refused
            if stream == self.contract.stream
        }
        known = {
            other
            for each in fields
            if each.name not in refused
            for path in each.sources
            for other in (path.text, *self.other_names.get(path.text, ()))
        }
        if known and count:
            listed = ", ".join(map(literal, sorted(known)))
            writer.execute(
                f"delete from {RAW}.{raw.UNKNOWN} where stream = {literal(self.contract.stream)}"
                f" and field in ({listed})"
            )


def _path(name: str) -> str:
    """A member of a JSON object, as SQL."""
    return literal(f'$."{name}"')
