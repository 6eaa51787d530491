"""What the warehouse holds, as the command line shows it: SQL over the marts and the raw schema."""

from __future__ import annotations

from typing import Any

from ingestion.contract import event_streams
from ingestion.warehouse import Warehouse

Row = dict[str, Any]


def select(warehouse: Warehouse, columns: str, rest: str) -> list[Row]:
    """The rows of `select <columns> <rest>` as dictionaries, one a row."""
    names = [column.split(" as ")[-1].strip() for column in columns.split(",\n")]
    found = warehouse.query(f"select {columns} {rest}")
    return [dict(zip(names, row, strict=True)) for row in found]


def by_campaign(warehouse: Warehouse) -> list[Row]:
    """One row a campaign, over all dates: the funnel's counts, spend and revenue in USD."""
    return select(
        warehouse,
        "campaign_id,\nsum(bid_requests) as bid_requests,\nsum(impressions) as impressions,\n"
        "sum(clicks) as clicks,\nsum(conversions) as conversions,\nsum(spend) as spend,\n"
        "sum(revenue) as revenue,\n"
        "sum(invalid_bid_requests + invalid_impressions + invalid_clicks + invalid_conversions)"
        " as invalid",
        "from marts.fct_campaign_daily group by campaign_id order by sum(spend) desc, campaign_id",
    )


def rejects(warehouse: Warehouse) -> list[Row]:
    """One row a stream and reason: how many records were rejected, and one place to look."""
    return select(
        warehouse,
        "stream,\nreason,\ncount(*) as records,\nmin(file) as for_example_in",
        "from raw.rejected_records group by stream, reason order by stream, count(*) desc, reason",
    )


def streams(warehouse: Warehouse) -> list[Row]:
    """One row a stream: accepted and rejected records, the first and the last time in it."""
    found = []
    rejected = {
        row["stream"]: row["records"]
        for row in select(
            warehouse,
            "stream,\ncount(*) as records",
            "from raw.rejected_records group by stream",
        )
    }
    for contract in event_streams():
        moment = "updated_at" if contract.reference else '"timestamp"'
        (row,) = select(
            warehouse,
            f"count(*) as accepted,\nmin({moment}) as first_event,\nmax({moment}) as last_event,\n"
            "max(_loaded_at) as last_load",
            f"from raw.{contract.stream}",
        )
        found.append(
            {
                "stream": contract.stream,
                "accepted": row.pop("accepted"),
                "rejected": rejected.pop(contract.stream, 0),
                **row,
            }
        )
    found += [
        {"stream": name, "accepted": 0, "rejected": records} for name, records in rejected.items()
    ]
    return found


def totals(warehouse: Warehouse) -> Row:
    """What was loaded in all: files, records read, accepted, rejected, the latest load."""
    (row,) = select(
        warehouse,
        "count(*) as files,\ncoalesce(sum(records_read), 0) as records_read,\n"
        "coalesce(sum(accepted), 0) as accepted,\ncoalesce(sum(rejected), 0) as rejected,\n"
        "max(loaded_at) as last_load",
        "from raw.loaded_files",
    )
    return row


def is_built(warehouse: Warehouse) -> bool:
    """Whether the marts are there to be read."""
    with warehouse.connect(read_only=True) as connection:
        return "fct_campaign_daily" in warehouse.tables(connection, "marts")
