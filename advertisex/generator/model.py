"""The simulated market: who is asked for a bid, sees, clicks and converts.

Everything is an array with one entry an event, so that millions of events cost seconds. A column
holds codes, not texts; `Kind` says how a code reads:

- `time`: milliseconds since 1970, UTC.
- `money`: ten-thousandths of a unit of the event's currency, -1 when absent.
- `id`: 64 bits, written as a prefix and 16 hex digits, 0 when absent.
- `word`: a position in the vocabulary of the kind's name, -1 when absent.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from advertisex.generator import roster

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.uint64]
Codes = npt.NDArray[Any]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

SITE_SPELLINGS = 5
CURRENCY_SPELLINGS = 3


@dataclass(frozen=True)
class Kind:
    """How the codes of a field read; `name` is an id's prefix or a vocabulary's name."""

    kind: Literal["time", "money", "id", "word"]
    name: str = ""


_TIME, _MONEY = Kind("time"), Kind("money")
_IMPRESSION, _CLICK, _AUCTION = Kind("id", "imp-"), Kind("id", "clk-"), Kind("id", "auc-")
_CONVERSION, _ORDER = Kind("id", "cnv-"), Kind("id", "ord-")

# The fields of each event stream in the order of semantics section 1.
FIELDS: Mapping[str, Mapping[str, Kind]] = {
    "bid_requests": {
        "timestamp": _TIME,
        "auction_id": _AUCTION,
        "user_id": Kind("word", "users"),
        "website": Kind("word", "sites"),
        "exchange": Kind("word", "exchanges"),
        "bid_floor_cpm": _MONEY,
        "bid_price_cpm": _MONEY,
        "currency": Kind("word", "currencies"),
        "ad_campaign_id": Kind("word", "campaigns"),
        "ad_creative_id": Kind("word", "creatives"),
        "country": Kind("word", "countries"),
        "device_type": Kind("word", "devices"),
        "user_agent": Kind("word", "agents"),
        "targeting": Kind("word", "targetings"),
    },
    "impressions": {
        "timestamp": _TIME,
        "user_id": Kind("word", "users"),
        "ad_creative_id": Kind("word", "creatives"),
        "website": Kind("word", "sites"),
        "impression_id": _IMPRESSION,
        "auction_id": _AUCTION,
        "ad_campaign_id": Kind("word", "campaigns"),
        "price_cpm": _MONEY,
        "currency": Kind("word", "currencies"),
        "user_agent": Kind("word", "agents"),
        "country": Kind("word", "countries"),
        "device_type": Kind("word", "devices"),
    },
    "clicks": {
        "timestamp": _TIME,
        "user_id": Kind("word", "users"),
        "ad_campaign_id": Kind("word", "campaigns"),
        "click_id": _CLICK,
        "impression_id": _IMPRESSION,
        "ad_creative_id": Kind("word", "creatives"),
        "website": Kind("word", "sites"),
        "user_agent": Kind("word", "agents"),
    },
    "conversions": {
        "timestamp": _TIME,
        "user_id": Kind("word", "users"),
        "conversion_type": Kind("word", "conversion_types"),
        "conversion_id": _CONVERSION,
        "ad_campaign_id": Kind("word", "campaigns"),
        "click_id": _CLICK,
        "revenue": _MONEY,
        "currency": Kind("word", "currencies"),
        "order_id": _ORDER,
    },
}

# The field that is an event's own id (semantics section 3).
OWN_ID: Mapping[str, str] = {
    "bid_requests": "auction_id",
    "impressions": "impression_id",
    "clicks": "click_id",
    "conversions": "conversion_id",
}

UNKNOWN = len(roster.CAMPAIGNS)  # code of the campaign that no reference row knows
UNKNOWN_CREATIVE = len(roster.CAMPAIGNS) * roster.CREATIVES_PER_CAMPAIGN
BOT_AGENT = len(roster.USER_AGENTS)  # agents from this code on are bots


@dataclass(frozen=True)
class Move:
    """A creative that leaves one campaign for another, from `at` (milliseconds, inclusive) on."""

    creative: int
    source: int
    target: int
    at: int


@dataclass(frozen=True)
class Anomaly:
    """The campaign and day whose clicks were multiplied."""

    campaign: int
    day: int


@dataclass
class Market:
    """What happened; `tables[stream][field]` are the columns, one entry a distinct event."""

    first_day: dt.date
    days: int
    vocabularies: dict[str, list[str | None]]
    users: int  # organic users come first in the vocabulary, then bots, then strangers
    bots: int
    agent_of: Codes
    country_of: Codes
    moves: tuple[Move, ...]
    tables: dict[str, dict[str, Codes]] = field(default_factory=dict)
    anomaly: Anomaly | None = None

    @property
    def start(self) -> int:
        return (self.first_day - dt.date(1970, 1, 1)).days * DAY

    @property
    def end(self) -> int:
        return self.start + self.days * DAY

    def resolve_campaigns(self, stream: str) -> Codes:
        """Each event's campaign by semantics section 4: its own, else its creative's, else -1."""
        table = self.tables[stream]
        own = table["ad_campaign_id"]
        if "ad_creative_id" not in table:
            return own
        creative, times = table["ad_creative_id"], table["timestamp"]
        owner = np.where(
            (creative >= 0) & (creative < UNKNOWN_CREATIVE),
            creative // roster.CREATIVES_PER_CAMPAIGN,
            -1,
        )
        for move in self.moves:
            owner = np.where((creative == move.creative) & (times >= move.at), move.target, owner)
        return np.where(own >= 0, own, owner)


def mixed(numbers: Ids) -> Ids:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection, so ids never meet."""
    z = numbers.astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fresh_ids(stream_number: int, seed: int, first: int, count: int) -> Ids:
    """Ids of one kind, all different and none 0: the bijection maps only 0 to 0."""
    salt = (stream_number + 1) << 56 | (seed & 0xFFFF) << 40
    return mixed(np.arange(first + 1, first + count + 1, dtype=np.uint64) + np.uint64(salt))


def draw(rng: np.random.Generator, weights: Floats | Sequence[float], count: int) -> Ints:
    """`count` positions, each in proportion to its weight."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    drawn = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    positions: Ints = np.minimum(drawn, len(edges) - 1)
    return positions


def chance(rng: np.random.Generator, probability: float, count: int) -> Bools:
    return rng.random(count) < probability


def pick(rng: np.random.Generator, probability: Floats, group: Codes) -> Bools:
    """A systematic sample: in each group as many hits as its probabilities add up to, +-1.

    Independent draws would leave a small campaign without any conversion now and then.
    """
    order = rng.permutation(len(group))
    order = order[np.argsort(group[order], kind="stable")]
    sums = np.cumsum(probability[order])
    ordered = group[order]
    is_first = np.r_[True, ordered[1:] != ordered[:-1]] if len(ordered) else np.zeros(0, bool)
    before = (sums - probability[order])[is_first]
    run = np.cumsum(is_first) - 1
    offsets = rng.random(len(before))
    level = sums - before[run] + offsets[run]
    hits = np.zeros(len(group), dtype=np.bool_)
    hits[order] = np.floor(level) != np.floor(level - probability[order])
    return hits


def group_sizes(*keys: Codes) -> Ints:
    """For each row, how many rows have the same keys."""
    order = np.lexsort(keys)
    count = len(order)
    if not count:
        return np.zeros(0, dtype=np.int64)
    starts = np.zeros(count, dtype=np.bool_)
    starts[0] = True
    for key in keys:
        ordered = key[order]
        starts[1:] |= ordered[1:] != ordered[:-1]
    group = np.cumsum(starts) - 1
    sizes = np.bincount(group)
    out = np.empty(count, dtype=np.int64)
    out[order] = sizes[group]
    return out


def append(table: dict[str, Codes], rows: Mapping[str, Codes]) -> None:
    for name in table:
        table[name] = np.concatenate([table[name], rows[name]])


def rows_of(table: Mapping[str, Codes], index: Codes) -> dict[str, Codes]:
    return {name: column[index] for name, column in table.items()}


class Simulation:
    """Draws the market step by step; each step needs the tables of those before."""

    def __init__(self, events: int, days: int, seed: int, end: dt.date) -> None:
        self.rng = np.random.default_rng([seed, events, days])
        self.events, self.seed = events, seed
        first_day = end - dt.timedelta(days=days - 1)
        rng = self.rng
        users = max(60, events // 12)
        bots = max(3, users // 400)
        strangers = max(8, events // 20_000)
        everyone = users + bots + strangers
        agent_of = draw(rng, roster.USER_AGENT_WEIGHTS, everyone)
        agent_of[users : users + bots] = BOT_AGENT + np.arange(bots) % len(roster.BOT_AGENTS)
        start = (first_day - dt.date(1970, 1, 1)).days * DAY
        per_campaign = roster.CREATIVES_PER_CAMPAIGN
        moves = tuple(
            Move(source * per_campaign + per_campaign - 1, source, target, start + at)
            for source, target, at in (
                (0, 10, int(days * DAY * 0.4) + 9 * HOUR + 17),
                (4, 13, int(days * DAY * 0.6) + 11 * MINUTE),
            )
        )
        self.market = Market(
            first_day=first_day,
            days=days,
            vocabularies=_vocabularies(everyone, seed),
            users=users,
            bots=bots,
            agent_of=agent_of,
            country_of=draw(rng, [weight for _, weight in roster.COUNTRIES], everyone),
            moves=moves,
        )
        self.user_weights = (np.arange(users) + 3.0) ** -0.8
        self.site_weights = (np.arange(self._sites) + 2.0) ** -1.0
        shares = np.array([c.share for c in roster.CAMPAIGNS] + [0.004])
        self.shares = shares
        self.buys_direct = np.array(
            [c.pricing_model != "auction" for c in roster.CAMPAIGNS] + [False]
        )
        # People are followed: most ads a user sees belong to two campaigns.
        self.favourites = draw(rng, shares, everyone * 2).reshape(everyone, 2)
        self.slot_weights = _rhythm(first_day, days)

    @property
    def _sites(self) -> int:
        return len(self.market.vocabularies["sites"]) // SITE_SPELLINGS

    def run(self) -> Market:
        self._bid_requests()
        self._impressions()
        self._clicks()
        self._conversions()
        return self.market

    # Small draws that several streams share.

    def times(self, count: int) -> Ints:
        hours = draw(self.rng, self.slot_weights, count)
        return self.market.start + hours * HOUR + self.rng.integers(0, HOUR, count)

    def delays(self, median: float, sigma: float, count: int) -> Ints:
        """Milliseconds, log-normal around `median` milliseconds."""
        return (median * np.exp(sigma * self.rng.standard_normal(count))).astype(np.int64)

    def fit(self, earlier: Ints, later: Ints) -> Ints:
        """What would fall behind the last day happens sooner, after `earlier`."""
        room = self.market.end - 1 - earlier
        sooner = earlier + (room * self.rng.random(len(earlier))).astype(np.int64)
        return np.where(later >= self.market.end, sooner, later)

    def maybe(self, column: Codes, probability: float) -> Codes:
        """The column with entries left out but for `probability`; ids become 0, codes -1."""
        absent = column.dtype.type(0) if column.dtype == np.uint64 else -1
        return np.where(chance(self.rng, probability, len(column)), column, absent)

    def sites(self, count: int) -> Ints:
        return self.spelled(draw(self.rng, self.site_weights, count))

    def spelled(self, sites: Codes) -> Ints:
        spellings = draw(self.rng, (0.55, 0.1, 0.2, 0.1, 0.05), len(sites))
        return sites * SITE_SPELLINGS + spellings

    def respelled(self, sites: Codes) -> Codes:
        return np.where(sites >= 0, self.spelled(sites // SITE_SPELLINGS), -1)

    def currencies(self, currency: Codes) -> Ints:
        """Spellings: upper case, lower case, and absent, which only dollars can be."""
        spelling = draw(self.rng, (0.75, 0.25), len(currency))
        absent = (currency == 0) & chance(self.rng, 0.35, len(currency))
        return currency * CURRENCY_SPELLINGS + np.where(absent, 2, spelling)

    def creatives(self, campaign: Codes, times: Codes) -> Codes:
        """A creative that belongs to the campaign at that time."""
        per_campaign = roster.CREATIVES_PER_CAMPAIGN
        last = per_campaign - 1
        slot = draw(self.rng, (0.4, 0.25, 0.2, 0.15), len(campaign))
        creative = campaign * per_campaign + slot
        for move in self.market.moves:
            moved = (slot == last) & (times >= move.at)
            left = moved & (campaign == move.source)
            creative = np.where(left, campaign * per_campaign, creative)
            creative = np.where(moved & (campaign == move.target), move.creative, creative)
        return np.where(campaign == UNKNOWN, UNKNOWN_CREATIVE, creative)

    def devices(self, users: Codes) -> Ints:
        kinds = ["desktop", "mobile", "tablet"]
        of_agent = np.array(
            [kinds.index(kind) for kind, _ in roster.USER_AGENTS] + [0] * len(roster.BOT_AGENTS)
        )
        return of_agent[self.market.agent_of[users]]

    def people(self, count: int, bot_share: float) -> Ints:
        users = draw(self.rng, self.user_weights, count)
        bots = self.market.users + self.rng.integers(0, self.market.bots, count)
        return np.where(chance(self.rng, bot_share, count), bots, users)

    def followed(self, users: Codes, otherwise: Codes) -> Codes:
        favourite = self.favourites[users, self.rng.integers(0, 2, len(users))]
        return np.where(chance(self.rng, 0.6, len(users)), favourite, otherwise)

    # The funnel.

    def _bid_requests(self) -> None:
        rng, count = self.rng, round(0.62 * self.events)
        users = self.people(count, 0.014)
        times = self.times(count)
        campaign = self.followed(users, draw(rng, self.shares, count))
        exchange = draw(rng, [weight for *_, weight in roster.EXCHANGES], count)
        currency = np.array([roster.CURRENCIES.index(name) for _, name, _ in roster.EXCHANGES])[
            exchange
        ]
        scale = np.array(roster.CURRENCY_SCALE)[currency]
        level = np.r_[np.linspace(1.1, 4.2, UNKNOWN), 1.0][(campaign * 5) % (UNKNOWN + 1)]
        price = level * scale * np.exp(0.35 * rng.standard_normal(count)) * 10_000
        floor = (price * (0.25 + 0.6 * rng.random(count))).astype(np.int64) + 1
        has_bid = chance(rng, 0.88, count)
        is_named = np.where(has_bid, chance(rng, 0.9, count), chance(rng, 0.55, count))
        agents = self.market.agent_of[users]
        self.bidders = {"users": users, "campaign": campaign, "has_bid": has_bid}
        self.market.tables["bid_requests"] = {
            "timestamp": times,
            "auction_id": fresh_ids(0, self.seed, 0, count),
            "user_id": self.maybe(users, 0.94),
            "website": self.maybe(self.sites(count), 0.97),
            "exchange": self.maybe(exchange, 0.98),
            "bid_floor_cpm": self.maybe(floor, 0.95),
            "bid_price_cpm": np.where(has_bid, price.astype(np.int64) + 2, -1),
            "currency": self.currencies(currency),
            "ad_campaign_id": np.where(is_named, campaign, -1),
            "ad_creative_id": np.where(
                has_bid, self.maybe(self.creatives(campaign, times), 0.92), -1
            ),
            "country": self.maybe(self.market.country_of[users], 0.95),
            "device_type": self.maybe(self.devices(users), 0.95),
            "user_agent": self.maybe(agents, 0.92),
            "targeting": self.maybe(
                rng.integers(0, len(self.market.vocabularies["targetings"]), count), 0.6
            ),
        }

    def _impressions(self) -> None:
        rng, requests = self.rng, self.market.tables["bid_requests"]
        win_rate = np.array([c.win_rate for c in roster.CAMPAIGNS] + [0.4])
        drawn_wins = rng.random(len(requests["timestamp"]))
        wins = self.bidders["has_bid"] & (drawn_wins < win_rate[self.bidders["campaign"]])
        won = np.flatnonzero(wins)
        shown = requests["timestamp"][won] + rng.integers(40, 1_500, len(won))
        won, shown = won[shown < self.market.end], shown[shown < self.market.end]
        direct = max(0, round(0.365 * self.events) - len(won))
        own_users = self.people(direct, 0.014)
        drawn = draw(rng, self.shares * self.buys_direct, direct)
        favourite = self.followed(own_users, drawn)
        own_campaign = np.where(self.buys_direct[favourite], favourite, drawn)
        users = np.r_[self.bidders["users"][won], own_users]
        campaign = np.r_[self.bidders["campaign"][won], own_campaign]
        times = np.r_[shown, self.times(direct)]
        count = len(users)
        floor = requests["bid_floor_cpm"][won]
        bid = requests["bid_price_cpm"][won]
        floor = np.where(floor < 0, bid // 2, np.minimum(floor, bid))
        paid = floor + ((bid - floor) * rng.random(len(won))).astype(np.int64)
        of_campaign = np.array(
            [roster.CURRENCIES.index(c.currency) for c in roster.CAMPAIGNS] + [0]
        )
        known_site = requests["website"][won]
        site = np.where(known_site < 0, self.sites(len(won)), known_site)
        # The request of a few auctions got lost on its way into the logs.
        auctions = requests["auction_id"][won].copy()
        lost = chance(rng, 0.02, len(won))
        auctions[lost] = fresh_ids(1, self.seed, 0, int(lost.sum()))
        currency = np.r_[requests["currency"][won] // CURRENCY_SPELLINGS, of_campaign[own_campaign]]
        asked = requests["ad_creative_id"][won]
        creative = np.r_[
            np.where(asked < 0, self.creatives(campaign[: len(won)], shown), asked),
            self.creatives(own_campaign, times[len(won) :]),
        ]
        # A creative asked for just before it moved is shown just after: the ad server says so.
        for move in self.market.moves:
            is_late = (creative == move.creative) & (campaign == move.source) & (times >= move.at)
            creative = np.where(is_late, campaign * roster.CREATIVES_PER_CAMPAIGN, creative)
        self.viewers = {"users": users, "campaign": campaign}
        self.market.tables["impressions"] = {
            "timestamp": times,
            "user_id": users,
            "ad_creative_id": creative,
            "website": self.respelled(np.r_[site, self.sites(direct)]),
            "impression_id": self.maybe(fresh_ids(2, self.seed, 0, count), 0.72),
            "auction_id": np.r_[self.maybe(auctions, 0.97), np.zeros(direct, dtype=np.uint64)],
            "ad_campaign_id": self.maybe(campaign, 0.88),
            "price_cpm": np.r_[self.maybe(paid, 0.985), np.full(direct, -1)],
            "currency": self.currencies(currency),
            "user_agent": self.maybe(self.market.agent_of[users], 0.9),
            "country": self.maybe(self.market.country_of[users], 0.9),
            "device_type": self.maybe(self.devices(users), 0.9),
        }

    def is_bot(self, users: Codes) -> Bools:
        is_bot: Bools = (users >= self.market.users) & (
            users < self.market.users + self.market.bots
        )
        return is_bot

    def clicks_on(self, impressions: Codes, times: Codes) -> dict[str, Codes]:
        """Clicks, one on each of the impressions (row numbers), at these times."""
        seen = rows_of(self.market.tables["impressions"], impressions)
        users = self.viewers["users"][impressions]
        count = len(impressions)
        return {
            "timestamp": times,
            "user_id": users,
            "ad_campaign_id": self.viewers["campaign"][impressions],
            "click_id": np.zeros(count, dtype=np.uint64),
            "impression_id": self.maybe(seen["impression_id"], 0.85),
            "ad_creative_id": self.maybe(seen["ad_creative_id"], 0.85),
            "website": self.maybe(self.respelled(seen["website"]), 0.7),
            "user_agent": self.maybe(self.market.agent_of[users], 0.8),
        }

    def number_clicks(self, clicks: dict[str, Codes], probability: float, first: int) -> None:
        ids = fresh_ids(3, self.seed, first, len(clicks["timestamp"]))
        clicks["click_id"] = self.maybe(ids, probability)

    def _clicks(self) -> None:
        rng, impressions = self.rng, self.market.tables["impressions"]
        users, campaign = self.viewers["users"], self.viewers["campaign"]
        ctr = np.array([c.ctr for c in roster.CAMPAIGNS] + [0.008])
        is_bot = self.is_bot(users)
        eager = np.exp(1.2 * rng.standard_normal(len(self.market.agent_of)))[users]
        sums = np.bincount(campaign, eager, minlength=UNKNOWN + 1)
        counts = np.maximum(np.bincount(campaign, minlength=UNKNOWN + 1), 1)
        likely = np.minimum(ctr[campaign] * eager / np.maximum(sums / counts, 1e-9)[campaign], 0.5)
        likely = np.where(is_bot, 0.09, likely)
        clicked = np.flatnonzero(pick(rng, likely, np.where(is_bot, UNKNOWN + 1, campaign)))
        seen = impressions["timestamp"][clicked]
        delay = np.clip(self.delays(9 * SECOND, 1.3, len(clicked)), 300, 3 * HOUR)
        times = self.fit(seen, seen + delay)
        clicks = self.clicks_on(clicked, times)
        # A household shares a screen: the impression's id counts, whoever clicked.
        others = (clicks["impression_id"] != 0) & chance(rng, 0.006, len(clicked))
        clicks["user_id"] = np.where(others, self.people(len(clicked), 0), clicks["user_id"])
        # Clicks without any impression in the logs, some of which name one that is not there.
        orphans = max(6, round(0.03 * len(clicked)))
        lone = {
            "timestamp": self.times(orphans),
            "user_id": self.people(orphans, 0),
            "ad_campaign_id": draw(rng, self.shares, orphans),
            "click_id": np.zeros(orphans, dtype=np.uint64),
            "impression_id": self.maybe(fresh_ids(4, self.seed, 0, orphans), 0.4),
            "ad_creative_id": np.full(orphans, -1),
            "website": self.maybe(self.sites(orphans), 0.7),
            "user_agent": np.full(orphans, -1),
        }
        append(clicks, lone)
        self.number_clicks(clicks, 0.8, 0)
        self.clicked = clicked
        self.market.tables["clicks"] = clicks

    def _conversions(self) -> None:
        rng, clicks = self.rng, self.market.tables["clicks"]
        impressions = self.market.tables["impressions"]
        cvr = np.array([c.cvr for c in roster.CAMPAIGNS] + [0.02])
        campaign = clicks["ad_campaign_id"]
        # Who comes back to a campaign is the one who buys, most often after the last click.
        pair = group_sizes(clicks["user_id"], campaign)
        order = np.lexsort((clicks["timestamp"], campaign, clicks["user_id"]))
        is_last = np.zeros(len(order), dtype=np.bool_)
        ends = clicks["user_id"][order][1:] != clicks["user_id"][order][:-1]
        is_last[order] = np.r_[ends | (campaign[order][1:] != campaign[order][:-1]), True]
        keen = np.where(self.is_bot(clicks["user_id"]), 0.0, pair**1.5 * (0.4 + 1.6 * is_last))
        sums = np.bincount(campaign, keen, minlength=UNKNOWN + 1)
        share = np.bincount(campaign, keen > 0, minlength=UNKNOWN + 1) / np.maximum(sums, 1e-9)
        likely = np.minimum(cvr[campaign] * keen * share[campaign], 0.9)
        by_click = np.flatnonzero(pick(rng, likely, campaign))
        clicked = clicks["timestamp"][by_click]
        soon = self.delays(25 * MINUTE, 1.2, len(by_click))
        later = self.delays(1.6 * DAY, 0.9, len(by_click))
        delay = np.clip(np.where(chance(rng, 0.55, len(by_click)), soon, later), 5_000, 29 * DAY)
        # View-through: an ad seen by someone who clicks on nothing.
        views = max(3, round(0.28 * len(by_click)))
        viewers, seen_campaign = self.viewers["users"], self.viewers["campaign"]
        quiet = ~np.isin(viewers, clicks["user_id"]) & ~self.is_bot(viewers)
        expected = np.where(quiet, views / max(1, int(quiet.sum())), 0.0)
        by_view = np.flatnonzero(pick(rng, expected, seen_campaign))
        seen = impressions["timestamp"][by_view]
        wait = np.clip(self.delays(3 * HOUR, 1.0, len(by_view)), 5_000, DAY - MINUTE)
        # And conversions of people whom no ad reached.
        bots_end = self.market.users + self.market.bots
        strangers = np.arange(bots_end, len(self.market.agent_of))
        drawn = draw(rng, self.shares[:UNKNOWN], len(strangers))
        users = np.r_[clicks["user_id"][by_click], viewers[by_view], strangers]
        campaign = np.r_[campaign[by_click], seen_campaign[by_view], drawn]
        times = np.r_[
            self.fit(clicked, clicked + delay),
            self.fit(seen, seen + wait),
            self.times(len(strangers)),
        ]
        count = len(users)
        named_click = np.zeros(count, dtype=np.uint64)
        named_click[: len(by_click)] = self.maybe(clicks["click_id"][by_click], 0.6)
        # Converted on another device: only the click's id leads back.
        crossed = (named_click != 0) & chance(rng, 0.04, count)
        users = np.where(crossed, self.people(count, 0), users)
        goals = [roster.CONVERSION_TYPES.index(c.goal) for c in roster.CAMPAIGNS] + [0]
        kind = np.where(
            chance(rng, 0.75, count), np.array(goals)[campaign], rng.integers(0, 4, count)
        )
        kind[-4:] = 0
        of_campaign = np.array(
            [roster.CURRENCIES.index(c.currency) for c in roster.CAMPAIGNS] + [0]
        )
        currency = of_campaign[campaign]
        scale = np.array(roster.CURRENCY_SCALE)[currency]
        basket = (46 * scale * np.exp(0.7 * rng.standard_normal(count)) * 100).astype(np.int64)
        is_purchase = kind == 0
        orders = np.where(
            is_purchase & (chance(rng, 0.92, count) | (np.arange(count) >= count - 4)),
            fresh_ids(5, self.seed, 0, count),
            np.uint64(0),
        )
        paid = is_purchase & chance(rng, 0.85, count)
        self.market.tables["conversions"] = {
            "timestamp": times,
            "user_id": users,
            "conversion_type": kind,
            "conversion_id": self.maybe(fresh_ids(6, self.seed, 0, count), 0.72),
            "ad_campaign_id": self.maybe(campaign, 0.64),
            "click_id": named_click,
            "revenue": np.where(paid, basket * 100, -1),
            "currency": self.currencies(currency),
            "order_id": orders,
        }


def _rhythm(first_day: dt.date, days: int) -> Floats:
    """A weight for each hour of the period: quiet nights, busy evenings, calmer weekends."""
    hour = np.arange(24)
    day_curve = (
        1.0 + 0.55 * np.sin((hour - 9) / 24 * 2 * np.pi) + 0.25 * np.exp(-((hour - 20) ** 2) / 6)
    )
    week = np.array([1.0, 1.02, 1.05, 1.03, 0.98, 0.8, 0.76])
    weekday = (first_day.weekday() + np.arange(days)) % 7
    return (week[weekday][:, None] * day_curve[None, :]).ravel()


def _vocabularies(people: int, seed: int) -> dict[str, list[str | None]]:
    """The texts behind the codes; a `None` is written as an absent value."""
    hashes = mixed(np.arange(people, dtype=np.uint64) + np.uint64((seed & 0xFFFF) << 32 | 1 << 62))
    # Every fifth user comes from a system that numbers people.
    users: list[str | None] = [
        str(1_000_000_000 + 7 * number) if number % 5 == 3 else f"u-{value:016x}"
        for number, value in enumerate(hashes.tolist())
    ]
    sites: list[str | None] = []
    for ending in roster.SITE_ENDINGS:
        for word in roster.SITE_WORDS:
            host = f"{word}{ending}.example"
            sites += [
                host,
                f"{word.capitalize()}{ending}.Example",
                f"https://www.{host}/{word}/index.html?ref=ad&p=1",
                f"http://{host}:8080/#top",
                f"WWW.{host.upper()}",
            ]
    currencies: list[str | None] = []
    for name in roster.CURRENCIES:
        currencies += [name, name.lower(), None]
    campaigns: list[str | None] = [c.campaign_id for c in roster.CAMPAIGNS]
    creatives: list[str | None] = [f"crt-{10_001 + number}" for number in range(UNKNOWN_CREATIVE)]
    agents: list[str | None] = [agent for _, agent in roster.USER_AGENTS]
    return {
        "users": users,
        "sites": sites,
        "currencies": currencies,
        "campaigns": [*campaigns, roster.UNKNOWN_CAMPAIGN],
        "creatives": [*creatives, roster.UNKNOWN_CREATIVE],
        "agents": [*agents, *roster.BOT_AGENTS],
        "countries": [name for name, _ in roster.COUNTRIES],
        "devices": ["desktop", "mobile", "tablet"],
        "exchanges": [name for name, *_ in roster.EXCHANGES],
        "conversion_types": list(roster.CONVERSION_TYPES),
        "targetings": [
            str(number) for number in range(len(roster.SEGMENTS) * len(roster.AGE_GROUPS))
        ],
        "click_types": ["click", "Click", "CLICK", None],
    }
