"""Comparing marts: to the row, with section 9's tolerance where the page gives one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from reference.funnel import Row, Rows
from support.warehouses import Warehouse

# What makes a row of each mart one row.
KEYS: dict[str, tuple[str, ...]] = {
    "dim_campaigns": ("campaign_id",),
    "dim_campaign_versions": ("campaign_id", "valid_from"),
    "dim_creatives": ("creative_id",),
    "fct_impressions": ("event_id",),
    "fct_clicks": ("event_id",),
    "fct_conversions": ("event_id",),
    "fct_bid_requests": ("event_id",),
    "fct_attribution": ("conversion_event_id", "touch_event_id", "model"),
    "fct_campaign_hourly": ("campaign_id", "hour"),
    "fct_campaign_daily": ("campaign_id", "date"),
    "fct_campaign_cohort_daily": ("campaign_id", "date", "model"),
    "fct_creative_daily": ("creative_id", "date"),
    "fct_website_daily": ("website", "date"),
    "fct_campaign_anomalies": ("campaign_id", "date", "metric"),
    "fct_data_quality_daily": ("stream", "date"),
}
# Ratios, credits and statistics agree within 1e-9 (section 9, law 4); all else is exact. The
# number is the absolute tolerance beside the relative one: credits are cut to 12 places, and what
# a computation in doubles leaves of an exact 0 is not an error.
CLOSE = {
    "credit": 1e-9,
    "credited_conversions": 1e-9,
    "z_score": 1e-9,
    **dict.fromkeys(
        (
            "seconds_since_impression",
            "seconds_to_convert",
            "median_seconds_to_convert",
            "p90_seconds_to_convert",
            "frequency",
            "bid_rate",
            "win_rate",
            "ctr",
            "cvr",
            "cpm",
            "cpc",
            "cpa",
            "roas",
            "budget_pacing",
            "value",
            "mean",
            "standard_deviation",
        ),
        1e-12,
    ),
}
RELATIVE = 1e-9

Differences = list[str]


def is_equal(column: str, actual: Any, expected: Any) -> bool:
    """Whether two values of a column are the same, exactly or within the page's tolerance."""
    if actual is None or expected is None:
        return actual is expected
    if column in CLOSE:
        return math.isclose(float(actual), float(expected), rel_tol=RELATIVE, abs_tol=CLOSE[column])
    if isinstance(expected, Decimal | Fraction):
        return not isinstance(actual, float) and Fraction(actual) == Fraction(expected)
    if isinstance(expected, datetime) != isinstance(actual, datetime):
        return False
    if isinstance(expected, bool) != isinstance(actual, bool):
        return False
    return bool(actual == expected)


def _by_key(mart: str, rows: Sequence[Row], whose: str) -> tuple[dict[Any, Row], Differences]:
    keyed: dict[Any, Row] = {}
    problems = []
    for row in rows:
        key = tuple(row[name] for name in KEYS[mart])
        if key in keyed:
            problems.append(f"{mart}: two rows of {whose} have the key {key}")
        keyed[key] = row
    return keyed, problems


def differences(mart: str, actual: Sequence[Row], expected: Sequence[Row]) -> Differences:
    """What differs between a mart and the rows it should hold; columns as in ``expected``.

    The mart may have further columns, not fewer.
    """
    found: Differences = []
    if actual and expected:
        missing = [name for name in expected[0] if name not in actual[0]]
        if missing:
            return [f"{mart}: has no column {', '.join(missing)}"]
    actual_rows, problems = _by_key(mart, actual, "the mart")
    expected_rows, more_problems = _by_key(mart, expected, "the expectation")
    found += problems + more_problems
    found += [f"{mart}: lacks {key}" for key in expected_rows if key not in actual_rows]
    found += [f"{mart}: should not have {key}" for key in actual_rows if key not in expected_rows]
    for key, row in expected_rows.items():
        other = actual_rows.get(key)
        if other is None:
            continue
        found += [
            f"{mart}{key}.{name}: is {other[name]!r}, should be {value!r}"
            for name, value in row.items()
            if not is_equal(name, other[name], value)
        ]
    return found


def attribution_sums(rows: Sequence[Row]) -> Differences:
    """Section 7: the credits of each conversion and model sum to exactly 1."""
    sums: dict[tuple[str, str], Decimal] = {}
    for row in rows:
        key = (row["conversion_event_id"], row["model"])
        sums[key] = sums.get(key, Decimal(0)) + row["credit"]
    return [
        f"fct_attribution: the credits of {key} sum to {total}"
        for key, total in sums.items()
        if total != 1
    ]


def read_marts(warehouse: Warehouse) -> dict[str, Rows]:
    """Every mart of section 8."""
    return {mart: warehouse.rows(f"select * from marts.{mart}") for mart in KEYS}


def marts_differences(
    actual: Mapping[str, Rows], expected: Mapping[str, Rows], most: int = 5
) -> Differences:
    """The first differences of each mart in ``expected``."""
    found: Differences = []
    for mart, rows in expected.items():
        of_mart = differences(mart, actual[mart], rows)
        found += of_mart[:most]
        if len(of_mart) > most:
            found.append(f"{mart}: {len(of_mart) - most} more differences")
    if "fct_attribution" in actual:
        found += attribution_sums(actual["fct_attribution"])[:most]
    return found
