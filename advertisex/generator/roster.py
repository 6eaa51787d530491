"""The cast of the simulated market: who advertises, where, at what price, and who looks.

Plain data. All names are invented; hosts end in `.example`, as RFC 2606 reserves it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Campaign:
    """One campaign; shares are of all impressions, rates are probabilities.

    `rate` is in `currency`: for 1,000 impressions (`cpm`), a click (`cpc`), a conversion (`cpa`).
    """

    campaign_id: str
    name: str
    advertiser: str
    pricing_model: str
    rate: str | None
    currency: str
    share: float
    ctr: float
    cvr: float
    win_rate: float
    goal: str


# fmt: off
CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign("cmp-101", "Trail shoes, spring", "Nordlicht Outdoor", "auction", None, "EUR",
             0.14, 0.0060, 0.040, 0.44, "purchase"),
    Campaign("cmp-102", "City e-bikes\n(brand)", "Veloform", "cpm", "2.4", "EUR",
             0.12, 0.0085, 0.042, 0.40, "lead"),
    Campaign("cmp-103", "Checking account", "Harbour Bank", "cpa", "38.5", "GBP",
             0.11, 0.0072, 0.048, 0.38, "signup"),
    Campaign("cmp-104", "Weekend in Lisbon", "Atlantica Air", "auction", None, "USD",
             0.10, 0.0096, 0.040, 0.47, "purchase"),
    Campaign("cmp-105", "Summer dresses", "Maison Colibri", "cpc", "0.42", "EUR",
             0.09, 0.0108, 0.048, 0.41, "purchase"),
    Campaign("cmp-106", "Home insurance", "Harbour Bank", "auction", None, "GBP",
             0.08, 0.0084, 0.052, 0.35, "lead"),
    Campaign("cmp-107", "Meal kits, 40 % off", "Kitchen Crate", "cpc", "0.65", "USD",
             0.07, 0.0132, 0.060, 0.45, "purchase"),
    Campaign("cmp-108", "Puzzle Islands", "Lumen Games", "cpa", "2.1", "USD",
             0.06, 0.0156, 0.050, 0.52, "signup"),
    Campaign("cmp-109", "Noise-cancelling headphones", "Tonwerk", "auction", None, "EUR",
             0.06, 0.0108, 0.062, 0.43, "purchase"),
    Campaign("cmp-110", 'The "quiet" dishwasher', "Fjord Appliances", "cpm", "3.1", "SEK",
             0.05, 0.0140, 0.062, 0.39, "purchase"),
    Campaign("cmp-111", "Basket left behind", "Nordlicht Outdoor", "auction", None, "EUR",
             0.04, 0.0180, 0.072, 0.57, "purchase"),
    Campaign("cmp-112", "Language course; 7 days free", "Polyglot Hub", "cpc", "0.38", "USD",
             0.03, 0.0190, 0.080, 0.48, "signup"),
    Campaign("cmp-113", "東京の夜 / Tokyo nights", "Atlantica Air", "cpm", "310", "JPY",
             0.03, 0.0180, 0.072, 0.42, "purchase"),
    Campaign("cmp-114", "Returning guests", "Maison Colibri", "cpa", "6.25", "EUR",
             0.02, 0.0195, 0.090, 0.60, "purchase"),
)
# fmt: on

# Events name it, no reference row does (semantics section 4 keeps such an id).
UNKNOWN_CAMPAIGN = "cmp-900"
# No reference row knows it: an event with it and without a campaign is `unknown`.
UNKNOWN_CREATIVE = "crt-90001"

CREATIVES_PER_CAMPAIGN = 4
CREATIVE_FORMATS: tuple[tuple[str, int, int], ...] = (
    ("banner", 300, 250),
    ("banner", 728, 90),
    ("banner", 320, 50),
    ("video", 1920, 1080),
    ("native", 1200, 627),
    ("banner", 160, 600),
)

CURRENCIES = ("USD", "EUR", "GBP", "SEK", "JPY")
# How many units of a currency buy roughly what a dollar buys, to draw amounts of a likely size.
CURRENCY_SCALE = (1.0, 0.92, 0.79, 10.5, 150.0)

EXCHANGES: tuple[tuple[str, str, float], ...] = (
    ("openmarket", "USD", 0.46),
    ("adplatz", "EUR", 0.31),
    ("thames-x", "GBP", 0.15),
    ("nordbid", "SEK", 0.08),
)

COUNTRIES: tuple[tuple[str, float], ...] = (
    ("US", 0.31),
    ("DE", 0.19),
    ("GB", 0.15),
    ("FR", 0.11),
    ("SE", 0.06),
    ("JP", 0.06),
    ("NL", 0.05),
    ("ES", 0.04),
    ("BR", 0.03),
)

SITE_WORDS = (
    "daily",
    "herald",
    "kitchen",
    "garden",
    "goal",
    "pixel",
    "metro",
    "travel",
    "forum",
    "weather",
    "recipe",
    "market",
    "score",
    "auto",
    "family",
    "science",
    "studio",
    "night",
    "river",
    "cloud",
)
SITE_ENDINGS = ("news", "online", "hub", "world", "post", "blog", "tv", "times")

# Agents of people: none matches a pattern of the crawler list.
USER_AGENTS: tuple[tuple[str, str], ...] = (
    (
        "desktop",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 "
        "(KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    ),
    (
        "mobile",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    ),
    (
        "mobile",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 "
        "(KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
    ),
    (
        "desktop",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    ),
    ("desktop", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0"),
    (
        "mobile",
        "Mozilla/5.0 (Linux; Android 13; SM-A536B) AppleWebKit/537.36 "
        "(KHTML, like Gecko) Chrome/125.0.0.0 Mobile Safari/537.36",
    ),
    (
        "tablet",
        "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    ),
    ("desktop", "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"),
)
USER_AGENT_WEIGHTS = (0.29, 0.22, 0.16, 0.1, 0.08, 0.08, 0.05, 0.02)

# Agents of machines, as they really call: each matches a pattern of the crawler list.
BOT_AGENTS: tuple[str, ...] = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "HeadlessChrome/120.0.0.0 Safari/537.36",
    "python-requests/2.31.0",
)

CONVERSION_TYPES = ("purchase", "signup", "lead", "add_to_cart")

SEGMENTS = (
    "in-market:shoes",
    "in-market:travel",
    "sports",
    "parents",
    "finance",
    "gaming",
    "home & garden",
    "music",
)
AGE_GROUPS = (None, "18-24", "25-34", "35-54", "55+")
