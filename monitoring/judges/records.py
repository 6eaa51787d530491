"""Records: rejects that jump, a column whose type changed, new fields, values that are missing."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ingestion.contract import Contract, event_streams
from ingestion.pipelines import drift
from ingestion.warehouse import literal
from monitoring.view import WINDOW, Finding, View, number, percent

_LOADS = 14  # that a load is compared with
_SHOWN_REASONS = 5


def rejects(view: View) -> Iterator[Finding]:
    """Loads since the last evaluation, or the latest, with many more rejects than before them.

    A load is judged as a whole, and if that is well by its files: one bad day in a month's load.
    """
    loads: dict[str, dict[str, list[_File]]] = {}
    for row in view.query(
        """
        select stream, load_id, file, records_read as read, rejected, loaded_at
        from raw.loaded_files order by loaded_at, load_id
        """
    ):
        loads.setdefault(row.pop("stream"), {}).setdefault(row["load_id"], []).append(_File(**row))
    for stream, of_stream in loads.items():
        each = list(of_stream.values())
        judged = [place for place, files in enumerate(each) if view.is_new(files[0].loaded_at)]
        for place in reversed(judged or [len(each) - 1]):
            before = [file for load in each[max(0, place - _LOADS) : place] for file in load]
            finding = _jump(view, stream, each[place], before)
            if finding is not None:
                yield finding
                break


@dataclass(frozen=True)
class _File:
    file: str
    load_id: str
    read: int
    rejected: int
    loaded_at: dt.datetime


def _jump(view: View, stream: str, load: list[_File], before: list[_File]) -> Finding | None:
    bad = [file for file in load if _is_bad(view, [file], [])]
    others = [file for file in load if file not in bad]
    if _is_bad(view, load, before):
        bad, others = load, []
    elif not bad or not _is_bad(view, bad, before + others):
        return None
    load_id, files = literal(load[0].load_id), ", ".join(literal(file.file) for file in bad)
    of_files = f"from raw.rejected_records where _dlt_load_id = {load_id} and file in ({files})"
    reasons = view.query(
        f"select reason, count(*) as records {of_files}"
        " group by reason order by count(*) desc, reason"
    )
    return _rejected(view, stream, bad, before + others, of_files, reasons)


def _is_bad(view: View, files: list[_File], before: list[_File]) -> bool:
    limit = view.rule("rejects_jump").thresholds
    share, usual = _share(files) or 0.0, _share(before) or 0.0
    rejected = sum(file.rejected for file in files)
    return (
        rejected >= limit["at_least"]
        and share >= limit["share"]
        and share >= limit["times"] * usual
    )


def _share(files: list[_File]) -> float | None:
    """The rejected share of the files' records, None of no records."""
    read = sum(file.read for file in files)
    return sum(file.rejected for file in files) / read if read else None


def _rejected(
    view: View,
    stream: str,
    files: list[_File],
    before: list[_File],
    of_files: str,
    reasons: list[dict[str, Any]],
) -> Finding:
    rejected, read = (sum(getattr(file, name) for file in files) for name in ("rejected", "read"))
    usual = _share(before)
    counted = f"{rejected:,} of {read:,} records, {percent(rejected / read)}"
    if usual is not None:
        counted += f" (usually {percent(usual)})"
    details = (
        *(f"{row['records']:,} {row['reason']}" for row in reasons[:_SHOWN_REASONS]),
        f"in {files[0].file}" + (f" and {len(files) - 1} other files" if len(files) > 1 else ""),
    )
    since = files[0].loaded_at
    trace = (
        f"select file, position, line, reason, detail, raw_text {of_files} order by file, position"
    )
    top = reasons[0]
    one_reason = top["records"] >= view.limit("column_type_changed", "one_reason") * rejected
    if one_reason and top["reason"].startswith("bad_type:"):
        field = top["reason"].removeprefix("bad_type:")
        return Finding(
            "column_type_changed",
            f"{stream}.{field}",
            since,
            f"{field} of {stream} can no longer be read as its type: {counted} were rejected",
            trace,
            details,
            stream=stream,
        )
    return Finding(
        "rejects_jump",
        stream,
        since,
        f"many records of {stream} were rejected: {counted}",
        trace,
        details,
        stream=stream,
    )


def nulls(view: View) -> Iterator[Finding]:
    """Optional fields that lack values on a day far more often than on any of the days before."""
    limit = view.rule("nulls").thresholds
    for contract in _event_contracts(view):
        names = [field.name for field in contract.fields if not field.required]
        counts = ", ".join(f'count("{name}") as "{name}"' for name in names)
        days = view.query(
            f"""
            select cast("timestamp" as date) as date, count(*) as records, {counts}
            from raw.{contract.stream}
            where "timestamp" >= date '{view.days[0]}' - {WINDOW}
                and "timestamp" < date '{view.day}' + 1
            group by cast("timestamp" as date)
            """
        )
        enough = {row["date"]: row for row in days if row["records"] >= limit["at_least"]}
        for name in names:
            absent = {date: 1 - row[name] / row["records"] for date, row in enough.items()}
            for day in view.days:
                before = [
                    absent[date] for date in absent if day - dt.timedelta(WINDOW) <= date < day
                ]
                if day in absent and before and absent[day] - max(before) >= limit["more"]:
                    yield _null(view, contract.stream, name, day, absent[day], before)
                    break


def _null(
    view: View, stream: str, name: str, day: dt.date, share: float, before: list[float]
) -> Finding:
    of_day = f"""
        from raw.{stream} where "{name}" is null
            and "timestamp" >= date '{day}' and "timestamp" < date '{day}' + 1
    """
    return Finding(
        "nulls",
        f"{stream}.{name}",
        day,
        f"{name} is missing in {percent(share)} of the {stream} of {day},"
        f" before in {percent(max(before))} at most",
        f'select _file, _position, "timestamp", user_id {of_day} order by _file, _position',
        (f"on the {len(before)} days before it was missing in"
         f" {percent(sum(before) / len(before))}",),
        _campaigns(view, of_day),
        stream=stream,
    )  # fmt: skip


def new_fields(view: View) -> Iterator[Finding]:
    """Fields that no contract names, and that came with a load since the last evaluation."""
    of_events = {contract.stream for contract in _event_contracts(view)}
    for row in drift.unknown_fields(view.warehouse):
        if (
            not (row["came_later"] and view.is_new(row["since"]))
            or row["is_named"]
            or row["records"] < view.limit("new_field", "at_least")
        ):
            continue
        stream, name = row["stream"], row["field"]
        having = f"""
            from raw.{stream} where _dlt_load_id = {literal(row["since_load"])}
                and extra like {literal(f"%{json.dumps(name, ensure_ascii=False)}:%")}
        """
        yield Finding(
            "new_field",
            f"{stream}.{name}",
            row["since"],
            f"{number(row['records'])} {stream} have a field {name} that no contract names",
            f"select _file, _position, extra {having} order by _file, _position",
            ("its values are kept in the column extra; name it in the contract to give it"
             " a column of its own, then run `adx backfill`",),
            _campaigns(view, having) if stream in of_events else (),
            stream=stream,
        )  # fmt: skip


def _event_contracts(view: View) -> Iterator[Contract]:
    for contract in event_streams():
        if not contract.reference and view.has(f"raw.{contract.stream}"):
            yield contract


def _campaigns(view: View, of_rows: str) -> tuple[str, ...]:
    """The campaigns that rows of a stream name, the most frequent first."""
    found = view.query(
        f"""
        select ad_campaign_id as campaign_id {of_rows} and ad_campaign_id is not null
        group by ad_campaign_id order by count(*) desc, ad_campaign_id
        """
    )
    return tuple(row["campaign_id"] for row in found)
