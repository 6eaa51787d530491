"""What an Avro value says as JSON, for fastavro to read it so."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
from fastavro.read import LOGICAL_READERS

from ingestion.readers.batch import kept_text

# A value's JSON must say what the file says: a float as its own shortest decimal, a decimal
# exactly, a date as a date, a time in microseconds. Other logical types stay the numbers that they
# are in the file.


def _shortest_float(data: Any, *_: Any) -> float:
    return float(str(np.frombuffer(data, "<f4")[0]))


def _exact_decimal(data: bytes, schema: Any, *_: Any) -> str:
    unscaled = int.from_bytes(data, "big", signed=True)
    return format(Decimal(unscaled).scaleb(-int(schema.get("scale", 0))), "f")


def _iso_date(data: int, *_: Any) -> str | int:
    try:
        return (dt.date(1970, 1, 1) + dt.timedelta(days=data)).isoformat()
    except OverflowError:
        return data


def _microseconds(data: int, *_: Any) -> int | str:
    """A time as a number that reads as microseconds, which it does not before 1973."""
    if data >= 10**14:
        return data
    try:
        return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=data)).isoformat(" ")
    except OverflowError:
        return "0001-01-01 00:00:00"


def _from_milliseconds(data: int, *_: Any) -> int | str:
    return _microseconds(data * 1000)


def _from_nanoseconds(data: int, *_: Any) -> int | str:
    return _microseconds(data // 1000)


LOGICAL_READERS["fixed-adx-float"] = _shortest_float
LOGICAL_READERS["bytes-adx-decimal"] = _exact_decimal
LOGICAL_READERS["fixed-adx-decimal"] = _exact_decimal
LOGICAL_READERS["int-adx-date"] = _iso_date
LOGICAL_READERS["long-adx-milliseconds"] = _from_milliseconds
LOGICAL_READERS["long-adx-microseconds"] = _microseconds
LOGICAL_READERS["long-adx-nanoseconds"] = _from_nanoseconds
_LOGICAL = {
    "decimal": "adx-decimal",
    "date": "adx-date",
    **{
        f"{prefix}timestamp-{unit}s": f"adx-{unit}seconds"
        for prefix in ("", "local-")
        for unit in ("milli", "micro", "nano")
    },
}


def readable(schema: Any) -> Any:
    """The writer's schema with our own readers of logical types in place of fastavro's."""
    floats = iter(range(10**9))

    def walk(node: Any) -> Any:
        if node == "float":
            name = f"adx_float_{next(floats)}"
            return {"type": "fixed", "name": name, "size": 4, "logicalType": "adx-float"}
        if isinstance(node, list):
            return [walk(branch) for branch in node]
        if not isinstance(node, dict):
            return node
        if node.get("type") == "float":
            return walk("float")
        found = dict(node)
        logical = found.pop("logicalType", None)
        if logical in _LOGICAL:
            found["logicalType"] = _LOGICAL[logical]
        if isinstance(found.get("type"), (dict, list)):
            found["type"] = walk(found["type"])
        elif found.get("type") == "array":
            found["items"] = walk(found["items"])
        elif found.get("type") == "map":
            found["values"] = walk(found["values"])
        elif found.get("type") in ("record", "error"):
            found["fields"] = [{**field, "type": walk(field["type"])} for field in found["fields"]]
            for field in found["fields"]:
                field.pop("default", None)  # a reader's matter, and ours may no longer fit it
        return found

    return walk(schema)


def bytes_as_text(value: Any) -> str:
    return kept_text(value) if isinstance(value, bytes) else str(value)
