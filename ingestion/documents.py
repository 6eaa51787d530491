"""JSON documents → the texts of a contract's fields, where they are plain objects."""

from __future__ import annotations

import json
from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.contract import Contract, Field
from ingestion.plain import Mask, Texts
from ingestion.readers.batch import whole
from ingestion.readers.json_kernel import (
    ESCAPED,
    NESTED,
    NULL,
    STRING,
    Members,
    Wanted,
    find_members,
)

_SAMPLE = 20
_NAMES = 100


def texts_of(
    contract: Contract, documents: pa.ChunkedArray, connection: duckdb.DuckDBPyConnection
) -> tuple[dict[str, Texts], Mask, Mask] | None:
    """The texts by field, which documents hold nothing else, and which hold unknown fields.

    None where no document is plain.
    """
    sample = _sample([documents[row].as_py() for row in _spread(len(documents))])
    if not 0 < len(sample) <= _NAMES:
        return None
    fields: dict[str, Field] = {}  # by the name that the documents give them
    for field in contract.fields:
        used = [path.top for path in field.sources if path.top in sample]
        if len(used) > 1:
            return None  # two names of one field: which counts is for the SQL to say
        if used:
            fields[used[0]] = field
    members = find_members(documents, list(sample))
    sure, more = members.sure, np.zeros(len(documents), np.bool_)
    wanted = {}
    for index, (name, strings) in enumerate(sample.items()):
        kinds = members.kinds[index]
        sure = sure & _valid(members, index, connection)
        if name not in fields:
            more |= kinds > NULL
            continue
        field = fields[name]
        if _is_string(field) or (_is_plain(field) and strings):
            sure = sure & (kinds <= ESCAPED)
            wanted[field.name] = Wanted(index, (STRING,), quoted=False)
        else:
            if field.type != "json":
                sure = sure & (kinds != NESTED)
            wanted[field.name] = Wanted(index, range(STRING, NESTED + 1))
    found = {}
    for (name, want), text in zip(
        wanted.items(), members.texts(list(wanted.values())), strict=True
    ):
        if want.quoted:
            found[name] = Texts(text, "JSON")
        else:
            found[name] = Texts(_unescaped(members, want.name, text, sure, connection), "VARCHAR")
    return found, sure, more


def _valid(members: Members, index: int, connection: duckdb.DuckDBPyConnection) -> Mask:
    """Where what was not looked at in a name's value is valid JSON."""
    doubtful = np.isin(members.kinds[index], (ESCAPED, NESTED))
    if not doubtful.any():
        return ~doubtful
    (text,) = members.texts([Wanted(index, (ESCAPED, NESTED))])
    valid: Mask = _asked("coalesce(json_valid(value), true)", text, connection).to_numpy(
        zero_copy_only=False
    )
    return valid


def _unescaped(
    members: Members, index: int, text: pa.Array, sure: Mask, connection: duckdb.DuckDBPyConnection
) -> pa.Array:
    """A name's strings with those that escape something, as far as they are sure."""
    escaped = (members.kinds[index] == ESCAPED) & sure
    if not escaped.any():
        return text
    (written,) = members.texts([Wanted(index, (ESCAPED,))])
    read = _asked("json_extract_string(value, '$')", written.filter(pa.array(escaped)), connection)
    return pc.replace_with_mask(text, pa.array(escaped), read)


def _asked(expression: str, values: pa.Array, connection: duckdb.DuckDBPyConnection) -> pa.Array:
    """What DuckDB says of each value."""
    relation = connection.from_arrow(pa.table({"value": values}))
    found = relation.query("texts", f"select {expression} as found from texts")
    return whole(found.to_arrow_table()["found"])


def _is_plain(field: Field) -> bool:
    return field.type in ("timestamp", "amount")


def _is_string(field: Field) -> bool:
    return field.type not in ("timestamp", "amount", "integer", "json")


def _spread(count: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(0, count - 1, _SAMPLE)})


def _sample(documents: Sequence[str | None]) -> dict[str, bool]:
    """The names that some documents use, in their order, and whether they name strings alone."""
    names: dict[str, bool] = {}
    for document in documents:
        try:
            value = json.loads(document or "")
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            for name, item in value.items():
                names[name] = names.get(name, True) and isinstance(item, str | None)
    return {
        name: strings
        for name, strings in names.items()
        if name and name.isprintable() and '"' not in name and "\\" not in name
    }
