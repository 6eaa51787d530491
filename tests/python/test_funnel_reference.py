"""The marts equal an independent computation, to the row, on both engines.

Random raw tables go straight into the schema `raw`; what dbt makes of them must be what
`reference.funnel` makes of them. Runs some thousand events; `ADX_LONG=1` runs more of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import crawleruseragents
import pytest

from conftest import MakeWarehouse
from landing import LONG
from reference.funnel import Rows, Seeds, Settings, funnel
from support import compare, raw_tables
from support.random_raw import TYPES, random_raw
from support.warehouses import ENGINES, Warehouse

CASES = [(seed, 6_000) for seed in range(1, 13)] if LONG else [(1, 2_000)]
WITHOUT_TESTS = ("--exclude-resource-type", "test", "unit_test")

Marts = dict[str, Rows]


@dataclass
class Case:
    """One set of raw tables, what the reference makes of it, and what each engine makes of it."""

    raw: Mapping[str, Rows]
    expected: Marts
    engines: Mapping[str, Warehouse]
    _marts: dict[str, Marts] = field(default_factory=dict)

    def marts(self, engine: str) -> Marts:
        if engine not in self._marts:
            self._marts[engine] = built(self.engines[engine], self.raw)
        return self._marts[engine]


@pytest.fixture(scope="module")
def engines(make_warehouse: MakeWarehouse) -> dict[str, Warehouse]:
    """A warehouse on each engine for all tests here, so that dbt parses the project once."""
    return {engine: make_warehouse(engine) for engine in ENGINES}


def built(
    warehouse: Warehouse,
    raw: Mapping[str, Rows],
    *arguments: str,
    variables: Mapping[str, Any] | None = None,
) -> Marts:
    """The marts that dbt builds from these raw tables, its own tests of the data included."""
    raw_tables.write(warehouse, raw)
    without = ("--exclude-resource-type", "unit_test")  # these need no data and run elsewhere
    warehouse.dbt("build", "--full-refresh", *(arguments or without), variables=variables)
    return compare.read_marts(warehouse)


def assert_same(actual: Mapping[str, Rows], expected: Mapping[str, Rows]) -> None:
    """Fail with the first differences of each mart."""
    found = compare.marts_differences(actual, expected)
    assert not found, "\n" + "\n".join(found)


def some_types(seeds: Seeds) -> Sequence[str]:
    """Conversion types of which some have a default value and some are not in the seed."""
    return (*(row["conversion_type"] for row in seeds.conversion_types), *TYPES)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"seed{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest, seeds: Seeds, engines: Mapping[str, Warehouse]) -> Case:
    """Random raw tables."""
    seed, events = request.param
    raw = random_raw(seed, events, some_types(seeds))
    return Case(raw, funnel(raw, seeds), engines)


@pytest.mark.parametrize("engine", ENGINES)
def test_marts_equal_the_reference(case: Case, engine: str) -> None:
    """Sections 3 to 8: counts, identities and money exactly, ratios and credits within 1e-9."""
    assert_same(case.marts(engine), case.expected)


def test_marts_are_equal_on_both_engines(case: Case) -> None:
    """Section 9, law 4."""
    assert_same(case.marts("postgres"), case.marts("duckdb"))


def test_random_tables_hold_what_the_clauses_speak_of(case: Case) -> None:
    """The comparison is worth something only if every clause has a case in it."""
    expected = case.expected

    def values(mart: str, column: str) -> set[Any]:
        return {row[column] for row in expected[mart]}

    assert values("fct_clicks", "invalid_reason") == {None, "bot_user_agent", "click_flood"}
    assert values("fct_conversions", "invalid_reason") == {None, "duplicate_conversion"}
    assert values("fct_clicks", "match_method") == {None, "id", "window"}
    assert values("fct_conversions", "touch_type") == {None, "click", "view"}
    assert max(values("fct_conversions", "touches")) > 3
    assert max(values("fct_impressions", "copies")) > 1
    assert min(row["seconds_since_impression"] or 0 for row in expected["fct_clicks"]) < 0
    assert {True, False} == values("fct_impressions", "has_bid_request")
    assert None in values("fct_impressions", "spend")
    assert None in values("fct_conversions", "revenue")
    assert "unknown" in values("fct_campaign_daily", "campaign_id")
    assert {True, False} == values("fct_campaign_anomalies", "is_anomaly")
    assert None in values("fct_campaign_anomalies", "z_score")
    assert "interactions" in values("fct_data_quality_daily", "stream")


OTHER_SETTINGS = Settings(
    flood_clicks=3,
    click_to_impression=timedelta(hours=6),
    click_through=timedelta(days=7),
    view_through=timedelta(days=3),
    half_life_seconds=86_400,
    late_after=timedelta(days=4),
    anomaly_window_days=10,
    anomaly_least_days=4,
    anomaly_z_score=2,
)
OTHER_VARIABLES = {
    "click_flood_clicks": 3,
    "click_window_hours": 6,
    "click_through_days": 7,
    "view_through_days": 3,
    "time_decay_half_life_seconds": 86_400,
    "late_after_days": 4,
    "anomaly_window_days": 10,
    "anomaly_minimum_days": 4,
    "anomaly_z_score": 2,
}


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[:1])
def test_windows_are_vars(engine: str, engines: Mapping[str, Warehouse], seeds: Seeds) -> None:
    """Sections 5 to 8: other vars give other marts, those of the reference with these settings."""
    raw = random_raw(3, 600, some_types(seeds))
    expected = funnel(raw, seeds, OTHER_SETTINGS)
    usual = funnel(raw, seeds)
    changed = {mart for mart in expected if compare.differences(mart, expected[mart], usual[mart])}
    assert {"fct_clicks", "fct_conversions", "fct_attribution", "fct_campaign_anomalies"} < changed
    marts = built(engines[engine], raw, *WITHOUT_TESTS, variables=OTHER_VARIABLES)
    assert_same(marts, expected)


@pytest.mark.parametrize("engine", ENGINES if LONG else ENGINES[1:])
def test_without_any_row_every_mart_is_empty(engine: str, engines: Mapping[str, Warehouse]) -> None:
    """All raw tables exist after the first load, perhaps without a row."""
    marts = built(engines[engine], raw_tables.empty())
    assert marts == {mart: [] for mart in compare.KEYS}


def agents() -> list[str]:
    """The sample agents of the crawlers' own list, and some browsers."""
    samples = [
        instance
        for crawler in crawleruseragents.CRAWLER_USER_AGENTS_DATA
        for instance in crawler.get("instances", [])
    ]
    return sorted({*samples, *(sample.swapcase() for sample in samples[::7]), *BROWSERS})


BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/124.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Version/17.4 Mobile/15E148 Safari",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/124.0 Mobile Safari/537.36 é",
)


@pytest.mark.parametrize("engine", ENGINES)
def test_user_agents_match_as_regular_expressions(
    engine: str, engines: Mapping[str, Warehouse], seeds: Seeds
) -> None:
    """Section 5: every sample agent is judged as Python's `re` judges it, on each engine."""
    raw = raw_tables.empty()
    raw["impressions"] = [
        raw_tables.complete(
            "impressions",
            {
                "timestamp": datetime(2024, 6, 9, 12),
                "user_id": "someone",
                "ad_creative_id": "k1",
                "website": "news.example",
                "impression_id": f"i{number}",
                "user_agent": agent,
                "_file": "/landing/impressions/agents.json",
                "_position": number,
                "_loaded_at": datetime(2024, 6, 9, 13),
                "_dlt_load_id": "1.0",
            },
        )
        for number, agent in enumerate(agents())
    ]
    expected = funnel(raw, seeds)["fct_impressions"]
    assert {row["is_valid"] for row in expected} == {True, False}
    raw_tables.write(engines[engine], raw)
    select = ("--select", "+fct_impressions")
    engines[engine].dbt("build", "--full-refresh", *select, *WITHOUT_TESTS)
    actual = engines[engine].rows("select * from marts.fct_impressions")
    found = compare.differences("fct_impressions", actual, expected)
    assert not found, "\n".join(found[:20])
