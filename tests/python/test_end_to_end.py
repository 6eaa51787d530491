"""From files to marts with the commands alone: generate, load, build; on both engines.

What the generator says it wrote (`truth.json`) is what the raw tables and the marts must hold, and
the reference must find the same funnel in the loaded rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from advertisex.generator.truth import Truth, read_truth
from conftest import MakeWarehouse
from landing import LONG
from reference.funnel import (
    EVENT_STREAMS,
    OWN_ID,
    REFERENCE_STREAMS,
    Row,
    Rows,
    Seeds,
    funnel,
    identity,
    identity_text,
)
from support import compare, raw_tables
from support.warehouses import ENGINES, Warehouse

EVENTS = 200_000 if LONG else 20_000
DAYS = 20
FACTS = {stream: f"fct_{stream}" for stream in EVENT_STREAMS}


@dataclass
class Loaded:
    """A generated folder, loaded and built on one engine."""

    landing: Path
    truth: Truth
    warehouse: Warehouse
    _marts: dict[str, Rows] = field(default_factory=dict)
    _raw: dict[str, Rows] = field(default_factory=dict)

    @property
    def marts(self) -> dict[str, Rows]:
        if not self._marts:
            self._marts = compare.read_marts(self.warehouse)
        return self._marts

    @property
    def raw(self) -> dict[str, Rows]:
        if not self._raw:
            self._raw = raw_tables.read(self.warehouse)
        return self._raw

    def relative(self, path: str) -> str:
        """A file's path as the truth names it."""
        return Path(path).relative_to(self.landing).as_posix()


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory, make_warehouse: MakeWarehouse) -> Path:
    """A generated landing folder."""
    out = tmp_path_factory.mktemp("generated") / "landing"
    arguments = ("--events", str(EVENTS), "--days", str(DAYS), "--seed", "7")
    make_warehouse("duckdb").adx("generate", str(out), *arguments)
    return out


@pytest.fixture(scope="module")
def on_engine(landing: Path, make_warehouse: MakeWarehouse) -> dict[str, Loaded]:
    """The folder loaded and built on each engine."""
    truth = read_truth(landing / "truth.json")
    result = {}
    for engine in ENGINES:
        warehouse = make_warehouse(engine)
        warehouse.adx("load", str(landing))
        warehouse.adx("build")
        result[engine] = Loaded(landing, truth, warehouse)
    return result


@pytest.fixture(params=ENGINES)
def loaded(request: pytest.FixtureRequest, on_engine: Mapping[str, Loaded]) -> Loaded:
    """The folder on one engine."""
    return on_engine[request.param]


def counts(rows: Rows, column: str) -> dict[Any, int]:
    """How many rows have each value; null left out."""
    return dict(Counter(row[column] for row in rows if row[column] is not None))


def test_records_equal_truth(loaded: Loaded) -> None:
    """Section 2: what was accepted and what was refused, and why, by stream."""
    for stream, truth in loaded.truth.streams.items():
        refused = [row for row in loaded.raw["rejected_records"] if row["stream"] == stream]
        assert counts(refused, "reason") == truth.rejected, stream
        accepted = len(loaded.raw[stream]) if stream in loaded.raw else 0
        assert accepted == truth.accepted, stream
        assert accepted + len(refused) == truth.records_read, stream


def test_files_equal_truth(loaded: Loaded) -> None:
    """Section 2: a row for each file, and every record is where its file's row says."""
    rows = {loaded.relative(row["file"]): row for row in loaded.raw["loaded_files"]}
    assert len(rows) == len(loaded.raw["loaded_files"])
    assert set(rows) == set(loaded.truth.files)
    assert loaded.truth.skipped_files
    accepted = Counter(
        loaded.relative(row["_file"])
        for stream in (*EVENT_STREAMS, *REFERENCE_STREAMS)
        for row in loaded.raw[stream]
    )
    refused: dict[str, Counter[str]] = {}
    for row in loaded.raw["rejected_records"]:
        refused.setdefault(loaded.relative(row["file"]), Counter())[row["reason"]] += 1
    for name, row in rows.items():
        truth = loaded.truth.files[name]
        assert row["stream"] == truth.stream, name
        assert row["size"] == (loaded.landing / name).stat().st_size, name
        assert row["records_read"] == truth.records_read, name
        assert row["accepted"] == truth.accepted == accepted[name], name
        assert row["rejected"] == truth.rejected_records, name
        assert dict(refused.get(name, {})) == truth.rejected, name


def test_identities_follow_from_the_fields(loaded: Loaded) -> None:
    """Section 3: `text_md5` and `version_text`, computed anew from each raw row."""
    for stream in EVENT_STREAMS:
        for row in loaded.raw[stream]:
            assert row["event_id"] == identity(stream, row)
            assert (row["text_md5"] is None) == (row[OWN_ID[stream]] is not None)
    for stream in REFERENCE_STREAMS:
        for row in loaded.raw[stream]:
            assert row["version_text"] == identity_text(stream, row)


def test_events_equal_truth(loaded: Loaded) -> None:
    """Sections 3 and 5: distinct events, their copies, and who is invalid for what reason."""
    for stream, mart in FACTS.items():
        truth, facts = loaded.truth.streams[stream], loaded.marts[mart]
        assert len(facts) == truth.events, stream
        assert sum(row["copies"] - 1 for row in facts) == truth.extra_copies, stream
        found = counts(facts, "invalid_reason")
        assert found == {reason: n for reason, n in truth.invalid.items() if n}, stream
    for stream, mart in (("campaigns", "dim_campaigns"), ("creatives", "dim_creatives")):
        assert len(loaded.marts[mart]) == loaded.truth.streams[stream].current_versions
    versions = loaded.truth.streams["campaigns"].versions
    assert len(loaded.marts["dim_campaign_versions"]) == versions


def test_campaigns_equal_truth(loaded: Loaded) -> None:
    """Section 4: the valid events of each campaign, summed over days and over hours."""
    for mart in ("fct_campaign_daily", "fct_campaign_hourly"):
        for stream in ("bid_requests", "impressions", "clicks"):
            sums: Counter[str] = Counter()
            for row in loaded.marts[mart]:
                sums[row["campaign_id"]] += row[stream]
            assert dict(+sums) == loaded.truth.streams[stream].valid_by_campaign, (mart, stream)


def test_records_are_conserved(loaded: Loaded) -> None:
    """Section 9, law 1, in the mart that watches it."""
    sums: dict[str, Counter[str]] = {}
    for row in loaded.marts["fct_data_quality_daily"]:
        numbers = {name: n for name, n in row.items() if name not in ("stream", "date")}
        sums.setdefault(row["stream"], Counter()).update(numbers)
    for stream, truth in loaded.truth.streams.items():
        row = sums[stream]
        assert row["records_read"] == truth.records_read, stream
        assert row["accepted"] == truth.accepted, stream
        rejected = sum(n for name, n in row.items() if name.startswith("rejected_"))
        assert row["records_read"] == row["accepted"] + rejected, stream
        if stream in FACTS:
            events = len(loaded.marts[FACTS[stream]])
            assert row["accepted"] == events + row["extra_copies"], stream


def test_additive_measures_add_up(loaded: Loaded) -> None:
    """Section 9, law 1: the counts have one sum at every roll-up."""
    marts = ("fct_campaign_hourly", "fct_campaign_daily", "fct_creative_daily", "fct_website_daily")
    skipped = ("campaign_id", "hour", "spend", "revenue")
    measures = [name for name in loaded.marts[marts[0]][0] if name not in skipped]
    assert len(measures) == 13
    for name in measures:
        sums = {mart: sum(row[name] for row in loaded.marts[mart]) for mart in marts}
        assert len(set(sums.values())) == 1, (name, sums)


def test_planted_anomaly_is_found(loaded: Loaded) -> None:
    """Section 8: the day with ten times the clicks stands out."""
    planted = loaded.truth.anomaly
    assert planted is not None
    assert planted.is_detectable
    found = [
        row
        for row in loaded.marts["fct_campaign_anomalies"]
        if row["is_anomaly"] and row["metric"] == planted.metric
    ]
    days = {(row["campaign_id"], row["date"].isoformat()): row["value"] for row in found}
    assert days[planted.campaign_id, planted.date] == planted.clicks


def test_reference_finds_the_same_funnel(loaded: Loaded, seeds: Seeds) -> None:
    """Sections 3 to 8 by brute force from the loaded rows: links, attribution and all marts."""
    found = compare.marts_differences(loaded.marts, funnel(loaded.raw, seeds))
    assert not found, "\n" + "\n".join(found)


def without_load(marts: Mapping[str, Rows]) -> dict[str, Rows]:
    """The marts but for what depends on the time of the load."""
    by_stream: dict[str, Row] = {}
    for row in marts["fct_data_quality_daily"]:
        sums = by_stream.setdefault(row["stream"], {"stream": row["stream"], "date": None})
        for name, value in row.items():
            if name not in ("stream", "date", "late_events"):
                sums[name] = sums.get(name, 0) + value
    return {**marts, "fct_data_quality_daily": list(by_stream.values())}


def test_both_engines_hold_equal_marts(on_engine: Mapping[str, Loaded]) -> None:
    """Section 9, law 4."""
    duckdb, postgres = (without_load(on_engine[engine].marts) for engine in ENGINES)
    found = compare.marts_differences(postgres, duckdb)
    assert not found, "\n" + "\n".join(found)


def test_a_second_time_changes_nothing(loaded: Loaded) -> None:
    """Section 9, law 3: files that were loaded before are skipped, and said so."""
    marts, raw = loaded.marts, loaded.raw
    again = loaded.warehouse.adx("load", str(loaded.landing))
    assert "skipped" in again.stdout.lower()
    loaded.warehouse.adx("build")
    after = raw_tables.read(loaded.warehouse)
    for table in raw:
        assert len(after[table]) == len(raw[table]), table
    found = compare.marts_differences(compare.read_marts(loaded.warehouse), marts)
    assert not found, "\n" + "\n".join(found)
