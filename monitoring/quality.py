"""Elementary over a warehouse: the time at which it judges, its tables, its report."""

from __future__ import annotations

import datetime as dt
from typing import Any

from ingestion.warehouse import Warehouse
from monitoring import packages

SCHEMA = "monitoring"

# Conversions come up to 30 days after the rest, so that the end of an archive is not theirs.
_LATEST = """
select
    (select max(loaded_at) from raw.loaded_files) as last_load,
    greatest(
        (select max("timestamp") from raw.bid_requests),
        (select max("timestamp") from raw.impressions),
        (select max("timestamp") from raw.clicks)
    ) as last_event
"""


def judged_at(warehouse: Warehouse) -> dt.datetime | None:
    """The moment (UTC) up to which the data is judged, None without an event.

    It is the end of the latest event's day, or the last load if that came earlier. So a day counts
    once a load has come after it, however long ago that was: a day that is still coming in is not
    taken for a drop, and an archive is judged at its own end.
    """
    (latest,) = warehouse.query(_LATEST)
    last_load, last_event = latest["last_load"], latest["last_event"]
    if last_event is None:
        return None
    day: dt.datetime = dt.datetime.combine(last_event, dt.time()) + dt.timedelta(days=1)
    loaded: dt.datetime = last_load.replace(microsecond=0)
    return min(day, loaded)


def has_tables(warehouse: Warehouse, models: set[str]) -> bool:
    """Whether Elementary's own tables are there, as its installed version builds them."""
    with warehouse.connect(read_only=True) as connection:
        if not models <= warehouse.tables(connection, SCHEMA):
            return False
    (built,) = warehouse.query(f"select max(dbt_pkg_version) as version from {SCHEMA}.metadata")
    return bool(built["version"] == packages.versions()["elementary"])


def models_of(manifest: Any) -> set[str]:
    """The names of Elementary's own models in dbt's manifest."""
    return {
        node.alias
        for node in manifest.nodes.values()
        if node.package_name == "elementary"
        and node.resource_type == "model"
        and node.config.materialized != "ephemeral"
    }
