"""What a generated landing folder holds, counted from the final arrays.

The counts are what semantics sections 2, 3 and 5 make of the files, so a test can compare them
with the raw tables and the marts.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from advertisex.generator.faults import FLOOD_LIMIT, campaign_id
from advertisex.generator.model import BOT_AGENT, MINUTE, UNKNOWN, Bools, Market, group_sizes


@dataclass(frozen=True)
class StreamTruth:
    """One stream. `records_read` = `accepted` + `rejected_records`; `accepted` = `events` +
    `extra_copies`. The stream `interactions` has only what cannot be parsed."""

    records_read: int
    accepted: int
    rejected_records: int
    rejected: dict[str, int]
    events: int = 0
    extra_copies: int = 0
    copies: dict[str, int] = field(default_factory=dict)
    late_events: int = 0
    invalid: dict[str, int] = field(default_factory=dict)
    valid_by_campaign: dict[str, int] = field(default_factory=dict)
    versions: int = 0
    current_versions: int = 0


@dataclass(frozen=True)
class FileTruth:
    """One file as `raw.loaded_files` should see it; `rejected` by reason."""

    stream: str
    format: str
    compression: str
    records_read: int
    accepted: int
    rejected_records: int
    rejected: dict[str, int]


@dataclass(frozen=True)
class AnomalyTruth:
    """The campaign-day with ten times the clicks; `clicks` are its valid ones. It needs seven days
    before it to stand out (semantics section 8)."""

    campaign_id: str
    date: str
    metric: str
    clicks: int
    usual_clicks: float
    is_detectable: bool


@dataclass(frozen=True)
class FaultTruth:
    """The fault that was planted: its name, its day, and the campaign that it concerns."""

    name: str
    date: str
    campaign_id: str | None


@dataclass(frozen=True)
class Truth:
    """Facts about a folder; `files` is keyed by the path relative to the folder."""

    arguments: dict[str, Any]
    first_date: str
    last_date: str
    totals: dict[str, int]
    streams: dict[str, StreamTruth]
    formats: dict[str, int]
    compressions: dict[str, int]
    files: dict[str, FileTruth]
    skipped_files: dict[str, str]  # path → the path of the file with the same content
    anomaly: AnomalyTruth | None
    fault: FaultTruth | None = None

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        if self.fault is None:
            del found["fault"]
        return found

    def write(self, path: Path) -> None:
        text = json.dumps(self.as_dict(), indent=2, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_truth(path: Path) -> Truth:
    """The truth as `Truth.write` left it; raises `ValueError` or `KeyError` on any other file."""
    read = json.loads(path.read_text(encoding="utf-8"))
    read["streams"] = {name: StreamTruth(**value) for name, value in read["streams"].items()}
    read["files"] = {name: FileTruth(**value) for name, value in read["files"].items()}
    read["anomaly"] = AnomalyTruth(**read["anomaly"]) if read["anomaly"] else None
    read["fault"] = FaultTruth(**read["fault"]) if read.get("fault") else None
    return Truth(**read)


def invalid_events(market: Market, stream: str) -> dict[str, Bools]:
    """Semantics section 5 for a stream's distinct events: reason → which events."""
    table = market.tables[stream]
    reasons: dict[str, Bools] = {}
    is_bot = np.zeros(len(table["timestamp"]), dtype=np.bool_)
    if "user_agent" in table:
        is_bot = table["user_agent"] >= BOT_AGENT
        reasons["bot_user_agent"] = is_bot
    if stream == "clicks":
        minute = table["timestamp"] // MINUTE
        sizes = group_sizes(table["user_id"], table["ad_campaign_id"], minute)
        reasons["click_flood"] = (sizes > FLOOD_LIMIT) & ~is_bot
    if stream == "conversions":
        keys = ("user_id", "ad_campaign_id", "conversion_type", "order_id")
        # All of a group but its first event: which that is depends on ties, how many does not;
        # `name_twins` leaves no two conversions with one identity.
        order = np.lexsort((table["timestamp"], *(table[key] for key in keys)))
        is_same = np.ones(max(0, len(order) - 1), dtype=np.bool_)
        for key in keys:
            ordered = table[key][order]
            is_same &= ordered[1:] == ordered[:-1]
        repeated = np.zeros(len(order), dtype=np.bool_)
        repeated[order[1:]] = is_same
        reasons["duplicate_conversion"] = repeated & (table["order_id"] != 0)
    return reasons


def valid_by_campaign(market: Market, stream: str, invalid: Bools) -> dict[str, int]:
    """Valid events by campaign (semantics section 4); for conversions by the one they name."""
    campaigns = market.resolve_campaigns(stream)[~invalid]
    counts = np.bincount(campaigns + 1, minlength=UNKNOWN + 2).tolist()
    named = {campaign_id(code): counts[code + 1] for code in range(UNKNOWN + 1)}
    unknown = "not_named" if stream == "conversions" else "unknown"
    return {name: n for name, n in {**named, unknown: counts[0]}.items() if n}


def by_reason(reasons: Counter[str]) -> dict[str, int]:
    return dict(sorted(reasons.items()))
