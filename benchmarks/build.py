"""Time, processor time and memory of full and incremental builds, and the limit: SQL by hand.

    python benchmarks/build.py [--target duckdb] [--events 1_000_000] [--days 30] [--memory 6GB]

Makes raw tables of that many events in all on so many days, builds everything, loads one more day,
of whose events 2 % are up to 10 days late, builds that, and runs `marts_by_hand.sql` on the raw
tables of the first load. Models only (`adx build --no-tests`). On PostgreSQL the database that
PGDATABASE names is used, and its schemas are dropped first.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import raw_events

from ingestion.warehouse import Warehouse, from_environment, rows

BY_HAND = Path(__file__).with_name("marts_by_hand.sql")
SCHEMAS = ("raw", "staging", "intermediate", "marts", "seeds", "by_hand")
MEGABYTE = 1024
# The marts, what of the script's tables is the same, and what makes a row one row.
MARTS = {
    "fct_impressions": ("select * from by_hand.impressions", "event_id"),
    "fct_clicks": ("select * from by_hand.clicks", "event_id"),
    "fct_conversions": ("select * from by_hand.conversions", "event_id"),
    "fct_bid_requests": ("select * from by_hand.bid_requests", "event_id"),
    "fct_attribution": (
        "select * from by_hand.attribution",
        "conversion_event_id touch_event_id model",
    ),
    "fct_campaign_hourly": ("select * from by_hand.campaign_hourly", "campaign_id hour"),
    "fct_campaign_daily": (
        "select *, member as campaign_id from by_hand.campaign_daily",
        "campaign_id date",
    ),
    "fct_creative_daily": (
        "select *, member as creative_id from by_hand.creative_daily",
        "creative_id date",
    ),
    "fct_website_daily": (
        "select *, member as website from by_hand.website_daily",
        "website date",
    ),
    "fct_campaign_cohort_daily": (
        "select * from by_hand.cohort_daily",
        "campaign_id date model",
    ),
    "fct_campaign_anomalies": ("select * from by_hand.anomalies", "campaign_id date metric"),
    "fct_data_quality_daily": ("select * from by_hand.data_quality_daily", "stream date"),
}
# Fractions are compared within this, relative to the greater of 1 and the value.
CLOSE = 1e-6


@dataclass(frozen=True)
class Cost:
    """Wall-clock and processor seconds, and the greatest resident size in megabytes."""

    seconds: float
    processor: float
    peak: float

    def __str__(self) -> str:
        return f"{self.seconds:8.1f} s {self.processor:8.1f} s {self.peak:8,.0f} MB"


def measured(command: list[str], env: dict[str, str]) -> Cost:
    """The cost of a process; its output is shown when it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(output.decode())
    return _cost(began, usage)


def _cost(began: float, usage: resource.struct_rusage) -> Cost:
    return Cost(
        time.perf_counter() - began,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / MEGABYTE,
    )


def build(env: dict[str, str], *options: str) -> Cost:
    return measured([sys.executable, "-m", "advertisex", "build", "--no-tests", *options], env)


def by_hand(warehouse: Warehouse) -> None:
    """Run the script; called in a process of its own, so that its cost is its own."""
    bytewise = "" if warehouse.path else 'collate "C"'
    matches = "seen.user_agent ~ crawlers.pattern"
    if warehouse.path:
        matches = "regexp_matches(seen.user_agent, crawlers.pattern)"
    script = BY_HAND.read_text().replace("{bytes}", bytewise).replace("{matches}", matches)
    with warehouse.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("drop schema if exists by_hand cascade")
        cursor.execute("create schema by_hand")
        for statement in script.split(";\n"):
            if statement.strip():
                began = time.perf_counter()
                cursor.execute(statement)
                if os.environ.get("VERBOSE"):
                    print(
                        f"{time.perf_counter() - began:6.2f}", statement.strip()[:60].split("\n")[0]
                    )
        if warehouse.path is None:
            connection.commit()


def check(warehouse: Warehouse) -> None:
    """Stop unless the script and the models come to the same marts, row by row."""
    with warehouse.connect(read_only=True) as connection:
        for mart, (by_hand, key) in MARTS.items():
            keys = key.split()
            types = rows(
                connection,
                "select column_name, data_type from information_schema.columns"
                " where table_schema = 'marts' and table_name = ?",
                [mart],
            )
            there = _columns(connection, by_hand)
            wrong = " or ".join(
                f"{_differ(name, kind)}" for name, kind in types if name in there - set(keys)
            )
            on = " and ".join(f'built."{name}" = by_hand."{name}"' for name in keys)
            where = "false"
            if mart == "fct_data_quality_daily":  # the script knows no records of reference streams
                where = "coalesce(built.stream, '') in ('campaigns', 'creatives')"
            ((differences,),) = rows(
                connection,
                f"select count(*) from marts.{mart} as built full join ({by_hand}) as by_hand"
                f" on {on} where not ({where}) and"
                f" (built.{keys[0]} is null or by_hand.{keys[0]} is null or {wrong})",
            )
            if differences:
                raise SystemExit(f"the script by hand and {mart} differ in {differences:,} rows")


def _columns(connection: Any, query: str) -> set[str]:
    cursor = connection.cursor()
    cursor.execute(f"select * from ({query}) as nothing limit 0")
    return {column[0] for column in cursor.description}


def _differ(name: str, kind: str) -> str:
    built, by_hand = f'built."{name}"', f'by_hand."{name}"'
    if not kind.lower().startswith(("numeric", "decimal", "double")):
        return f"{built} is distinct from {by_hand}"
    built, by_hand = (f"cast({value} as double precision)" for value in (built, by_hand))
    return (
        f"({built} is null) <> ({by_hand} is null)"
        f" or abs({built} - {by_hand}) > {CLOSE} * greatest(1, abs({built}))"
    )


def main() -> None:
    """Print a table of costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--target", default="duckdb", choices=("duckdb", "postgres"))
    parser.add_argument("--events", type=lambda text: int(text.replace("_", "")), default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument(
        "--folder", type=Path, help="Where the DuckDB files go; else a temporary one."
    )
    parser.add_argument("--memory", help="What DuckDB may take for queries, for example 6GB.")
    parser.add_argument("--no-limit", action="store_true", help="Leave the script by hand out.")
    parser.add_argument("--by-hand", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target == "postgres" and not os.environ.get("PGDATABASE"):
        parser.error("set PGDATABASE to a database whose schemas may be dropped")
    if options.by_hand:
        by_hand(from_environment(options.target))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="adx-build-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _run(options, folder)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


def _run(options: argparse.Namespace, folder: Path) -> None:
    path = folder / f"benchmark_{options.events}_{options.days}.duckdb"
    path.unlink(missing_ok=True)
    env = {"ADX_TARGET": options.target, "DBT_TARGET_PATH": str(folder / "target")}
    if options.target == "duckdb":
        env["ADX_DUCKDB_PATH"] = str(path)
        env["ADX_DUCKDB_MEMORY"] = options.memory or ""
    warehouse = Warehouse("duckdb", path) if options.target == "duckdb" else Warehouse("postgres")
    if warehouse.path is None:
        with warehouse.connect() as connection:
            for schema in SCHEMAS:
                connection.cursor().execute(f"drop schema if exists {schema} cascade")
            connection.commit()
    per_day = options.events // options.days
    print(f"{options.target}, {options.events:,} events on {options.days} days, {per_day:,} a day")
    print(f"{'':28} {'elapsed':>10} {'processor':>10} {'peak memory':>11}")
    _load(warehouse, path, range(options.days), per_day, 1)
    full = build(env)
    print(f"{'build of everything':28}{full}", flush=True)
    if not options.no_limit:
        command = [sys.executable, __file__, "--by-hand", "--target", options.target]
        limit = measured(command, env)
        print(
            f"{'by hand':28}{limit}   the build takes {full.seconds / limit.seconds:.2f} times that"
        )
        check(warehouse)
        with warehouse.connect() as connection:
            connection.cursor().execute("drop schema by_hand cascade")
            connection.commit()
    _load(warehouse, path, range(options.days, options.days + 1), per_day, 2)
    day = build(env)
    print(
        f"{'one new day':28}{day}   {day.seconds / full.seconds:.1%} of the build of everything",
        flush=True,
    )
    print(f"{'nothing new':28}{build(env)}")


def _load(warehouse: Warehouse, path: Path, days: range, per_day: int, load: int) -> None:
    raw_events.fill(path, days, per_day, load)
    if warehouse.path is None:
        raw_events.copy_to_postgres(path, warehouse, load)


if __name__ == "__main__":
    main()
