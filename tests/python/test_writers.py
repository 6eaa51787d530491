"""What a load needs of the machine while it is written."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from ingestion.pipelines import raw
from ingestion.pipelines.schema import ensure_tables
from ingestion.pipelines.writers import Load, open_writer
from ingestion.warehouse import RAW, Warehouse, forget_written

GROUP = 122_880
GROUPS = 12
HELD = "select sum(memory_usage_bytes) / 1e6 from duckdb_memory()"


def _rejects(seed: int) -> pa.Table:
    """Rows of 96 bytes that do not compress."""
    text = np.random.default_rng(seed).integers(33, 127, (GROUP, 96), np.uint8)
    offsets = np.arange(0, 96 * (GROUP + 1), 96, dtype=np.int32)
    texts = pa.StringArray.from_buffers(GROUP, pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))
    first = seed * GROUP
    return pa.table(
        {
            "stream": pa.repeat(pa.scalar("clicks"), GROUP),
            "file": pa.repeat(pa.scalar("clicks.csv"), GROUP),
            "position": pa.array(np.arange(first, first + GROUP)),
            "raw_text": texts,
            "reason": pa.repeat(pa.scalar("malformed"), GROUP),
        }
    )


def test_duckdb_does_not_keep_what_a_load_has_written(tmp_path: Path) -> None:
    warehouse = Warehouse("duckdb", tmp_path / "warehouse.duckdb")
    with warehouse.for_loading() as connection:
        ensure_tables(warehouse)
        writer = open_writer(connection, Load.now())
        for seed in range(GROUPS):
            writer.write(raw.REJECTED, _rejects(seed))
        writer.commit()  # which waits for all that was written
        [(held,)] = connection.cursor().execute(HELD).fetchall()
        writer.close()
    written = GROUPS * GROUP * 96 / 1e6
    assert held < 0.6 * written, (held, written)
    [found] = warehouse.query(f"select count(*) as n, sum(position) as p from {RAW}.{raw.REJECTED}")
    total = GROUPS * GROUP
    assert (found["n"], found["p"]) == (total, total * (total - 1) // 2)


def test_memory_that_is_in_use_ends_no_transaction(tmp_path: Path) -> None:
    connection = duckdb.connect(str(tmp_path / "warehouse.duckdb"))
    forget_written(connection.cursor())
    connection.execute("set max_temp_directory_size = '0KB'")  # what is sorted cannot go there
    connection.execute("create table held as select random() as x from range(4_000_000)")
    connection.execute("begin")
    connection.execute("insert into held values (2)")
    other = connection.cursor()
    sorted_rows = other.execute("from held order by x").to_arrow_reader(1000)
    sorted_rows.read_next_batch()
    [(held,)] = connection.cursor().execute(HELD).fetchall()
    assert held > 64  # of which nothing can be let go while the rows are being read
    forget_written(connection.cursor())
    assert connection.execute("select count(*) from held").fetchall() == [(4_000_001,)]
    connection.execute("commit")
    assert connection.execute("select current_setting('memory_limit')").fetchone() == ("305.1 MiB",)
