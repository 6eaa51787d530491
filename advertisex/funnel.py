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


def unknown_fields(warehouse: Warehouse) -> list[Row]:
    """One row a stream and field that no contract named when it was loaded, the new ones first.

    `is_new`: the last load that fed the stream is the first that has it, and not the first load of
    all. `since_load` and `since` say which load that is; `records` counts those of all loads;
    `is_named` fields are in the contract by now, and `adx backfill` moves them.
    """
    with warehouse.connect(read_only=True) as connection:
        if "unknown_fields" not in warehouse.tables(connection):
            return []
    from ingestion.pipelines.drift import named_fields  # takes a second to import

    named = named_fields()
    found = warehouse.query(
        """
        with sightings as (
            select
                fields.stream,
                fields.field,
                fields.records,
                fields.load_id,
                fields.loaded_at,
                coalesce(files.stream, fields.stream) as fed_by,
                row_number() over (
                    partition by fields.stream, fields.field order by fields.loaded_at
                ) as number,
                sum(fields.records) over (
                    partition by fields.stream, fields.field
                ) as all_records
            from raw.unknown_fields as fields
            left join raw.loaded_files as files
                on fields.file = files.file and fields.load_id = files.load_id
        ),
        loads as (
            select stream, min(loaded_at) as first_load, max(loaded_at) as last_load
            from raw.loaded_files
            where records_read > 0
            group by stream
        )
        select
            sightings.stream,
            sightings.field,
            sightings.all_records as records,
            sightings.load_id as since_load,
            sightings.loaded_at as since,
            coalesce(
                sightings.loaded_at >= loads.last_load
                and sightings.loaded_at > loads.first_load,
                false
            ) as is_new
        from sightings
        left join loads
            on sightings.fed_by = loads.stream
        where sightings.number = 1
        order by is_new desc, sightings.stream, sightings.field
        """
    )
    for row in found:
        row["records"] = int(row["records"])
        row["is_named"] = row["field"] in named.get(row["stream"], set())
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
    with warehouse.connect(read_only=True) as connection:
        return "fct_campaign_daily" in warehouse.tables(connection, "marts")
