"""`adx`: load logs, build the funnel, look at it. Exit codes: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from advertisex import console, funnel, progress
from advertisex.command import command, escaped, options
from advertisex.commands.backfill import backfill, show_new, show_unknown
from advertisex.commands.packages import packages
from advertisex.commands.rejects import rejects
from advertisex.commands.report import report
from advertisex.commands.watch import watch
from advertisex.plan import check_loaded, one_at_a_time, plan_build
from ingestion.errors import UserError, WrongUsage
from ingestion.warehouse import PROJECT, Warehouse
from monitoring import record

# dbt and dlt take seconds to import: only the commands that need them do.
if TYPE_CHECKING:
    from advertisex.dbt import BuildReport
    from ingestion.pipelines.files import FileResult

_SHOWN_FILES = 40
_SHOWN_REASONS = 10
_SHOWN_REASONS_OF_STREAM = 2


logs = options(
    click.argument("paths", nargs=-1, required=True, metavar="PATH..."),
    click.option("--stream", help="The stream of all the files; else the nearest folder so named."),
    click.option(
        "--contract", help="A feed's own layout: the name of one that ships, or a YAML file."
    ),
    click.option("--max-rejects", metavar="SHARE", help="Fail when more were rejected, e.g. 1%."),
)
market = options(
    click.option("--events", default=200_000, show_default=True, type=click.IntRange(1_000)),
    click.option("--days", default=30, show_default=True, type=click.IntRange(2)),
    click.option("--seed", default=1, show_default=True),
)


class _Commands(click.Group):
    """All commands; `alerts` is imported when it is asked for, as its rules take a second."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), "alerts"])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name == "alerts":
            from advertisex.commands.alerts import alerts

            return alerts
        return super().get_command(context, name)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="advertisex")
def main() -> None:
    """A campaign-funnel warehouse: raw ad logs in, a funnel that people trust out."""


for each in (rejects, backfill, watch, packages, report):
    main.add_command(each)


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@market
@click.option("--fault", metavar="NAME", help="Quiet logs with this fault; `none` has none.")
@click.option(
    "--fault-day", type=click.DateTime(["%Y-%m-%d"]), help="The fault's day; else the last day."
)
@command
def generate(
    warehouse: Warehouse,
    out: Path,
    events: int,
    days: int,
    seed: int,
    fault: str | None,
    fault_day: dt.datetime | None,
    as_json: bool,
) -> None:
    """Write made-up but realistic logs of every stream to OUT, and truth.json beside them."""
    began = time.perf_counter()
    day = fault_day and fault_day.date()
    _generate(out, events, days, seed, fault=fault, fault_day=day, quiet=as_json)
    if as_json:
        print((out / "truth.json").read_text())
    else:
        console.out.print(
            f"Wrote about {events:,} events of {days} days to {out}"
            f" in {time.perf_counter() - began:.1f} s. What is in them: {out / 'truth.json'}"
        )


@main.command()
@logs
@command
def load(
    warehouse: Warehouse,
    paths: tuple[str, ...],
    stream: str | None,
    contract: str | None,
    max_rejects: str | None,
    as_json: bool,
) -> bool:
    """Load files, folders or glob patterns, local or as URLs, into the raw schema."""
    run_id = record.new_run()
    loaded = _load(warehouse, run_id, paths, stream, contract, _share(max_rejects), as_json)
    return _said(loaded, as_json)


@main.command()
@click.option("--full-refresh", is_flag=True, help="Build everything anew.")
@click.option("--select", multiple=True, help="Only these models, in dbt's own syntax.")
@click.option("--no-tests", is_flag=True, help="Do not test what was built.")
@command
def build(
    warehouse: Warehouse,
    full_refresh: bool,
    select: tuple[str, ...],
    no_tests: bool,
    as_json: bool,
) -> bool:
    """Build the funnel with dbt: seeds, models and their tests.

    Takes in what was loaded since the last build; with nothing new it ends at once.
    """
    options = BuildOptions(select, full_refresh, tests=not no_tests)
    return _said(_build(warehouse, record.new_run(), options, as_json), as_json)


@main.command()
@logs
@command
def run(
    warehouse: Warehouse,
    paths: tuple[str, ...],
    stream: str | None,
    contract: str | None,
    max_rejects: str | None,
    as_json: bool,
) -> bool:
    """Load, build, show the funnel, and tell what is amiss."""
    from advertisex.commands import alerts

    run_id = record.new_run()
    try:
        loaded = _load(warehouse, run_id, paths, stream, contract, _share(max_rejects), as_json)
        built = _build(warehouse, run_id, BuildOptions(), as_json)
    except Exception:
        alerts.tell(warehouse, as_json)
        raise
    if built.ok and not as_json:
        _show_funnel(warehouse)
    both = _both(loaded, built)
    told = alerts.tell(warehouse, as_json)
    return _said(Outcome(both.ok, {**both.document, "alerts": told}), as_json)


@main.command()
@market
@command
def demo(warehouse: Warehouse, events: int, days: int, seed: int, as_json: bool) -> bool:
    """Make logs, load them, build, test, and show the funnel - in a warehouse of its own."""
    if warehouse.path is None:
        raise UserError("the demo runs on DuckDB only; leave --target and ADX_TARGET out")
    began = time.perf_counter()
    folder = PROJECT / "data" / "demo"
    own = Warehouse("duckdb", folder / "advertisex.duckdb")
    with own.connect():
        pass  # says so when somebody has the last demo's warehouse open
    shutil.rmtree(folder)
    _heading("1. Generate:", f"{events:,} events of {days} days", quiet=as_json)
    _generate(folder / "landing", events, days, seed, quiet=as_json)
    _heading("2. Load:", "files → raw, each record accepted or rejected", quiet=as_json)
    run_id = record.new_run()
    landing = str(folder / "landing")
    loaded = _load(own, run_id, (landing,), None, None, None, as_json, lines=False)
    _heading("3. Build and test:", "raw → staging → marts, with dbt", quiet=as_json)
    built = _build(own, run_id, BuildOptions(), as_json)
    if not as_json:
        if built.ok:
            _heading("4. Look:", "the funnel by campaign", quiet=False)
            _show_funnel(own)
        _show_next(own, time.perf_counter() - began)
    return _said(_both(loaded, built), as_json)


@main.command()
@command
def status(warehouse: Warehouse, as_json: bool) -> None:
    """Show what is loaded, how fresh it is, and what was rejected."""
    from ingestion.pipelines import drift

    check_loaded(warehouse)
    totals, streams = funnel.totals(warehouse), funnel.streams(warehouse)
    rejected, unknown = funnel.rejects(warehouse), drift.unknown_fields(warehouse)
    if as_json:
        console.as_json(
            {
                "totals": totals,
                "streams": streams,
                "rejects": rejected,
                "unknown_fields": unknown,
            }
        )
        return
    console.out.print(
        f"{warehouse}: {int(totals['files']):,} files,"
        f" {int(totals['records_read']):,} records read = {int(totals['accepted']):,} accepted"
        f" + {int(totals['rejected']):,} rejected"
    )
    console.out.print()
    console.rows("Streams", streams)
    console.rows("Rejected", _relative(rejected))
    show_unknown(unknown)
    if not funnel.is_built(warehouse):
        console.out.print("The marts are not built yet: run `adx build`.")


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=PROJECT / "docs" / "site",
    help="The folder for the site.",
)
@command
def docs(warehouse: Warehouse, out: Path, as_json: bool) -> None:
    """Write the documentation site of models and columns as static files."""
    from advertisex import dbt

    page = dbt.docs(warehouse, out)
    if as_json:
        console.as_json({"page": page})
    else:
        console.out.print(f"Wrote {page}; open it in a browser, no server is needed.")


# What the commands share -------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a step came to: for the exit code, and for machines."""

    ok: bool
    document: dict[str, Any]


def _both(loaded: Outcome, built: Outcome) -> Outcome:
    return Outcome(loaded.ok and built.ok, {"load": loaded.document, "build": built.document})


def _said(outcome: Outcome, as_json: bool) -> bool:
    if as_json:
        console.as_json(outcome.document)
    return outcome.ok


def _share(text: str | None) -> float | None:
    """`1%` or `0.01` → 0.01."""
    if text is None:
        return None
    try:
        value = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise click.BadParameter(
            f"{text!r} is no share such as 1% or 0.01", param_hint="--max-rejects"
        )
    return value


def _generate(
    out: Path,
    events: int,
    days: int,
    seed: int,
    *,
    fault: str | None = None,
    fault_day: dt.date | None = None,
    quiet: bool,
) -> None:
    from advertisex.generator import FAULTS
    from advertisex.generator import generate as make

    if fault is not None and fault not in FAULTS:
        known = ", ".join(FAULTS)
        raise WrongUsage(f"the fault {fault!r} is not known; use one of {known}")
    try:
        with _bar("files", quiet=quiet) as step:
            make(out, events, days, seed, fault=fault, fault_day=fault_day, progress=step)
    except ValueError as error:
        raise WrongUsage(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot write to {error.filename or out}: {error.strerror}") from None


def _load(
    warehouse: Warehouse,
    run_id: str,
    paths: tuple[str, ...],
    stream: str | None,
    contract: str | None,
    max_rejects: float | None,
    as_json: bool,
    *,
    lines: bool = True,
) -> Outcome:
    from ingestion.pipelines.files import load_files

    with (
        progress.loading(as_json=as_json, lines=lines) as listener,
        record.step(warehouse, run_id, "load") as recorded,
    ):
        report = load_files(paths, warehouse, stream=stream, contract=contract, progress=listener)
        failed = [file for file in report.files if file.status == "failed"]
        too_many = (
            max_rejects is not None
            and report.read > 0
            and report.rejected.total() > max_rejects * report.read
        )
        recorded.load = report
        if failed:
            recorded.error = f"{failed[0].path}: {failed[0].message}"
            if len(failed) > 1:
                recorded.error += f" (the first of {len(failed)} files that were not loaded)"
        elif too_many:
            recorded.error = f"{report.rejected.total()} of {report.read} records were rejected"
    if not as_json:
        _show_files(report.files)
        rate = f", {report.read / report.seconds:,.0f} records/s" if report.read else ""
        console.out.print(
            f"Read {report.read:,} = {report.read - report.rejected.total():,} accepted"
            f" + {report.rejected.total():,} rejected, in {report.seconds:.1f} s{rate}"
        )
        console.out.print()
    for file in failed:
        console.err.print(
            f"[bold red]Not loaded:[/] {escaped(str(file.path))}: {escaped(file.message)}"
        )
    if too_many:
        console.err.print(
            f"[bold red]Too many rejects:[/] {report.rejected.total():,} of {report.read:,}"
            f" records, the limit is {console.percent(max_rejects)}; the rest is loaded"
        )
    document = {
        "load_id": report.load_id,
        "seconds": round(report.seconds, 3),
        "files": [
            {
                "file": str(file.path),
                "stream": file.stream,
                "status": file.status,
                "read": file.read,
                "accepted": file.accepted,
                "rejected": file.rejected,
                "seconds": round(file.seconds, 3),
                "message": file.message,
            }
            for file in report.files
        ],
    }
    return Outcome(not failed and not too_many, document)


def _show_files(files: tuple[FileResult, ...]) -> None:
    """A row a file; when there are many, a row a stream and only the files with rejects."""
    rows: list[tuple[object, ...]] = []
    if len(files) <= _SHOWN_FILES:
        for file in files:
            note = _reasons(file.rejected) if file.status == "loaded" else file.status
            if file.status == "skipped":
                note = f"skipped: {file.message}"
            rows.append(
                (
                    console.file(str(file.path)),
                    file.stream,
                    file.read,
                    file.accepted,
                    note,
                    round(file.seconds, 2),
                )
            )
        console.table("Files", ("file", "stream", "read", "accepted", "rejected", "seconds"), rows)
        return
    groups: dict[tuple[str, str], list[FileResult]] = {}
    for file in files:
        groups.setdefault((str(file.stream), file.status), []).append(file)
    for (stream, status), members in sorted(groups.items()):
        rejected: Counter[str] = Counter()
        for file in members:
            rejected.update(file.rejected)
        rows.append(
            (
                stream,
                f"{len(members):,} {status}",
                sum(file.read for file in members),
                sum(file.accepted for file in members),
                sum(rejected.values()),
                _most(rejected),
                round(sum(file.seconds for file in members), 2),
            )
        )
    columns = ("stream", "files", "read", "accepted", "rejected", "mostly", "seconds")
    console.table("Streams", columns, rows)


def _most(rejected: Counter[str]) -> str:
    most = rejected.most_common(_SHOWN_REASONS_OF_STREAM)
    return _reasons(dict(most)) + (", …" if len(rejected) > len(most) else "")


def _reasons(rejected: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())


@dataclass(frozen=True)
class BuildOptions:
    """Which models, whether anew, and whether with seeds and tests."""

    select: tuple[str, ...] = ()
    full_refresh: bool = False
    seeds: bool = True
    tests: bool = True


def _build(warehouse: Warehouse, run_id: str, options: BuildOptions, as_json: bool) -> Outcome:
    check_loaded(warehouse)

    def waiting() -> None:
        console.err.print(f"Another build is writing to {warehouse}; waiting for it to end.")

    with (
        one_at_a_time(warehouse, waiting),
        record.step(warehouse, run_id, "build") as recorded,
    ):
        if not options.full_refresh and not options.select:
            plan = plan_build(warehouse, tests=options.tests)
            if not as_json:
                console.out.print(f"To build: {plan}")
            if plan.nothing_new:
                return Outcome(True, {"ok": True, "seconds": 0.0, "nodes": []})
            options = replace(options, seeds=plan.is_changed or plan.everything is not None)
        return _run_dbt(warehouse, recorded, options, as_json)


def _run_dbt(
    warehouse: Warehouse, recorded: record.Step, options: BuildOptions, as_json: bool
) -> Outcome:
    from advertisex import dbt

    with _bar("steps", quiet=as_json) as step:

        def show(name: str, status: str, done: int, total: int) -> None:
            step(name, done, total)

        report = dbt.build(
            warehouse,
            select=options.select,
            full_refresh=options.full_refresh,
            seeds=options.seeds,
            tests=options.tests,
            progress=show,
        )
    recorded.build = report
    if not report.ok:
        broken = [node for node in report.nodes if node.failed]
        recorded.error = f"{len(broken)} failed, {broken[0].name}: {broken[0].message}"
    document = {
        "ok": report.ok,
        "seconds": round(report.seconds, 3),
        "nodes": [
            {
                "name": node.name,
                "kind": node.kind,
                "status": node.status,
                "seconds": round(node.seconds, 3),
                "message": node.message,
            }
            for node in report.nodes
        ],
    }
    if not as_json:
        _show_build(report)
        if not options.select:
            from ingestion.pipelines import drift

            show_new(drift.unknown_fields(warehouse))
    return Outcome(report.ok, document)


def _show_build(report: BuildReport) -> None:
    models, tests = report.count(("model", "seed")), report.count(("test",))
    warned = f", {tests['warn']:,} warned" if tests["warn"] else ""
    console.out.print(
        f"Built {models['success']:,} tables in {report.seconds:.1f} s;"
        f" {tests['pass']:,} tests passed{warned}"
    )
    for node in report.nodes:
        if node.status == "warn":
            console.out.print(f"[yellow]Warning:[/] {node.name}: {escaped(node.message)}")
    if report.elementary_off:
        console.out.print(f"[dim]{report.elementary_off}[/]")
    console.out.print()
    for node in report.nodes:
        if node.failed:
            console.err.print(
                f"[bold red]Failed:[/] {node.kind} {node.name}: {escaped(node.message)}"
            )
    if not report.ok:
        console.err.print(
            f"The compiled SQL is under {report.target / 'compiled'};"
            " mend the cause, then run `adx build` again"
        )


def _show_funnel(warehouse: Warehouse) -> None:
    rows = funnel.by_campaign(warehouse)
    total: dict[str, Any] = (
        {key: sum(row[key] for row in rows) for key in rows[0] if key != "campaign_id"}
        if rows
        else {}
    )
    shown = [*rows, {"campaign_id": "all", **total}] if rows else []
    console.table(
        "Funnel by campaign, all dates (valid events; money in USD)",
        (
            "campaign",
            "bid requests",
            "impressions",
            "clicks",
            "CTR",
            "conversions",
            "CVR",
            "spend",
            "revenue",
            "invalid",
        ),
        [
            (
                row["campaign_id"],
                int(row["bid_requests"]),
                int(row["impressions"]),
                int(row["clicks"]),
                console.percent(_ratio(row["clicks"], row["impressions"])),
                int(row["conversions"]),
                console.percent(_ratio(row["conversions"], row["clicks"])),
                row["spend"],
                row["revenue"],
                int(row["invalid"]),
            )
            for row in shown
        ],
    )
    rejects = sorted(_relative(funnel.rejects(warehouse)), key=lambda row: -row["records"])
    console.rows("Rejected, and why", rejects[:_SHOWN_REASONS])
    if hidden := rejects[_SHOWN_REASONS:]:
        console.out.print(
            f"… and {sum(row['records'] for row in hidden):,} records for {len(hidden)} other"
            " reasons: `adx status` lists them"
        )
        console.out.print()


def _relative(rejects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the files' names as seen from here."""
    return [{**row, "for_example_in": console.file(row["for_example_in"])} for row in rejects]


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _show_next(warehouse: Warehouse, seconds: float) -> None:
    path = os.path.relpath(warehouse.path) if warehouse.path else ""
    console.out.print(f"Done in {seconds:.0f} s. The warehouse is {path}. Next:")
    if shutil.which("adx") is None:
        console.out.print(f"  source {os.path.relpath(sys.prefix)}/bin/activate")
    for line in (
        f"export ADX_DUCKDB_PATH={path}   # look at the demo with these",
        "adx status                     # what is loaded, how fresh, what was rejected",
        "adx docs                       # every mart and column, as a web page",
        "adx load /path/to/your/logs    # your own logs (unset ADX_DUCKDB_PATH first)",
    ):
        console.out.print(f"  {line}")


def _heading(title: str, what: str, *, quiet: bool) -> None:
    if not quiet:
        console.out.print(f"[bold]{title}[/] {what}")


@contextmanager
def _bar(unit: str, *, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal; nothing elsewhere, where the summary says it all."""
    if quiet or not console.err.is_terminal:
        yield lambda name, done, total: None
        return
    columns = (
        TextColumn("{task.fields[name]}", style="dim"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.err, transient=True) as progress:
        task = progress.add_task("", name="starting", total=None)
        yield lambda name, done, total: progress.update(
            task, name=name, completed=done, total=total
        )
