"""Records a second of the Avro reader alone, in one run: the kernel, fastavro's way, DuckDB.

    python benchmarks/avro_reader.py [--records 300000]

The file: bid requests of 14 fields, most of them nullable, one a nested record; deflate. DuckDB's
own reader needs `pip install duckdb-extension-avro duckdb-extensions`; without it there is no such
line. Each line is the best of three, by the clock and by the processor's time.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import fastavro

from ingestion.readers.avro_reader import read_avro

_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/{} Safari/537.36"
_TEXTS = (
    "user_id", "website", "exchange", "currency", "ad_campaign_id", "ad_creative_id", "country",
    "device_type", "user_agent",
)  # fmt: skip
_TARGETING = {
    "type": "record",
    "name": "targeting",
    "fields": [
        {"name": "segments", "type": {"type": "array", "items": "string"}},
        {"name": "age", "type": ["null", "string"]},
        {"name": "score", "type": "double"},
        {"name": "interests", "type": {"type": "map", "values": "string"}},
    ],
}
_SCHEMA = {
    "type": "record",
    "name": "bid_request",
    "fields": [
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "auction_id", "type": "string"},
        *({"name": name, "type": ["null", "string"]} for name in _TEXTS),
        {"name": "bid_floor_cpm", "type": ["null", "double"]},
        {"name": "bid_price_cpm", "type": ["null", "double"]},
        {"name": "targeting", "type": ["null", _TARGETING]},
    ],
}


def records(count: int) -> Iterator[dict[str, Any]]:
    dice = random.Random(1)
    for index in range(count):
        bids = dice.random() < 0.4
        yield {
            "timestamp": 1717936496000000 + index * 137,
            "auction_id": f"auc-{index:012d}",
            "user_id": f"u-{dice.randrange(50021)}" if index % 50 else None,
            "website": f"site-{index % 307}.example",
            "exchange": dice.choice(("adx", "openx", "rubicon")),
            "currency": "USD",
            "ad_campaign_id": f"cmp-{index % 31}" if bids else None,
            "ad_creative_id": f"crt-{index % 211}" if bids else None,
            "country": dice.choice(("DE", "US", "FR")),
            "device_type": dice.choice(("mobile", "desktop", "tablet")),
            "user_agent": _AGENT.format(100 + index % 40),
            "bid_floor_cpm": round(dice.random() * 3, 4),
            "bid_price_cpm": round(dice.random() * 5, 4) if bids else None,
            "targeting": None if index % 10 == 0 else {
                "segments": dice.sample(("sport", "news", "auto", "travel"), dice.randrange(4)),
                "age": dice.choice(("18-24", "25-34", None)),
                "score": round(dice.random(), 6),
                "interests": {"first": "x", "language": dice.choice(("de", "en"))},
            },
        }  # fmt: skip


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(2**20):
            yield piece


def ours(path: Path, kernel_from: int) -> int:
    return sum(batch.table.num_rows for batch in read_avro(pieces(path), kernel_from))


def duckdb_reader(path: Path) -> Callable[[], int] | None:
    try:
        from duckdb_extensions import import_extension
    except ImportError:
        return None
    connection = duckdb.connect(config={"threads": 2})
    import_extension("avro", con=connection)
    connection.execute("load avro")

    def read() -> int:
        connection.execute(f"create or replace table t as select * from read_avro('{path}')")
        found = connection.execute("select count(*) from t").fetchone()
        return int(found[0]) if found else 0

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=300_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bid_requests.avro"
        with path.open("wb") as file:
            fastavro.writer(file, _SCHEMA, records(count), codec="deflate")
        ways: list[tuple[str, Callable[[], int] | None]] = [
            ("kernel", lambda: ours(path, 0)),
            ("fastavro's way", lambda: ours(path, 2**62)),
            ("DuckDB read_avro into a table", duckdb_reader(path)),
        ]
        ours(path, 0)  # loads the kernel
        for name, way in ways:
            if way is None:
                continue
            clock = processor = float("inf")
            for _ in range(3):
                began, used = time.perf_counter(), time.process_time()
                assert way() == count
                clock = min(clock, time.perf_counter() - began)
                processor = min(processor, time.process_time() - used)
            print(f"{name:32} {count / clock:12,.0f}/s {count / processor:12,.0f}/s of processor")


if __name__ == "__main__":
    main()
