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

SCHEMA = "advertisex"  # dlt's name for these tables
REJECTED = "rejected_records"
LOADED = "loaded_files"
REPLAYED = "replayed_records"
UNKNOWN = "unknown_fields"
REWRITES = "rewrites"


def stream_schema(contract: Contract) -> pa.Schema:
    """A stream's raw table: the contract's fields, what is left over, identity, lineage."""
    identity = identity_column(contract)
    return pa.schema(
        [(field.name, arrow_type(field)) for field in contract.fields]
        + [(name, _TEXT) for name in ("extra", identity, "_file")]
        + [
            ("_position", pa.int64()),
            ("_loaded_at", pa.timestamp("us")),
            ("_dlt_load_id", _TEXT),
        ]
    )


def identity_column(contract: Contract) -> str:
    """A reference's text; the md5 of an event's text where it has no id of its own."""
    return "version_text" if contract.reference else "text_md5"


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
        ("layout", _TEXT),
        ("load_id", _TEXT),
        ("loaded_at", pa.timestamp("us")),
    ]
)

# What was rejected by the load `rejected_load_id` and accepted by the replay `load_id`.
REPLAYED_SCHEMA = pa.schema(
    [
        ("stream", _TEXT),
        ("file", _TEXT),
        ("position", pa.int64()),
        ("line", pa.int64()),
        ("raw_text", _TEXT),
        ("reason", _TEXT),
        ("rejected_load_id", _TEXT),
        ("load_id", _TEXT),
        ("replayed_at", pa.timestamp("us")),
    ]
)

# Fields that no contract names, by load; `file` is the first that has it.
UNKNOWN_SCHEMA = pa.schema(
    [
        ("stream", _TEXT),
        ("field", _TEXT),
        ("file", _TEXT),
        ("records", pa.int64()),
        ("load_id", _TEXT),
        ("loaded_at", pa.timestamp("us")),
    ]
)

# Which run changed how many records of earlier loads in place: builds then start anew.
REWRITES_SCHEMA = pa.schema(
    [
        ("stream", _TEXT),
        ("records", pa.int64()),
        ("load_id", _TEXT),
        ("loaded_at", pa.timestamp("us")),
    ]
)


def tables() -> dict[str, pa.Schema]:
    """Every table of the raw schema that ingestion writes."""
    found = {contract.stream: stream_schema(contract) for contract in event_streams()}
    return {
        **found,
        REJECTED: REJECTED_SCHEMA,
        LOADED: LOADED_SCHEMA,
        REPLAYED: REPLAYED_SCHEMA,
        UNKNOWN: UNKNOWN_SCHEMA,
        REWRITES: REWRITES_SCHEMA,
    }


def loaded_row_schema() -> pa.Schema:
    """A row of `loaded_files` without what the load itself adds."""
    return pa.schema([each for each in LOADED_SCHEMA if each.name not in ("load_id", "loaded_at")])


def file_column(table: str) -> str | None:
    """The column that names the file from which a row came, None where rows are of no file."""
    known = tables()[table].names
    return next((name for name in ("file", "_file") if name in known), None)


def load_column(table: str) -> str:
    """The column that holds the id of the load which wrote a row."""
    return _one_of(table, "load_id", "_dlt_load_id")


def time_column(table: str) -> str:
    """The column that holds when a row was loaded (UTC)."""
    return _one_of(table, "loaded_at", "replayed_at", "_loaded_at")


def _one_of(table: str, *names: str) -> str:
    known = tables()[table].names
    return next(name for name in names if name in known)
