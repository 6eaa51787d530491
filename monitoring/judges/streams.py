"""Streams that stopped or fell silent, clicks without impressions, late data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from ingestion import contract as contracts
from ingestion.contract import Contract
from monitoring.view import STAGES, WINDOW, Finding, View, number, percent


def stopped(view: View) -> Iterator[Finding]:
    """Event streams without an event on the last day that had some on the days before."""
    sums = ", ".join(f"sum({name} + invalid_{name}) as {name}" for name in STAGES)
    per_day = f"""
        select date, {sums} from marts.fct_campaign_daily
        where date between date '{view.day}' - {WINDOW} and date '{view.day}'
        group by date order by date desc
    """
    days = {row["date"]: row for row in view.query(per_day)}
    today = days.pop(view.day, {})
    for stream in STAGES:
        before = {date: int(row[stream]) for date, row in days.items() if row[stream]}
        if today.get(stream) or not before:
            continue
        usual = sum(before.values()) / len(before)
        if usual < view.limit("stream_stopped", "at_least"):
            continue
        yield Finding(
            "stream_stopped",
            stream,
            max(before) + dt.timedelta(1),
            f"the stream {stream} has stopped: nothing on {view.day},"
            f" usually {number(usual)} events a day",
            per_day,
            (f"its last events are of {max(before)}",),
            _campaigns(view, stream),
            stream=stream,
        )


def _campaigns(view: View, stream: str) -> tuple[str, ...]:
    """The campaigns that had events in a stream, the largest first."""
    found = view.query(
        f"""
        select campaign_id from marts.fct_campaign_daily
        where date between date '{view.day}' - {WINDOW} and date '{view.day}'
        group by campaign_id having sum({stream}) > 0
        order by sum({stream}) desc, campaign_id
        """
    )
    return tuple(row["campaign_id"] for row in found)


def stale(view: View) -> Iterator[Finding]:
    """Streams that the rules call live, and whose newest event is too old by the clock."""
    for stream, patience in view.rules.live.items():
        contract = contracts.streams()[stream]
        if not isinstance(contract, Contract) or not view.has(f"raw.{stream}"):
            continue
        time = "updated_at" if contract.reference else '"timestamp"'
        (newest,) = view.query(f"select max({time}) as at from raw.{stream}")
        if newest["at"] is None or view.now - newest["at"] <= patience:
            continue
        yield Finding(
            "stream_stale",
            stream,
            newest["at"],
            f"nothing new in the stream {stream} for"
            f" {number((view.now - newest['at']) / dt.timedelta(hours=1))} hours",
            "select file, records_read, loaded_at from raw.loaded_files"
            f" where stream = '{stream}' order by loaded_at desc",
            (f"the newest event is of {newest['at']:%Y-%m-%d %H:%M:%S} UTC",),
            stream=stream,
        )


def unmatched_clicks(view: View) -> Iterator[Finding]:
    """Days on which many valid clicks have no impression (semantics section 6)."""
    limit = view.rule("clicks_without_impressions").thresholds
    per_day = f"""
        select event_date as date, count(*) as clicks,
            count(case when match_method is null then 1 end) as unmatched
        from marts.fct_clicks
        where is_valid
            and event_date between date '{view.days[0]}' - {WINDOW} and date '{view.day}'
        group by event_date order by event_date desc
    """
    found = view.query(per_day)
    for day in view.days:
        before = [row for row in found if day - dt.timedelta(WINDOW) <= row["date"] < day]
        today = next((row for row in found if row["date"] == day), None)
        if today is None or today["unmatched"] < limit["at_least"]:
            continue
        share = today["unmatched"] / today["clicks"]
        clicks = sum(row["clicks"] for row in before)
        usual = sum(row["unmatched"] for row in before) / clicks if clicks else None
        if share < limit["share"] or (usual is not None and share < limit["times"] * usual):
            continue
        yield Finding(
            "clicks_without_impressions",
            "clicks",
            day,
            f"{percent(share)} of the clicks of {day} have no impression"
            + ("" if usual is None else f", usually {percent(usual)}"),
            per_day,
            (f"{today['unmatched']:,} of {today['clicks']:,} valid clicks",),
            _campaigns(view, "clicks"),
            stream="clicks",
        )
        return


def late(view: View) -> Iterator[Finding]:
    """Many more late events (semantics section 8) than usual, in loads that follow the clock.

    A history that is loaded at once is late as a whole, which nobody needs to be told; and in logs
    that come each morning the hours before the last are late every day. So a day of loads counts
    when its newest event is of that day or the one before, and it is compared with such days.
    """
    limit = view.rule("late_data").thresholds
    for stream in STAGES:
        if not view.has(f"raw.{stream}"):
            continue
        days = view.query(
            f"""
            with loads as (
                select cast(_loaded_at as date) as date, max("timestamp") as newest
                from raw.{stream} group by cast(_loaded_at as date)
            )
            select quality.date, quality.accepted, quality.late_events, loads.newest
            from marts.fct_data_quality_daily as quality
            inner join loads on quality.date = loads.date
            where quality.stream = '{stream}'
            order by quality.date desc limit {WINDOW + 1}
            """
        )
        live = [day for day in days if (day["date"] - day["newest"].date()).days <= 1]
        last, before = days[0] if days else None, live[1:]
        if last is None or last not in live or len(before) < limit["days"]:
            continue
        share = last["late_events"] / last["accepted"]
        usual = sum(day["late_events"] for day in before) / sum(day["accepted"] for day in before)
        if (
            last["late_events"] < limit["at_least"]
            or share < limit["share"]
            or share < limit["times"] * usual
        ):
            continue
        yield Finding(
            "late_data",
            stream,
            last["date"],
            f"{percent(share)} of the events of {stream} that were loaded on {last['date']}"
            f" are late, usually {percent(usual)}",
            f"""
            select cast("timestamp" as date) as date, _file, count(*) as events from raw.{stream}
            where cast(_loaded_at as date) = date '{last["date"]}'
            group by cast("timestamp" as date), _file order by date, _file
            """,
            (f"{last['late_events']:,} of {last['accepted']:,} records",),
            _campaigns(view, stream),
            stream=stream,
        )
