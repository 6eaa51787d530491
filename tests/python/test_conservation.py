"""Records read = accepted + rejected, whatever the pieces, the batches and the deaths of a file.

Where records stand (position, line) and what rejects were (their bytes) does not depend on how a
file's bytes came: the many files of test_ingestion_reference.py are read again in tiny pieces.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from ingestion.readers import source
from ingestion.readers.batch import RAW_LIMIT
from reference.ingestion import raw_text
from support import in_memory
from support.warehouses import Warehouse
from test_ingestion_reference import ALL_CASES

PIECES = (1, 2, 3, 5, 16, 61)


def _land(folder: Path) -> list[tuple[Path, str]]:
    """The hand-made files, some of them also packed."""
    found = []
    for number, case in enumerate(ALL_CASES):
        contents = {case.file: case.content}
        if number % 5 == 0 and not case.file.endswith(("gz", "zst")):
            contents[f"{case.file}.gz"] = gzip.compress(case.content, mtime=0)
            contents[f"{case.file}.zst"] = zstd.compress(case.content)
        for name, content in contents.items():
            path = folder / case.stream / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            found.append((path, case.stream))
    return found


def _rows(outcome: in_memory.Outcome) -> dict[str, Any]:
    """An outcome in the order of its records."""
    return {
        "file": outcome.file,
        "rejected": sorted(outcome.rejected, key=lambda row: row["position"]),
        **{
            table: sorted(rows, key=lambda row: row["_position"])
            for table, rows in outcome.accepted.items()
        },
    }


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    return _land(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def whole(cases: list[tuple[Path, str]]) -> dict[Path, in_memory.Outcome]:
    return in_memory.load(cases)


@pytest.mark.parametrize("piece", PIECES)
def test_piece_borders_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
    cases: list[tuple[Path, str]],
    whole: dict[Path, in_memory.Outcome],
    piece: int,
) -> None:
    few = [
        (path, stream)
        for path, stream in cases
        if path.stat().st_size <= 2_000 * piece
        # Packed files are known by their first four bytes, which come together.
        and (piece >= 4 or not path.read_bytes().startswith((source.GZIP, source.ZSTD)))
    ]
    assert len(few) > 100
    monkeypatch.setattr(source, "PIECE", piece)
    monkeypatch.setattr(source, "_STEP", piece)
    monkeypatch.setattr(source, "_GATHER", 1)
    found = in_memory.load(few)
    for path, _ in few:
        assert _rows(found[path]) == _rows(whole[path]), (piece, path.read_bytes()[:3000])


# --- large batches -------------------------------------------------------------------------------

CLICKS = b"timestamp,user_id,ad_campaign_id\n"


def _csv(rows: int, end: bytes) -> tuple[bytes, dict[int, tuple[int, str, str]]]:
    """Clicks with all that shifts lines, and what must be rejected: position → line, reason, text.

    No file has one shape for long, so that none of the readers' ways goes untried.
    """
    out, line, wanted = [b"\xef\xbb\xbf" + CLICKS.replace(b"\n", end)], 2, {}
    for position in range(1, rows + 1):
        record, fault = b"2024-06-09T12:34:56Z,u%d,k" % position, ""
        lines = 1
        if position % 777 == 0:
            out.append(end * 2)
            line += 2
        if position % 5_001 == 0:
            record = b'2024-06-09T12:34:56Z,"u%d' % position + end + b'x ""q""",k'
            lines = 2
        if position % 1_009 == 0:
            record, fault = record + b",more", "malformed"
        elif position % 997 == 0:
            record, fault = record.replace(b"2024", b"1924"), "out_of_range:timestamp"
        elif position % 30_011 == 0:
            record, fault = record + b'"', "malformed"
        elif position % 10_007 == 0:
            record, fault = record.replace(b",u", b",\xc3\xa9\xff"), "malformed"
        if fault:
            wanted[position] = (line, fault, raw_text(record))
        out.append(record + end)
        line += lines
    return b"".join(out), wanted


def _json(rows: int, end: bytes) -> tuple[bytes, dict[int, tuple[int, str, str]]]:
    out, line, wanted = [b"\xef\xbb\xbf"], 1, {}
    for position in range(1, rows + 1):
        record, fault = (
            b'{"timestamp":"2024-06-09T12:34:56Z","user_id":"u%d","ad_campaign_id":"k"}' % position,
            "",
        )
        if position % 777 == 0:
            out.append(end + b" \t" + end)
            line += 2
        if position % 1_009 == 0:
            record, fault = record[:-1], "malformed"
        elif position % 997 == 0:
            record, fault = (
                b"  " + record.replace(b"2024", b"1924") + b" ",
                "out_of_range:timestamp",
            )
        elif position % 10_007 == 0:
            record, fault = record.replace(b'"u', b'"\xff'), "malformed"
        if fault:
            wanted[position] = (line, fault, raw_text(record))
        out.append(record + end)
        line += 1
    return b"".join(out), wanted


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("form", ["csv", "json"])
def test_positions_lines_and_bytes_in_large_batches(tmp_path: Path, form: str, end: bytes) -> None:
    """Over 130,000 records: more than a batch, and more than a piece of a file."""
    content, wanted = (_csv if form == "csv" else _json)(130_000, end)
    path = tmp_path / f"large.{form}"
    path.write_bytes(content)
    outcome = in_memory.load([(path, "clicks")])[path]
    assert outcome.file["records_read"] == 130_000
    assert outcome.positions == list(range(1, 130_001))
    found = {
        row["position"]: (row["line"], row["reason"], row["raw_text"]) for row in outcome.rejected
    }
    if form == "json":  # white space around a line may stay or go
        found = {key: (line, why, text.strip()) for key, (line, why, text) in found.items()}
        wanted = {key: (line, why, text.strip()) for key, (line, why, text) in wanted.items()}
    assert found == wanted
    users = {row["_position"]: row["user_id"] for row in outcome.accepted["clicks"]}
    for position in (1, 776, 777, 778, 5_001, 99_999, 100_000, 100_001, 122_880, 129_999):
        expected = f"u{position}"
        if form == "csv" and position % 5_001 == 0:
            expected = f'u{position}{end.decode()}x "q"'
        assert users[position] == expected


def test_many_small_files_in_one_batch(tmp_path: Path) -> None:
    paths = []
    for number in range(2_000):
        path = tmp_path / f"{number}.{'csv' if number % 2 else 'json'}"
        bad = b"1924-06-09T12:34:56Z,x%d,k" % number
        if number % 2:
            path.write_bytes(CLICKS + b"\n2024-06-09T12:34:56Z,u%d,k\n" % number + bad + b"\n,\n")
        else:
            good = b'{"ts":1717936496,"user_id":"u%d","campaign_id":"k"}\n' % number
            path.write_bytes(good + b'{"n":%d}\n{\n' % number)
        paths.append((path, "clicks"))
    for path, outcome in in_memory.load(paths).items():
        number = int(path.stem)
        (row,) = outcome.accepted["clicks"]
        assert (row["user_id"], row["_position"]) == (f"u{number}", 1)
        found = [(row["position"], row["line"], row["raw_text"]) for row in outcome.rejected]
        if number % 2:
            wanted = [(2, 4, f"1924-06-09T12:34:56Z,x{number},k"), (3, 5, ",")]
        else:
            wanted = [(2, 2, f'{{"n":{number}}}'), (3, 3, "{")]
        assert sorted(found) == wanted


def test_the_rest_of_a_damaged_file_is_kept_to_its_end(tmp_path: Path) -> None:
    """Of a file of several pieces only the piece with the damage was kept."""
    good = gzip.compress(CLICKS + b"2024-06-09T12:34:56Z,u,k\n", mtime=0)
    path = tmp_path / "damaged.csv.gz"
    for size in (3 * source.PIECE, RAW_LIMIT + source.PIECE):
        rest = random.Random(size).randbytes(size)
        for begins in (b"no member", b"\x1f\x8b\x07 no method", b"\x1f\x8b\x08"):
            path.write_bytes(good + begins + rest)
            outcome = in_memory.load([(path, "clicks")])[path]
            assert len(outcome.accepted["clicks"]) == 1
            (reject,) = outcome.rejected
            kept = base64.b64decode(reject["raw_text"].removeprefix("base64:"))
            assert kept and (begins + rest).endswith(kept) == (len(kept) < RAW_LIMIT)
            if size < RAW_LIMIT:
                assert len(kept) > size
            else:
                assert len(kept) == RAW_LIMIT
                assert (begins + rest)[: 2 * RAW_LIMIT].find(kept) in range(20)


# --- a file that ends before its end -------------------------------------------------------------

_SIZE, _BREAKS_AT = 30 * 2**20, 24 * 2**20


class _Breaks(http.server.BaseHTTPRequestHandler):
    """A web server whose disk fails in the middle of a file of clicks."""

    line = b"2024-06-09T12:34:56Z,a-user-of-many,k1\n"
    content = CLICKS + line * (_SIZE // len(line))

    def do_HEAD(self) -> None:
        self._begin(0, len(self.content))

    def _begin(self, start: int, end: int) -> None:
        self.send_response(206 if self.headers.get("Range") else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(self.content)}")
        self.end_headers()

    def do_GET(self) -> None:
        asked = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")
        start = int(asked[0])
        end = min(int(asked[1]) + 1 if asked[1] else len(self.content), len(self.content))
        self._begin(start, end)
        with contextlib.suppress(OSError):
            self.wfile.write(self.content[start : min(end, _BREAKS_AT)])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def broken_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Breaks)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_that_breaks_off_is_taken_back(
    warehouse: Warehouse, broken_server: str, landing: Path
) -> None:
    """Its rows were on their way into the warehouse; those of the others before and after stay."""
    for name in ("a", "z"):
        path = landing / "clicks" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CLICKS + b"2024-06-09T12:34:56Z,%s,k\n1,2\n" % name.encode())
    said = warehouse.adx(
        *("load", str(landing / "clicks" / "a.csv"), f"{broken_server}/clicks/m.csv"),
        str(landing / "clicks" / "z.csv"),
        exit_code=1,
    )
    assert "m.csv" in said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    users = warehouse.rows("select user_id from raw.clicks order by user_id")
    assert [row["user_id"] for row in users] == ["a", "z"]
    files = warehouse.rows("select * from raw.loaded_files order by file")
    assert [row["accepted"] for row in files] == [1, 1]
    assert len(warehouse.rows("select * from raw.rejected_records")) == 2
