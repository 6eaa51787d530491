"""What the warehouse holds, as the command line shows it: SQL over the marts and the raw schema."""

from __future__ import annotations

from typing import Any

from ingestion.contract import event_streams
from ingestion.warehouse import Warehouse

Row = dict[str, Any]


def by_campaign(warehouse: Warehouse) -> list[Row]:
    """One row a campaign, over all dates: the funnel's counts, spend and revenue in USD."""
    return warehouse.query(
        """
        select
            campaign_id,
            sum(bid_requests) as bid_requests,
            sum(impressions) as impressions,
            sum(clicks) as clicks,
            sum(conversions) as conversions,
            sum(spend) as spend,
            sum(revenue) as revenue,
            sum(
                invalid_bid_requests + invalid_impressions + invalid_clicks + invalid_conversions
            ) as invalid
        from marts.fct_campaign_daily
        group by campaign_id
        order by sum(spend) desc, campaign_id
        """
    )


def rejects(warehouse: Warehouse) -> list[Row]:
    """One row a stream and reason: how many records were rejected, and one place to look."""
    return warehouse.query(
        """
        select stream, reason, count(*) as records, min(file) as for_example_in
        from raw.rejected_records
        group by stream, reason
        order by stream, count(*) desc, reason
        """
    )


def streams(warehouse: Warehouse) -> list[Row]:
    """One row a stream: accepted and rejected records, the first and the last time in it."""
    refused = warehouse.query(
        "select stream, count(*) as records from raw.rejected_records group by stream"
    )
    rejected = {row["stream"]: row["records"] for row in refused}
    found: list[Row] = []
    for contract in event_streams():
        moment = "updated_at" if contract.reference else '"timestamp"'
        (row,) = warehouse.query(
            f"""
            select
                count(*) as accepted,
                min({moment}) as first_event,
                max({moment}) as last_event,
                max(_loaded_at) as last_load
            from raw.{contract.stream}
            """
        )
        counts = {"accepted": row["accepted"], "rejected": rejected.pop(contract.stream, 0)}
        found.append({"stream": contract.stream, **counts, **row})
    found += [
        {"stream": name, "accepted": 0, "rejected": records} for name, records in rejected.items()
    ]
    return found


def totals(warehouse: Warehouse) -> Row:
    """What was loaded in all: files, records read, accepted, rejected, the latest load."""
    (row,) = warehouse.query(
        """
        select
            count(*) as files,
            coalesce(sum(records_read), 0) as records_read,
            coalesce(sum(accepted), 0) as accepted,
            coalesce(sum(rejected), 0) as rejected,
            max(loaded_at) as last_load
        from raw.loaded_files
        """
    )
    return row


def is_built(warehouse: Warehouse) -> bool:
    """Whether the marts are there to be read."""
    return warehouse.has("fct_campaign_daily", schema="marts")
