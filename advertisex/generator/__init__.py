"""A log generator: landing folders as ad servers, trackers and exchanges leave them.

`generate` simulates a small market and its funnel, plants the defects that real logs have, and
writes the files in the layouts of docs/semantics.md section 1, with a `truth.json` that says what
is in them.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from advertisex.generator import faults, landing
from advertisex.generator.model import DAY, Market, Simulation
from advertisex.generator.planted import FAULTS, plant
from advertisex.generator.references import reference_files
from advertisex.generator.truth import (
    AnomalyTruth,
    FaultTruth,
    FileTruth,
    StreamTruth,
    Truth,
    by_reason,
    invalid_events,
    read_truth,
    valid_by_campaign,
)

__all__ = ["DEFAULT_END", "FAULTS", "AnomalyTruth", "FaultTruth", "FileTruth", "StreamTruth",
           "Truth", "generate", "read_truth"]  # fmt: skip

# The last day of the data. Fixed, so that the same arguments give the same bytes for ever, and
# past, so that no event lies in the future of its load.
DEFAULT_END = dt.date(2025, 6, 30)
_FIRST_DATE = dt.date(2002, 1, 1)  # Unix times in seconds have ten digits from here on
_LAST_DATE = dt.date(2037, 12, 31)
LEAST_EVENTS = 1_000
MOST_EVENTS = 40_000_000
_FOLDERS = (*landing.FEEDS, "campaigns", "creatives")


def generate(
    out: Path,
    events: int,
    days: int,
    seed: int,
    *,
    end: dt.date | None = None,
    fault: str | None = None,
    fault_day: dt.date | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Truth:
    """Writes a landing folder `out` with about `events` distinct events of `days` UTC days.

    `end` is the last day. With a `fault` of `FAULTS` the logs are quiet but for it, on `fault_day`
    or the last day. The same arguments write the same bytes. `progress` is called with a
    phase (`simulate`, `plan`, `write`), the steps done and their number. An earlier landing folder
    of this function is replaced; raises `FileExistsError` when `out` has other files where
    landing files go, and `ValueError` for arguments out of range.
    """
    end = end or DEFAULT_END
    _check(events, days, seed, end)
    day = _day(end, days, fault, fault_day)
    _clear(out)
    report = progress or (lambda phase, done, total: None)
    report("simulate", 0, 1)
    simulation = Simulation(events, days, seed, end)
    simulation.run()
    planted = None
    if fault is None:
        faults.plant_anomaly(simulation)
        faults.plant_floods(simulation)
    else:
        planted = plant(simulation, fault, day)
    faults.plant_duplicate_conversions(simulation)
    faults.name_twins(simulation)
    report("simulate", 1, 1)
    report("plan", 0, 1)
    planned = landing.plan(simulation, planted)
    report("plan", 1, 1)
    landing.write(out, simulation, planned, progress, odd_files=planted is None)
    references, reference_streams = reference_files(simulation.market, planted)
    for reference in references:
        target = out / reference.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(reference.data)
    files = {**planned.truths, **{file.path: file.truth for file in references}}
    streams = {**_streams(simulation.market, planned), **reference_streams}
    truth = Truth(
        arguments={"events": events, "days": days, "seed": seed, "end": str(end)},
        first_date=str(simulation.market.first_day),
        last_date=str(end),
        totals=_totals(streams, files, planned),
        streams=streams,
        formats=by_reason(Counter(file.format for file in files.values())),
        compressions=by_reason(Counter(file.compression or "none" for file in files.values())),
        files=files,
        skipped_files=planned.skipped,
        anomaly=_anomaly(simulation.market) if simulation.market.anomaly else None,
        fault=(
            FaultTruth(planted.name, str(fault_day or end), planted.campaign) if planted else None
        ),
    )
    truth.write(out / "truth.json")
    return truth


def _check(events: int, days: int, seed: int, end: dt.date) -> None:
    if not LEAST_EVENTS <= events <= MOST_EVENTS:
        raise ValueError(f"events must be {LEAST_EVENTS} to {MOST_EVENTS}, not {events}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if days < 1 or end > _LAST_DATE or (end - _FIRST_DATE).days < days:
        raise ValueError(
            f"{days} days that end on {end} do not lie between {_FIRST_DATE} and {_LAST_DATE}"
        )


def _day(end: dt.date, days: int, fault: str | None, fault_day: dt.date | None) -> int:
    """The planted day, counted from the first."""
    if fault is None and fault_day is not None:
        raise ValueError("a fault's day needs a fault")
    if fault is not None and fault not in FAULTS:
        raise ValueError(f"fault must be one of {', '.join(FAULTS)}, not {fault}")
    day = days - 1 if fault_day is None else days - 1 - (end - fault_day).days
    if not 0 <= day < days:
        raise ValueError(f"{fault_day} is not among the {days} days that end on {end}")
    return day


def _clear(out: Path) -> None:
    """Removes the files of an earlier run, as its truth.json lists them, and nothing else."""
    record = out / "truth.json"
    if record.is_file():
        try:
            earlier = read_truth(record)
        except (ValueError, KeyError, TypeError) as error:
            raise FileExistsError(f"{record} is not this generator's: choose another folder") \
                from error  # fmt: skip
        for name in (*earlier.files, *earlier.skipped_files):
            listed = PurePosixPath(name)
            if listed.parts[0] in _FOLDERS and ".." not in listed.parts:
                (out / listed).unlink(missing_ok=True)
        record.unlink()
    for folder in _FOLDERS:
        left = next((p for p in (out / folder).rglob("*") if not p.is_dir()), None)
        if left:
            raise FileExistsError(f"{left} is in the way: choose an empty folder")
    for folder in _FOLDERS:
        for path in sorted((out / folder).rglob("*"), reverse=True):
            path.rmdir()


def _streams(market: Market, planned: landing.Landing) -> dict[str, StreamTruth]:
    streams = {}
    for stream, part in planned.rows.items():
        events = len(market.tables[stream]["timestamp"])
        accepted = int((part.role != faults.REJECTED).sum())
        rejected = planned.rejected[stream]
        reasons = invalid_events(market, stream)
        invalid = np.zeros(events, dtype=np.bool_)
        for mask in reasons.values():
            invalid |= mask
        # An event's own record is the first to land of those that may count.
        happened = (market.tables[stream]["timestamp"] - market.start) // DAY
        streams[stream] = StreamTruth(
            records_read=accepted + rejected.total(),
            accepted=accepted,
            rejected_records=rejected.total(),
            rejected=by_reason(rejected),
            events=events,
            extra_copies=accepted - events,
            copies=landing.copy_kinds(part),
            late_events=int((part.day[:events] > happened).sum()),
            invalid={name: int(mask.sum()) for name, mask in reasons.items()},
            valid_by_campaign=valid_by_campaign(market, stream, invalid),
        )
    unread = planned.rejected["interactions"]
    streams["interactions"] = StreamTruth(unread.total(), 0, unread.total(), by_reason(unread))
    return streams


def _totals(
    streams: dict[str, StreamTruth], files: dict[str, FileTruth], planned: landing.Landing
) -> dict[str, int]:
    return {
        "records_read": sum(s.records_read for s in streams.values()),
        "accepted": sum(s.accepted for s in streams.values()),
        "rejected_records": sum(s.rejected_records for s in streams.values()),
        "events": sum(s.events for s in streams.values()),
        "extra_copies": sum(s.extra_copies for s in streams.values()),
        "invalid_events": sum(sum(s.invalid.values()) for s in streams.values()),
        "late_events": sum(s.late_events for s in streams.values()),
        "files": len(files),
        "skipped_files": len(planned.skipped),
    }


def _anomaly(market: Market) -> AnomalyTruth:
    """The planted day, with its valid clicks as they came out."""
    assert market.anomaly is not None
    clicks = market.tables["clicks"]
    valid = np.ones(len(clicks["timestamp"]), dtype=np.bool_)
    for mask in invalid_events(market, "clicks").values():
        valid &= ~mask
    days = (clicks["timestamp"] - market.start) // DAY
    mine = valid & (clicks["ad_campaign_id"] == market.anomaly.campaign)
    per_day = np.bincount(days[mine], minlength=market.days)
    before = per_day[: market.anomaly.day][-14:]
    return AnomalyTruth(
        campaign_id=faults.campaign_id(market.anomaly.campaign),
        date=str(market.first_day + dt.timedelta(days=market.anomaly.day)),
        metric="clicks",
        clicks=int(per_day[market.anomaly.day]),
        usual_clicks=round(float(before.mean()), 3) if len(before) else 0.0,
        is_detectable=bool(
            len(before) >= 7
            and per_day[market.anomaly.day] - before.mean() > 3 * before.std(ddof=1)
        ),
    )
