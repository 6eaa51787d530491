"""The compiled finder of JSON members: whatever it is sure of, Python's parser finds as well."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.readers.json_kernel import (
    ABSENT,
    ESCAPED,
    LITERAL,
    NESTED,
    NULL,
    NUMBER,
    STRING,
    Members,
    Wanted,
    find_members,
)

NAMES = ("a", "ab", "é", "user_id", "")
OF_TYPE = {str: (STRING, ESCAPED), bool: (LITERAL,), type(None): (NULL,)}
OF_TYPE |= {int: (NUMBER,), float: (NUMBER,), dict: (NESTED,), list: (NESTED,)}


def documents(*chunks: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(chunk, pa.large_string()) for chunk in chunks])


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key given twice"
    return dict(pairs)


def constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def check(members: Members, texts: list[str]) -> int:
    """Compare what is sure with Python's reading; how many documents were."""
    written = members.texts([Wanted(name, range(STRING, NESTED + 1)) for name in range(len(NAMES))])
    plain = members.texts([Wanted(name, (STRING,), quoted=False) for name in range(len(NAMES))])
    for row in np.flatnonzero(members.sure).tolist():
        text = texts[row]
        kinds = members.kinds[:, row].tolist()
        if ESCAPED not in kinds and NESTED not in kinds:
            found = json.loads(text, object_pairs_hook=unique, parse_constant=constant)
            assert set(found) == {
                name for name, kind in zip(NAMES, kinds, strict=True) if kind != ABSENT
            }, text
        for name, kind in enumerate(kinds):
            value = written[name][row].as_py()
            assert (value is None) == (kind in (ABSENT, NULL)), text
            if value is None or kind == NESTED:
                continue
            try:
                read = json.loads(value)
            except ValueError:
                assert kind == ESCAPED, text
                continue
            assert kind in OF_TYPE[type(read)], text
            if kind == STRING:
                assert plain[name][row].as_py() == read
    return int(members.sure.sum())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), VALUES, max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=4), st.data())
def test_what_is_sure_is_what_a_whole_parser_finds(
    objects: list[dict[str, Any]], data: st.DataObject
) -> None:
    texts = []
    for found in objects:
        indent = data.draw(st.sampled_from((None, 0, 1)))
        text = json.dumps(found, ensure_ascii=data.draw(st.booleans()), indent=indent)
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(text)))
            other = data.draw(st.sampled_from(list('"\\{}[]:,.0-+eE tfnu\x00\t\n\x1f\x7fé😀')))
            text = text[:at] + other + text[at + data.draw(st.integers(0, 1)) :]
        texts.append(text)
    middle = len(texts) // 2
    check(find_members(documents(texts[:middle], texts[middle:]), NAMES), texts)


@pytest.mark.parametrize(
    "text",
    (
        '{}',
        ' {\t"a"\r:\n"x" , "ab" : -0.5e-07 }\n',
        '{"a":"x","ab":12,"é":null,"user_id":true,"":[1,{"a":"]}"}]}',
        '{"":"","é":"é😀\x7f"}',
        '{"a":0,"ab":-0,"é":1E5,"user_id":1.50}',
        '{"a":"\\u0041\\n\\\\","ab":{}}',
    ),
)  # fmt: skip
def test_plain_objects_are_found(text: str) -> None:
    assert check(find_members(documents([text]), NAMES), [text]) == 1


@pytest.mark.parametrize(
    "text",
    (
        "", " ", "x", '"a"', "[]", "{", "}", '{"a"}', '{"a":}', '{"a":1', '{"a":1,}', '{,"a":1}',
        '{"a":1}}', '{"a":1} x', '{"a":1,"a":2}', '{"a":null,"a":null}', '{"b":1}', '{"A":1}',
        '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a":5.}', '{"a":-}', '{"a":1e}', '{"a":1e+}',
        '{"a":1e100}', '{"a":' + "9" * 41 + "}", '{"a":NaN}', '{"a":-Infinity}', '{"a":tru}',
        '{"a":True}', '{"a":nullx}', '{"a":"x}', '{"a":"\t"}', '{"a":"\x00"}', '{"a":"\\u0000"}',
        '{"a":["\\u0000"]}', '{"a":[1}', '{"a":"\\', '{"a":"\\"}', "{'a':1}", '{"a":1;"ab":2}',
        '{"a":1 "ab":2}', '{"\\u0061":1}', '{"a":"x""ab":1}', '{"a" "x"}',
    ),
)  # fmt: skip
def test_anything_else_is_left_to_a_whole_parser(text: str) -> None:
    assert not find_members(documents([text]), NAMES).sure.any()


def test_values_at_the_end_of_the_bytes_and_in_many_chunks() -> None:
    texts = [json.dumps({"a": "x" * size, "ab": size}) for size in range(200)]
    members = find_members(documents(*([text] for text in texts)), NAMES)
    assert members.sure.all()
    (values,) = members.texts([Wanted(0, (STRING,), quoted=False)])
    assert values.to_pylist() == ["x" * size for size in range(200)]
