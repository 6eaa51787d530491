"""Our attribution credits agree with the package `mta` 0.0.9 where both define the model.

The paths are those that the package ships, each as a user who clicks on one website after
another and then converts; a channel of the package is a website of ours.

- ``last_touch``, ``first_touch``: the same in both.
- ``linear``: the package's ``share="proportional"`` credits each touch alike, as section 7 does;
  its default credits each *different* channel alike, which is another model.
- ``position_based``: the same in both with the package's default weights 40/40 (½, ½ for two).
- ``time_decay``: not comparable. The package's weights grow by rank (1, 2, 3 …) over different
  channels and know no time; section 7's halve every 604,800 seconds.

The package removes channels that repeat in a row unless ``allow_loops`` is set, and rounds to 6
places unless ``normalize`` is off.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

import pandas as pd
import pytest
from mta import MTA

from reference.funnel import Row, Rows
from support import raw_tables
from support.warehouses import Warehouse

CONVERTED_AT = datetime(2024, 6, 9, 12)
PATHS = 400
AGREEING = {
    "last_touch": "last_touch",
    "first_touch": "first_touch",
    "linear": "linear",
    "position_based": "pos_based",
}


def shipped_paths() -> pd.DataFrame:
    """Some of the package's paths, of all lengths, that led to a conversion."""
    everything = MTA(data="data.csv.gz", allow_loops=True, add_timepoints=False).data
    converted = everything[everything["total_conversions"] > 0]
    return converted.iloc[:: max(1, len(converted) // PATHS)].head(PATHS)


def as_raw(paths: pd.DataFrame) -> dict[str, Rows]:
    """Each path as the clicks and the conversion of one user."""
    raw = raw_tables.empty()

    def add(stream: str, row: Row) -> None:
        lineage: Row = {
            "_file": f"/landing/{stream}/paths.csv",
            "_position": len(raw[stream]) + 1,
            "_loaded_at": CONVERTED_AT,
            "_dlt_load_id": "1.0",
        }
        raw[stream].append(raw_tables.complete(stream, row | lineage))

    for number, path in enumerate(paths["path"]):
        user = f"user-{number}"
        for back, website in enumerate(reversed(path)):
            add(
                "clicks",
                {
                    "timestamp": CONVERTED_AT - timedelta(hours=back),
                    "user_id": user,
                    "ad_campaign_id": "campaign",
                    "click_id": f"{user}-{back}",
                    "website": website,
                },
            )
        add(
            "conversions",
            {
                "timestamp": CONVERTED_AT,
                "user_id": user,
                "conversion_type": "purchase",
                "conversion_id": f"{user}-converts",
            },
        )
    return raw


def test_credits_agree_with_mta(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    """The credits by channel of four models, within 1e-9 for each conversion."""
    paths = shipped_paths()
    assert {1, 2, 3} <= {len(path) for path in paths["path"]}

    raw_tables.write(warehouse, as_raw(paths))
    warehouse.dbt(
        "build", "--select", "+fct_attribution", "--exclude-resource-type", "test", "unit_test"
    )
    ours: dict[str, dict[str, float]] = defaultdict(dict)
    for row in warehouse.rows(
        "select model, website, sum(credit) as credit from marts.fct_attribution group by 1, 2"
    ):
        ours[row["model"]][row["website"]] = float(row["credit"])

    frame = paths.assign(path=[" > ".join(path) for path in paths["path"]], total_conversions=1)
    theirs = MTA(data=frame, allow_loops=True, add_timepoints=False)
    theirs.linear(share="proportional", normalize=False)
    theirs.position_based(normalize=False)
    theirs.first_touch(normalize=False)
    theirs.last_touch(normalize=False)
    capsys.readouterr()  # the package prints each model's time

    for model, name in AGREEING.items():
        assert ours[model] == pytest.approx(theirs.attribution[name], abs=1e-9 * len(paths)), model
