"""How a file's records are laid out: kept, so that a reject can be judged without its file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ingestion.readers.batch import DOCUMENTS, Batch, Layout
from ingestion.readers.csv_reader import read_csv


@dataclass(frozen=True)
class Kept:
    """What `raw.loaded_files` knows of a file; `contract` is a feed's, by name or path."""

    layout: Layout = DOCUMENTS
    contract: str | None = None


def described(layout: Layout, contract: str | None) -> str | None:
    """A file's layout and contract as JSON; None when there is nothing to know."""
    found: dict[str, object] = {}
    if layout.columns is not None and layout.kinds is None:  # with kinds the texts are documents
        found |= {"columns": layout.columns, "separator": layout.separator}
    if layout.exact_fractions:
        found["exact_fractions"] = True
    if contract is not None:
        is_file = Path(contract).is_file() and contract.endswith((".yml", ".yaml"))
        found["contract"] = str(Path(contract).resolve()) if is_file else contract
    return json.dumps(found, ensure_ascii=False) if found else None


def kept(text: str | None) -> Kept:
    """The same read back."""
    found = json.loads(text) if text else {}
    columns = found.get("columns")
    layout = Layout(
        None if columns is None else tuple(columns),
        exact_fractions=bool(found.get("exact_fractions")),
        separator=found.get("separator"),
    )
    return Kept(layout, found.get("contract"))


def read_again(
    layout: Layout, texts: Sequence[str], positions: Sequence[int], lines: Sequence[int | None]
) -> Iterator[Batch]:
    """Records of one layout out of their kept texts, none of them malformed, as a reader does."""
    if not texts:
        return
    if layout.columns is None:
        table = pa.table(
            {
                "position": pa.array(positions, pa.int64()),
                "line": pa.array(lines, pa.int64()),
                "fault": pa.nulls(len(texts), pa.string()),
                "document": pa.array(texts, pa.large_string()),
            }
        )
        yield Batch(table, layout, lambda numbers: [texts[number].encode() for number in numbers])
        return
    separator = layout.separator or ","
    header = separator.join('"' + name.replace('"', '""') + '"' for name in layout.columns)
    content = "\r\n".join([header, *texts]) + "\r\n"
    places, line_numbers = pa.array(positions, pa.int64()), pa.array(lines, pa.int64())
    for batch in read_csv(iter([content.encode()])):
        numbers = pa.array(batch.table["position"].to_numpy() - np.int64(1))
        table = batch.table.set_column(0, "position", places.take(numbers))
        yield Batch(
            table.set_column(1, "line", line_numbers.take(numbers)), batch.layout, batch.raw
        )
