"""What Elementary adds to a daily build, beyond its own tests.

    python benchmarks/elementary.py [--engine duckdb] [--events 100000] [--runs 3]

Thirty days are loaded and built both ways, so that everything is there and parsed. Then builds with
Elementary and without take turns, each a process of its own, as a scheduler would start them. From
a build with Elementary the seconds of its tests are taken off, divided by dbt's two threads, which
run them side by side: what is left over the other build is what it costs to have it at all. Prints
medians by the clock, and by the processor's time, which a busy machine stretches less.

Needs Elementary's dbt packages (`adx packages`). PostgreSQL is the server that PGHOST names, else
one that is started for the purpose.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from monitoring import packages

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("duckdb", "postgres")
THREADS = 2


@dataclass(frozen=True)
class Build:
    """Seconds of one build: by the clock, of the processor, and of Elementary's tests."""

    clock: float
    processor: float
    tests: float


def adx(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "advertisex", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"adx {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(environment: dict[str, str]) -> Build:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    report = json.loads(adx(environment, "build", "--json"))
    clock = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    tests = [node for node in report["nodes"] if node["name"].startswith("elementary_")]
    return Build(
        clock,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        sum(node["seconds"] for node in tests),
    )


def measure(engine: str, environment: dict[str, str], folder: Path, runs: int) -> None:
    watching = {**environment, packages.VARIABLE: str(packages.installed())}
    alone = {**environment, packages.VARIABLE: ""}
    adx(alone, "load", str(folder / "landing"))
    for warm in (alone, watching, watching):
        build(warm)
    pairs = [(build(alone), build(watching)) for _ in range(runs)]

    def median(values: list[float]) -> float:
        return statistics.median(values)

    tests = median([on.tests for _, on in pairs]) / THREADS
    for name, off, on in (
        ("clock", [off.clock for off, _ in pairs], [on.clock for _, on in pairs]),
        ("processor", [off.processor for off, _ in pairs], [on.processor for _, on in pairs]),
    ):
        print(
            f"{engine:10}{name:12}{median(off):>10.1f}{median(on):>10.1f}{tests:>10.1f}"
            f"{median([b - a for a, b in zip(off, on, strict=True)]) - tests:>10.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    if packages.installed() is None:
        sys.exit("Elementary's dbt packages are not installed; run `adx packages`")
    print(f"{'':10}{'seconds':12}{'without':>10}{'with':>10}{'its tests':>10}{'rest':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        base = {**os.environ, "DBT_LOG_PATH": str(folder / "logs")}
        adx(base, "generate", str(folder / "landing"), "--events", str(asked.events))
        for engine in asked.engine or ENGINES:
            target = {"ADX_TARGET": engine, "DBT_TARGET_PATH": str(folder / f"target-{engine}")}
            if engine == "duckdb":
                own = {"ADX_DUCKDB_PATH": str(folder / "advertisex.duckdb")}
                measure(engine, {**base, **target, **own}, folder, asked.runs)
            elif os.environ.get("PGHOST"):
                measure(engine, {**base, **target}, folder, asked.runs)
            else:
                sys.path.insert(0, str(ROOT / "tests" / "python"))
                from support.warehouses import PostgresServer

                server = PostgresServer()
                try:
                    own = server.database()
                    measure(engine, {**base, **target, **own}, folder, asked.runs)
                finally:
                    server.stop()


if __name__ == "__main__":
    main()
