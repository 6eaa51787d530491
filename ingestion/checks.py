"""A contract as one SQL text: DuckDB judges a batch of records at once (semantics sections 1-3).

The text differs between formats only in where a record's values come from (`Layout`); types,
ranges, the order of faults, identity and the event's text are written once, here.
"""

from __future__ import annotations

import decimal
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import duckdb
import pyarrow as pa
from duckdb.func import ARROW

from ingestion.contract import Contract, Field, FieldPath, Router
from ingestion.readers.batch import Layout

UNIT_SEPARATOR = 31
ID_LENGTH = 256
_BLANK = r"' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"
_DIGITS = "'0123456789'"
_LETTERS = "'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'"
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_SHORT_NUMBER = r"[+-]?([0-9]{1,25}(\.[0-9]*)?|\.[0-9]+)"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ISO_TIME = (
    rf"^({_DATE})[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.([0-9]{{1,9}}))?"
    r"(?:Z|([+-](?:[01][0-9]|2[0-3])):?([0-5][0-9]))?$"
)
_MICROSECONDS_2000 = 946_684_800_000_000
_WRITTEN = "\0"  # marks numbers, which stay as they are written; no text holds it
_AS_WRITTEN = re.compile(r'"\\u0000([^"]*)"|\\\\|(\\u00[01][0-9a-f])')
DEFAULTS = {"currency": "USD", "pricing_model": "auction"}  # of absent values, by type
_FAR = 10**17  # microseconds: the year 5138, past every load


@dataclass(frozen=True)
class Judgement:
    """The statements for one contract over the relation `batch`.

    `sql` yields one row a record of the stream: `record` (its number in the batch), `reason`,
    `detail`, then the columns of the raw table that are the contract's: its fields, `extra`, and
    `text_md5`, the identity of an event without an id of its own (a reference: `version_text`).
    It reads the DuckDB variable `load_time` (microseconds since 1970, UTC).
    """

    stream: str
    sql: str


def column_name(header: str) -> str:
    """CSV headers compare without case, spaces and hyphens read as `_` (section 1)."""
    return header.strip(" \t\n\r\v\f").lower().replace(" ", "_").replace("-", "_")


def judgements(
    contract: Contract | Router, targets: Callable[[str], Contract], layout: Layout
) -> tuple[Judgement, ...]:
    """The judgements that a file of this contract needs: one, or one a target of a router."""
    if isinstance(contract, Contract):
        return (_judgement(contract, layout, None),)
    return tuple(
        _judgement(targets(target), layout, (contract, target)) for target in contract.targets
    )


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the connection the functions for what SQL cannot do; few rows need them."""
    text = duckdb.sqltypes.VARCHAR
    connection.create_function("plain_decimal", _plain_decimal, [text], text)
    connection.create_function("first_keys", _first_keys_of, [text], text, type=ARROW)
    connection.create_function("left_over", _left_over_of, [text], text, type=ARROW)


def _first_keys_of(texts: pa.ChunkedArray) -> pa.Array:
    """JSON that other readers take as we do.

    Of a key given twice the first counts, where most would take the last; NaN and Infinity, which
    most refuse, become text, and so does a number beyond a double.
    """
    return _mended(texts, empty_ones=True)


def _left_over_of(texts: pa.ChunkedArray) -> pa.Array:
    """The same of an object without its members that are empty: null or blank."""
    return _mended(texts, empty_ones=False)


def _mended(texts: pa.ChunkedArray, *, empty_ones: bool) -> pa.Array:
    def mend(text: str | None) -> str | None:
        if text is None:
            return None
        mended = False

        def first(pairs: list[tuple[str, object]]) -> dict[str, object]:
            nonlocal mended
            found: dict[str, object] = {}
            for key, value in pairs:
                found.setdefault(key, value)
            mended |= len(found) < len(pairs)
            return found

        def as_text(token: str) -> str:
            nonlocal mended
            mended = True
            return token

        def number(token: str) -> str:
            return _WRITTEN + token if math.isfinite(float(token)) else as_text(token)

        try:
            value = json.loads(
                text,
                object_pairs_hook=first,
                parse_constant=as_text,
                parse_float=number,
                parse_int=_WRITTEN.__add__,
            )
        except (ValueError, RecursionError):
            return text
        if not empty_ones and isinstance(value, dict):
            full = {key: member for key, member in value.items() if not _is_empty(member)}
            mended |= len(full) < len(value)
            value = full
        if not mended:
            return text
        return _AS_WRITTEN.sub(
            _as_duckdb, json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        )

    return pa.array([mend(text) for text in texts.to_pylist()], pa.string())


def _as_duckdb(found: re.Match[str]) -> str:
    """Numbers as they were, and escapes as DuckDB writes them, so that all JSON looks alike."""
    number, escape = found.groups()
    return number or ("\\u" + escape[2:].upper() if escape else found.group())


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip(" \t\n\v\f\r"))


def _plain_decimal(text: str) -> str:
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:  # an exponent beyond what decimal.Decimal holds
        mantissa, _, exponent = text.lower().partition("e")
        tiny = exponent.startswith("-") or decimal.Decimal(mantissa).is_zero()
        number = decimal.Decimal(0 if tiny else "-1e26" if text.startswith("-") else "1e26")
    if number.is_zero():
        return "0"
    sign = "-" if number.is_signed() else ""
    if number.adjusted() > 25:
        return sign + "1" + "0" * 26
    if number.adjusted() < -30:
        return sign + "0." + "0" * 30 + "1"
    return format(number, "f")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _json_path(path: FieldPath, *, inside: bool = False) -> str:
    """The path in a record's document, or `inside` its top field's."""
    found = path.steps[1:] if inside else path.steps
    steps = (f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in found)
    return "$" + "".join(steps)


class _Cells:
    """SQL for the raw text and the JSON type of a path, whatever the layout."""

    def __init__(self, layout: Layout, paths: Sequence[FieldPath]) -> None:
        self.layout = layout
        self.paths = list(dict.fromkeys(paths))
        self.column_of: dict[str, int] = {}
        for index, name in enumerate(layout.columns or ()):
            self.column_of.setdefault(name if layout.kinds else column_name(name), index)

    def column(self, path: FieldPath) -> int | None:
        """The column that holds the path's value, or the document that does."""
        if self.layout.kinds is None:
            return self.column_of.get(column_name(path.text))
        index = self.column_of.get(path.top)
        inside = len(path.steps) > 1
        return None if index is None or (inside and self.column_kind(index) != "JSON") else index

    def column_kind(self, index: int) -> str:
        return self.layout.kinds[index] if self.layout.kinds else "VARCHAR"

    def present(self, path: FieldPath) -> bool:
        return self.layout.columns is None or self.column(path) is not None

    def filled(self, path: FieldPath) -> str:
        """The value without the white space around it, null when nothing is left."""
        return f"p{self.paths.index(path)}"

    def trimmed(self) -> str:
        """A column for each path's value, as `filled` names it."""
        columns = []
        for index, path in enumerate(self.paths):
            if not self.present(path):
                continue
            column = self.column(path)
            if column is None:
                text = f"texts[{index + 1}]"
            elif self.column_kind(column) == "JSON":
                text = f"json_extract_string(c{column}, {_quote(_json_path(path, inside=True))})"
                if len(path.steps) == 1:  # only a document that is a string needs to be read
                    text = f"case when starts_with(c{column}, '\"') then {text} else c{column} end"
            else:
                text = f"c{column}"
            # trim() is slow and seldom needed: only where a blank or control character stands.
            columns.append(
                f"case when {text} < '!' or right({text}, 1) < '!'"
                f" then nullif(trim({text}, {_BLANK}), '') else {text} end as p{index}"
            )
        return ", ".join(["*", *columns])

    def kind(self, path: FieldPath) -> str:
        column = self.column(path)
        if column is None:
            return f"kinds[{self.paths.index(path) + 1}]"
        kind = self.column_kind(column)
        if kind == "JSON":
            return f"json_type(c{column}, {_quote(_json_path(path, inside=True))})"
        # DuckDB's name for an integer of which it knows that 0 is not written -0.
        return _quote("UBIGINT" if kind == "BIGINT" else kind)

    def source(self) -> str:
        if self.layout.columns is not None:
            return "select * from batch"
        paths = "[" + ", ".join(_quote(_json_path(path)) for path in self.paths) + "]"
        return (
            f"select *, json_extract_string(document, {paths}) as texts,"
            f" json_type(document, {paths}) as kinds from batch"
        )


@lru_cache(maxsize=256)
def _judgement(contract: Contract, layout: Layout, route: tuple[Router, str] | None) -> Judgement:
    paths = [path for field in contract.fields for path in field.sources]
    cells = _Cells(layout, paths + (list(route[0].by) if route else []))
    fields = contract.fields
    sql = f"""
with cells as ({cells.source()}),
trimmed as (select {cells.trimmed()} from cells),
picked as (
    select record, {_extra(contract, cells)} as extra,
        {_each(fields, lambda field: _pick(field, cells))}
    from trimmed
    {_where(route, cells)}
),
numbered as (
    select *, {_each(fields, lambda field: _number(field, layout))}
    from picked
),
split as (select *, {_each(fields, _split)} from numbered),
timed as (select *, {_each(fields, _time)} from split),
parsed as (select *, {_each(fields, _value)} from timed),
judged as (select *, {_reason(fields)} as reason from parsed)
select record, reason, {_detail(fields)} as detail,
    {", ".join(f'{_v(field.name)} as "{field.name}"' for field in fields)},
    extra, {_identity(contract, _v)}
from judged
"""
    return Judgement(contract.stream, sql)


def _each(fields: Sequence[Field], write: Callable[[Field], str | None]) -> str:
    return ",\n        ".join(filter(None, map(write, fields))) or "null as nothing"


def _t(name: str) -> str:
    """The picked text of a field."""
    return f'"{name} text"'


def _k(name: str) -> str:
    """The JSON type of the picked text."""
    return f'"{name} kind"'


def _n(name: str) -> str:
    """The field as a plainly written number, null when it is none."""
    return f'"{name} number"'


def _p(name: str) -> str:
    """The parts of a time written in ISO 8601."""
    return f'"{name} parts"'


def _w(name: str) -> str:
    """The whole part of Unix time, null when it is too large for an integer."""
    return f'"{name} whole"'


def _f(name: str) -> str:
    """The decimal digits of Unix time, at least six."""
    return f'"{name} digits"'


def _us(name: str) -> str:
    """The field as microseconds since 1970, null when it is no time."""
    return f'"{name} us"'


def _v(name: str) -> str:
    """The parsed value."""
    return f'"{name} value"'


def _where(route: tuple[Router, str] | None, cells: _Cells) -> str:
    if route is None:
        return ""
    router, target = route
    found = [cells.filled(path) for path in router.by if cells.present(path)]
    branches = " ".join(f"when {_quote(key)} then {_quote(to)}" for key, to in router.values)
    key = f"lower(coalesce({', '.join([*found, _quote('')])}))"
    return f"where case {key} {branches} else {_quote(router.otherwise)} end = {_quote(target)}"


def _pick(field: Field, cells: _Cells) -> str:
    sources = [path for path in field.sources if cells.present(path)]
    if not sources:
        return f"null::varchar as {_t(field.name)}, 'VARCHAR' as {_k(field.name)}"
    text = f"coalesce({', '.join(cells.filled(path) for path in sources)})"
    kinds = " ".join(
        f"when {cells.filled(path)} is not null then {cells.kind(path)}" for path in sources[:-1]
    )
    kind = cells.kind(sources[-1])
    if kinds and (cells.layout.columns is None or cells.layout.kinds):
        kind = f"case {kinds} else {kind} end"
    return f"{text} as {_t(field.name)}, {kind} as {_k(field.name)}"


def _extra(contract: Contract, cells: _Cells) -> str:
    """What the contract does not name, and the other names that lost to the one picked."""
    groups = [
        [path for path in field.sources if not path.nested and cells.present(path)]
        for field in contract.fields
    ]
    losers = {
        path: " or ".join(f"{cells.filled(before)} is not null" for before in group[:index])
        for group in groups
        for index, path in enumerate(group)
        if index
    }
    if cells.layout.columns is not None:
        return _extra_of_columns(cells, {path.text for group in groups for path in group}, losers)
    known = [path for group in groups for path in group]
    names = "[" + ", ".join(_quote(path.top) for path in known) + "]"
    drop = {path: f'"{path.top}":null,' for path in known}
    everything = _quote("{" + "".join(drop.values()) + "}")
    patched = [
        f"case when {cells.filled(path)} is not null and ({losers[path]}) then ''"
        f" else {_quote(text)} end"
        if path in losers
        else _quote(text)
        for path, text in drop.items()
    ]
    contested = " or ".join(
        f"({cells.filled(path)} is not null and ({before}))" for path, before in losers.items()
    )
    unknown = f"len(list_filter(json_keys(document), lambda k: not list_contains({names}, k))) > 0"
    contested_case = (
        f"when {contested} then json_merge_patch(document, '{{' || {' || '.join(patched)} || '}}')"
        if contested
        else ""
    )
    left = (
        f"(case {contested_case}"
        f" when {unknown} then json_merge_patch(document, {everything}) end)::varchar"
    )
    return f"nullif(case when {left} is not null then left_over({left}) end, '{{}}')"


def _first_keys(text: str) -> str:
    """JSON in which no object has a key twice; the rest of it as it was."""
    return f"case when contains({text}, '{{') then first_keys({text}) else {text} end"


def _extra_of_columns(cells: _Cells, known: set[str], losers: dict[FieldPath, str]) -> str:
    if cells.layout.kinds:
        return _extra_of_values(cells, known, losers)
    members = []
    named = {column_name(name) for name in known}
    lost = {column_name(path.text): before for path, before in losers.items()}
    for name, index in cells.column_of.items():
        header = (cells.layout.columns or ())[index].strip()
        value = f"nullif(c{index}, '')"
        if name in lost:
            before = lost[name]
            members.append((header, f"case when {before} then {value} end"))
        elif name not in named:
            members.append((header, value))
    if not members:
        return "null::varchar"
    pairs = ", ".join(f"{_quote(header)}, {value}" for header, value in members)
    anything = f"coalesce({', '.join(value for _, value in members)}) is not null"
    return f"case when {anything} then json_merge_patch('{{}}', json_object({pairs}))::varchar end"


def _extra_of_values(cells: _Cells, known: set[str], losers: dict[FieldPath, str]) -> str:
    """As `_extra` of documents: what is empty is left out, a name that lost only if it is."""
    lost = {path.text: before for path, before in losers.items()}
    members = []
    for name, index in cells.column_of.items():
        if name in known and name not in lost:
            continue
        text = value = content = f"c{index}"
        match cells.column_kind(index):
            case "VARCHAR":
                value = f"to_json({text})::varchar"
            case "JSON":
                content = f"case when starts_with({text}, '\"') then {text}->>'$' else {text} end"
        key = _quote("," + json.dumps(name, ensure_ascii=False) + ":")
        counts = f"trim({content}, {_BLANK}) <> ''"
        if name in lost:
            counts += f" and ({lost[name]})"
        members.append(f"case when {counts} then {key} || {value} else '' end")
    if not members:
        return "null::varchar"
    return f"nullif('{{' || substr({' || '.join(members)}, 2) || '}}', '{{}}')"


def _number(field: Field, layout: Layout) -> str | None:
    if field.type not in ("amount", "timestamp"):
        return None
    text = _t(field.name)
    if layout.columns is None and not layout.exact_fractions:
        # JSON fractions count to 15 significant digits, whatever their writer's habits.
        text = (
            f"case when {_k(field.name)} = 'DOUBLE' and abs(try_cast({text} as double)) < 1e300"
            f" and translate({text}, '-0123456789', '') <> ''"
            f" then format('{{:.15g}}', {text}::double) else {text} end"
        )
    return (
        f"case when translate({text}, {_DIGITS}, '') in ('', '.') and length({text}) between 2"
        f" and 25 then {text}"
        f" when not regexp_full_match({text}, '{_NUMBER}') then null"
        f" when regexp_full_match({text}, '{_SHORT_NUMBER}') then {text}"
        f" else plain_decimal({text}) end as {_n(field.name)}"
    )


def _split(field: Field) -> str | None:
    """A timestamp's parts: of ISO 8601 text as a struct, of a number as two integers."""
    if field.type != "timestamp":
        return None
    text, number = _t(field.name), _n(field.name)
    # Integers, because reading a wide decimal takes DuckDB fifty times as long.
    return (
        f"case when {number} is null then regexp_extract({text}, '{_ISO_TIME}',"
        f" ['day', 'clock', 'fraction', 'hours', 'minutes']) end as {_p(field.name)},"
        f" try_cast(coalesce(nullif(split_part({number}, '.', 1), ''), '0') as bigint)"
        f" as {_w(field.name)},"
        f" rpad(split_part({number}, '.', 2), 6, '0') as {_f(field.name)}"
    )


def _time(field: Field) -> str | None:
    if field.type != "timestamp":
        return None
    parts, number = _p(field.name), _n(field.name)
    whole, digits = _w(field.name), _f(field.name)
    clock = f"try_cast({parts}.day || ' ' || {parts}.clock as timestamp)"
    fraction = f"substr(rpad({parts}.fraction, 6, '0'), 1, 6)::bigint"
    sign = f"case when {parts}.hours like '-%' then -60000000 else 60000000 end"
    # nullif, because a case does not keep DuckDB from working out all its branches.
    minutes = f"abs(nullif({parts}.hours, '')::bigint) * 60 + nullif({parts}.minutes, '')::bigint"
    offset = f"coalesce(({sign}) * ({minutes}), 0)"
    return (
        f"case when {parts}.day <> '' then epoch_us({clock}) + {fraction} - {offset}"
        f" when {number} like '-%' then -{_FAR}"
        f" when {whole} < 100000000000 then {whole} * 1000000 + substr({digits}, 1, 6)::bigint"
        f" when {whole} < 100000000000000 then {whole} * 1000 + substr({digits}, 1, 3)::bigint"
        f" when {number} is not null then least(coalesce({whole}, {_FAR}), {_FAR})"
        f" end as {_us(field.name)}"
    )


def _value(field: Field) -> str:
    name, text, kind, number = field.name, _t(field.name), _k(field.name), _n(field.name)
    texts = _is_text(name)
    match field.type:
        case "string":
            # As written: DuckDB shows the integer -0 as 0, but knows that it had a sign.
            written = f"case when {kind} = 'BIGINT' and {text} = '0' then '-0' else {text} end"
            value = f"case when {texts} then {written} end"
        case "timestamp":
            value = f"make_timestamp({_us(name)})"
        case "amount":
            # 12 digits before the point: what is more, also by rounding, does not fit.
            value = f"try_cast({number} as decimal(18, 6))"
            # Judged before rounding: a ten-millionth below zero is negative all the same.
            below = f"{number} like '-%' and translate({number}, '-.0', '') <> ''"
            value = f"case when not ({below}) then {value} end"
        case "website":
            value = f"case when {texts} then {_website(text)} end"
        case "currency":
            value = f"case when {text} is null then {_quote(DEFAULTS[field.type])}"
            letters = f"length({text}) = 3 and translate({text}, {_LETTERS}, '') = ''"
            value += f" when {letters} then upper({text}) end"
        case "pricing_model":
            value = f"case when {text} is null then {_quote(DEFAULTS[field.type])}"
            # Not lower(), which makes an `i` of other alphabets' letters too.
            value += f" when regexp_full_match({text}, '(?i:auction|cpm|cpc|cpa)')"
            value += f" then lower({text}) end"
        case "integer":
            value = f"case when regexp_full_match({text}, '\\+?[0-9]+')"
            value += f" then try_cast({text} as bigint) end"
        case "date":
            value = f"case when regexp_full_match({text}, '{_DATE}') and {text} not like '0000%'"
            value += f" then try_cast({text} as date) end"
        case "json":
            value = f"case when {kind} = 'DOUBLE' and regexp_matches({text}, '[NIni]')"
            value += f" then to_json({text})::varchar"  # NaN and Infinity are no JSON
            value += f" when {kind} <> 'VARCHAR' then {_first_keys(text)}"
            value += f" when {text}[1] in ('{{', '[') and json_valid({text})"
            value += f" then {_first_keys(text)} else to_json({text})::varchar end"
    return f"{value} as {_v(name)}"


def _website(text: str) -> str:
    host = f"regexp_replace(lower({text}), '^([a-z][a-z0-9+.-]*:)?//', '')"
    host = f"regexp_extract({host}, '^[^/?#]*')"
    host = f"regexp_replace({host}, '^.*@', '', 's')"
    host = f"regexp_replace({host}, '^www\\.', '')"
    host = f"trim(regexp_replace({host}, ':[0-9]*$', ''), {_BLANK})"
    bare = f"not regexp_matches({text}, '[/:@?#]|^[wW]')"
    return f"nullif(case when {bare} then lower({text}) else {host} end, '')"


def _is_text(name: str) -> str:
    """Whether the value is text, or an integer, which counts as the text that it is written as."""
    text, kind = _t(name), _k(name)
    return (
        f"({kind} in ('VARCHAR', 'UBIGINT', 'BIGINT')"
        f" or {kind} = 'DOUBLE' and translate({text}, '-0123456789', '') = '')"
    )


def _reason(fields: Sequence[Field]) -> str:
    verdicts = []
    for field in fields:
        name, text, value = field.name, _t(field.name), _v(field.name)
        branches = []
        if field.required:
            branches.append(f"when {text} is null then 'missing:{name}'")
        else:
            branches.append(f"when {text} is null then null")
        bad = f"{value} is null"
        if field.type == "timestamp":
            late = f"{_us(name)} > getvariable('load_time')::bigint + 86400000000"
            outside = f"{_us(name)} < {_MICROSECONDS_2000} or {late}"
        elif field.type == "amount":
            outside = f"{_n(name)} is not null and {value} is null"
        elif field.type == "string" and name.endswith("_id"):
            outside = f"length({value}) > {ID_LENGTH}"
        else:
            outside = ""
        if field.type == "website":
            absent = f"'missing:{name}'" if field.required else "null"
            branches.append(f"when {value} is null and {_is_text(name)} then {absent}")
        if field.type == "amount":
            bad = f"{_n(name)} is null"
        branches.append(f"when {bad} then 'bad_type:{name}'")
        if outside:
            branches.append(f"when {outside} then 'out_of_range:{name}'")
        verdicts.append(f"case {' '.join(branches)} end")
    return "coalesce(" + ",\n        ".join(verdicts) + ")"


def _detail(fields: Sequence[Field]) -> str:
    found = " ".join(
        f"when {_quote(field.name)} then {_quote(field.type + ': ')} || left({_t(field.name)}, 200)"
        for field in fields
    )
    return f"case split_part(reason, ':', 2) {found} end"


def extra_sql(contract: Contract, layout: Layout) -> str:
    """What the contract does not name, as the column `extra` over the relation `batch`."""
    cells = _Cells(layout, [path for field in contract.fields for path in field.sources])
    return f"""
with cells as ({cells.source()}), trimmed as (select {cells.trimmed()} from cells)
select {_extra(contract, cells)} as extra from trimmed
"""


def identity_sql(contract: Contract) -> str:
    """The identity over a relation `batch` of parsed values, a column a field (section 3)."""
    return f"select {identity(contract)} from batch"


def identity(contract: Contract) -> str:
    """The identity's column over parsed values, a column a field."""
    return _identity(contract, quoted)


def _identity(contract: Contract, column: Callable[[str], str]) -> str:
    texts = [
        _as_text(field, column(field.name)) for field in contract.fields if field.type != "json"
    ]
    separator = f"chr({UNIT_SEPARATOR})"
    text = f"concat_ws({separator}, {', '.join(texts)})" if texts else "''"
    if contract.identity is None:
        return f"{text} as version_text"
    return f"case when {column(contract.identity)} is null then md5({text}) end as text_md5"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _as_text(field: Field, value: str) -> str:
    if field.type == "timestamp":
        value = f"strftime({value}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return f"coalesce({value}::varchar, '')"
