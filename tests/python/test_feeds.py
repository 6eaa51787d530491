"""Feeds as they come: each loads as it is, or with one YAML file."""

from __future__ import annotations

import io
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest

from conftest import MakeWarehouse
from support.warehouses import ENGINES, Warehouse

NESTED = {
    "type": "record",
    "name": "request",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "imp",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "slot",
                    "fields": [
                        {"name": "floor", "type": ["null", "double"]},
                        {"name": "sizes", "type": {"type": "array", "items": "int"}},
                    ],
                },
            },
        },
        {
            "name": "user",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "person",
                    "fields": [{"name": "id", "type": "string"}],
                },
            ],
        },
        {"name": "segments", "type": {"type": "map", "values": "string"}},
    ],
}
NESTED_CONTRACT = """\
stream: bid_requests
paths:
  timestamp: at
  auction_id: id
  user_id: user.id
  bid_floor_cpm: imp[0].floor
  targeting: segments
"""


@pytest.fixture(scope="module", params=ENGINES)
def warehouse(request: pytest.FixtureRequest, make_warehouse: MakeWarehouse) -> Warehouse:
    return make_warehouse(request.param)


def load(warehouse: Warehouse, path: Path, *arguments: str) -> None:
    warehouse.adx("load", str(path), *arguments)


def rows_of(warehouse: Warehouse, stream: str, path: Path) -> list[dict[str, Any]]:
    return warehouse.rows(f"select * from raw.{stream} where _file = '{path}' order by _position")


def test_json_array_with_other_names_needs_no_file(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "impressions" / "feed.json"
    path.parent.mkdir()
    path.write_text(
        json.dumps(
            [
                {"ts": 1717934096, "user_id": "u1", "creative_id": "c1", "url": "http://a.example/x"},
                {"event_time": "2024-06-09T12:00:00+02:00", "user_id": "u2", "creative_id": "c2",
                 "page_url": "b.example", "campaign_id": "k1"},
            ]
        )
    )  # fmt: skip
    load(warehouse, path)
    first, second = rows_of(warehouse, "impressions", path)
    assert (first["timestamp"], first["website"]) == (datetime(2024, 6, 9, 11, 54, 56), "a.example")
    assert (second["timestamp"], second["ad_campaign_id"]) == (datetime(2024, 6, 9, 10), "k1")


def test_semicolons_and_event_types_need_no_file(warehouse: Warehouse, tmp_path: Path) -> None:
    """One file of clicks and conversions, told apart by the event's type."""
    path = tmp_path / "interactions" / "feed.csv"
    path.parent.mkdir()
    path.write_text(
        "ts;user_id;campaign_id;event_type;value;currency\n"
        "2024-06-09 12:00:00;u1;k1;click;;\n"
        "2024-06-09 12:05:00;u1;k1;purchase;12.50;eur\n"
        '2024-06-09 12:06:00;"u;2";k2;Click;;\n'
    )
    load(warehouse, path)
    clicks = rows_of(warehouse, "clicks", path)
    (conversion,) = rows_of(warehouse, "conversions", path)
    assert [(row["user_id"], row["ad_campaign_id"]) for row in clicks] == [
        ("u1", "k1"),
        ("u;2", "k2"),
    ]
    assert (conversion["conversion_type"], conversion["revenue"], conversion["currency"]) == (
        "purchase",
        Decimal("12.5"),
        "EUR",
    )


@pytest.mark.parametrize("codec", ("null", "deflate", "snappy", "zstandard", "bzip2", "xz"))
def test_nested_avro_needs_one_file(warehouse: Warehouse, tmp_path: Path, codec: str) -> None:
    path, contract = tmp_path / "requests.avro", tmp_path / "nested.yml"
    contract.write_text(NESTED_CONTRACT)
    file = io.BytesIO()
    request = {
        "id": f"a-{codec}",
        "at": 1717934096123,
        "imp": [{"floor": 0.1, "sizes": [300, 250]}, {"floor": None, "sizes": []}],
        "user": {"id": "u9"},
        "segments": {"age": "25-34"},
    }
    fastavro.writer(file, NESTED, [request, {**request, "id": f"b-{codec}", "user": None}], codec)
    path.write_bytes(file.getvalue())
    load(warehouse, path, "--contract", str(contract))
    first, second = rows_of(warehouse, "bid_requests", path)
    assert (first["auction_id"], first["user_id"]) == (f"a-{codec}", "u9")
    assert (first["timestamp"], first["bid_floor_cpm"]) == (
        datetime(2024, 6, 9, 11, 54, 56, 123_000),
        Decimal("0.1"),
    )
    assert json.loads(first["targeting"]) == {"age": "25-34"}
    assert '"sizes"' in first["extra"]
    assert second["user_id"] is None
