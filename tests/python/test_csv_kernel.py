"""The compiled finder of CSV records: the same records, with and without it."""

from __future__ import annotations

import csv
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import landing
from ingestion.readers import csv_reader
from ingestion.readers.csv_kernel import Found, find_records
from ingestion.readers.csv_reader import read_csv
from reference import ingestion as reference

Record = tuple[int, int | None, str | None, bytes, tuple[str, ...] | None]


def read(content: bytes, size: int, *, by_kernel: bool) -> list[Record]:
    """All records of a file in pieces of `size` bytes: where they are, their faults and values."""
    found: list[Record] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader._seen, "bytes", 2**60 if by_kernel else -(2**60))
        pieces = (content[at : at + size] for at in range(0, len(content), size))
        for batch in read_csv(pieces):
            rows = batch.table.to_pylist()
            for row, raw in zip(rows, batch.raw(range(len(rows))), strict=True):
                values = None
                if row["fault"] is None:
                    names = range(len(batch.layout.columns or ()))
                    values = tuple(row[f"c{index}"] or "" for index in names)
                found.append((row["position"], row["line"], row["fault"], raw, values))
    return found


def contents(dice: random.Random) -> bytes:
    """Files as they should be, spoilt in places, and none at all, one after the other."""
    stream = dice.choice(reference.STREAMS)
    rows = [landing.random_row(stream, dice, 0.1) for _ in range(dice.randint(1, 6))]
    content = dice.choice((landing.csv_soup(dice), landing.csv_content(rows, dice)))
    for _ in range(dice.randint(0, 3)):
        content += content[content.find(b"\n") + 1 :]
    for _ in range(dice.choice((0, 0, 1, 2))):
        content = landing.mutate(content, dice)
    return content


@settings(max_examples=20_000 if landing.LONG else 500, deadline=None)
@given(st.integers(0, 2**48), st.integers(1, 90))
def test_any_file_has_the_same_records_with_and_without_it(seed: int, size: int) -> None:
    content = contents(random.Random(seed))
    expected = read(content, len(content) + 1, by_kernel=False)
    assert read(content, len(content) + 1, by_kernel=True) == expected, content
    assert read(content, size, by_kernel=True) == expected, content


def texts(found: Found) -> list[list[str]]:
    return [[value or "" for value in row] for row in zip(*map(list, columns(found)), strict=True)]


def columns(found: Found) -> list[list[str | None]]:
    return [column.to_pylist() for column in found.columns]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.sampled_from('ab,;" \n\ré😀'), max_size=20), min_size=3, max_size=3),
        max_size=40,
    ),
    st.sampled_from((("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL))),
)
def test_what_python_writes_is_found_whole(rows: list[list[str]], form: tuple[str, int]) -> None:
    out = io.StringIO(newline="")
    ending, quoting = form
    writer = csv.writer(out, lineterminator=ending, quoting=quoting)  # type: ignore[arg-type]
    starts = []
    for row in rows:
        starts.append(len(out.getvalue().encode()))
        writer.writerow(row)
    text = out.getvalue().encode()
    found = find_records(text, ord(","), 3)
    assert texts(found) == rows
    assert found.used == len(text)
    assert found.used_lines == text.count(b"\n")
    assert found.starts.tolist() == starts
    assert found.lines.tolist() == [text.count(b"\n", 0, start) for start in starts]
    spans = zip(found.starts.tolist(), found.ends.tolist(), strict=True)
    assert b"".join(text[start:end] + ending.encode() for start, end in spans) == text


@pytest.mark.parametrize(
    ("text", "records"),
    [
        (b"", 0), (b"a,b", 0), (b"a,b\n", 1), (b"a,b\r\n", 1), (b"\n\r\n\na,b\n\n", 1), (b",\n", 1),
        (b'"a","b"\r\n', 1), (b'"",""\n', 1), (b'"a""",b\n', 1), (b'"a\n",b\nc,d\n', 2),
        (b"a\rb,c\r\r\n", 1), (b"a,b\nc\n", 1), (b"a,b\nc,d,e\n", 1), (b'a,b\nc,"d\n', 1),
        (b'a,b\nc,d"\n', 1), (b'a,b\n"c"d,e\n', 1), (b'a,b\n"c" ,e\n', 1), (b'"a"\r,b\n', 0),
        (b"a,b\nc\n,d\n", 1), (b"a;b\n", 0), (b'a,b\n"', 1), (b'a,b\nc,"d"\r', 1), (b"a,b\n\r", 1),
    ],
)  # fmt: skip
def test_what_is_not_sure_ends_it(text: bytes, records: int) -> None:
    found = find_records(text, ord(","), 2)
    assert len(found.starts) == len(found.columns[0]) == records
    assert text[: found.used].count(b"\n") == found.used_lines
    assert found.used == len(text) or records < 2


def test_empty_values_are_null_and_others_are_not() -> None:
    found = find_records(b'a,,"",b\n,x," ",\n', ord(","), 4)
    assert columns(found) == [["a", None], [None, "x"], [None, " "], ["b", None]]


def test_a_wide_header_over_short_lines_takes_no_memory() -> None:
    """A cell for each line and column would be 80 GB."""
    assert len(find_records(b"\n" * 10**6, ord(","), 10_000).starts) == 0
    assert len(find_records(b"a\n" * 10**6, ord(","), 10_000).starts) == 0
