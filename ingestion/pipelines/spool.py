"""Judged rows on their way: one Parquet file a raw table, handed to dlt as it is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.pipelines import raw


class Spool:
    """Parquet files in `folder`, one a table, written as batches come.

    Raises OSError when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, int] = {}

    def write(self, table: str, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        if table not in self._writers:
            self._writers[table] = pq.ParquetWriter(self.folder / f"{table}.parquet", rows.schema)
            self._rows[table] = 0
        self._writers[table].write_table(rows)
        self._rows[table] += rows.num_rows

    def discard(self, file: str) -> None:
        """Take back what was written for a file that turned out not to be readable to its end."""
        for table, writer in list(self._writers.items()):
            writer.close()
            path, kept = self.folder / f"{table}.parquet", self.folder / f"{table}.kept"
            column = raw.file_column(table)
            # Parquet cannot be appended to: the writer that keeps the rest stays open.
            self._writers[table] = pq.ParquetWriter(kept, writer.schema)
            self._rows[table] = 0
            with pq.ParquetFile(path) as written:
                for batch in written.iter_batches():
                    rows = pa.Table.from_batches([batch], writer.schema)
                    self.write(table, rows.filter(pc.not_equal(rows[column], file)))
            kept.rename(path)

    def close(self) -> dict[str, tuple[Path, int]]:
        """The finished files with their row counts, by table."""
        for writer in self._writers.values():
            writer.close()
        return {
            table: (self.folder / f"{table}.parquet", count) for table, count in self._rows.items()
        }
