"""The raw tables as `adx load` leaves them, and a way to write them without it.

Writing rows directly lets the models be tested apart from ingestion, with data that no loader
would make in one run (several load times, copies with chosen positions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from reference.funnel import (
    EVENT_STREAMS,
    OWN_ID,
    REFERENCE_STREAMS,
    Row,
    Rows,
    identity,
    identity_text,
)
from support.warehouses import Warehouse

_TIMES = {"timestamp", "updated_at", "_loaded_at", "loaded_at", "replayed_at"}
_DATES = {"start_date", "end_date"}
_MONEY = {"price_cpm", "revenue", "bid_floor_cpm", "bid_price_cpm", "rate", "daily_budget"}
_INTEGERS = {
    "_position",
    "position",
    "line",
    "width",
    "height",
    "size",
    "records_read",
    "records",
    "accepted",
    "rejected",
}

_LINEAGE = "_file _position _loaded_at _dlt_load_id"
_EVENT_TAIL = f"extra text_md5 {_LINEAGE}"
_VERSION_TAIL = f"extra version_text {_LINEAGE}"

COLUMNS: dict[str, list[str]] = {
    table: columns.split()
    for table, columns in {
        "impressions": "timestamp user_id ad_creative_id website impression_id auction_id "
        "ad_campaign_id price_cpm currency user_agent country device_type " + _EVENT_TAIL,
        "clicks": "timestamp user_id ad_campaign_id click_id impression_id ad_creative_id website "
        "user_agent " + _EVENT_TAIL,
        "conversions": "timestamp user_id conversion_type conversion_id ad_campaign_id click_id "
        "revenue currency order_id " + _EVENT_TAIL,
        "bid_requests": "timestamp auction_id user_id website exchange bid_floor_cpm "
        "bid_price_cpm currency ad_campaign_id ad_creative_id country device_type user_agent "
        "targeting " + _EVENT_TAIL,
        "campaigns": "campaign_id updated_at campaign_name advertiser pricing_model rate currency "
        "daily_budget start_date end_date time_zone " + _VERSION_TAIL,
        "creatives": "creative_id campaign_id updated_at creative_name format width height "
        + _VERSION_TAIL,
        "rejected_records": "stream file position line raw_text reason detail _loaded_at "
        "_dlt_load_id",
        "loaded_files": "file size content_hash stream records_read accepted rejected layout "
        "load_id loaded_at",
        "replayed_records": "stream file position line raw_text reason rejected_load_id load_id "
        "replayed_at",
        "unknown_fields": "stream field file records load_id loaded_at",
        "rewrites": "stream records load_id loaded_at",
    }.items()
}
DEFAULTS = {"currency": "USD", "pricing_model": "auction"}


def _arrow_type(column: str) -> pa.DataType:
    if column in _TIMES:
        return pa.timestamp("us")
    if column in _DATES:
        return pa.date32()
    if column in _MONEY:
        return pa.decimal128(18, 6)
    return pa.int64() if column in _INTEGERS else pa.string()


def _sql_type(column: str) -> str:
    if column in _TIMES:
        return "timestamp"
    if column in _DATES:
        return "date"
    if column in _MONEY:
        return "numeric(18, 6)"
    return "bigint" if column in _INTEGERS else "varchar"


def complete(stream: str, row: Row) -> Row:
    """The row with all columns of its table: absent, defaulted, identity and text computed."""
    full = {
        name: DEFAULTS.get(name) if row.get(name) is None else row[name] for name in COLUMNS[stream]
    }
    if stream in EVENT_STREAMS:
        full["text_md5"] = None if full[OWN_ID[stream]] else identity(stream, full)
        full |= named(stream, full)
    elif stream in REFERENCE_STREAMS:
        full["version_text"] = identity_text(stream, full)
    return full


def named(stream: str, row: Row) -> Row:
    """An event's identity and text, which the warehouse works out of a raw row where it needs them.

    The identity is the row's own id or the md5 that ingestion computed.
    """
    return {
        "event_id": row[OWN_ID[stream]] or row["text_md5"],
        "event_text": identity_text(stream, row),
    }


def empty() -> dict[str, Rows]:
    """Raw tables without a row."""
    return {table: [] for table in COLUMNS}


def write(warehouse: Warehouse, raw: Mapping[str, Rows]) -> None:
    """Create the schema `raw` anew with these rows; tables that are not named stay empty."""
    warehouse.execute("drop schema if exists raw cascade")
    warehouse.execute("create schema raw")
    for table, columns in COLUMNS.items():
        described = ", ".join(f'"{name}" {_sql_type(name)}' for name in columns)
        warehouse.execute(f"create table raw.{table} ({described})")
        rows = raw.get(table, [])
        if rows:
            append(warehouse, table, rows)
    warehouse.execute("create table raw._dlt_loads (load_id varchar, status bigint)")
    finish(warehouse, load_ids(raw))


def append(warehouse: Warehouse, table: str, rows: Rows) -> None:
    """Append rows to a raw table; their load counts once it is finished."""
    columns = COLUMNS[table]
    schema = pa.schema([(name, _arrow_type(name)) for name in columns])
    data = pa.Table.from_pylist(
        [{name: row.get(name) for name in columns} for row in rows], schema=schema
    )
    warehouse.append(f"raw.{table}", data)


def load_ids(raw: Mapping[str, Rows]) -> list[str]:
    """The loads that the rows are from."""
    return sorted(
        {
            row.get("_dlt_load_id") or row["load_id"]
            for rows in raw.values()
            for row in rows
            if row.get("_dlt_load_id") or row.get("load_id")
        }
    )


def finish(warehouse: Warehouse, loads: Sequence[str]) -> None:
    """Note loads as finished, which dlt does last."""
    for load_id in loads:
        warehouse.execute(f"insert into raw._dlt_loads values ('{load_id}', 0)")


def read(warehouse: Warehouse) -> dict[str, Rows]:
    """The rows of all raw tables; those of events with `event_id` and `event_text`."""
    raw = {table: warehouse.rows(f"select * from raw.{table}") for table in COLUMNS}
    for stream in EVENT_STREAMS:
        raw[stream] = [{**row, **named(stream, row)} for row in raw[stream]]
    return raw
