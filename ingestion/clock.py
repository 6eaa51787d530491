"""The time, which ADX_NOW sets: for tests, and to load a history as if day by day."""

from __future__ import annotations

import datetime as dt
import os
import time

from ingestion.errors import WrongUsage

_BEGAN = time.monotonic()


def now() -> dt.datetime:
    """UTC without zone, as all times in the warehouse. Raises WrongUsage for an ADX_NOW amiss.

    ADX_NOW (ISO 8601) is the time at which the process began; from there it goes on as any time.
    """
    text = os.environ.get("ADX_NOW")
    if not text:
        return dt.datetime.now(dt.UTC).replace(tzinfo=None)
    try:
        began = dt.datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(
            f"ADX_NOW is {text!r}, which is no time such as 2025-06-30T06:00:00; mend or unset it"
        ) from None
    if began.tzinfo is not None:
        began = began.astimezone(dt.UTC).replace(tzinfo=None)
    return began + dt.timedelta(seconds=time.monotonic() - _BEGAN)
