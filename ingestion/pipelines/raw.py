"""The raw schema's tables: their columns as Arrow types."""

from __future__ import annotations

import pyarrow as pa

from ingestion.contract import Contract, Field, event_streams

_ARROW = {
    "timestamp": pa.timestamp("us"),
    "amount": pa.decimal128(18, 6),
    "integer": pa.int64(),
    "date": pa.date32(),
}
_TEXT = pa.string()

REJECTED = "rejected_records"
LOADED = "loaded_files"


def stream_schema(contract: Contract) -> pa.Schema:
    """A stream's raw table: the contract's fields, what is left over, identity, lineage."""
    identity = ("version_text",) if contract.reference else ("event_id", "event_text")
    return pa.schema(
        [(field.name, arrow_type(field)) for field in contract.fields]
        + [(name, _TEXT) for name in ("extra", *identity, "_file")]
        + [
            ("_position", pa.int64()),
            ("_loaded_at", pa.timestamp("us")),
            ("_dlt_load_id", _TEXT),
        ]
    )


def arrow_type(field: Field) -> pa.DataType:
    return _ARROW.get(field.type, _TEXT)


REJECTED_SCHEMA = pa.schema(
    [
        ("stream", _TEXT),
        ("file", _TEXT),
        ("position", pa.int64()),
        ("line", pa.int64()),
        ("raw_text", _TEXT),
        ("reason", _TEXT),
        ("detail", _TEXT),
        ("_loaded_at", pa.timestamp("us")),
        ("_dlt_load_id", _TEXT),
    ]
)

LOADED_SCHEMA = pa.schema(
    [
        ("file", _TEXT),
        ("size", pa.int64()),
        ("content_hash", _TEXT),
        ("stream", _TEXT),
        ("records_read", pa.int64()),
        ("accepted", pa.int64()),
        ("rejected", pa.int64()),
        ("load_id", _TEXT),
        ("loaded_at", pa.timestamp("us")),
    ]
)


def tables() -> dict[str, pa.Schema]:
    """Every table of the raw schema that ingestion writes."""
    found = {contract.stream: stream_schema(contract) for contract in event_streams()}
    return {**found, REJECTED: REJECTED_SCHEMA, LOADED: LOADED_SCHEMA}


def file_column(table: str) -> str:
    """The column that names the file from which a row came."""
    return "file" if table in (REJECTED, LOADED) else "_file"


def load_column(table: str) -> str:
    """The column that holds the id of the load which wrote a row."""
    return "load_id" if table == LOADED else "_dlt_load_id"
