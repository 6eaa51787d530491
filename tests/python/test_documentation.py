"""What the documents say is so: examples run as they are written, lists name what there is."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from advertisex.generator import FAULTS
from conftest import MakeWarehouse
from monitoring.rules import read_rules
from support import compare, raw_tables
from support.warehouses import ENGINES, ROOT, Warehouse, copied_project
from test_planted_faults import CAUGHT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MONITORING = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
CONTRACTS = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
MODELS = sorted(ROOT.glob("models/**/*.sql"))


def block(text: str, language: str, after: str = "") -> str:
    """The first code block of a language, after a place in a document."""
    found = re.search(rf"```{language}\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found, f"no {language} block after {after!r}"
    return found.group(1)


def described(model: Path) -> dict[str, Any]:
    """What the YAML beside a model says of it."""
    document = yaml.safe_load(model.with_suffix(".yml").read_text(encoding="utf-8"))
    (said,) = document["models"]
    assert isinstance(said, dict)
    return said


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.stem)
def test_every_model_opens_with_its_grain(model: Path) -> None:
    """A YAML beside each model describes it, the grain first, and every column that it lists."""
    said = described(model)
    assert said["name"] == model.stem
    assert said["description"].startswith("One row per ")
    assert [column["name"] for column in said["columns"] if not column.get("description")] == []


def test_readme_lists_the_marts() -> None:
    """Each mart with its columns in their order, as the enforced contracts have them."""
    table = README[README.index("<!-- marts -->") : README.index("<!-- /marts -->")]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", table, re.MULTILINE)
    listed = {mart: re.findall(r"`(\w+)`", columns) for mart, columns in rows}
    marts = [described(model) for model in MODELS if model.parent.name == "marts"]
    held = {mart["name"]: [column["name"] for column in mart["columns"]] for mart in marts}
    assert listed == held
    assert set(held) == set(compare.KEYS)


def test_readme_shows_what_the_demo_prints() -> None:
    """The demo's block holds each campaign of the demo, and numbers that add up."""
    shown = README[README.index("<!-- demo -->") : README.index("<!-- /demo -->")]
    counts = re.findall(r"^(cmp-\d+|unknown|all) +([\d,]+) +([\d,]+) +([\d,]+) ", shown, re.M)
    *campaigns, total = [tuple(int(n.replace(",", "")) for n in row[1:]) for row in counts]
    assert counts[-1][0] == "all"
    assert total == tuple(map(sum, zip(*campaigns, strict=True)))


@pytest.mark.parametrize("engine", ENGINES)
def test_readme_mart_builds(engine: str, make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """The README's own mart, added to a copy of the project as a user would add it."""
    project = copied_project(tmp_path)
    mart = project / "models" / "marts" / "fct_country_daily.sql"
    mart.write_text(block(README, "sql", "*A mart*"), encoding="utf-8")
    mart.with_suffix(".yml").write_text(block(README, "yaml", "*A mart*"), encoding="utf-8")
    warehouse = make_warehouse(engine)
    raw_tables.write(warehouse, {"impressions": [impression("FR"), impression(None)]})
    warehouse.dbt(
        *("build", "--exclude-resource-type", "unit_test", "--indirect-selection", "buildable"),
        *("--select", "+fct_country_daily"),
        project=project,
    )
    rows = warehouse.rows("select * from marts.fct_country_daily")
    assert sorted(rows, key=str) == [
        {"date": date(2024, 6, 9), "country": "FR", "impressions": 1},
        {"date": date(2024, 6, 9), "country": "unknown", "impressions": 1},
    ]


def test_monitoring_lists_kinds_and_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/monitoring.md: each kind of alert, each fault that can be planted, and its rules."""

    def listed(name: str, cells: str) -> list[str]:
        table = MONITORING[MONITORING.index(f"<!-- {name} -->") :]
        found = re.findall(cells, table[: table.index(f"<!-- /{name} -->")], re.MULTILINE)
        return [word for cell in found for word in re.findall(r"`(\w+)`", cell)]

    kinds = set(read_rules().rules)
    assert set(listed("kinds", r"^\| ([^|]*) \|")) == kinds
    assert listed("faults", r"^\| ([^|]*) \|") == [name for name in FAULTS if name != "none"]
    told = listed("faults", r"\| ([^|]*) \|$")
    assert told == [CAUGHT[name].split("/")[0] for name in FAULTS if name != "none"]
    for name, what in FAULTS.items():
        assert name == "none" or f"| `{name}` | {what} |" in MONITORING
    own = tmp_path / "alerts.yml"
    own.write_text(block(MONITORING, "yaml"), encoding="utf-8")
    monkeypatch.setenv("ADX_ALERTS", str(own))
    assert read_rules().rules["budget_overspent"].thresholds == {"pacing": 1.05}


def impression(country: str | None) -> dict[str, Any]:
    """A raw impression."""
    return raw_tables.complete(
        "impressions",
        {
            "timestamp": datetime(2024, 6, 9, 12),
            "user_id": "u1",
            "ad_creative_id": "crt-1",
            "website": "news.example",
            "country": country,
            "_file": "/landing/impressions/a.json",
            "_position": 1,
            "_loaded_at": datetime(2024, 6, 10),
            "_dlt_load_id": "1",
        },
    )


def test_contracts_example_loads(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """docs/contracts.md: a JSON array with other key names, and its YAML."""
    contract, feed = tmp_path / "acme.yml", tmp_path / "2024-06-09.json"
    contract.write_text(block(CONTRACTS, "yaml"), encoding="utf-8")
    feed.write_text(block(CONTRACTS, "json"), encoding="utf-8")
    row = loaded(make_warehouse("duckdb"), "impressions", "--contract", str(contract), str(feed))
    assert row["timestamp"] == datetime(2024, 6, 9, 11, 54, 56, 123_000)
    assert (row["user_id"], row["ad_creative_id"], row["ad_campaign_id"]) == (
        "u-1",
        "crt-7",
        "cmp-1",
    )
    assert (row["website"], row["price_cpm"], row["currency"]) == (
        "news.example",
        Decimal("1.25"),
        "EUR",
    )
    assert '"slot"' in row["extra"]


def loaded(warehouse: Warehouse, stream: str, *arguments: str) -> dict[str, Any]:
    """Load with the command line; returns the one row that comes of it."""
    warehouse.adx("load", *arguments)
    assert warehouse.rows("select * from raw.rejected_records") == []
    (row,) = warehouse.rows(f"select * from raw.{stream}")
    return row
