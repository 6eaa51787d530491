"""Writes dashboard.json beside it: `python -m monitoring.grafana.dashboard` after a change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

JSON = Path(__file__).with_suffix(".json")
_SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
_DAY = 24 * 3600
_WIDTH = 24  # columns of Grafana's grid

Query = tuple[str, str]  # PromQL, and its legend


def build() -> Dashboard:
    """Pipeline health above, the funnel below."""
    built = (
        dashboard.Dashboard("AdvertiseX")
        .uid("advertisex")
        .tags(["advertisex"])
        .description("Is the campaign funnel loaded, built and right, and what does it say?")
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("utc")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
    )
    built.with_row(dashboard.Row("Pipeline"))
    for panel in _pipeline():
        built.with_panel(panel)
    built.with_row(dashboard.Row("Data"))
    for panel in _data():
        built.with_panel(panel)
    built.with_row(dashboard.Row("Funnel"))
    for panel in _funnel():
        built.with_panel(panel)
    return built.build()


def _pipeline() -> Sequence[Any]:
    ended = "advertisex_run_last_end_timestamp_seconds"
    return (
        _number(
            "Warehouse",
            "Whether it could be read at the latest try; a load holds a DuckDB file for itself.",
            "min(advertisex_warehouse_up)",
        ).mappings([_words({"0": ("not read", "orange"), "1": ("read", "green")})]),
        _number(
            "Latest load",
            "How the latest load ended.",
            'max(advertisex_run_failing{command="load"})',
        ).mappings([_words({"0": ("succeeded", "green"), "1": ("failed", "red")})]),
        _number(
            "Latest build",
            "How the latest build ended.",
            'max(advertisex_run_failing{command="build"})',
        ).mappings([_words({"0": ("succeeded", "green"), "1": ("failed", "red")})]),
        _number(
            "Since a good build",
            "Time since a build last succeeded.",
            f'time() - max({ended}{{command="build", outcome="succeeded"}})',
            unit="s",
            red_from=26 * 3600,
        ),
        _number(
            "Tests failing",
            "Tests of severity error that fail.",
            'sum(advertisex_tests{severity="error", status=~"fail|error"})',
            red_from=1,
        ),
        _number(
            "Alerts open",
            "What `adx alerts` found and is not over.",
            "sum(advertisex_alerts_open) or vector(0)",
            red_from=1,
        ),
        _lines(
            "Runs an hour",
            "Loads and builds that ended, by outcome.",
            (
                "sum by (command, outcome) (increase(advertisex_runs_total[1h]))",
                "{{command}} {{outcome}}",
            ),
        ),
        _lines(
            "Duration",
            "How long the latest load and build took, and the 90th percentile of all.",
            ("max by (command) (advertisex_run_last_duration_seconds)", "{{command}}"),
            (
                "histogram_quantile(0.9, max by (command, le)"
                " (advertisex_run_duration_seconds_bucket))",
                "{{command}}, 90 % are faster",
            ),
            unit="s",
        ),
        _bars(
            "Slowest models",
            "How long the latest build of each took.",
            "topk(10, max by (model) (advertisex_model_build_duration_seconds))",
            "{{model}}",
            unit="s",
        ),
    )


def _data() -> Sequence[Any]:
    return (
        _lines(
            "Records read an hour",
            "By the stream of the file.",
            ("stream:advertisex_records_read:increase1h", "{{stream}}"),
            unit="short",
        ),
        _lines(
            "Rejected share",
            "Of the records read within the last hour.",
            ("stream:advertisex_records_rejected:ratio_increase1h", "{{stream}}"),
            unit="percentunit",
        ),
        _lines(
            "Rejected an hour",
            "By the class of the reason; `adx rejects` shows the records.",
            ("sum by (reason) (increase(advertisex_records_rejected_total[1h]))", "{{reason}}"),
            unit="short",
        ),
        _lines(
            "Age of the latest event",
            "Freshness: time since the latest event of each stream.",
            ("stream:advertisex_event_age:seconds", "{{stream}}"),
            unit="s",
        ),
        _lines(
            "Lag at the load",
            "How far the latest event was behind when the stream was last loaded.",
            ("stream:advertisex_lag:seconds", "{{stream}}"),
            unit="s",
        ),
        _bars(
            "Age of the marts",
            "Time since the latest time, hour or date in each.",
            "sort_desc(mart:advertisex_watermark_age:seconds)",
            "{{mart}}",
            unit="s",
        ),
        _bars(
            "Tests",
            "By severity and latest result.",
            "sum by (severity, status) (advertisex_tests)",
            "{{severity}}: {{status}}",
        ),
        _bars(
            "Late events and copies",
            "Over all loads: events over a day older than their load, and copies of known events.",
            "max by (stream) (advertisex_late_events)",
            "late {{stream}}",
            ("max by (stream) (advertisex_extra_copies)", "copies {{stream}}"),
        ),
        _bars(
            "Campaigns with an anomaly",
            "On the latest date, by metric.",
            "max by (metric) (advertisex_campaign_anomalies)",
            "{{metric}}",
        ),
    )


def _funnel() -> Sequence[Any]:
    day = "latest date"
    return (
        _number(
            f"CTR, {day}", "Clicks by impressions.", "advertisex:day_ctr:ratio", unit="percentunit"
        ),
        _number(
            f"CVR, {day}", "Conversions by clicks.", "advertisex:day_cvr:ratio", unit="percentunit"
        ),
        _number(
            f"Spend, {day}",
            "All campaigns.",
            "sum(advertisex_campaign_day_spend_usd)",
            unit="currencyUSD",
        ),
        _number(
            f"Revenue, {day}",
            "All campaigns.",
            "sum(advertisex_campaign_day_revenue_usd)",
            unit="currencyUSD",
        ),
        _number("Spend in all", "Over all dates.", "max(advertisex_spend_usd)", unit="currencyUSD"),
        _number(
            "Revenue in all", "Over all dates.", "max(advertisex_revenue_usd)", unit="currencyUSD"
        ),
        _lines(
            f"Funnel, {day}",
            "Valid events of the latest date in the marts, as it filled.",
            ("stage:advertisex_day_events:sum", "{{stage}}"),
            unit="short",
        ),
        _bars(
            "Events in all",
            "Over all dates, valid and not.",
            "sum by (stage, validity) (advertisex_events)",
            "{{validity}} {{stage}}",
        ),
        _lines(
            "Spend by campaign",
            "Of the latest date.",
            ("sum by (campaign_id) (advertisex_campaign_day_spend_usd)", "{{campaign_id}}"),
            unit="currencyUSD",
        ),
        _campaigns(f"Campaigns, {day}"),
    )


# Panels ------------------------------------------------------------------------------------------


def _query(query: Query, ref: str = "A") -> prometheus.Dataquery:
    expression, legend = query
    return (
        prometheus.Dataquery()
        .expr(expression)
        .legend_format(legend)
        .ref_id(ref)
        .datasource(_SOURCE)
    )


def _refs(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [_query(query, chr(ord("A") + index)) for index, query in enumerate(queries)]


def _limits(red_from: float | None) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _words(words: dict[str, tuple[str, str]]) -> ValueMap:
    return ValueMap(
        options={
            value: ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(words.items())
        }
    )


def _number(
    title: str, description: str, query: str, *, unit: str = "short", red_from: float | None = None
) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .span(_WIDTH // 6)
        .height(4)
        .unit(unit)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_limits(red_from))
        .with_target(_query((query, title)))
    )


def _lines(title: str, description: str, *queries: Query, unit: str = "short") -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .span(_WIDTH // 3)
        .height(8)
        .unit(unit)
        .min(0)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
    )
    for query in _refs(queries):
        panel.with_target(query)
    return panel


def _bars(
    title: str, description: str, query: str, legend: str, *more: Query, unit: str = "short"
) -> bargauge.Panel:
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .span(_WIDTH // 3)
        .height(8)
        .unit(unit)
        .min(0)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for target in _refs([(query, legend), *more]):
        panel.with_target(target.instant())
    return panel


def _campaigns(title: str) -> table.Panel:
    """A row a campaign, a column a measure."""
    stages = {
        "A": "bid_requests",
        "B": "impressions",
        "C": "clicks",
        "D": "conversions",
    }
    queries = {
        ref: f'sum by (campaign_id) (advertisex_campaign_day_events{{stage="{stage}"}})'
        for ref, stage in stages.items()
    }
    queries["E"] = "sum by (campaign_id) (advertisex_campaign_day_spend_usd)"
    queries["F"] = "sum by (campaign_id) (advertisex_campaign_day_revenue_usd)"
    names = {**stages, "E": "spend", "F": "revenue"}
    panel = (
        table.Panel()
        .title(title)
        .description("The campaigns with most spend, and the others together.")
        .datasource(_SOURCE)
        .span(_WIDTH)
        .height(10)
        .with_transformation(
            DataTransformerConfig(id_val="joinByField", options={"byField": "campaign_id"})
        )
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {f"Time {index}": True for index in range(1, 7)},
                    "renameByName": {
                        f"Value #{ref}": name.replace("_", " ") for ref, name in names.items()
                    },
                },
            )
        )
    )
    for ref, query in queries.items():
        panel.with_target(_query((query, ""), ref).instant().format(PromQueryFormat.TABLE))
    return panel


def text() -> str:
    """The dashboard as Grafana imports it."""
    return json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    JSON.write_text(text(), encoding="utf-8")
