"""What goes wrong in real logs, planted in known numbers.

Here is what changes the events themselves (floods, an anomaly, orders counted twice), the copies,
and the catalogue of records that a contract rejects. `truth.py` counts from the final arrays, never
from what was meant here.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from advertisex.generator import roster
from advertisex.generator.model import (
    DAY,
    FIELDS,
    MINUTE,
    OWN_ID,
    SECOND,
    SITE_SPELLINGS,
    UNKNOWN,
    Anomaly,
    Codes,
    Ints,
    Simulation,
    append,
    chance,
    fresh_ids,
    rows_of,
)
from advertisex.generator.writers import Amount, At, Json, Raw, Text, Value

_BURSTS = 20  # from here on, floods take ids that the organic clicks do not use
FLOOD_LIMIT = 10  # clicks of one user on one campaign in a minute (semantics section 5)


def plant_anomaly(simulation: Simulation, day: int | None = None) -> None:
    """Ten times the usual clicks for one campaign on one day, on ads that were really shown.

    Without `day` it is one that has days before it to compare with, and some busy campaign; else
    the busiest one.
    """
    market, rng = simulation.market, simulation.rng
    clicks, shown = market.tables["clicks"], market.tables["impressions"]
    per_campaign = np.bincount(clicks["ad_campaign_id"], minlength=UNKNOWN + 1)[:UNKNOWN]
    busy = np.flatnonzero(per_campaign >= market.days)
    campaign = int(rng.choice(busy)) if len(busy) else int(per_campaign.argmax())
    if day is None:
        first = max(int(market.days * 0.6), min(8, market.days - 1))
        day = int(rng.integers(first, market.days))
    else:
        campaign = int(per_campaign.argmax())
    opens = market.start + day * DAY
    usual = max(1.0, float(per_campaign[campaign]) / market.days)
    on_day = (clicks["ad_campaign_id"] == campaign) & (clicks["timestamp"] // DAY == opens // DAY)
    wanted = max(3, round(10 * usual) - int(on_day.sum()))
    times, viewers = shown["timestamp"], simulation.viewers
    free = (times // DAY == opens // DAY) & (viewers["campaign"] == campaign)
    free &= ~simulation.is_bot(viewers["users"])
    free[simulation.clicked] = False
    candidates = np.flatnonzero(free)
    chosen = np.sort(rng.choice(candidates, min(wanted, len(candidates)), replace=False))
    delay = simulation.delays(9 * SECOND, 1.0, len(chosen)) + 300
    rows = simulation.clicks_on(chosen, np.minimum(times[chosen] + delay, opens + DAY - 1))
    simulation.number_clicks(rows, 0.8, len(clicks["timestamp"]))
    append(clicks, rows)
    market.anomaly = Anomaly(campaign, day)


def plant_floods(simulation: Simulation) -> None:
    """Bursts of clicks in one UTC minute, and bursts that just do not count as a flood."""
    market, rng = simulation.market, simulation.rng
    assert market.anomaly is not None
    floods = max(2, simulation.events // 25_000)
    minutes = market.days * DAY // MINUTE
    bursts: list[tuple[int, Ints]] = []  # user, offsets from a minute's start
    for _ in range(floods):
        size = int(rng.integers(FLOOD_LIMIT + 1, 3 * FLOOD_LIMIT))
        user = int(rng.integers(0, market.users))
        bursts.append((user, np.sort(rng.choice(MINUTE, size, replace=False))))
    spread = np.arange(2 * FLOOD_LIMIT) * 1_500
    human = int(rng.integers(0, market.users))
    bursts += [
        (market.users, spread[: FLOOD_LIMIT + 4]),  # a bot's: the agent is the reason
        (human, spread[:FLOOD_LIMIT]),  # as many as are allowed
        (human, spread[:16] + MINUTE - 8 * 1_500),  # eight in each of two minutes
    ]
    clicks = market.tables["clicks"]
    for user, offsets in bursts:
        count = len(offsets)
        minute = int(rng.integers(0, minutes - 2))
        row = {name: np.full(count, -1) for name in FIELDS["clicks"]}
        row["timestamp"] = market.start + minute * MINUTE + offsets
        row["user_id"][:] = user
        campaign = int(rng.integers(0, UNKNOWN - 1))
        # A burst that is no flood would make the anomaly one of two.
        row["ad_campaign_id"][:] = campaign + (campaign >= market.anomaly.campaign)
        row["impression_id"] = np.zeros(count, dtype=np.uint64)
        row["website"][:] = int(rng.integers(0, 40)) * SITE_SPELLINGS
        row["user_agent"][:] = market.agent_of[user]
        simulation.number_clicks(row, 0.6, len(clicks["timestamp"]) + _BURSTS)
        append(clicks, row)


def plant_duplicate_conversions(simulation: Simulation) -> None:
    """A pixel that fires twice: the same order again, seconds or minutes later."""
    market, rng = simulation.market, simulation.rng
    table = market.tables["conversions"]
    room = market.end - 1 - table["timestamp"]
    ordered = np.flatnonzero((table["order_id"] != 0) & (room > MINUTE))
    again = ordered[chance(rng, 0.1, len(ordered))] if len(ordered) > 20 else ordered[:2]
    rows = rows_of(table, again)
    later = rng.integers(SECOND, 10 * MINUTE, len(again))
    rows["timestamp"] = rows["timestamp"] + np.minimum(later, room[again])
    rows["conversion_id"] = simulation.maybe(fresh_ids(7, simulation.seed, 0, len(again)), 0.7)
    # An absent campaign is a value of its own: some seconds are no duplicate after all.
    is_other = chance(rng, 0.15, len(again))
    swapped = np.where(rows["ad_campaign_id"] < 0, 0, -1)
    rows["ad_campaign_id"] = np.where(is_other, swapped, rows["ad_campaign_id"])
    append(table, rows)


def name_twins(simulation: Simulation) -> None:
    """Gives an id to events without one that share user and time: else they would be copies."""
    for number, stream in enumerate(("impressions", "clicks", "conversions")):
        table = simulation.market.tables[stream]
        ids = table[OWN_ID[stream]]
        nameless = np.flatnonzero(ids == 0)
        key = table["timestamp"][nameless] * 2**22 + table["user_id"][nameless]
        if int(table["user_id"].max(initial=0)) >= 2**22:
            raise ValueError("more users than a key can hold")
        _, first = np.unique(key, return_index=True)
        twins = np.delete(nameless, first)
        ids[twins] = fresh_ids(8 + number, simulation.seed, 0, len(twins))


# Copies.

ORIGINAL, EXACT, LATER, OTHER_TEXT, REJECTED = range(5)


@dataclass
class Copies:
    """Extra records of events that a stream already has; all arrays have one entry a copy."""

    base: Ints
    role: Ints
    elsewhere: Codes  # wants a file other than its original's
    columns: dict[str, Codes]


def copies_of(simulation: Simulation, stream: str) -> Copies:
    """Exact copies in the same and in another file, later copies, copies with another text."""
    market, rng = simulation.market, simulation.rng
    table = market.tables[stream]
    count = len(table["timestamp"])
    everything = np.arange(count)
    room = market.end - 1 - table["timestamp"]
    named = np.flatnonzero((table[OWN_ID[stream]] != 0) & (room > MINUTE))

    def some(candidates: Ints, share: float, least: int) -> Ints:
        size = min(max(least, round(share * count)), len(candidates))
        return np.sort(rng.choice(candidates, size, replace=False))

    groups = [
        (EXACT, False, some(everything, 0.004, 2)),
        (EXACT, True, some(everything, 0.006, 2)),
        (LATER, True, some(named, 0.003, 2)),
        (OTHER_TEXT, False, some(named, 0.001, 1)),
    ]
    base = np.concatenate([rows for *_, rows in groups])
    role = np.concatenate([np.full(len(rows), kind) for kind, _, rows in groups])
    elsewhere = np.concatenate([np.full(len(rows), away) for _, away, rows in groups])
    columns = rows_of(table, base)
    later = rng.integers(1, 2 * 60 * MINUTE, len(base))
    is_later, is_other = role == LATER, role == OTHER_TEXT
    columns["timestamp"] = columns["timestamp"] + np.where(
        is_later, np.minimum(later, room[base]), 0
    )
    if stream == "conversions":
        revenue = columns["revenue"]
        columns["revenue"] = np.where(is_other, np.maximum(revenue, 0) + 10_000, revenue)
    else:
        sites = len(market.vocabularies["sites"])
        changed = (np.maximum(columns["website"], 0) + SITE_SPELLINGS) % sites
        # The same site in another spelling is the same text.
        columns["website"] = np.where(is_other, changed, simulation.respelled(columns["website"]))
    return Copies(base, role, elsewhere, columns)


# Rejected records.

Break = Literal["cut", "number", "array", "html", "short", "long", "stray"]


@dataclass(frozen=True)
class Fault:
    """A way to spoil a record: values for some fields, or damage to the record's bytes."""

    reason: str
    values: dict[str, Value] = field(default_factory=dict)
    broken: Break | None = None
    weight: int = 1


def _at(text: str) -> At:
    return At(int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1_000))


def _texts(reason: str, field_name: str, *texts: str | None) -> list[Fault]:
    return [Fault(reason, {field_name: Text(text)}) for text in texts]


_LONG = "x" * 257


def catalogue(stream: str) -> list[Fault]:
    """The faults of a stream's records, each with the reason of semantics section 2."""
    amounts = {
        "bid_requests": ("bid_floor_cpm", "bid_price_cpm"),
        "impressions": ("price_cpm",),
        "clicks": (),
        "conversions": ("revenue",),
    }[stream]
    required = {
        "bid_requests": ("timestamp", "auction_id"),
        "impressions": ("timestamp", "user_id", "ad_creative_id", "website"),
        "clicks": ("timestamp", "user_id", "ad_campaign_id"),
        "conversions": ("timestamp", "user_id", "conversion_type"),
    }[stream]
    faults = [
        *(Fault("malformed", broken=kind) for kind in _BREAKS),
        Fault("malformed", {"user_id": Raw(b"caf\xe9")}),
        Fault("malformed", {"user_id": Raw(b"u-\x0012")}),
    ]
    for name in required:
        faults += _texts(f"missing:{name}", name, None, None, "", "  ")
    if "website" in required:
        faults += _texts("missing:website", "website", "https://", "https://www./")
    faults += _texts(
        "bad_type:timestamp", "timestamp",
        "yesterday", "2025-06-31T10:00:00Z", "2025-06-17", "17.06.2025 10:00:00",
        "2025-06-17T24:00:00Z", "2025-06-17T10:00:60Z", "2025-06-17T10:00:00+24:00",
    )  # fmt: skip
    faults += [
        Fault("bad_type:timestamp", {"timestamp": Json(b"true")}),
        Fault("out_of_range:timestamp", {"timestamp": _at("1999-12-31T23:59:59")}),
        Fault("out_of_range:timestamp", {"timestamp": At(0)}),
        Fault("out_of_range:timestamp", {"timestamp": _at("2099-01-01T00:00:00")}),
        Fault("out_of_range:user_id", {"user_id": Text(_LONG)}),
        Fault(f"out_of_range:{OWN_ID[stream]}", {OWN_ID[stream]: Text("é" * 257)}),
        Fault("bad_type:user_id", {"user_id": Json(b'{"id":"u-1"}')}),
        Fault("bad_type:user_id", {"user_id": Json(b"17.5")}),
        Fault("bad_type:user_id", {"user_id": Json(b"NaN")}),
        Fault("bad_type:ad_campaign_id", {"ad_campaign_id": Json(b"false")}),
        # With several faults the first in the contract's order counts.
        Fault(
            "bad_type:timestamp",
            {"timestamp": Text("soon"), "user_id": Text(None), OWN_ID[stream]: Text(_LONG)},
        ),
    ]
    if "website" in required:
        faults.append(Fault("bad_type:website", {"website": Json(b'["a.example"]')}))
    if "currency" in FIELDS[stream]:
        faults += _texts("bad_type:currency", "currency", "EURO", "US$", "12")
    for name in amounts:
        faults += [
            Fault(f"bad_type:{name}", {name: Text("free")}),
            Fault(f"bad_type:{name}", {name: Text("1,25")}),
            Fault(f"bad_type:{name}", {name: Amount("NaN")}),
            Fault(f"out_of_range:{name}", {name: Amount("-0.75")}),
            Fault(f"out_of_range:{name}", {name: Amount("1000000000000")}),
            Fault(f"out_of_range:{name}", {name: Amount("999999999999.9999999")}),
        ]
    if stream == "conversions":
        faults.append(Fault("out_of_range:order_id", {"order_id": Text(_LONG)}))
    return faults


_BREAKS: tuple[Break, ...] = ("cut", "number", "array", "html", "short", "long", "stray")
# What can be broken in which layout without touching the records around it.
BREAKABLE: dict[str, tuple[Break, ...]] = {
    "json-lines": ("cut", "number", "array", "html"),
    "json-array": ("number",),
    "csv": ("html", "short", "long", "stray"),
}
_PAGE = b"<html><body>504 Gateway Time-out</body></html>"


def break_record(record: bytes, kind: Break, separator: bytes) -> bytes:
    if kind == "cut":
        return record[: len(record) * 2 // 3]
    if kind == "number":
        return b"42"
    if kind == "array":
        return b'["ping"]'
    if kind == "html":
        return _PAGE
    if kind == "short":
        return separator.join(record.split(separator)[:2])
    if kind == "long":
        return record + separator + b"one" + separator + b"more"
    return separator.join([record.split(separator)[0], b'"u-"1', b""]) + separator


def campaign_id(code: int) -> str:
    return roster.CAMPAIGNS[code].campaign_id if code < UNKNOWN else roster.UNKNOWN_CAMPAIGN
