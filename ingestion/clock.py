"""The time, which ADX_NOW sets: for tests, and to load a history as if day by day."""

from __future__ import annotations

import datetime as dt
import os
import time
from functools import cache

from ingestion.errors import WrongUsage


def now() -> dt.datetime:
    """UTC without zone, as all times in the warehouse. Raises WrongUsage for an ADX_NOW amiss.

    ADX_NOW (ISO 8601) is the time at which a process first asks; from there it goes on.
    """
    text = os.environ.get("ADX_NOW")
    if not text:
        return dt.datetime.now(dt.UTC).replace(tzinfo=None)
    began, asked = _began(text)
    return began + dt.timedelta(seconds=time.monotonic() - asked)


def restart() -> None:
    """Let ADX_NOW begin anew, as it does for a new process."""
    _began.cache_clear()


@cache
def _began(text: str) -> tuple[dt.datetime, float]:
    try:
        began = dt.datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(
            f"ADX_NOW is {text!r}, which is no time such as 2025-06-30T06:00:00; mend or unset it"
        ) from None
    if began.tzinfo is not None:
        began = began.astimezone(dt.UTC).replace(tzinfo=None)
    return began, time.monotonic()
