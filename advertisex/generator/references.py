"""The reference streams: versions of campaigns and creatives, exported now and then."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from advertisex.generator import roster
from advertisex.generator.model import DAY, Market
from advertisex.generator.planted import Planted, budget_cut
from advertisex.generator.truth import FileTruth, StreamTruth, by_reason
from advertisex.generator.writers import csv_text

CAMPAIGN_FIELDS = (
    "campaign_id", "updated_at", "campaign_name", "advertiser", "pricing_model", "rate",
    "currency", "daily_budget", "start_date", "end_date", "time_zone",
)  # fmt: skip
CREATIVE_FIELDS = (
    "creative_id", "campaign_id", "updated_at", "creative_name", "format", "width", "height",
)  # fmt: skip

_TIME_ZONES = {"EUR": "Europe/Berlin", "GBP": "Europe/London", "SEK": "Europe/Stockholm",
               "JPY": "Asia/Tokyo", "USD": "America/New_York"}  # fmt: skip

_AMPLE_BUDGET = "1000000.00"

Row = dict[str, str]


@dataclass(frozen=True)
class ReferenceFile:
    """A small file and what it holds; `path` is relative to the landing folder."""

    path: str
    data: bytes
    truth: FileTruth


def _time(milliseconds: int) -> str:
    return dt.datetime.fromtimestamp(milliseconds / 1_000, dt.UTC).isoformat(
        timespec="milliseconds"
    )


def _campaigns(market: Market) -> list[Row]:
    spend = _daily_spend(market)
    last = market.first_day + dt.timedelta(days=market.days + 30)
    rows = []
    for number, campaign in enumerate(roster.CAMPAIGNS):
        created = market.start - 9 * DAY + number * 3_541_000
        scale = Decimal(str(roster.CURRENCY_SCALE[roster.CURRENCIES.index(campaign.currency)]))
        # About what the campaign spends on a day, so that some are ahead and some behind.
        budget = max(Decimal(1), spend[number] * scale * (80 + number * 13 % 70) / 100)
        rows.append(
            {
                "campaign_id": campaign.campaign_id,
                "updated_at": _time(created),
                "campaign_name": campaign.name,
                "advertiser": campaign.advertiser,
                # The auction is the default, so it may be left out.
                "pricing_model": "" if number == 3 else campaign.pricing_model,
                "rate": campaign.rate or "",
                "currency": "" if campaign.currency == "USD" and number % 2 else campaign.currency,
                "daily_budget": str(budget.quantize(Decimal("0.01"))),
                "start_date": str(market.first_day - dt.timedelta(days=5)),
                "end_date": str(last) if number % 4 else "",
                "time_zone": _TIME_ZONES[campaign.currency],
            }
        )
    return rows


def _daily_spend(market: Market) -> list[Decimal]:
    """What each campaign may spend a day in USD: enough for a budget of a likely size."""
    impressions = Decimal(len(market.tables["impressions"]["timestamp"])) / market.days
    return [
        impressions * Decimal(str(c.share)) * Decimal(str(0.003 + c.ctr * 0.45))
        for c in roster.CAMPAIGNS
    ]


def _campaign_updates(market: Market, first: list[Row]) -> list[Row]:
    """Later versions: rates, budgets and a pricing model change; one correction at one time."""

    def later(number: int, share: float, **changes: str) -> Row:
        at = market.start + int(market.days * DAY * share) + number * 61_000
        return {**first[number], "updated_at": _time(at), **changes}

    budget = Decimal(first[6]["daily_budget"])
    return [
        later(4, 0.35, rate="0.47"),
        later(6, 0.5, daily_budget=str(budget * 2)),
        later(6, 0.5, daily_budget=str(budget * 3)),
        later(7, 0.55, rate="2.35"),
        later(9, 0.45, rate="2.9"),
        later(11, 0.6, pricing_model="CPM", rate="3.3"),
        later(1, 0.7, campaign_name="City e-bikes, final weeks"),
    ]


def _creatives(market: Market) -> tuple[list[Row], list[Row]]:
    rows = []
    for number, campaign in enumerate(roster.CAMPAIGNS):
        for slot in range(roster.CREATIVES_PER_CAMPAIGN):
            kind, width, height = roster.CREATIVE_FORMATS[
                (number + slot) % len(roster.CREATIVE_FORMATS)
            ]
            code = number * roster.CREATIVES_PER_CAMPAIGN + slot
            rows.append(
                {
                    "creative_id": str(market.vocabularies["creatives"][code]),
                    "campaign_id": campaign.campaign_id,
                    "updated_at": _time(market.start - 8 * DAY + code * 1_000),
                    "creative_name": f"{campaign.advertiser} {kind} {slot + 1}",
                    "format": kind,
                    "width": str(width),
                    "height": str(height),
                }
            )
    moved = [
        {
            **rows[move.creative],
            "campaign_id": roster.CAMPAIGNS[move.target].campaign_id,
            "updated_at": _time(move.at),
        }
        for move in market.moves
    ]
    return rows, moved


_BAD_CAMPAIGNS: tuple[tuple[str, dict[str, str]], ...] = (
    ("missing:campaign_id", {"campaign_id": ""}),
    ("missing:updated_at", {"updated_at": ""}),
    ("bad_type:pricing_model", {"pricing_model": "flat"}),
    ("bad_type:start_date", {"start_date": "2025-02-30"}),
    ("bad_type:rate", {"rate": "two"}),
    ("out_of_range:rate", {"rate": "-1"}),
    ("out_of_range:updated_at", {"updated_at": "1970-01-01T00:00:00Z"}),
)
_BAD_CREATIVES: tuple[tuple[str, dict[str, str]], ...] = (
    ("missing:creative_id", {"creative_id": ""}),
    ("missing:campaign_id", {"campaign_id": " "}),
    ("bad_type:width", {"width": "wide"}),
    ("bad_type:updated_at", {"updated_at": "last week"}),
)


def reference_files(
    market: Market, planted: Planted | None = None
) -> tuple[list[ReferenceFile], dict[str, StreamTruth]]:
    """An export on the first day, changes around the middle, and a full export on the last day.

    With a planted fault the exports are without rejects, and nothing changes but what it changes.
    """
    first = _campaigns(market)
    updates = _campaign_updates(market, first) if planted is None else []
    creatives, moved = _creatives(market)
    days = [str(market.first_day + dt.timedelta(days=day)) for day in range(market.days)]
    middle, last = days[len(days) // 2], days[-1]
    bad_campaigns = [(why, {**first[2], **change}) for why, change in _BAD_CAMPAIGNS]
    bad_creatives = [(why, {**creatives[5], **change}) for why, change in _BAD_CREATIVES]
    broken = b"cmp-999;2025\n"
    files = [
        _csv(f"campaigns/{days[0]}/export.csv", "campaigns", CAMPAIGN_FIELDS, first,
             bad_campaigns[:4], ";", broken),
        _json(f"campaigns/{middle}/changes.json", "campaigns", updates, bad_campaigns[4:]),
        _csv(f"campaigns/{last}/full-export.csv", "campaigns", CAMPAIGN_FIELDS, first + updates,
             [], ",", b""),
        _json(f"creatives/{days[0]}/export.json", "creatives", creatives, bad_creatives[2:]),
        _csv(f"creatives/{middle}/moved.csv", "creatives", CREATIVE_FIELDS, moved,
             bad_creatives[:2], ",", b"crt-1\n"),
    ]  # fmt: skip
    if planted is not None:
        files, updates = _quiet_files(market, first, creatives, moved, planted)
    held = {
        "campaigns": {(row["campaign_id"], row["updated_at"]) for row in first + updates},
        "creatives": {(row["creative_id"], row["updated_at"]) for row in creatives + moved},
    }
    streams = {}
    for stream, versions in held.items():
        truths = [file.truth for file in files if file.truth.stream == stream]
        rejected: Counter[str] = Counter()
        for truth in truths:
            rejected.update(truth.rejected)
        streams[stream] = StreamTruth(
            records_read=sum(truth.records_read for truth in truths),
            accepted=sum(truth.accepted for truth in truths),
            rejected_records=rejected.total(),
            rejected=by_reason(rejected),
            versions=len(versions),
            current_versions=len({key for key, _ in versions}),
        )
    return files, streams


def _quiet_files(
    market: Market, campaigns: list[Row], creatives: list[Row], moved: list[Row], planted: Planted
) -> tuple[list[ReferenceFile], list[Row]]:
    """The exports without rejects, with budgets that last; and the later versions in them."""
    for row in campaigns:
        row["daily_budget"] = _AMPLE_BUDGET
    first_day = str(market.first_day)
    files = [
        _csv(f"campaigns/{first_day}/export.csv", "campaigns", CAMPAIGN_FIELDS, campaigns, [],
             ";", b""),
        _json(f"creatives/{first_day}/export.json", "creatives", creatives + moved, []),
    ]  # fmt: skip
    cut = budget_cut(planted)
    if cut is None:
        return files, []
    number, day = cut
    change = {
        **campaigns[number],
        "updated_at": _time(market.start + day * DAY),
        "daily_budget": "0.01",
    }
    date = market.first_day + dt.timedelta(days=day)
    files.append(_json(f"campaigns/{date}/changes.json", "campaigns", [change], []))
    return files, [change]


def _file(
    path: str, stream: str, label: str, data: bytes, accepted: int, reasons: list[str]
) -> ReferenceFile:
    rejected = by_reason(Counter(reasons))
    read = accepted + len(reasons)
    return ReferenceFile(
        path, data, FileTruth(stream, label, "", read, accepted, len(reasons), rejected)
    )


def _csv(
    path: str, stream: str, fields: tuple[str, ...], rows: list[Row],
    bad: list[tuple[str, Row]], separator: str, broken: bytes,
) -> ReferenceFile:  # fmt: skip
    listed = [[row[name] for name in fields] for row in rows + [row for _, row in bad]]
    data = csv_text(fields, listed, separator) + broken
    reasons = [why for why, _ in bad] + ["malformed"] * bool(broken)
    label = {",": "csv-comma", ";": "csv-semicolon"}[separator]
    return _file(path, stream, label, data, len(rows), reasons)


def _json(path: str, stream: str, rows: list[Row], bad: list[tuple[str, Row]]) -> ReferenceFile:
    listed = rows + [row for _, row in bad]
    data = json.dumps(listed, ensure_ascii=False, indent=1).encode() + b"\n"
    return _file(path, stream, "json-array", data, len(rows), [why for why, _ in bad])
