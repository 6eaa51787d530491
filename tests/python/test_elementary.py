"""The project with Elementary and without: it builds, sees faults, and shows them in a report.

What runs Elementary skips where its dbt packages are not installed (`adx packages`).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import landing
from conftest import MakeWarehouse
from monitoring import packages, quality
from support.warehouses import ENGINES, ROOT, Warehouse

FIRST_DAY = date(2024, 3, 1)
QUIET_DAYS = 30
USUAL = 120  # impressions and bid requests a day
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"


def write_day(landing: Path, day: int, *, fault: bool = False) -> None:
    """One day of impressions and bid requests, a little more or less than usual.

    The fault: a tenth of the impressions, a third of them without a user agent, one exchange away.
    """
    moment = datetime.combine(FIRST_DAY + timedelta(days=day), datetime.min.time())
    usual = USUAL + 7 * (day % 3)
    seen = usual // 10 if fault else usual
    bids, impressions = [], []
    for number in range(usual):
        at = (moment + timedelta(minutes=1440 * number // usual)).isoformat()
        exchange = "north" if fault else ("north", "south")[number % 2]
        auction, campaign = f"a-{day}-{number}", f"cmp-{number % 3}"
        common = {
            "timestamp": at,
            "user_id": f"u-{number}",
            "website": f"site-{number % 4}.example",
        }
        bids.append(
            {
                **common,
                "auction_id": auction,
                "exchange": exchange,
                "bid_price_cpm": 2.5,
                "ad_campaign_id": campaign,
            }
        )
        impressions.append(
            {
                **common,
                "impression_id": f"i-{day}-{number}",
                "auction_id": auction,
                "ad_campaign_id": campaign,
                "ad_creative_id": f"crt-{number % 3}",
                "price_cpm": 2.5,
                "user_agent": None if fault and number % 3 == 0 else AGENT,
            }
        )
    for stream, records in (("bid_requests", bids), ("impressions", impressions[:seen])):
        folder = landing / stream
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{moment:%Y-%m-%d}.jsonl").write_text(lines)


def write_campaigns(landing: Path) -> None:
    """The campaigns of these days, which pay for each impression what the auction cost."""
    lines = [f"cmp-{number},2024-01-01T00:00:00Z,auction\n" for number in range(3)]
    (landing / "campaigns").mkdir()
    text = "campaign_id,updated_at,pricing_model\n" + "".join(lines)
    (landing / "campaigns" / "campaigns.csv").write_text(text)


def elementary_tests() -> int:
    """How many tests of Elementary the project's YAML lists."""
    texts = [path.read_text() for path in ROOT.glob("models/**/*.yml")]
    return sum(len(re.findall(r"^ *- elementary\.", text, re.MULTILINE)) for text in texts)


@dataclass(frozen=True)
class Watched:
    """A warehouse that Elementary watches: quiet days, then one with a fault; both builds."""

    warehouse: Warehouse
    quiet: dict[str, Any]
    faulty: dict[str, Any]

    def warned(self, build: dict[str, Any]) -> set[str]:
        return {node["name"] for node in build["nodes"] if node["status"] == "warn"}


@pytest.fixture(scope="module", params=ENGINES if landing.LONG else ENGINES[:1])
def watched(
    request: pytest.FixtureRequest,
    with_packages: MakeWarehouse,
    tmp_path_factory: pytest.TempPathFactory,
) -> Watched:
    """Days loaded and built on each engine."""
    warehouse = with_packages(request.param)
    landing = tmp_path_factory.mktemp("watched")
    write_campaigns(landing)
    builds = []
    for days, fault in ((range(QUIET_DAYS), False), (range(QUIET_DAYS, QUIET_DAYS + 1), True)):
        for day in days:
            write_day(landing, day, fault=fault)
        warehouse.adx_here("load", str(landing))
        builds.append(json.loads(warehouse.adx_here("build", "--json").stdout))
    return Watched(warehouse, *builds)


def test_quiet_days_raise_nothing(watched: Watched) -> None:
    """All of Elementary's tests ran over thirty days, and none had anything to say."""
    assert watched.warned(watched.quiet) == set()
    ran = watched.warehouse.rows(
        "select count(distinct test_unique_id) as tests from monitoring.elementary_test_results"
        " where test_type in ('anomaly_detection', 'schema_change')"
    )
    assert ran[0]["tests"] == elementary_tests() > 30


def test_a_fault_is_seen(watched: Watched) -> None:
    """The faulty day is told from the quiet ones, by what is wrong with it and by nothing else."""
    names = watched.warned(watched.faulty)
    assert {re.sub(r"^elementary_(source_)?", "", name) for name in names} == {
        "volume_anomalies_fct_impressions_event_at",
        "freshness_anomalies_fct_campaign_hourly_hour__impressions_0",
        "dimension_anomalies_fct_impressions_campaign_id__event_at",
        "dimension_anomalies_fct_impressions_4_5__website__200__50__event_at",
        "dimension_anomalies_fct_bid_requests_exchange__event_at",
        "column_anomalies_adserver_impressions_null_percent__user_agent__timestamp",
        "column_anomalies_fct_campaign_daily_4__sum__spend__date",
        "column_anomalies_fct_campaign_daily_average__win_rate__date",
    }


def test_each_warning_leads_to_its_days(watched: Watched) -> None:
    """An alert says what Elementary found, and one command shows the days and the values."""
    told = json.loads(watched.warehouse.adx_here("alerts", "--json").stdout)["open"]
    warnings = [alert for alert in told if alert["kind"] == "test_warned"]
    assert {alert["subject"] for alert in warnings} == watched.warned(watched.faulty)
    faulty = str(FIRST_DAY + timedelta(days=QUIET_DAYS))
    for alert in warnings:
        assert alert["details"], alert["key"]
        shown = watched.warehouse.adx_here("alerts", "--trace", alert["key"], "--json").stdout
        rows = json.loads(shown)["rows"]
        assert {row["since"][:10] for row in rows} == {faulty}, alert["key"]
        assert all(abs(float(row["score"])) > 3 for row in rows)  # the sensitivity of most


def test_judged_at_the_end_of_the_data(watched: Watched) -> None:
    """The last day judged is the data's own last day, years ago."""
    (row,) = watched.warehouse.rows(
        "select max(bucket_end) as until from monitoring.data_monitoring_metrics"
        " where metric_name = 'row_count' and full_table_name like '%FCT_IMPRESSIONS'"
    )
    assert row["until"] == datetime.combine(
        FIRST_DAY + timedelta(days=QUIET_DAYS + 1), datetime.min.time()
    )


def test_project_is_described_once(watched: Watched) -> None:
    """Elementary's tables hold the project's models; a build does not write them again."""
    models = {path.stem for path in ROOT.glob("models/**/*.sql")}
    rows = watched.warehouse.rows(
        "select name, min(generated_at) as first, max(generated_at) as last, count(*) as n"
        " from monitoring.dbt_models where package_name = 'advertisex' group by name"
    )
    assert {row["name"] for row in rows} == models
    assert {(row["n"], row["first"] == row["last"]) for row in rows} == {(1, True)}
    builds = watched.warehouse.rows(
        "select min(generated_at) as first from monitoring.dbt_run_results"
        " where name = 'fct_impressions' and resource_type = 'model'"
    )
    assert max(row["last"] for row in rows) < builds[0]["first"]


@pytest.fixture(scope="module")
def page(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on both builds."""
    page = tmp_path_factory.mktemp("report") / "new" / "quality.html"
    watched.warehouse.adx("report", "--quality", "--out", str(page))
    return page


def test_report_is_one_page_without_network(page: Path) -> None:
    """The page holds the results of both builds, and allows a browser no address at all."""
    html = page.read_text(encoding="utf-8")
    (encoded,) = re.findall(r"JSON\.parse\(atob\('([A-Za-z0-9+/=]+)'\)\)", html)
    held = base64.b64decode(encoded).decode()
    assert "volume_anomalies" in held
    assert "fct_campaign_daily" in held
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    assert policy and policy.start() < html.index("<script")
    assert policy.group(1).startswith("default-src 'none';")
    assert "http" not in policy.group(1)
    assert not re.search(r"<(link|script|img|iframe)\b[^>]*\b(href|src)=[\"']?(https?:)?//", html)
    assert list(page.parent.iterdir()) == [page]


def test_report_opens_in_a_browser(page: Path, tmp_path: Path) -> None:
    """A browser shows the page, which asks no server for anything; one that asks is found out."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    shown, asked = opened(browser, page, tmp_path / "report")
    assert "Test results breakdown" in shown
    assert asked == set()
    asking = tmp_path / "asking.html"
    asking.write_text('<link rel="stylesheet" href="http://127.0.0.1:9/style.css">')
    assert opened(browser, asking, tmp_path / "asking")[1] == {"http://127.0.0.1:9/style.css"}


def opened(browser: str, page: Path, scratch: Path) -> tuple[str, set[str]]:
    """What a browser makes of a page, scripts left out, and the addresses that the page asked."""
    scratch.mkdir()
    log = scratch / "net.json"
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--virtual-time-budget=20000", "--disable-background-networking"),
            *(f"--log-net-log={log}", f"--user-data-dir={scratch / 'profile'}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {
        params["url"]
        for params in events
        # What the browser asks for itself has no origin.
        if params.get("initiator", "not an origin") != "not an origin"
        and params["url"].startswith(("http", "ws"))
    }
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL), asked


def test_report_says_what_it_needs(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """Without Elementary, without a build, without the word: one line each, no page."""
    page, warehouse = tmp_path / "quality.html", make_warehouse("duckdb")
    said = warehouse.adx("report", "--quality", "--out", str(page), exit_code=1).stderr
    assert "run `adx packages`" in said
    assert said.count("\n") == 1
    said = warehouse.adx("report", exit_code=2).stderr
    assert "adx report --quality" in said
    assert not page.exists()


def test_report_on_a_locked_or_unbuilt_warehouse(
    with_packages: MakeWarehouse, tmp_path: Path
) -> None:
    """A file that another process holds, and a warehouse without a build, are said to be so."""
    warehouse = with_packages("duckdb")
    page = tmp_path / "quality.html"
    page.write_text("the last report")
    said = warehouse.adx("report", "--quality", "--out", str(page), exit_code=1).stderr
    assert "run `adx build` first" in said
    hold = (
        f"import duckdb; c = duckdb.connect({warehouse.env['ADX_DUCKDB_PATH']!r}); print(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout and holder.stdin
        holder.stdout.readline()
        said = warehouse.adx("report", "--quality", "--out", str(page), exit_code=1).stderr
        holder.stdin.close()
    assert f"is held by process {holder.pid}" in said
    assert page.read_text() == "the last report"


def test_builds_without_elementary(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """Plain dbt, no variable set, no package: no warning of dbt's, none of Elementary's tests."""
    warehouse = make_warehouse("duckdb")
    for day in range(2):
        write_day(tmp_path / "landing", day)
    warehouse.adx("load", str(tmp_path / "landing"))
    environment = {**os.environ, **warehouse.env, "DBT_TARGET_PATH": str(tmp_path / "target")}
    del environment[packages.VARIABLE]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dbt.cli.main", "--warn-error", "--log-level-file", "none"),
            *("build", "--profiles-dir", "profiles", "--exclude-resource-type", "unit_test"),
        ],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "WARN=0 ERROR=0 SKIP=0" in done.stdout
    assert "elementary" not in done.stdout.lower()
    said = warehouse.adx_here("build", "--select", "dim_campaigns").stdout
    assert f"Elementary is off: {packages.VARIABLE} is set to nothing" in said


def test_every_elementary_test_has_the_switch() -> None:
    """Each is off without the packages, and warns: a person has to judge what is unusual."""
    tests = [
        test[name]
        for path in ROOT.glob("models/**/*.yml")
        for test in found_tests(yaml.safe_load(path.read_text()))
        for name in test
        if name.startswith("elementary.")
    ]
    assert len(tests) > 30
    assert len(tests) == elementary_tests()
    for test in tests:
        assert test["config"] == {
            "enabled": "{{ env_var('ADX_DBT_PACKAGES', '') != '' }}",
            "severity": "warn",
        }


def found_tests(document: Any) -> list[dict[str, Any]]:
    """Every test with arguments in a YAML of models or sources."""
    found: list[dict[str, Any]] = []
    if isinstance(document, dict):
        found += [test for test in document.get("data_tests", []) if isinstance(test, dict)]
        for value in document.values():
            found += found_tests(value)
    elif isinstance(document, list):
        for value in document:
            found += found_tests(value)
    return [test for test in found if any(name.startswith("elementary.") for name in test)]


def test_judged_at(make_warehouse: MakeWarehouse, tmp_path: Path) -> None:
    """An archive counts to the end of its last day; a day that is still coming in not at all."""
    from ingestion.warehouse import Warehouse as Engine

    warehouse = make_warehouse("duckdb")
    write_day(tmp_path / "archive", 0)
    warehouse.adx("load", str(tmp_path / "archive"))
    engine = Engine("duckdb", Path(warehouse.env["ADX_DUCKDB_PATH"]))
    assert quality.judged_at(engine) == datetime(2024, 3, 2)
    now = datetime.now().astimezone()
    event = {"timestamp": now.isoformat(), "user_id": "u", "ad_creative_id": "c", "website": "w.x"}
    (tmp_path / "today.json").write_text(json.dumps([event]))
    warehouse.adx("load", "--stream", "impressions", str(tmp_path / "today.json"))
    (row,) = warehouse.rows("select max(loaded_at) as last from raw.loaded_files")
    assert quality.judged_at(engine) == row["last"].replace(microsecond=0)
