"""What a load says of itself while it runs: a bar, lines or JSON lines, on standard error."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingestion.pipelines.files import load_files
from ingestion.pipelines.progress import Meter, Step
from ingestion.warehouse import from_environment
from support.warehouses import ROOT, Warehouse, environment

CLICK = "2024-06-09T12:34:56Z,u{},k\n"
HEADER = "timestamp,user_id,ad_campaign_id\n"


@pytest.fixture
def logs(landing: Path) -> Path:
    """Three files, one of them with a name that needs quotes, and a copy."""
    folder = landing / "clicks"
    folder.mkdir()
    for name, count in (("a.csv", 3), ("b c=1.csv", 2)):
        (folder / name).write_text(HEADER + "".join(CLICK.format(n) for n in range(count)))
    (folder / "z.csv").write_bytes((folder / "a.csv").read_bytes())
    return landing


def fields(line: str) -> dict[str, str]:
    """`key=value key="a value"` read back."""
    found = re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S+)', line)
    return {key: json.loads(value) if value[0] == '"' else value for key, value in found}


def test_a_line_a_file(warehouse: Warehouse, logs: Path) -> None:
    done = warehouse.adx("load", str(logs))
    lines = [fields(line) for line in done.stderr.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.csv", "b c=1.csv", "z.csv"]
    assert [line["status"] for line in lines] == ["read", "read", "skipped"]
    assert [line["records"] for line in lines] == ["3", "2", "0"]
    assert [int(line["bytes"]) for line in lines] == [
        (logs / "clicks" / "a.csv").stat().st_size,
        (logs / "clicks" / "b c=1.csv").stat().st_size,
        0,
    ]
    assert [(line["files_done"], line["files"]) for line in lines] == [
        (str(number), "3") for number in (1, 2, 3)
    ]
    assert all(line["stream"] == "clicks" for line in lines)
    assert "files_done" not in done.stdout


def test_json_lines(warehouse: Warehouse, logs: Path) -> None:
    (logs / "clicks" / "gone.csv").symlink_to("gone.csv")
    done = warehouse.adx("load", "--json", str(logs), exit_code=1)
    report = json.loads(done.stdout)
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [(Path(step["file"]).name, step["status"]) for step in told] == [
        ("a.csv", "read"),
        ("b c=1.csv", "read"),
        ("gone.csv", "failed"),
        ("z.csv", "skipped"),
    ]
    assert {step["event"] for step in told} == {"file"}
    assert told[0].keys() >= {"bytes_per_second", "records_per_second", "seconds"}
    assert sum(step["records"] for step in told) == sum(f["read"] for f in report["files"]) == 5


def test_a_bar_on_a_terminal(warehouse: Warehouse, logs: Path) -> None:
    """Rates, files done of files; the bar goes when the load is done."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "advertisex", "load", str(logs)],
        env={**os.environ, **warehouse.env, "TERM": "xterm-256color", "COLUMNS": "200"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.5)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
    assert running.wait(30) == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert "3/3" in text
    assert re.search(r"[\d.]+ MB/s +[\d,]+ records/s", text)
    assert "files_done" not in text
    assert running.stdout is not None
    assert b"accepted" in running.stdout.read()


def test_a_large_file_tells_how_far_it_is(warehouse: Warehouse, landing: Path) -> None:
    """Steps while it is read, with growing bytes and records, and not many of them."""
    path = landing / "clicks" / "large.csv"
    path.parent.mkdir()
    count = 400_000
    path.write_text(HEADER + "".join(CLICK.format(n) for n in range(count)))
    steps: list[Step] = []
    began = time.perf_counter()
    with environment(warehouse.env):
        load_files([str(path)], from_environment(), progress=steps.append)
    seconds = time.perf_counter() - began
    under_way, last = steps[:-1], steps[-1]
    assert (last.status, last.bytes, last.records) == ("read", path.stat().st_size, count)
    assert (last.files_done, last.files, last.all_records) == (1, 1, count)
    assert under_way
    assert {step.status for step in under_way} == {"reading"}
    assert [step.records for step in under_way] == sorted(step.records for step in under_way)
    assert 0 < under_way[0].bytes <= last.bytes
    assert len(under_way) <= seconds / 0.2 + 1


def test_each_of_ten_thousand_files_is_told() -> None:
    told: list[Step] = []
    meter = Meter(told.append, 10_000)
    for number in range(10_000):
        meter.start()
        meter.reading(number, "clicks", 10, 1)
        meter.done(number, "clicks", "read", 10, 1)
    assert [step.files_done for step in told if step.status == "read"] == [*range(1, 10_001)]
    assert (told[-1].all_bytes, told[-1].all_records) == (100_000, 10_000)
