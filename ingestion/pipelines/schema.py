"""The raw schema's tables, made and grown by dlt.

dlt keeps its schema with the data (`_dlt_version`): a contract's new field is a new column at the
next load, without a migration by hand.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from ingestion.errors import UserError
from ingestion.pipelines import raw
from ingestion.warehouse import RAW, Warehouse, rows


def ensure_tables(warehouse: Warehouse) -> str:
    """Make what is missing; the hash of dlt's schema. Raises UserError when dlt cannot."""
    version = _version(warehouse)
    if version is None:
        _synchronise(warehouse)
        version = _version(warehouse)
        if version is None:
            raise UserError(
                f"the tables of {warehouse} are not what dlt's record of them says;"
                f" drop the schema {RAW} and load again"
            )
    return version


def is_of_last_load(warehouse: Warehouse, version: str) -> bool:
    """Whether the last load, if there was one, found the same schema."""
    with warehouse.connect() as connection:
        sql = f"select schema_version_hash from {RAW}._dlt_loads order by inserted_at desc limit 1"
        return rows(connection, sql) in ([], [(version,)])


def _version(warehouse: Warehouse) -> str | None:
    """The schema's version hash, None unless all tables with all their columns are there."""
    with warehouse.connect() as connection:
        found = set(
            rows(
                connection,
                "select table_name, column_name from information_schema.columns"
                " where table_schema = ? and table_catalog = current_database()",
                [RAW],
            )
        )
        wanted = {(table, name) for table, schema in raw.tables().items() for name in schema.names}
        wanted |= {("_dlt_loads", "load_id"), ("_dlt_version", "version_hash")}
        if not wanted <= found:
            return None
        sql = f"select version_hash from {RAW}._dlt_version where schema_name = ?"
        versions = rows(connection, f"{sql} order by inserted_at desc limit 1", [raw.SCHEMA])
        return str(versions[0][0]) if versions else None


def _synchronise(warehouse: Warehouse) -> None:
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "CRITICAL")
    import dlt
    from dlt.common.exceptions import DltException
    from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
    from dlt.common.schema.utils import new_table

    schema = dlt.Schema(raw.SCHEMA)
    for table, columns in raw.tables().items():
        described = list(py_arrow_to_table_schema_columns(columns).values())
        schema.update_table(new_table(table, columns=described, write_disposition="append"))

    @dlt.source(schema=schema)
    def tables() -> Any:
        return dlt.resource([], name=raw.LOADED)

    with tempfile.TemporaryDirectory(prefix="adx-dlt-") as folder:
        pipeline = dlt.pipeline(
            raw.SCHEMA,
            pipelines_dir=folder,
            destination=warehouse.destination(),
            dataset_name=RAW,
        )
        try:
            pipeline.extract(tables())
            pipeline.sync_schema()
        except DltException as error:
            raise UserError(f"the tables of {warehouse} cannot be made: {error}") from None
