"""Campaigns whose measures break away, that stopped, or that spend beyond their budget."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from ingestion.warehouse import literal
from monitoring.view import WINDOW, Finding, View, dates, number, percent

_RATIOS = ("ctr", "cvr")
_NOT_ENDED = """
    not exists (
        select 1 from marts.dim_campaigns as campaigns
        where campaigns.campaign_id = {table}.campaign_id and campaigns.end_date < {table}.date
    )
"""
MARTS = ("marts.fct_campaign_anomalies", "marts.fct_campaign_daily", "marts.dim_campaigns")


def anomalies(view: View) -> Iterator[Finding]:
    """The anomalies of the mart (semantics section 8) that are large, one finding a campaign."""
    limit = view.rule("campaign_anomaly").thresholds
    found = view.query(
        f"""
        select anomalies.campaign_id, anomalies.date, anomalies.metric, anomalies.value,
            anomalies.mean, anomalies.z_score
        from marts.fct_campaign_anomalies as anomalies
        left join marts.fct_campaign_daily as daily
            on anomalies.campaign_id = daily.campaign_id and anomalies.date = daily.date
        where anomalies.is_anomaly
            and anomalies.date in ({dates(view.days)})
            and abs(anomalies.z_score) >= {limit["z_score"]}
            and abs(anomalies.value - anomalies.mean) >= {limit["change"]} * abs(anomalies.mean)
            and abs(anomalies.value - anomalies.mean) * case anomalies.metric
                when 'ctr' then coalesce(daily.impressions, 0)
                when 'cvr' then coalesce(daily.clicks, 0)
                else 1
            end >= case anomalies.metric
                when 'impressions' then {limit["impressions"]}
                when 'spend' then {limit["spend"]}
                when 'clicks' then {limit["clicks"]}
                when 'ctr' then {limit["clicks"]}
                else {limit["conversions"]}
            end
            and (anomalies.value > anomalies.mean or {_NOT_ENDED.format(table="anomalies")})
        order by anomalies.campaign_id, anomalies.date, abs(anomalies.z_score) desc
        """
    )
    campaigns: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        campaigns.setdefault(row["campaign_id"], []).append(row)
    for campaign, broken in campaigns.items():
        most = max(broken, key=lambda row: abs(row["z_score"]))
        yield Finding(
            "campaign_anomaly",
            campaign,
            broken[0]["date"],
            f"campaign {campaign}: {_described(most)}",
            _history(campaign, view),
            tuple(_described(row) for row in broken if row is not most),
            (campaign,),
            campaign,
        )


def _described(row: dict[str, Any]) -> str:
    write = percent if row["metric"] in _RATIOS else number
    times = row["value"] / row["mean"] if row["mean"] else 0
    return (
        f"{row['metric']} {write(row['value'])} on {row['date']}, usually {write(row['mean'])}"
        + (f" ({number(times)} times as much)" if times > 1 else "")
        + f", z-score {number(row['z_score'])}"
    )


def stopped(view: View) -> Iterator[Finding]:
    """Campaigns without an impression on the last day that had many on the days before."""
    found = view.query(
        f"""
        select anomalies.campaign_id, anomalies.mean,
            (
                select max(daily.date) from marts.fct_campaign_daily as daily
                where daily.campaign_id = anomalies.campaign_id
                    and daily.impressions > 0 and daily.date < date '{view.day}'
            ) as last_date
        from marts.fct_campaign_anomalies as anomalies
        where anomalies.metric = 'impressions' and anomalies.date = date '{view.day}'
            and anomalies.value = 0
            and anomalies.mean >= {view.limit("campaign_stopped", "at_least")}
            and {_NOT_ENDED.format(table="anomalies")}
        order by anomalies.campaign_id
        """
    )
    for row in found:
        campaign = row["campaign_id"]
        yield Finding(
            "campaign_stopped",
            campaign,
            row["last_date"] + dt.timedelta(1),
            f"campaign {campaign} has no impressions any more, usually {number(row['mean'])} a day",
            _history(campaign, view),
            (f"the last were on {row['last_date']}",),
            (campaign,),
            campaign,
        )


def overspent(view: View) -> Iterator[Finding]:
    """Campaigns whose spend of a day is beyond their daily budget."""
    found = view.query(
        f"""
        select campaign_id, date, spend, budget_pacing
        from marts.fct_campaign_daily
        where date in ({dates(view.days)})
            and budget_pacing >= {view.limit("budget_overspent", "pacing")}
        order by campaign_id, date
        """
    )
    campaigns: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        campaigns.setdefault(row["campaign_id"], []).append(row)
    for campaign, days in campaigns.items():
        written = [
            f"spent {number(row['spend'])} USD on {row['date']},"
            f" {percent(row['budget_pacing'])} of its daily budget"
            for row in days
        ]
        yield Finding(
            "budget_overspent",
            campaign,
            days[0]["date"],
            f"campaign {campaign} {written[-1]}",
            _history(campaign, view),
            tuple(written[:-1]),
            (campaign,),
            campaign,
        )


def _history(campaign: str, view: View) -> str:
    return (
        "select date, impressions, clicks, conversions, spend, ctr, cvr, budget_pacing"
        f" from marts.fct_campaign_daily where campaign_id = {literal(campaign)}"
        f" and date between date '{view.days[0]}' - {WINDOW} and date '{view.day}'"
        " order by date desc"
    )
