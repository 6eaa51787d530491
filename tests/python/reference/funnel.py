"""The funnel of docs/semantics.md, sections 3 to 8, computed the slow and obvious way.

This is the second opinion against which the dbt models are tested. It shares nothing with them: it
reads the raw tables as Python rows, follows the page clause by clause, and counts with exact
decimals and fractions. Where a clause is a sentence, there is a function that says that sentence.

Input and output are rows (dicts by column name). Times are naive ``datetime`` in UTC, money is
``Decimal``, a ratio is a ``float`` rounded once from an exact fraction, absent is ``None``.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from fractions import Fraction
from functools import cache
from typing import Any

Row = dict[str, Any]
Rows = list[Row]
Key = tuple[Any, ...]

EVENT_STREAMS = ("impressions", "clicks", "conversions", "bid_requests")
REFERENCE_STREAMS = ("campaigns", "creatives")
UNKNOWN = "unknown"
ZERO = Decimal(0)
ONE = Decimal(1)

# Wide enough for any product of two raw amounts; the default 28 digits are not.
EXACT = Context(prec=90, rounding=ROUND_HALF_UP)

# Section 1's table: the fields of an identity's text, in order, without `targeting`.
TEXT_FIELDS: dict[str, tuple[str, ...]] = {
    "impressions": (
        "timestamp",
        "user_id",
        "ad_creative_id",
        "website",
        "impression_id",
        "auction_id",
        "ad_campaign_id",
        "price_cpm",
        "currency",
        "user_agent",
        "country",
        "device_type",
    ),
    "clicks": (
        "timestamp",
        "user_id",
        "ad_campaign_id",
        "click_id",
        "impression_id",
        "ad_creative_id",
        "website",
        "user_agent",
    ),
    "conversions": (
        "timestamp",
        "user_id",
        "conversion_type",
        "conversion_id",
        "ad_campaign_id",
        "click_id",
        "revenue",
        "currency",
        "order_id",
    ),
    "bid_requests": (
        "timestamp",
        "auction_id",
        "user_id",
        "website",
        "exchange",
        "bid_floor_cpm",
        "bid_price_cpm",
        "currency",
        "ad_campaign_id",
        "ad_creative_id",
        "country",
        "device_type",
        "user_agent",
    ),
    "campaigns": (
        "campaign_id",
        "updated_at",
        "campaign_name",
        "advertiser",
        "pricing_model",
        "rate",
        "currency",
        "daily_budget",
        "start_date",
        "end_date",
        "time_zone",
    ),
    "creatives": (
        "creative_id",
        "campaign_id",
        "updated_at",
        "creative_name",
        "format",
        "width",
        "height",
    ),
}
OWN_ID = {
    "impressions": "impression_id",
    "clicks": "click_id",
    "conversions": "conversion_id",
    "bid_requests": "auction_id",
}
MODELS = ("first_touch", "last_touch", "linear", "position_based", "time_decay")


@dataclass(frozen=True)
class Settings:
    """The vars of sections 5 to 8, with the page's defaults."""

    flood_clicks: int = 10
    click_to_impression: timedelta = timedelta(hours=24)
    click_through: timedelta = timedelta(days=30)
    view_through: timedelta = timedelta(days=1)
    half_life_seconds: int = 604_800
    late_after: timedelta = timedelta(days=1)
    anomaly_window_days: int = 14
    anomaly_least_days: int = 7
    anomaly_z_score: int = 3


@dataclass(frozen=True)
class Seeds:
    """The seeds as their CSV files hold them: text values, empty text where there is nothing."""

    exchange_rates: Sequence[Mapping[str, str]]
    conversion_types: Sequence[Mapping[str, str]]
    crawler_user_agents: Sequence[Mapping[str, str]]


@dataclass(eq=False)
class Event:
    """One deduplicated event with what the later sections add to it."""

    stream: str
    row: Row
    event_id: str
    at: datetime
    copies: int
    campaign_id: str = UNKNOWN
    invalid_reason: str | None = None
    impression: Event | None = None
    match_method: str | None = None
    in_auction: bool = False
    touches: list[Event] = field(default_factory=list)
    touch_type: str | None = None
    spend: Decimal | None = ZERO
    revenue: Decimal | None = ZERO

    @property
    def date(self) -> date:
        return self.at.date()

    @property
    def user_id(self) -> str | None:
        return self.row["user_id"]  # type: ignore[no-any-return]

    @property
    def is_valid(self) -> bool:
        return self.invalid_reason is None

    @property
    def last_touch(self) -> Event | None:
        return self.touches[-1] if self.touches else None

    @property
    def creative_id(self) -> str | None:
        """The event's own creative; a conversion has its last touch's (section 8)."""
        if self.stream == "conversions":
            return self.last_touch.creative_id if self.last_touch else None
        return self.row["ad_creative_id"]  # type: ignore[no-any-return]

    @property
    def website(self) -> str | None:
        """The event's own website; a conversion has its last touch's (section 8)."""
        if self.stream == "conversions":
            return self.last_touch.website if self.last_touch else None
        return self.row["website"]  # type: ignore[no-any-return]

    @property
    def order(self) -> tuple[datetime, bytes]:
        """By time, then identity, byte-wise."""
        return (self.at, byte_order(self.event_id))


Events = dict[str, list[Event]]


def byte_order(text: str) -> bytes:
    """Text is ordered byte-wise everywhere (section 8)."""
    return text.encode("utf-8")


def seconds(span: timedelta) -> Fraction:
    """The span in seconds, exactly."""
    return Fraction(span // timedelta(microseconds=1), 1_000_000)


def ratio(numerator: Decimal | Fraction | int, denominator: Decimal | int | None) -> float | None:
    """Section 8: a ratio with a zero or null denominator is null."""
    if denominator is None or denominator == 0:
        return None
    return float(Fraction(numerator) / Fraction(denominator))


def rounded(amount: Decimal, places: int) -> Decimal:
    """Round half away from zero."""
    return amount.quantize(ONE.scaleb(-places), context=EXACT)


def shown(amount: Decimal | None) -> Decimal | None:
    """Section 8: a mart's own amounts are shown rounded to 6 places."""
    return None if amount is None else rounded(amount, 6)


def total(amounts: Iterable[Decimal | None]) -> Decimal:
    """Section 8: nulls are skipped in sums, an empty sum is 0."""
    result = ZERO
    for amount in amounts:
        if amount is not None:
            result = EXACT.add(result, amount)
    return result


# Section 3: identity and dedup


def as_text(value: object) -> str:
    """A value as the identity's text writes it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:.6f}"
    return str(value)


def identity_text(stream: str, row: Row) -> str:
    """The text of an event or of a reference version: its fields joined by U+001F."""
    return "\x1f".join(as_text(row[name]) for name in TEXT_FIELDS[stream])


def identity(stream: str, row: Row) -> str:
    """The event's own id where it has one, else the md5 of its text."""
    own = row[OWN_ID[stream]]
    if own:
        return str(own)
    return hashlib.md5(byte_order(identity_text(stream, row))).hexdigest()


def deduplicated(stream: str, rows: Sequence[Row]) -> list[Event]:
    """Of the copies of one identity: the earliest, then the smallest text.

    Copies that agree in both differ only in where they came from; the one loaded first counts.
    """
    copies: dict[str, Rows] = defaultdict(list)
    for row in rows:
        copies[row["event_id"]].append(row)

    def rank(row: Row) -> Key:
        text = byte_order(row["event_text"])
        return (
            row["timestamp"],
            text,
            row["_loaded_at"],
            byte_order(row["_file"]),
            row["_position"],
        )

    events = []
    for event_id, same in copies.items():
        counts = min(same, key=rank)
        events.append(Event(stream, counts, event_id, counts["timestamp"], len(same)))
    return sorted(events, key=lambda event: event.order)


# Section 4: campaigns


def holding_versions(rows: Sequence[Row], id_column: str) -> dict[str, Rows]:
    """The versions that hold, by id and in time; of one `updated_at` the greater text holds."""
    best: dict[tuple[str, datetime], Row] = {}
    for row in rows:
        key = (row[id_column], row["updated_at"])
        if key not in best or byte_order(row["version_text"]) > byte_order(
            best[key]["version_text"]
        ):
            best[key] = row
    versions: dict[str, Rows] = defaultdict(list)
    for (entity_id, _), row in sorted(best.items(), key=lambda item: item[0][1]):
        versions[entity_id].append(row)
    return dict(versions)


def version_at(versions: Sequence[Row], at: datetime) -> Row | None:
    """A version holds from its `updated_at` until the next one's, the first also before."""
    if not versions:
        return None
    holding = versions[0]
    for version in versions:
        if version["updated_at"] <= at:
            holding = version
    return holding


def campaign_of(event: Event, creatives: Mapping[str, Rows]) -> str:
    """The event's own campaign, else the campaign of its creative then, else `unknown`."""
    if event.row["ad_campaign_id"] is not None:
        return str(event.row["ad_campaign_id"])
    creative = version_at(creatives.get(event.row.get("ad_creative_id") or "", ()), event.at)
    return str(creative["campaign_id"]) if creative else UNKNOWN


# Section 5: validity


def is_bot(user_agent: str | None, patterns: Sequence[re.Pattern[str]]) -> bool:
    """The user agent matches a pattern of the seed."""
    return user_agent is not None and any(pattern.search(user_agent) for pattern in patterns)


def flood_members(clicks: Sequence[Event], settings: Settings) -> set[str]:
    """All clicks of a user on a campaign in a UTC minute that holds over 10 of them."""
    minutes: dict[Key, list[Event]] = defaultdict(list)
    for click in clicks:
        minute = click.at.replace(second=0, microsecond=0)
        minutes[click.user_id, click.campaign_id, minute].append(click)
    floods = [members for members in minutes.values() if len(members) > settings.flood_clicks]
    return {click.event_id for members in floods for click in members}


def duplicate_conversions(conversions: Sequence[Event]) -> set[str]:
    """Conversions of an order that an earlier conversion (by time, then identity) already has."""
    seen: set[Key] = set()
    duplicates = set()
    for conversion in sorted(conversions, key=lambda event: event.order):
        if not conversion.row["order_id"]:
            continue
        key = tuple(
            conversion.row[name]
            for name in ("user_id", "ad_campaign_id", "conversion_type", "order_id")
        )
        if key in seen:
            duplicates.add(conversion.event_id)
        seen.add(key)
    return duplicates


def judge(events: Events, seeds: Seeds, settings: Settings) -> None:
    """Give each event the first reason that holds."""
    patterns = [re.compile(row["pattern"]) for row in seeds.crawler_user_agents]

    @cache
    def bot(user_agent: str | None) -> bool:
        return is_bot(user_agent, patterns)

    floods = flood_members(events["clicks"], settings)
    duplicates = duplicate_conversions(events["conversions"])
    for stream in EVENT_STREAMS:
        for event in events[stream]:
            if bot(event.row.get("user_agent")):
                event.invalid_reason = "bot_user_agent"
            elif stream == "clicks" and event.event_id in floods:
                event.invalid_reason = "click_flood"
            elif stream == "conversions" and event.event_id in duplicates:
                event.invalid_reason = "duplicate_conversion"


# Section 6: links


def by_user(events: Iterable[Event]) -> dict[str | None, list[Event]]:
    """The events of each user."""
    users: dict[str | None, list[Event]] = defaultdict(list)
    for event in events:
        users[event.user_id].append(event)
    return users


def is_within(earlier: Event, later: Event, window: timedelta) -> bool:
    """At or before the later one and at most the window before it, both ends inclusive."""
    return timedelta(0) <= later.at - earlier.at <= window


def link_auctions(events: Events) -> None:
    """impression → bid request by `auction_id`, and back; no id, no link."""
    requested = {request.row["auction_id"] for request in events["bid_requests"]}
    shown_auctions = {impression.row["auction_id"] for impression in events["impressions"]}
    for impression in events["impressions"]:
        auction_id = impression.row["auction_id"]
        impression.in_auction = auction_id is not None and auction_id in requested
    for request in events["bid_requests"]:
        request.in_auction = request.row["auction_id"] in shown_auctions


def window_impression(
    click: Event, impressions: Sequence[Event], settings: Settings
) -> Event | None:
    """The latest valid impression of the click's user and campaign in the window.

    Of several at the same time the smaller identity; `unknown` matches nothing.
    """
    if click.campaign_id == UNKNOWN:
        return None
    found: Event | None = None
    for impression in impressions:
        if (
            impression.is_valid
            and impression.campaign_id == click.campaign_id
            and is_within(impression, click, settings.click_to_impression)
        ):
            later = found is None or impression.at > found.at
            tie = found is not None and impression.at == found.at
            if later or (
                tie
                and found is not None
                and byte_order(impression.event_id) < byte_order(found.event_id)
            ):
                found = impression
    return found


def link_clicks(events: Events, settings: Settings) -> None:
    """click → impression: by `impression_id` when that impression exists, else by window."""
    by_id = {
        impression.row["impression_id"]: impression
        for impression in events["impressions"]
        if impression.row["impression_id"] is not None
    }
    users = by_user(events["impressions"])
    for click in events["clicks"]:
        named = by_id.get(click.row["impression_id"])
        if named is not None:
            click.impression, click.match_method = named, "id"
            continue
        found = window_impression(click, users[click.user_id], settings)
        if found is not None:
            click.impression, click.match_method = found, "window"


def same_campaign(touch: Event, conversion: Event) -> bool:
    """The same campaign, when the conversion names one."""
    named = conversion.row["ad_campaign_id"]
    return named is None or touch.campaign_id == named


def click_touches(
    conversion: Event, clicks: Sequence[Event], named: Event | None, settings: Settings
) -> list[Event]:
    """Click-through: the user's valid clicks, and the valid click that `click_id` names."""
    touches = [click for click in clicks if same_campaign(click, conversion)]
    if named is not None and named not in touches:
        touches.append(named)
    return [
        click
        for click in touches
        if click.is_valid and is_within(click, conversion, settings.click_through)
    ]


def view_touches(
    conversion: Event, impressions: Sequence[Event], settings: Settings
) -> list[Event]:
    """View-through: the user's valid impressions."""
    return [
        impression
        for impression in impressions
        if impression.is_valid
        and same_campaign(impression, conversion)
        and is_within(impression, conversion, settings.view_through)
    ]


def link_touches(events: Events, settings: Settings) -> None:
    """conversion → touches: clicks if there is one, else impressions; by time, then identity."""
    clicks = by_user(events["clicks"])
    impressions = by_user(events["impressions"])
    by_click_id = {
        click.row["click_id"]: click
        for click in events["clicks"]
        if click.row["click_id"] is not None
    }
    for conversion in events["conversions"]:
        named = by_click_id.get(conversion.row["click_id"])
        touches = click_touches(conversion, clicks[conversion.user_id], named, settings)
        touch_type = "click"
        if not touches:
            touches = view_touches(conversion, impressions[conversion.user_id], settings)
            touch_type = "view"
        conversion.touches = sorted(touches, key=lambda touch: touch.order)
        conversion.touch_type = touch_type if touches else None
        if conversion.row["ad_campaign_id"] is None and conversion.last_touch is not None:
            conversion.campaign_id = conversion.last_touch.campaign_id


# Section 7: attribution


def power_of_half(exponent: Fraction) -> Fraction:
    """Two to the power of minus the exponent, to 60 digits."""
    with localcontext(Context(prec=60)):
        power = Decimal(exponent.numerator) / Decimal(exponent.denominator)
        return Fraction(Decimal(2) ** -power)


def weights(model: str, ages: Sequence[Fraction], half_life_seconds: int) -> list[Fraction]:
    """The touches' shares before normalising, from their ages in seconds, first touch first."""
    n = len(ages)
    if model == "last_touch":
        return [Fraction(0)] * (n - 1) + [Fraction(1)]
    if model == "first_touch":
        return [Fraction(1)] + [Fraction(0)] * (n - 1)
    if model == "linear":
        return [Fraction(1, n)] * n
    if model == "time_decay":
        # Relative to the last touch, so that whole half-lives between touches stay exact.
        return [power_of_half((age - ages[-1]) / half_life_seconds) for age in ages]
    if model == "position_based":
        if n == 1:
            return [Fraction(1)]
        if n == 2:
            return [Fraction(1, 2), Fraction(1, 2)]
        between = Fraction(1, 5) / (n - 2)
        return [Fraction(2, 5)] + [between] * (n - 2) + [Fraction(2, 5)]
    raise ValueError(f"no such attribution model: {model}")


def credits(
    model: str, ages: Sequence[Fraction], half_life_seconds: int = 604_800
) -> list[Decimal]:
    """Decimals of 12 places, rounded down, the remainder to the last touch: they sum to 1."""
    shares = weights(model, ages, half_life_seconds)
    whole = sum(shares, Fraction(0))
    result = [
        Decimal((share / whole * 10**12).__floor__()).scaleb(-12, context=EXACT) for share in shares
    ]
    result[-1] += ONE - sum(result)
    return result


def attribution(conversions: Sequence[Event], settings: Settings) -> Rows:
    """One row a valid conversion, touch and model with a credit above 0; amounts exact."""
    rows = []
    for conversion in conversions:
        if not conversion.is_valid or not conversion.touches:
            continue
        ages = [seconds(conversion.at - touch.at) for touch in conversion.touches]
        for model in MODELS:
            shares = credits(model, ages, settings.half_life_seconds)
            for number, (touch, credit) in enumerate(
                zip(conversion.touches, shares, strict=True), start=1
            ):
                if credit <= 0:
                    continue
                revenue = conversion.revenue
                rows.append(
                    {
                        "conversion_event_id": conversion.event_id,
                        "conversion_at": conversion.at,
                        "conversion_type": conversion.row["conversion_type"],
                        "touch_event_id": touch.event_id,
                        "touch_at": touch.at,
                        "touch_type": conversion.touch_type,
                        "touch_number": number,
                        "touches": len(ages),
                        "model": model,
                        "credit": credit,
                        "credited_revenue": None
                        if revenue is None
                        else rounded(EXACT.multiply(credit, revenue), 9),
                        "campaign_id": touch.campaign_id,
                        "creative_id": touch.creative_id,
                        "website": touch.website,
                        "seconds_to_convert": ages[number - 1],
                    }
                )
    return rows


# Section 8: money


class Money:
    """Amounts in USD at the day's rate."""

    def __init__(self, exchange_rates: Iterable[Mapping[str, str]]) -> None:
        self._rates: dict[str, list[tuple[date, Decimal]]] = defaultdict(list)
        for row in exchange_rates:
            valid_from = date.fromisoformat(row["valid_from"])
            self._rates[row["currency"]].append((valid_from, Decimal(row["usd_rate"])))
        for rates in self._rates.values():
            rates.sort()

    def rate(self, currency: str, on: date) -> Decimal | None:
        """The latest rate on or before the date; USD itself is 1."""
        if currency == "USD":
            return ONE
        found = None
        for valid_from, rate in self._rates.get(currency, ()):
            if valid_from > on:
                break
            found = rate
        return found

    def usd(self, amount: Decimal | None, currency: str, on: date) -> Decimal | None:
        """The amount in USD, rounded to 9 places; without a rate null."""
        rate = self.rate(currency, on)
        if amount is None or rate is None:
            return None
        return rounded(EXACT.multiply(amount, rate), 9)


def spend_of(event: Event, campaigns: Mapping[str, Rows], money: Money) -> Decimal | None:
    """What the event costs, by the campaign version at its time; none, or an absent price: 0."""
    version = version_at(campaigns.get(event.campaign_id, ()), event.at)
    if version is None or not event.is_valid:
        return ZERO
    pays = {
        ("impressions", "auction"): (event.row.get("price_cpm"), event.row.get("currency"), 3),
        ("impressions", "cpm"): (version["rate"], version["currency"], 3),
        ("clicks", "cpc"): (version["rate"], version["currency"], 0),
        ("conversions", "cpa"): (version["rate"], version["currency"], 0),
    }
    amount, currency, thousandth = pays.get(
        (event.stream, version["pricing_model"]), (None, None, 0)
    )
    if amount is None or currency is None:
        return ZERO
    return money.usd(amount.scaleb(-thousandth, context=EXACT), currency, event.date)


def revenue_of(
    conversion: Event, types: Mapping[str, Mapping[str, str]], money: Money
) -> Decimal | None:
    """The conversion's own revenue, else its type's default value, else 0."""
    if conversion.row["revenue"] is not None:
        return money.usd(conversion.row["revenue"], conversion.row["currency"], conversion.date)
    default = types.get(conversion.row["conversion_type"])
    if default is None or not default["default_value"]:
        return ZERO
    return money.usd(
        Decimal(default["default_value"]), default["currency"] or "USD", conversion.date
    )


# Section 8: dimensions and event facts

_CONTRACT_COLUMNS = {stream: TEXT_FIELDS[stream] for stream in REFERENCE_STREAMS}


def current_versions(stream: str, versions: Mapping[str, Rows]) -> Rows:
    """The current version of each campaign or creative."""
    return [
        {name: of_one[-1][name] for name in _CONTRACT_COLUMNS[stream]}
        for of_one in versions.values()
    ]


def all_versions(versions: Mapping[str, Rows]) -> Rows:
    """All versions that hold; `valid_to` is exclusive, and null for the current one."""
    rows = []
    for of_one in versions.values():
        ends = [version["updated_at"] for version in of_one[1:]] + [None]
        for version, valid_to in zip(of_one, ends, strict=True):
            row = {name: version[name] for name in _CONTRACT_COLUMNS["campaigns"]}
            rows.append(row | {"valid_from": version["updated_at"], "valid_to": valid_to})
    return rows


def shared_columns(event: Event) -> Row:
    """The first columns of every event fact."""
    return {
        "event_id": event.event_id,
        "event_at": event.at,
        "event_date": event.date,
        "user_id": event.user_id,
        "campaign_id": event.campaign_id,
        "creative_id": event.creative_id,
        "website": event.website,
        "is_valid": event.is_valid,
        "invalid_reason": event.invalid_reason,
        "copies": event.copies,
    }


def impression_fact(event: Event) -> Row:
    """A row of `fct_impressions`."""
    return shared_columns(event) | {
        "auction_id": event.row["auction_id"],
        "has_bid_request": event.in_auction,
        "spend": shown(event.spend),
    }


def click_fact(event: Event) -> Row:
    """A row of `fct_clicks`."""
    impression = event.impression
    return shared_columns(event) | {
        "impression_event_id": impression.event_id if impression else None,
        "match_method": event.match_method,
        "seconds_since_impression": seconds(event.at - impression.at) if impression else None,
        "spend": shown(event.spend),
    }


def conversion_fact(event: Event) -> Row:
    """A row of `fct_conversions`."""
    return shared_columns(event) | {
        "conversion_type": event.row["conversion_type"],
        "order_id": event.row["order_id"],
        "touch_type": event.touch_type,
        "touches": len(event.touches),
        "last_touch_event_id": event.last_touch.event_id if event.last_touch else None,
        "revenue": shown(event.revenue),
        "spend": shown(event.spend),
    }


def bid_request_fact(event: Event, money: Money) -> Row:
    """A row of `fct_bid_requests`."""
    currency = event.row["currency"]
    return shared_columns(event) | {
        "exchange": event.row["exchange"],
        "bid_floor_cpm": shown(money.usd(event.row["bid_floor_cpm"], currency, event.date)),
        "bid_price_cpm": shown(money.usd(event.row["bid_price_cpm"], currency, event.date)),
        "has_impression": event.in_auction,
    }


# Section 8: daily and hourly marts


def additive_measures(events: Sequence[Event]) -> Row:
    """The measures that add up; amounts exact."""

    def valid(stream: str) -> list[Event]:
        return [event for event in events if event.stream == stream and event.is_valid]

    def invalid(stream: str) -> int:
        return sum(event.stream == stream and not event.is_valid for event in events)

    conversions = valid("conversions")
    touch_types = [conversion.touch_type for conversion in conversions]
    return {
        "bid_requests": len(valid("bid_requests")),
        "bids": sum(event.row["bid_price_cpm"] is not None for event in valid("bid_requests")),
        "impressions": len(valid("impressions")),
        "clicks": len(valid("clicks")),
        "conversions": len(conversions),
        "invalid_bid_requests": invalid("bid_requests"),
        "invalid_impressions": invalid("impressions"),
        "invalid_clicks": invalid("clicks"),
        "invalid_conversions": invalid("conversions"),
        "click_through_conversions": touch_types.count("click"),
        "view_through_conversions": touch_types.count("view"),
        "unattributed_conversions": touch_types.count(None),
        "won_impressions": sum(event.in_auction for event in valid("impressions")),
        "spend": total(event.spend for event in events),
        "revenue": total(conversion.revenue for conversion in conversions),
    }


def ratio_measures(events: Sequence[Event], sums: Row) -> Row:
    """Reach and what is divided, from exact amounts."""
    reach = len(
        {event.user_id for event in events if event.stream == "impressions" and event.is_valid}
    )
    return {
        "reach": reach,
        "frequency": ratio(sums["impressions"], reach),
        "bid_rate": ratio(sums["bids"], sums["bid_requests"]),
        "win_rate": ratio(sums["won_impressions"], sums["bids"]),
        "ctr": ratio(sums["clicks"], sums["impressions"]),
        "cvr": ratio(sums["conversions"], sums["clicks"]),
        "cpm": ratio(1000 * Fraction(sums["spend"]), sums["impressions"]),
        "cpc": ratio(sums["spend"], sums["clicks"]),
        "cpa": ratio(sums["spend"], sums["conversions"]),
        "roas": ratio(sums["revenue"], sums["spend"]),
    }


def show_amounts(row: Row) -> Row:
    """The row with its amounts rounded as a mart shows them."""
    return row | {"spend": shown(row["spend"]), "revenue": shown(row["revenue"])}


def grouped(events: Events, key: Callable[[Event], Key]) -> dict[Key, list[Event]]:
    """The events of all streams by a key; no rows for what has no events."""
    groups: dict[Key, list[Event]] = defaultdict(list)
    for stream in EVENT_STREAMS:
        for event in events[stream]:
            groups[key(event)].append(event)
    return groups


def campaign_hourly(events: Events) -> Rows:
    """`fct_campaign_hourly`: the additive measures by campaign and UTC hour."""
    groups = grouped(
        events,
        lambda event: (event.campaign_id, event.at.replace(minute=0, second=0, microsecond=0)),
    )
    return [
        {"campaign_id": campaign_id, "hour": hour} | show_amounts(additive_measures(members))
        for (campaign_id, hour), members in groups.items()
    ]


def budget_pacing(spend: Decimal, versions: Sequence[Row], on: date, money: Money) -> float | None:
    """Spend by the daily budget of the version at the end of the date, at that date's rate."""
    end_of_day = datetime(on.year, on.month, on.day, 23, 59, 59, 999_999)
    version = version_at(versions, end_of_day)
    if version is None:
        return None
    return ratio(spend, money.usd(version["daily_budget"], version["currency"], on))


def campaign_daily(events: Events, campaigns: Mapping[str, Rows], money: Money) -> Rows:
    """`fct_campaign_daily`, with exact amounts: anomalies and ratios build on them."""
    rows = []
    groups = grouped(events, lambda event: (event.campaign_id, event.date))
    for (campaign_id, on), members in groups.items():
        sums = additive_measures(members)
        pacing = budget_pacing(sums["spend"], campaigns.get(campaign_id, ()), on, money)
        rows.append(
            {"campaign_id": campaign_id, "date": on}
            | sums
            | ratio_measures(members, sums)
            | {"budget_pacing": pacing}
        )
    return rows


def entity_daily(events: Events, column: str, value: Callable[[Event], str | None]) -> Rows:
    """`fct_creative_daily` and `fct_website_daily`: `unknown` without one."""
    rows = []
    groups = grouped(events, lambda event: (value(event) or UNKNOWN, event.date))
    for (entity, on), members in groups.items():
        sums = additive_measures(members)
        rows.append(
            {column: entity, "date": on} | show_amounts(sums) | ratio_measures(members, sums)
        )
    return rows


def percentile(values: Sequence[Fraction], share: Fraction) -> float:
    """The continuous percentile: linear between the two nearest values."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = position.__floor__()
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (position - below))


def campaign_cohort_daily(attributed: Sequence[Row]) -> Rows:
    """`fct_campaign_cohort_daily`: credits by the touch's campaign and date, and the model."""
    groups: dict[Key, Rows] = defaultdict(list)
    for row in attributed:
        groups[row["campaign_id"], row["touch_at"].date(), row["model"]].append(row)
    return [
        {
            "campaign_id": campaign_id,
            "date": on,
            "model": model,
            "credited_conversions": total(row["credit"] for row in members),
            "credited_revenue": shown(total(row["credited_revenue"] for row in members)),
            "median_seconds_to_convert": percentile(
                [row["seconds_to_convert"] for row in members], Fraction(1, 2)
            ),
            "p90_seconds_to_convert": percentile(
                [row["seconds_to_convert"] for row in members], Fraction(9, 10)
            ),
        }
        for (campaign_id, on, model), members in groups.items()
    ]


# Section 8: anomalies

ANOMALY_SUMS = ("impressions", "clicks", "conversions", "spend")
ANOMALY_RATIOS = {"ctr": ("clicks", "impressions"), "cvr": ("conversions", "clicks")}


def metric_value(metric: str, row: Row | None) -> Fraction | None:
    """The day's value: without a row 0 for counts and spend, null for ratios."""
    if metric in ANOMALY_SUMS:
        return Fraction(row[metric]) if row else Fraction(0)
    if row is None:
        return None
    above, below = (row[name] for name in ANOMALY_RATIOS[metric])
    return Fraction(above, below) if below else None


def square_root(value: Fraction) -> Fraction:
    """The square root to 60 digits."""
    with localcontext(Context(prec=60)):
        return Fraction((Decimal(value.numerator) / Decimal(value.denominator)).sqrt())


def mean_and_deviation(
    values: Sequence[Fraction], least: int
) -> tuple[Fraction | None, Fraction | None]:
    """Mean and sample standard deviation; null with under 7 days (a var)."""
    if len(values) < least:
        return None, None
    mean = sum(values, Fraction(0)) / len(values)
    variance = sum(((value - mean) ** 2 for value in values), Fraction(0)) / (len(values) - 1)
    return mean, square_root(variance)


def z_score(
    value: Fraction | None, mean: Fraction | None, deviation: Fraction | None
) -> Fraction | None:
    """Null when the deviation is below 1e-9 * greatest(1, absolute mean)."""
    if value is None or mean is None or deviation is None:
        return None
    if deviation < Fraction(1, 10**9) * max(Fraction(1), abs(mean)):
        return None
    return (value - mean) / deviation


def campaign_anomalies(daily: Sequence[Row], settings: Settings) -> Rows:
    """`fct_campaign_anomalies` from the exact daily rows."""
    rows = []
    series: dict[str, dict[date, Row]] = defaultdict(dict)
    for row in daily:
        series[row["campaign_id"]][row["date"]] = row
    latest = max((row["date"] for row in daily), default=None)
    for campaign_id, days in series.items():
        assert latest is not None
        first = min(days)
        on = first
        while on <= latest:
            before = [
                on - timedelta(days=back) for back in range(1, settings.anomaly_window_days + 1)
            ]
            if on in days or any(day in days for day in before):
                for metric in (*ANOMALY_SUMS, *ANOMALY_RATIOS):
                    known = [metric_value(metric, days.get(day)) for day in before if day >= first]
                    mean, deviation = mean_and_deviation(
                        [x for x in known if x is not None], settings.anomaly_least_days
                    )
                    value = metric_value(metric, days.get(on))
                    score = z_score(value, mean, deviation)
                    rows.append(
                        {
                            "campaign_id": campaign_id,
                            "date": on,
                            "metric": metric,
                            "value": None if value is None else float(value),
                            "mean": None if mean is None else float(mean),
                            "standard_deviation": None if deviation is None else float(deviation),
                            "z_score": None if score is None else float(score),
                            "is_anomaly": score is not None
                            and abs(score) > settings.anomaly_z_score,
                        }
                    )
            on += timedelta(days=1)
    return rows


# Section 8: data quality

_REJECTED = ("malformed", "missing", "bad_type", "out_of_range")
_DATA_QUALITY_COUNTS = (
    "records_read",
    "accepted",
    *(f"rejected_{reason}" for reason in _REJECTED),
    "extra_copies",
    "late_events",
    "unmatched_clicks",
    "unattributed_conversions",
)


def data_quality_daily(raw: Mapping[str, Rows], events: Events, settings: Settings) -> Rows:
    """`fct_data_quality_daily`: records by their load, events by the load of what counts."""
    counts: dict[Key, Row] = defaultdict(lambda: dict.fromkeys(_DATA_QUALITY_COUNTS, 0))
    for stream in (*EVENT_STREAMS, *REFERENCE_STREAMS):
        for row in raw[stream]:
            of_day = counts[stream, row["_loaded_at"].date()]
            of_day["records_read"] += 1
            of_day["accepted"] += 1
    for row in raw["rejected_records"]:
        of_day = counts[row["stream"], row["_loaded_at"].date()]
        of_day["records_read"] += 1
        of_day["rejected_" + row["reason"].split(":")[0]] += 1
    for stream in EVENT_STREAMS:
        for event in events[stream]:
            loaded_at = event.row["_loaded_at"]
            of_day = counts[stream, loaded_at.date()]
            of_day["extra_copies"] += event.copies - 1
            of_day["late_events"] += loaded_at - event.at > settings.late_after
            if event.is_valid and stream == "clicks" and event.impression is None:
                of_day["unmatched_clicks"] += 1
            if event.is_valid and stream == "conversions" and not event.touches:
                of_day["unattributed_conversions"] += 1
    return [{"stream": stream, "date": on} | row for (stream, on), row in counts.items()]


# All of it


def funnel(
    raw: Mapping[str, Rows], seeds: Seeds, settings: Settings | None = None
) -> dict[str, Rows]:
    """Every mart of section 8 by name, from the raw tables of sections 1 and 2.

    ``raw`` holds the rows of the four event streams, the two reference streams and
    ``rejected_records``. Rows come in no particular order.
    """
    settings = settings or Settings()
    money = Money(seeds.exchange_rates)
    types = {row["conversion_type"]: row for row in seeds.conversion_types}
    campaigns = holding_versions(raw["campaigns"], "campaign_id")
    creatives = holding_versions(raw["creatives"], "creative_id")
    events = {stream: deduplicated(stream, raw[stream]) for stream in EVENT_STREAMS}

    for stream in EVENT_STREAMS:
        for event in events[stream]:
            event.campaign_id = campaign_of(event, creatives)
    judge(events, seeds, settings)
    link_auctions(events)
    link_clicks(events, settings)
    link_touches(events, settings)
    for conversion in events["conversions"]:
        conversion.revenue = revenue_of(conversion, types, money)
    for stream in EVENT_STREAMS:
        for event in events[stream]:
            event.spend = spend_of(event, campaigns, money)

    attributed = attribution(events["conversions"], settings)
    daily = campaign_daily(events, campaigns, money)
    return {
        "dim_campaigns": current_versions("campaigns", campaigns),
        "dim_campaign_versions": all_versions(campaigns),
        "dim_creatives": current_versions("creatives", creatives),
        "fct_impressions": [impression_fact(event) for event in events["impressions"]],
        "fct_clicks": [click_fact(event) for event in events["clicks"]],
        "fct_conversions": [conversion_fact(event) for event in events["conversions"]],
        "fct_bid_requests": [bid_request_fact(event, money) for event in events["bid_requests"]],
        "fct_attribution": [
            row | {"credited_revenue": shown(row["credited_revenue"])} for row in attributed
        ],
        "fct_campaign_hourly": campaign_hourly(events),
        "fct_campaign_daily": [show_amounts(row) for row in daily],
        "fct_campaign_cohort_daily": campaign_cohort_daily(attributed),
        "fct_creative_daily": entity_daily(events, "creative_id", lambda e: e.creative_id),
        "fct_website_daily": entity_daily(events, "website", lambda e: e.website),
        "fct_campaign_anomalies": campaign_anomalies(daily, settings),
        "fct_data_quality_daily": data_quality_daily(raw, events, settings),
    }
