"""An event as a line of JSON."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from monitoring.logs.redaction import redacted, redacted_error

_ERRORS = ("error", "message", "summary")


class Line(JsonFormatter):
    """One event as one line of JSON, without what may not be logged."""

    def __init__(self) -> None:
        super().__init__("%(message)s", json_ensure_ascii=False)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Called with the message and the fields of `extra`, before they become JSON."""
        return {
            name: redacted_error(value)
            if name in _ERRORS and isinstance(value, str)
            else redacted(value)
            for name, value in log_data.items()
            if value is not None and name != "exc_info"
        }

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        log_data["time"] = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data["level"] = record.levelname.lower()
        log_data["event"] = getattr(record, "event", "message")
        super().add_fields(log_data, record, message_dict)
        if hasattr(record, "event"):
            log_data.pop("message", None)
