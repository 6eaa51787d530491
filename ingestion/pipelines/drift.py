"""Which fields of a load no contract names: counted as its records are accepted, and listed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa

from ingestion.contract import Contract, Router, event_streams, streams
from ingestion.pipelines import raw
from ingestion.pipelines.writers import Writer
from ingestion.warehouse import Warehouse

_COUNT = """
select file, field, count(*) as records
from (select _file::varchar as file, unnest(json_keys(extra)) as field from arriving)
group by all
"""


class Watch:
    """A writer that looks at the column `extra` of what passes through it.

    `connection` is the thread's own; `feeds` are contracts beside the streams' own.
    """

    def __init__(
        self,
        writer: Writer,
        connection: duckdb.DuckDBPyConnection,
        feeds: Iterable[Contract | Router],
    ) -> None:
        self.writer = writer
        self.connection = connection
        self.named = named_fields()
        for feed in feeds:
            if isinstance(feed, Contract):
                self.named[feed.stream] |= _names(feed)
        self.found: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def write(self, table: str, rows: pa.Table) -> None:
        if table in self.named and "extra" in rows.column_names:
            extra = rows["extra"]
            if extra.null_count < len(extra):
                self._count(table, rows.select(["_file", "extra"]).filter(extra.is_valid()))
        self.writer.write(table, rows)

    def _count(self, stream: str, rows: pa.Table) -> None:
        counted = self.connection.from_arrow(rows).query("arriving", _COUNT).fetchall()
        for file, field, records in counted:
            if field not in self.named[stream]:
                self.found[stream, field][file] += records

    def forget(self, file: str) -> None:
        """A file's rows were taken back."""
        for counts in self.found.values():
            counts.pop(file, None)

    def write_found(self, files: Iterable[str]) -> None:
        """Write what was found in these files, in their order, as rows of `unknown_fields`."""
        order = list(files)
        rows = []
        for (stream, field), counts in sorted(self.found.items()):
            having = [file for file in order if file in counts]
            if having:
                rows.append(
                    {
                        "stream": stream,
                        "field": field,
                        "file": having[0],
                        "records": sum(counts[file] for file in having),
                    }
                )
        if rows:
            names = ("stream", "field", "file", "records")
            schema = pa.schema([raw.UNKNOWN_SCHEMA.field(name) for name in names])
            self.writer.write(raw.UNKNOWN, pa.Table.from_pylist(rows, schema))

    def execute(self, sql: str) -> None:
        self.writer.execute(sql)

    def commit(self) -> None:
        self.writer.commit()

    def close(self) -> None:
        self.writer.close()


def unknown_fields(warehouse: Warehouse) -> list[dict[str, Any]]:
    """One row a stream and field that no contract named when it was loaded, the new ones first.

    `is_new`: the last load that fed the stream is the first that has it, and it `came_later` than
    the first load of all. `since_load` and `since` say which load that is; `records` counts those
    of all loads; `is_named` fields are in the contract by now, and `adx backfill` moves them. The
    dbt test `no_new_unknown_fields` warns by the same rule where dbt runs without this.
    """
    if not warehouse.has(raw.UNKNOWN):
        return []
    named = named_fields()
    found = warehouse.query(
        """
        with sightings as (
            select
                fields.stream,
                fields.field,
                fields.load_id,
                fields.loaded_at,
                coalesce(files.stream, fields.stream) as fed_by,
                row_number() over (
                    partition by fields.stream, fields.field order by fields.loaded_at
                ) as number,
                sum(fields.records) over (
                    partition by fields.stream, fields.field
                ) as all_records
            from raw.unknown_fields as fields
            left join raw.loaded_files as files
                on fields.file = files.file and fields.load_id = files.load_id
        ),
        loads as (
            select stream, min(loaded_at) as first_load, max(loaded_at) as last_load
            from raw.loaded_files
            where records_read > 0
            group by stream
        )
        select
            sightings.stream,
            sightings.field,
            sightings.all_records as records,
            sightings.load_id as since_load,
            sightings.loaded_at as since,
            coalesce(sightings.loaded_at > loads.first_load, false) as came_later,
            coalesce(sightings.loaded_at >= loads.last_load, false) as is_last
        from sightings
        left join loads
            on sightings.fed_by = loads.stream
        where sightings.number = 1
        order by sightings.stream, sightings.field
        """
    )
    for row in found:
        row["records"] = int(row["records"])
        row["is_new"] = row.pop("is_last") and row["came_later"]
        row["is_named"] = row["field"] in named.get(row["stream"], set())
    return sorted(found, key=lambda row: not row["is_new"])


def named_fields() -> dict[str, set[str]]:
    """By stream the names of a record's own fields that its contract looks at, or its router."""
    found = {contract.stream: _names(contract) for contract in event_streams()}
    for router in streams().values():
        if isinstance(router, Router):
            for target in router.targets:
                found[target] |= {path.top for path in router.by}
    return found


def _names(contract: Contract) -> set[str]:
    return {path.top for field in contract.fields for path in field.sources}
