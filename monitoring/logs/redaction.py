"""What no line of the log may hold: secrets, and what came out of a record, user ids above all.

An error's text is written by whoever failed, and databases like to quote the value that they
could not read. So what is quoted goes unless it is a word of the project's own, and so does what
follows the words with which they introduce a row.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any

from ingestion.contract import event_streams, streams
from ingestion.pipelines import raw
from ingestion.remote.names import public

GONE = "…"
_SECRET_NAME = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|authorization"
    r"|(?:api|access|secret|private|account)[_-]?key|signature|sig"
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.I)
_PAIR = re.compile(
    rf"(?P<name>\b[\w-]*(?:{_SECRET_NAME})\b[\"']?\s*(?:=|:|\bis\b)\s*)"
    r"(?:(?:bearer|basic|token)\s+)?(?:\"[^\"]*\"|'[^']*'|[^\s,;&]+)",
    re.I,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.I)
_KEYS = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\beyJ[\w-]+\.[\w-]+\.[\w-]*")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ROW = re.compile(
    r"(?:\b(?:DETAIL|CONTEXT|HINT|QUERY|STATEMENT|Original Line|Failing row contains|LINE \d+)\b"
    r"|\b(?:record|row|value|line)s?\s*[:=]).*",
    re.S,
)
_KEY_VALUE = re.compile(r"\(([^()]*)\)=\((.*?)\)(?=\s|$|\.)")
_BRACES = re.compile(r"\{.*\}|\{.*$", re.S)
_QUOTED = re.compile(r"'((?:[^']|'')*)'|\"((?:[^\"\\]|\\.)*)\"|`([^`]*)`|[“«‘]([^”»’]*)[”»’]")  # noqa: RUF001
_IDS = re.compile(
    r"\b(\w*(?:user|device|order|click|visitor|customer)_?ids?)\b"
    r"([\"'`)]?\s*[=:]\s*|\s+(?!(?:is|are|was|has|have|can|cannot|must|in|of|for|that|and|or|no)\b))([^\s,;)]+)",
    re.I,
)
_ENVIRONMENT = re.compile(r"pass|secret|token|key|credential|connection_string", re.I)
_SHORTEST = 6  # characters of a secret in the environment that is looked for


def redacted(value: Any) -> Any:
    """A field's value without what may not be logged; strings within lists and dicts too."""
    match value:
        case str():
            return _without_secrets(value)
        case dict():
            return {key: redacted(each) for key, each in value.items()}
        case list() | tuple():
            return [redacted(each) for each in value]
        case _:
            return value


def redacted_error(text: str) -> str:
    """An error's text, whoever wrote it, without secrets and without what was in a record."""
    text = _without_secrets(text)
    text = _ROW.sub(GONE, text)
    text = _KEY_VALUE.sub(rf"(\1)=({GONE})", text)
    text = _BRACES.sub(f"{{{GONE}}}", text)
    text = _QUOTED.sub(_quoted, text)
    text = _IDS.sub(_id, text)
    return _MAIL.sub(GONE, text).strip()


def _without_secrets(text: str) -> str:
    for secret in _of_environment():
        text = text.replace(secret, GONE)
    text = _URL.sub(lambda found: public(found[0]), text)
    text = _PAIR.sub(lambda found: found["name"] + GONE, text)
    text = _BEARER.sub(rf"\1 {GONE}", text)
    return _KEYS.sub(GONE, text)


def _of_environment() -> list[str]:
    found = {
        value
        for name, value in os.environ.items()
        if _ENVIRONMENT.search(name)
        and len(value) >= _SHORTEST
        and not value.startswith(("/", "./", "~"))  # a file with a secret is none
    }
    return sorted(found, key=len, reverse=True)


def _quoted(found: re.Match[str]) -> str:
    inner = next(group for group in found.groups() if group is not None)
    return found[0] if inner in _words() else f"{found[0][0]}{GONE}{found[0][-1]}"


def _id(found: re.Match[str]) -> str:
    return found[0] if found[3] in _words() else f"{found[1]}{found[2]}{GONE}"


@cache
def _words() -> frozenset[str]:
    """Names that say nothing of anyone: streams, tables, columns."""
    columns = {name for schema in raw.tables().values() for name in schema.names}
    tables = {*raw.tables(), *(f"raw.{table}" for table in raw.tables())}
    fields = {field.name for contract in event_streams() for field in contract.fields}
    return frozenset({*streams(), *columns, *tables, *fields, "raw", "staging", "marts"})
