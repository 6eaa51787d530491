"""Elementary over a warehouse: the time at which it judges, its tables, its report."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

from ingestion.warehouse import Warehouse, rows
from monitoring import packages
from monitoring.tables import SCHEMA, insert, transaction

_UPLOADED = "uploaded_project"

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
    if not warehouse.has(*models, schema=SCHEMA):
        return False
    (built,) = warehouse.query(f"select max(dbt_pkg_version) as version from {SCHEMA}.metadata")
    return bool(built["version"] == packages.versions()["elementary"])


def digest_of(manifest: Any) -> str:
    """What Elementary keeps of the project, as one text that changes when the project does."""
    described = {
        key: {name: value for name, value in node.to_dict().items() if name != "created_at"}
        for nodes in (manifest.nodes, manifest.sources)
        for key, node in nodes.items()
    }
    return hashlib.md5(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()


def uploaded_digest(warehouse: Warehouse) -> str | None:
    """The digest of the project that Elementary's tables describe, None when none is noted."""
    if not warehouse.has(_UPLOADED, schema=SCHEMA):
        return None
    (found,) = warehouse.query(f"select max(digest) as digest from {SCHEMA}.{_UPLOADED}")
    return str(found["digest"])


def note_digest(warehouse: Warehouse, digest: str) -> None:
    """Note that Elementary's tables describe the project with this digest."""
    with transaction(warehouse) as connection:
        rows(connection, f"delete from {SCHEMA}.{_UPLOADED}")
        insert(connection, _UPLOADED, ["digest"], [[digest]])


def models_of(manifest: Any) -> set[str]:
    """The names of Elementary's own models in dbt's manifest."""
    return {
        node.alias
        for node in manifest.nodes.values()
        if node.package_name == "elementary"
        and node.resource_type == "model"
        and node.config.materialized != "ephemeral"
    }
