"""Records: rejects that jump, a column whose type changed, new fields, values that are missing."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

from ingestion.contract import Contract, event_streams
from monitoring.view import WINDOW, Finding, View, number, percent, quoted

_LOADS = 14  # that a load is compared with
_SHOWN_REASONS = 5
_SHOWN_CAMPAIGNS = 20


def rejects(view: View) -> Iterator[Finding]:
    """Loads since the last evaluation, or the latest, with many more rejects than those before."""
    loads: dict[str, list[dict[str, Any]]] = {}
    for row in view.query(
        """
        select stream, load_id, max(loaded_at) as at, sum(records_read) as read,
            sum(rejected) as rejected
        from raw.loaded_files group by stream, load_id order by stream, max(loaded_at)
        """
    ):
        loads.setdefault(row["stream"], []).append(row)
    for stream, each in loads.items():
        judged = [number for number, load in enumerate(each) if view.is_new(load["at"])]
        for place in reversed(judged or [len(each) - 1]):
            before, load = each[max(0, place - _LOADS) : place], each[place]
            finding = _jump(view, stream, load, before)
            if finding is not None:
                yield finding
                break


def _jump(
    view: View, stream: str, load: dict[str, Any], before: list[dict[str, Any]]
) -> Finding | None:
    limit = view.rule("rejects_jump").thresholds
    rejected, read = int(load["rejected"]), int(load["read"])
    earlier = sum(int(row["read"]) for row in before)
    usual = sum(int(row["rejected"]) for row in before) / earlier if earlier else None
    share = rejected / max(1, read)
    if rejected < limit["at_least"] or share < limit["share"]:
        return None
    if usual is not None and share < limit["times"] * usual:
        return None
    of_load = f"""
        from raw.rejected_records
        where _dlt_load_id = {quoted(load["load_id"])} and file in (
            select file from raw.loaded_files
            where load_id = {quoted(load["load_id"])} and stream = {quoted(stream)}
        )
    """
    reasons = view.query(
        f"select reason, count(*) as records {of_load}"
        " group by reason order by count(*) desc, reason"
    )
    trace = (
        f"select file, position, line, reason, detail, raw_text {of_load} order by file, position"
    )
    compared = "" if usual is None else f", usually {percent(usual)}"
    counted = f"{rejected:,} of {read:,} records, {percent(share)}{compared}"
    details = tuple(f"{row['records']:,} {row['reason']}" for row in reasons[:_SHOWN_REASONS])
    top = reasons[0]
    one_reason = top["records"] >= view.limit("column_type_changed", "one_reason") * rejected
    if one_reason and top["reason"].startswith("bad_type:"):
        field = top["reason"].removeprefix("bad_type:")
        return Finding(
            "column_type_changed",
            f"{stream}.{field}",
            load["at"],
            f"{field} of {stream} can no longer be read as its type: {counted} were rejected",
            trace,
            details,
            stream=stream,
        )
    return Finding(
        "rejects_jump",
        stream,
        load["at"],
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
    """Fields that no contract names and that no event before these days had."""
    at_least = view.limit("new_field", "at_least")
    for contract in _event_contracts(view):
        stream = contract.stream
        of_days = f"""
            from raw.{stream} where extra is not null
                and "timestamp" >= date '{view.days[0]}' and "timestamp" < date '{view.day}' + 1
        """
        for row in _keys(view, of_days):
            name, like = row["name"], quoted(f"%{json.dumps(row['name'])}:%")
            if row["records"] < at_least:
                continue
            known = view.query(
                f"""
                select 1 from raw.{stream}
                where "timestamp" < date '{view.days[0]}' and extra like {like} limit 1
                """
            )
            if known or not _has_history(view, stream):
                continue
            yield Finding(
                "new_field",
                f"{stream}.{name}",
                row["first"],
                f"{number(row['records'])} {stream} have a field {name} that no contract names",
                f"select _file, _position, extra {of_days} and extra like {like}"
                " order by _file, _position",
                ("its values are kept in the column extra; name it in the contract to give it"
                 " a column of its own",),
                _campaigns(view, of_days + f" and extra like {like}"),
                stream=stream,
            )  # fmt: skip


def _keys(view: View, of_days: str) -> list[dict[str, Any]]:
    """The fields of `extra` with the records that have them; the engines read JSON differently."""
    keys = (
        "unnest(json_keys(extra))"
        if view.warehouse.path is not None
        else "json_object_keys(cast(extra as json))"
    )
    return view.query(
        f"""
        select name, count(*) as records, min(cast("timestamp" as date)) as first
        from (select {keys} as name, "timestamp" {of_days}) as fields
        group by name order by name
        """
    )


def _has_history(view: View, stream: str) -> bool:
    sql = f"""select 1 from raw.{stream} where "timestamp" < date '{view.days[0]}' limit 1"""
    return bool(view.query(sql))


def _event_contracts(view: View) -> Iterator[Contract]:
    for contract in event_streams():
        if not contract.reference and view.has(f"raw.{contract.stream}"):
            yield contract


def _campaigns(view: View, of_rows: str) -> tuple[str, ...]:
    """The campaigns that rows of a stream name, the most frequent first."""
    found = view.query(
        f"""
        select ad_campaign_id as campaign_id {of_rows} and ad_campaign_id is not null
        group by ad_campaign_id order by count(*) desc, ad_campaign_id limit {_SHOWN_CAMPAIGNS}
        """
    )
    return tuple(row["campaign_id"] for row in found)
