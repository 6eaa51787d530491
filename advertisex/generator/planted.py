"""One fault in otherwise quiet logs, so that whatever watches them can be seen to catch it.

Quiet logs have copies, late records and a few rejects, as all logs do, but no day that stands out:
no flood, no damaged file, no new price. A fault lies on one day, or lasts from that day on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from advertisex.generator.faults import Fault, campaign_id, plant_anomaly
from advertisex.generator.model import (
    CURRENCY_SPELLINGS,
    DAY,
    Bools,
    Codes,
    Simulation,
    chance,
    rows_of,
)
from advertisex.generator.writers import Amount, Style, Text

FAULTS: Mapping[str, str] = {
    "none": "nothing: quiet days",
    "few_impressions": "a tenth of the impressions on a day",
    "many_clicks": "ten times the clicks of one campaign on a day",
    "stream_stops": "no impressions from a day on",
    "campaign_stops": "nothing of one campaign from a day on",
    "null_user_agents": "no user agent on 30 % of a day's impressions",
    "new_field": "a field that no impression had before, from a day on",
    "changed_type": "prices of impressions as text with a comma, on a day",
    "rejects": "5 % of a day's impressions are rejected",
    "unknown_currency": "a day's amounts in a currency that has no rate",
    "small_budget": "a campaign's budget cut to a cent, as of a day",
}
_CAMPAIGN = 1  # the one whose budget is cut, or that stops
_STREAM = "impressions"
_NEW_FIELD = "consent"
_CURRENCY = "XTS"  # the code that ISO 4217 reserves for tests


@dataclass(frozen=True)
class Spoilt:
    """Records of a day that are written so that the contract rejects them."""

    columns: dict[str, Codes]
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Planted:
    """A fault by its name; `day` counts from the first, `campaign` is the one concerned."""

    name: str
    day: int
    campaign: str | None = None
    spoilt: Spoilt | None = field(default=None, compare=False)

    def style(self, feed: str, day: int, style: Style, plain: Style) -> Style:
        """How a file of the feed is written that day; `plain` can hold any spoilt record."""
        if feed != _STREAM or day < self.day:
            return style
        if self.name == "new_field":
            return replace(style, extras=(*style.extras, _NEW_FIELD))
        if self.spoilt is not None and day == self.day:
            return plain
        return style


def plant(simulation: Simulation, name: str, day: int) -> Planted:
    """Change the events as the fault does. The days before are those of quiet logs."""
    market = simulation.market
    # Draws of its own: the same quiet days before, whatever the fault.
    simulation.rng = np.random.default_rng([simulation.seed, day])
    rng, table = simulation.rng, market.tables[_STREAM]
    when = (table["timestamp"] - market.start) // DAY
    on_day = when == day
    match name:
        case "few_impressions":
            _keep(simulation, _STREAM, ~on_day | chance(rng, 0.1, len(when)))
        case "many_clicks":
            plant_anomaly(simulation, day)
            assert market.anomaly is not None
            return Planted(name, day, campaign_id(market.anomaly.campaign))
        case "stream_stops":
            _keep(simulation, _STREAM, when < day)
        case "campaign_stops":
            for stream, events in market.tables.items():
                ended = events["timestamp"] >= market.start + day * DAY
                _keep(simulation, stream, ~ended | (market.resolve_campaigns(stream) != _CAMPAIGN))
            return Planted(name, day, campaign_id(_CAMPAIGN))
        case "null_user_agents":
            absent = on_day & chance(rng, 0.3, len(when))
            table["user_agent"] = np.where(absent, -1, table["user_agent"])
        case "changed_type":
            comma = Fault("bad_type:price_cpm", {"price_cpm": Text("1,25")})
            gone = on_day & chance(rng, 0.9, len(when))
            return Planted(name, day, spoilt=_spoil(simulation, gone, (comma,)))
        case "rejects":
            faults = (
                Fault("missing:user_id", {"user_id": Text(None)}),
                Fault("missing:website", {"website": Text("")}),
                Fault("out_of_range:price_cpm", {"price_cpm": Amount("-0.75")}),
                Fault("malformed", broken="cut"),
            )
            gone = on_day & chance(rng, 0.05, len(when))
            return Planted(name, day, spoilt=_spoil(simulation, gone, faults))
        case "unknown_currency":
            known = len(market.vocabularies["currencies"])
            market.vocabularies["currencies"] += [_CURRENCY] * CURRENCY_SPELLINGS
            strange = on_day & (table["price_cpm"] >= 0) & chance(rng, 0.03, len(when))
            table["currency"] = np.where(strange, known, table["currency"])
        case "small_budget":
            return Planted(name, day, campaign_id(_CAMPAIGN))
        case _:
            return Planted(name, day)
    return Planted(name, day)


def _keep(simulation: Simulation, stream: str, kept: Bools) -> None:
    table = simulation.market.tables[stream]
    simulation.market.tables[stream] = rows_of(table, np.flatnonzero(kept))


def _spoil(simulation: Simulation, gone: Bools, faults: tuple[Fault, ...]) -> Spoilt:
    columns = rows_of(simulation.market.tables[_STREAM], np.flatnonzero(gone))
    _keep(simulation, _STREAM, ~gone)
    drawn = simulation.rng.integers(0, len(faults), len(columns["timestamp"]))
    return Spoilt(columns, tuple(faults[number] for number in drawn.tolist()))


def budget_cut(planted: Planted) -> tuple[int, int] | None:
    """The campaign whose budget is cut, by its number in the roster, and the day."""
    return (_CAMPAIGN, planted.day) if planted.name == "small_budget" else None
