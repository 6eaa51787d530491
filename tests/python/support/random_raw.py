"""Random raw tables that are small where it matters.

Few users, few campaigns and times on a coarse grid, so that ties, both ends of every window,
floods, copies, changes of version, amounts without a rate and events without ids all occur in
some thousand events. Text is drawn so that byte order, the order of a locale and the order of
insertion all differ.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from reference.funnel import EVENT_STREAMS, OWN_ID, REFERENCE_STREAMS, Row, Rows
from support.raw_tables import complete, empty

# The days hold the change to daylight saving time in New York (2024-03-10).
START = datetime(2024, 2, 20)
DAYS = 48
LONG_AGO = (datetime(2000, 1, 2), datetime(2019, 12, 31))  # before the first rate
LOADS = (
    datetime(2024, 3, 5, 6),
    datetime(2024, 3, 6),
    datetime(2024, 3, 20, 23, 59, 59, 999_999),
    datetime(2024, 4, 9, 12, 30),
)
USERS = ("u1", "U1", "Zoë", "_x", "a b", "aa", "B-2", "10", "9", "é")
VIEWERS = ("viewer", "Viewer", "only-looks")  # never click, so that views are touches
CAMPAIGNS = ("auction", "cpm", "cpc", "cpa", "mixed", "Mixed", "short", "late", "priceless")
STRANGE_CAMPAIGNS = ("not-in-reference", "unknown")
CREATIVES = ("k1", "K1", "k2", "_k", "k10", "k9")
WEBSITES = ("news.example", "zoo.example", "éclair.example", "a-b.example", "_x.example")
# Nobody quotes XAT.
CURRENCIES = ("USD", "USD", "EUR", "GBP", "JPY", "IDR", "XAT")
TYPES = ("purchase", "signup", "lead", "add_to_cart", "no-such-type")
AGENTS = (
    None,
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/124.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.4 Safari/605.1.15",
    "Opera/9.80 (Windows NT 6.1) Presto/2.12 Version/12.16",
)
BOTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/8.5.0",
    "python-requests/2.31.0",
)
REASONS = (
    "malformed",
    "missing:timestamp",
    "missing:user_id",
    "bad_type:price_cpm",
    "out_of_range:timestamp",
)
MICROSECOND = timedelta(microseconds=1)
GRID = timedelta(hours=6)


class Maker:
    """Draws the rows of all tables from one seed."""

    def __init__(self, seed: int, conversion_types: Sequence[str] = TYPES) -> None:
        self.random = random.Random(seed)
        self.types = tuple(conversion_types)
        self.serial = 0
        self.raw = empty()

    def new_id(self) -> str:
        """An id whose place among others depends on how text is ordered."""
        self.serial += 1
        return f"{self.random.choice('aAbBzZ_-9é')}{self.random.choice('xX')}{self.serial}"

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def time(self, campaign: str | None) -> datetime:
        """A time on the grid, beside it, or anywhere; some campaigns are not always there."""
        day = self.random.randrange(DAYS)
        if campaign == "short":
            day = self.random.choice((1, 2, 3, 30))
        elif campaign == "late":
            day = self.random.randrange(38, DAYS)
        at = START + timedelta(days=day)
        if self.maybe(0.004):
            at = self.random.choice(LONG_AGO)
        if self.maybe(0.6):
            at += GRID * self.random.randrange(4)
            return at + MICROSECOND * self.random.choice((0, 0, 0, 0, 0, -1, 1))
        return at + MICROSECOND * self.random.randrange(86_400_000_000)

    def amount(self, most: int) -> Decimal:
        """An amount with up to 6 places, now and then of the greatest or the least size."""
        if self.maybe(0.004):
            return self.random.choice(
                (Decimal("999999999999.999999"), Decimal("0.000001"), Decimal(0))
            )
        if self.maybe(0.2):
            return Decimal(self.random.randrange(most))
        return Decimal(self.random.randrange(most * 10**6)).scaleb(-6)

    def agent(self) -> str | None:
        return self.random.choice(BOTS if self.maybe(0.05) else AGENTS)

    def campaign(self) -> str:
        return self.random.choice(STRANGE_CAMPAIGNS if self.maybe(0.06) else CAMPAIGNS)

    def own_id(self) -> str | None:
        return self.new_id() if self.maybe(0.6) else None

    def some(self, stream: str, column: str) -> str | None:
        """An id of the stream that exists, or one that does not, or none."""
        rows = self.raw[stream]
        if rows and self.maybe(0.05):  # the identity of a row that may have no id of its own
            return self.random.choice(rows)["event_id"]  # type: ignore[no-any-return]
        if rows and self.maybe(0.9):
            return self.random.choice(rows)[column]  # type: ignore[no-any-return]
        return self.random.choice((None, "no-such-id"))

    def add(self, stream: str, row: Row) -> None:
        """Keep the row as a file of some load would bring it."""
        load = self.random.randrange(len(LOADS))
        lineage = {
            "_file": f"/landing/{stream}/{self.random.choice(('a', 'B', '_c', 'é'))}{load}.log",
            "_position": self.random.randrange(1, 1_000),
            "_loaded_at": LOADS[load],
            "_dlt_load_id": f"17000000{load}.{load}",
        }
        self.raw[stream].append(complete(stream, row | lineage))

    def copies(self, stream: str) -> None:
        """Send some events again: as they were, or under their own id with other values."""
        for row in list(self.raw[stream]):
            while self.maybe(0.1):
                again = dict(row)
                if row[OWN_ID[stream]] is not None and self.maybe(0.5):
                    again["timestamp"] += self.random.choice((-GRID, -MICROSECOND, GRID, 0 * GRID))
                    for column in ("user_id", "website", "ad_campaign_id"):
                        if row.get(column) is not None and self.maybe(0.5):
                            other = self.random.choice(self.raw[stream])[column]
                            again[column] = row[column] if other is None else other
                self.add(stream, again)

    def references(self) -> None:
        """Versions of campaigns and creatives, several at one time, changes of price and owner."""
        for campaign in CAMPAIGNS:
            for _ in range(self.random.randrange(2, 7)):
                model = campaign if campaign in ("auction", "cpm", "cpc", "cpa") else None
                row = {
                    "campaign_id": campaign,
                    "updated_at": START
                    + timedelta(days=self.random.randrange(-5, DAYS))
                    + GRID * self.random.choice((0, 0, 1, 2)),
                    "campaign_name": self.random.choice((None, "Spring", "spring", "Été")),
                    "advertiser": self.random.choice((None, "Acme")),
                    "pricing_model": model
                    or self.random.choice(("auction", "cpm", "cpc", "cpa", None)),
                    "rate": None if campaign == "priceless" else self.amount(5),
                    "currency": self.random.choice((None, *CURRENCIES)),
                    "daily_budget": self.random.choice((None, Decimal(0), self.amount(500))),
                    "start_date": self.random.choice((None, START.date())),
                    "time_zone": self.random.choice((None, "Europe/Berlin")),
                }
                self.add("campaigns", row)
                if self.maybe(0.3):  # the same version sent again, or another of the same time
                    self.add("campaigns", row | {"campaign_name": self.random.choice(("a", "B"))})
                    self.add("campaigns", row)
        for creative in CREATIVES:
            for _ in range(self.random.randrange(1, 4)):
                row = {
                    "creative_id": creative,
                    "campaign_id": self.campaign(),
                    "updated_at": START
                    + timedelta(days=self.random.randrange(-5, DAYS))
                    + GRID * self.random.randrange(4),
                    "creative_name": self.random.choice((None, "Banner")),
                    "width": self.random.choice((None, 300)),
                    "height": self.random.choice((None, 250)),
                }
                self.add("creatives", row)
                if self.maybe(0.4):
                    self.add("creatives", row | {"campaign_id": self.campaign()})

    def bid_request(self) -> None:
        campaign = self.campaign() if self.maybe(0.7) else None
        self.add(
            "bid_requests",
            {
                "timestamp": self.time(campaign),
                "auction_id": self.new_id(),
                "user_id": self.random.choice((None, *USERS)),
                "website": self.random.choice((None, *WEBSITES)),
                "exchange": self.random.choice((None, "openx")),
                "bid_floor_cpm": self.random.choice((None, self.amount(5))),
                "bid_price_cpm": self.random.choice((None, self.amount(9))),
                "currency": self.random.choice(CURRENCIES),
                "ad_campaign_id": campaign,
                "ad_creative_id": self.random.choice((None, "no-such-creative", *CREATIVES)),
                "user_agent": self.agent(),
                "targeting": '{"segments":["sport"]}',
            },
        )

    def impression(self) -> None:
        campaign = self.campaign() if self.maybe(0.7) else None
        self.add(
            "impressions",
            {
                "timestamp": self.time(campaign),
                "user_id": self.random.choice((*USERS, *VIEWERS)),
                "ad_creative_id": self.random.choice((*CREATIVES, *CREATIVES, "no-such-creative")),
                "website": self.random.choice(WEBSITES),
                "impression_id": self.own_id(),
                "auction_id": self.some("bid_requests", "auction_id") if self.maybe(0.6) else None,
                "ad_campaign_id": campaign,
                "price_cpm": self.amount(20) if self.maybe(0.9) else None,
                "currency": self.random.choice(CURRENCIES),
                "user_agent": self.agent(),
            },
        )

    def click(self) -> None:
        campaign = self.campaign()
        self.add(
            "clicks",
            {
                "timestamp": self.time(campaign),
                "user_id": self.random.choice(USERS),
                "ad_campaign_id": campaign,
                "click_id": self.own_id(),
                "impression_id": self.some("impressions", "impression_id")
                if self.maybe(0.3)
                else None,
                "ad_creative_id": self.random.choice((None, *CREATIVES)),
                "website": self.random.choice((None, *WEBSITES)),
                "user_agent": self.agent(),
            },
        )

    def flood(self, clicks: int) -> None:
        """So many clicks of a user on a campaign around the ends of one minute."""
        campaign, user = self.campaign(), self.random.choice(USERS)
        minute = self.time(None).replace(second=0, microsecond=0)
        for _ in range(clicks):
            offset = self.random.choice((0, 0, 59_999_999, 30_000_000, self.random.randrange(60)))
            self.add(
                "clicks",
                {
                    "timestamp": minute + MICROSECOND * offset,
                    "user_id": user,
                    "ad_campaign_id": campaign,
                    "click_id": self.new_id(),
                    "user_agent": self.agent(),
                },
            )
        for outside in (-MICROSECOND, timedelta(minutes=1)):
            row = {"timestamp": minute + outside, "user_id": user, "ad_campaign_id": campaign}
            self.add("clicks", row)

    def conversion(self) -> None:
        campaign = self.campaign() if self.maybe(0.5) else None
        self.add(
            "conversions",
            {
                "timestamp": self.time(campaign),
                "user_id": self.random.choice((*USERS, *VIEWERS, "stranger")),
                "conversion_type": self.random.choice(self.types),
                "conversion_id": self.own_id(),
                "ad_campaign_id": campaign,
                "click_id": self.some("clicks", "click_id") if self.maybe(0.4) else None,
                "revenue": self.amount(90) if self.maybe(0.6) else None,
                "currency": self.random.choice(CURRENCIES),
                "order_id": self.random.choice((None, "o1", "O1")),
            },
        )

    def window_ends(self) -> None:
        """Clicks and conversions at, and a microsecond around, the ends of the windows."""
        spans = (
            ("clicks", "impressions", timedelta(hours=24)),
            ("conversions", "clicks", timedelta(days=30)),
            ("conversions", "impressions", timedelta(days=1)),
        )
        for later, earlier, window in spans:
            for _ in range(12):
                first = self.random.choice(self.raw[earlier])
                campaign = first["ad_campaign_id"]
                if campaign is None and later == "clicks":
                    campaign = self.campaign()
                offset = self.random.choice((timedelta(0), window))
                at = first["timestamp"] + offset + MICROSECOND * self.random.choice((-1, 0, 1))
                row = {
                    "timestamp": at,
                    "user_id": first["user_id"],
                    "ad_campaign_id": campaign,
                    "conversion_type": self.random.choice(self.types),
                    "currency": "USD",
                }
                self.add(later, row)

    def twins(self) -> None:
        """Events of one moment, which only their identities tell apart."""
        pairs = (("a", "B"), ("Z", "_"), ("é", "z"), ("x1", "X1"), ("10", "9"))
        for number, pair in enumerate(pairs):
            user, campaign = f"twin-{number}", self.random.choice(CAMPAIGNS)
            at = self.time(None)
            row = {"timestamp": at, "user_id": user, "ad_campaign_id": campaign}
            shown = {"ad_creative_id": "k1", "website": "news.example", "price_cpm": Decimal(1)}
            for name in self.random.sample(pair, 2):
                self.add("impressions", row | shown | {"impression_id": f"{name}-i{number}"})
            # Seen, clicked and bought in the same microsecond.
            self.add("clicks", row | {"click_id": f"{pair[0]}-c{number}"})
            bought = {"conversion_type": "purchase", "order_id": "twice"}
            for name in self.random.sample(pair, 2):
                self.add("conversions", row | bought | {"conversion_id": f"{name}-v{number}"})
            self.add("clicks", row | {"click_id": f"{pair[1]}-c{number}"})
            # A stranger's conversion names the click, in the same microsecond.
            named = {"conversion_type": "lead", "click_id": f"{pair[0]}-c{number}"}
            self.add("conversions", row | named | {"user_id": f"stranger-{number}"})
            # One who only looks, and buys while looking.
            viewer = row | {"user_id": f"looks-{number}"}
            self.add("impressions", viewer | shown)
            self.add("conversions", viewer | {"conversion_type": "signup"})

    def near_floods(self) -> None:
        """Six clicks on each of two campaigns in a minute: no flood on either."""
        minute = self.time(None).replace(second=0, microsecond=0)
        for campaign in ("cpc", "mixed"):
            for second in range(6):
                at = minute + timedelta(seconds=second)
                row = {"timestamp": at, "user_id": "restless", "ad_campaign_id": campaign}
                self.add("clicks", row)

    def orders(self) -> None:
        """One order under a campaign, under the campaign `unknown`, and under none: no copies."""
        for campaign in ("cpa", "unknown", None):
            row = {
                "timestamp": self.time(None),
                "user_id": "buyer",
                "conversion_type": "purchase",
                "ad_campaign_id": campaign,
                "order_id": "o1",
            }
            self.add("conversions", row)
            self.add("conversions", row | {"timestamp": self.time(None)})

    def at_versions(self) -> None:
        """Events at the very moment from which a version of a campaign or creative holds."""
        for version in self.raw["campaigns"]:
            for offset in (-MICROSECOND, 0 * MICROSECOND):
                row = {
                    "timestamp": version["updated_at"] + offset,
                    "user_id": self.random.choice(USERS),
                    "ad_campaign_id": version["campaign_id"],
                    "ad_creative_id": self.random.choice(CREATIVES),
                    "website": "news.example",
                    "price_cpm": Decimal("1.5"),
                    "conversion_type": "purchase",
                }
                self.add(self.random.choice(("impressions", "clicks", "conversions")), row)
        for version in self.raw["creatives"]:
            for offset in (-MICROSECOND, 0 * MICROSECOND):
                row = {
                    "timestamp": version["updated_at"] + offset,
                    "user_id": self.random.choice(USERS),
                    "ad_creative_id": version["creative_id"],
                    "website": "news.example",
                }
                self.add("impressions", row)

    def spike(self) -> None:
        """A day with far more impressions than the days before it."""
        day = START + timedelta(days=40)
        for number in range(60):
            self.add(
                "impressions",
                {
                    "timestamp": day + timedelta(minutes=number),
                    "user_id": self.random.choice(USERS),
                    "ad_creative_id": "k1",
                    "website": "news.example",
                    "ad_campaign_id": "cpm",
                },
            )

    def rejected(self) -> None:
        """Records that were refused, also of streams and days without any other."""
        for position in range(40):
            load = self.random.randrange(len(LOADS))
            self.raw["rejected_records"].append(
                {
                    "stream": self.random.choice((*OWN_ID, "campaigns", "interactions")),
                    "file": "/landing/bad.log",
                    "position": position,
                    "line": position,
                    "raw_text": "{",
                    "reason": self.random.choice(REASONS),
                    "detail": "for the test",
                    "_loaded_at": LOADS[load],
                    "_dlt_load_id": f"17000000{load}.{load}",
                }
            )

    def loaded_files(self) -> None:
        """What the loader keeps of each file: as many records as there are rows of it."""
        accepted = Counter(
            (stream, row["_file"], row["_loaded_at"], row["_dlt_load_id"])
            for stream in (*EVENT_STREAMS, *REFERENCE_STREAMS)
            for row in self.raw[stream]
        )
        rejected = Counter(
            (row["stream"], row["file"], row["_loaded_at"], row["_dlt_load_id"])
            for row in self.raw["rejected_records"]
        )
        for key in sorted(accepted.keys() | rejected.keys()):
            stream, file, loaded_at, load_id = key
            self.raw["loaded_files"].append(
                {
                    "file": file,
                    "size": 1,
                    "content_hash": f"{stream} {file} {load_id}",
                    "stream": stream,
                    "records_read": accepted[key] + rejected[key],
                    "accepted": accepted[key],
                    "rejected": rejected[key],
                    "load_id": load_id,
                    "loaded_at": loaded_at,
                }
            )


def random_raw(
    seed: int, events: int = 3_000, conversion_types: Sequence[str] = TYPES
) -> dict[str, Rows]:
    """Raw tables with about so many events; the same seed gives the same tables."""
    maker = Maker(seed, conversion_types)
    maker.references()
    for _ in range(events // 5):
        maker.bid_request()
    for _ in range(events * 2 // 5):
        maker.impression()
    for _ in range(events // 5):
        maker.click()
    for number in range(max(4, events // 300)):
        maker.flood((13, 9, 10, 11)[number % 4])
    for _ in range(events // 8):
        maker.conversion()
    maker.window_ends()
    maker.twins()
    maker.near_floods()
    maker.orders()
    maker.at_versions()
    maker.spike()
    for stream in OWN_ID:
        maker.copies(stream)
    maker.rejected()
    maker.loaded_files()
    for rows in maker.raw.values():
        maker.random.shuffle(rows)
    return maker.raw
