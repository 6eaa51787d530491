"""Time and memory of `adx load` for one large file of each format.

    python benchmarks/load.py [--megabytes 1000] [--format json] [--target duckdb]

Prints, for each format, the file's size, records, seconds, records and megabytes a second, and the
peak memory of the loading process in megabytes. Speeds differ from machine to machine; the peak
memory should not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fastavro

_CHUNK = 20_000
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36"
_STREAMS = {"json": "impressions", "csv": "impressions", "avro": "bid_requests"}


def records(start: int, count: int) -> Iterator[dict[str, object]]:
    """Impressions that no two are alike; every hundredth one lacks its user."""
    for index in range(start, start + count):
        yield {
            "timestamp": f"2024-06-{1 + index % 28:02d}T12:34:56.{index % 1_000_000:06d}Z",
            "user_id": "" if index % 100 == 99 else f"u-{index % 50_021}",
            "ad_creative_id": f"crt-{index % 211}",
            "website": f"https://www.site-{index % 307}.example/page/{index}?ref=ad",
            "impression_id": f"imp-{index:012d}",
            "auction_id": f"auc-{index:012d}",
            "ad_campaign_id": f"cmp-{index % 31}",
            "price_cpm": f"{index % 9}.{index % 10_000:04d}",
            "currency": "EUR",
            "user_agent": _AGENT,
        }


def write_json(path: Path, size: int) -> int:
    return _write_lines(path, size, lambda row: json.dumps(row), header=False)


def write_csv(path: Path, size: int) -> int:
    return _write_lines(path, size, lambda row: ",".join(map(str, row.values())), header=True)


def _write_lines(
    path: Path, size: int, line: Callable[[dict[str, object]], str], *, header: bool
) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        if header:
            file.write(",".join(next(records(0, 1))) + "\n")
        while file.tell() < size:
            file.write("".join(line(row) + "\n" for row in records(count, _CHUNK)))
            count += _CHUNK
    return count


def write_avro(path: Path, size: int) -> int:
    fields = [{"name": name, "type": "string"} for name in next(records(0, 1))]
    schema = {"type": "record", "name": "bid_request", "fields": fields}
    count = 0

    def until_full() -> Iterator[dict[str, object]]:
        nonlocal count
        while path.stat().st_size < size:
            yield from records(count, _CHUNK)
            count += _CHUNK

    with path.open("wb") as file:
        fastavro.writer(file, schema, until_full(), codec="deflate")
    return count


WRITERS = {"json": write_json, "csv": write_csv, "avro": write_avro}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--format", choices=WRITERS, action="append")
    parser.add_argument("--target", default="duckdb")
    arguments = parser.parse_args()
    print(
        f"{'format':8}{'MB':>8}{'records':>12}{'seconds':>9}{'rec/s':>10}{'MB/s':>8}{'peak MB':>9}"
    )
    for name in arguments.format or WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, _STREAMS[name], f"large.{name}")
            path.parent.mkdir()
            count = WRITERS[name](path, arguments.megabytes * 10**6)
            megabytes = path.stat().st_size / 10**6
            environment = {**os.environ, "ADX_DUCKDB_PATH": f"{folder}/bench.duckdb"}
            began = time.perf_counter()
            command = [sys.executable, "-m", "advertisex", "load", str(path)]
            command += ["--target", arguments.target, "--json"]
            report = Path(folder, "report.json")
            with report.open("wb") as output:
                process = subprocess.Popen(command, env=environment, stdout=output)
                _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            loaded = json.loads(report.read_text())["files"][0]
            if status or loaded["read"] != count:
                sys.exit(f"{name}: status {status}, {loaded['read']} of {count} records read")
            peak = usage.ru_maxrss / 1024
            print(
                f"{name:8}{megabytes:8.0f}{count:12,}{seconds:9.1f}{count / seconds:10,.0f}"
                f"{megabytes / seconds:8.1f}{peak:9.0f}"
            )


if __name__ == "__main__":
    main()
