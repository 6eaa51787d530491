"""A landing folder → raw rows, by the ingestion reference, without any of our engines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from reference.funnel import EVENT_STREAMS, REFERENCE_STREAMS, Rows
from reference.ingestion import ingest
from support import raw_tables

STREAMS = (*EVENT_STREAMS, *REFERENCE_STREAMS, "interactions")


def stream_of(path: Path) -> str:
    """The stream of the nearest folder that is named like one."""
    return next(part for part in reversed(path.parts[:-1]) if part in STREAMS)


def landing_files(landing: Path) -> list[Path]:
    """All files below the stream folders."""
    return sorted(
        path
        for path in landing.rglob("*")
        if path.is_file() and any(part in STREAMS for part in path.parts[:-1])
    )


def raw_rows(files: Iterable[Path], loaded_at: datetime) -> dict[str, Rows]:
    """The raw tables after one load of the files at ``loaded_at`` (UTC, naive)."""
    raw = raw_tables.empty()
    seen: set[tuple[str, str]] = set()
    for path in files:
        data, stream = path.read_bytes(), stream_of(path)
        content = (stream, hashlib.sha256(data).hexdigest())
        if content in seen:
            continue
        seen.add(content)
        outcome = ingest(data, path.name, stream, loaded_at)
        lineage = {"_file": str(path), "_loaded_at": loaded_at, "_dlt_load_id": "1.0"}
        for accepted in outcome.accepted:
            row = raw_tables.complete(
                accepted.stream, accepted.values | lineage | {"_position": accepted.position}
            )
            text = row.get("event_text", row.get("version_text"))
            assert text == accepted.text, "the two references write another text"
            raw[accepted.stream].append(row)
        for rejected in outcome.rejected:
            raw["rejected_records"].append(
                {
                    "stream": rejected.stream,
                    "file": str(path),
                    "position": rejected.position,
                    "line": rejected.line,
                    "reason": rejected.reason,
                    "_loaded_at": loaded_at,
                }
            )
        raw["loaded_files"].append(
            {
                "file": str(path),
                "stream": stream,
                "size": len(data),
                "records_read": len(outcome.accepted) + len(outcome.rejected),
                "accepted": len(outcome.accepted),
                "rejected": len(outcome.rejected),
                "loaded_at": loaded_at,
            }
        )
    return raw
