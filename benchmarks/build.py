"""Time, processor time and memory of full and incremental builds, and the limit: SQL by hand.

    python benchmarks/build.py [--target duckdb] [--events 1_000_000] [--days 30] [--folder DIR]

Makes raw tables of that many events in all on so many days, builds everything, loads one more day,
of whose events 2 % are up to 10 days late, builds that, and runs `marts_by_hand.sql` on the raw
tables of the first load. Models only (`adx build --no-tests`). On PostgreSQL the database that the
environment names is used, and its schemas are dropped first.
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

sys.path.insert(0, str(Path(__file__).resolve().parent))

import raw_events

from ingestion.warehouse import Warehouse, from_environment

BY_HAND = Path(__file__).with_name("marts_by_hand.sql")
SCHEMAS = ("raw", "staging", "intermediate", "marts", "seeds", "by_hand")
MEGABYTE = 1024
# What both must agree on, for the comparison to be one.
CHECK = """
    select sum(bid_requests), sum(impressions), sum(clicks), sum(conversions),
        sum(won_impressions), sum(click_through_conversions), sum(view_through_conversions),
        round(sum(spend)), round(sum(revenue))
    from {table}
"""


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
    """Stop unless the script and the models come to the same sums."""
    with warehouse.connect(read_only=True) as connection:
        sums = []
        for table in ("marts.fct_campaign_daily", "by_hand.campaign_daily"):
            cursor = connection.cursor()
            cursor.execute(CHECK.format(table=table))
            sums.append([float(value) for value in cursor.fetchone()])
    if sums[0] != sums[1]:
        raise SystemExit(f"the script by hand and the models differ:\n{sums[0]}\n{sums[1]}")


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
    parser.add_argument("--no-limit", action="store_true", help="Leave the script by hand out.")
    parser.add_argument("--by-hand", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
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
    with raw_events.duckdb.connect(str(path)) as connection:
        raw_events.fill(connection, days, per_day, load)
    if warehouse.path is None:
        raw_events.copy_to_postgres(path, warehouse, load)


if __name__ == "__main__":
    main()
