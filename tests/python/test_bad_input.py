"""Bad input through the command line: what it says, how it exits, and that nothing is lost.

Whatever is wrong with a file, a folder, a contract or a server: a clear message with what to do,
the right exit code (0 done, 1 failed, 2 wrong usage), no traceback, the other files loaded.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import landing
from landing import avro_block, avro_encode, avro_header

CLICKS = b"timestamp,user_id,ad_campaign_id\n"
BID = {
    "type": "record",
    "name": "Bid",
    "fields": [{"name": "timestamp", "type": "long"}, {"name": "auction_id", "type": "string"}],
}


def click(user: str) -> bytes:
    return f"2024-06-09T12:34:56Z,{user},k1\n".encode()


def impression(user: str) -> bytes:
    members = {
        "timestamp": "2024-06-09T12:34:56Z",
        "user_id": user,
        "ad_creative_id": "c1",
        "website": "a.example",
    }
    return json.dumps(members).encode() + b"\n"


def bid_block(*names: str) -> bytes:
    rows = [avro_encode(BID, {"timestamp": 1717936496, "auction_id": name}) for name in names]
    return avro_block(len(rows), b"".join(rows))


def put(root: Path, stream: str, name: str, content: bytes) -> Path:
    path = root / stream / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A landing folder with a good file."""
    root = tmp_path / "landing"
    put(root, "clicks", "good.csv", CLICKS + click("good1") + click("good2"))
    return root


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "bad_input.duckdb"


def read_raw(warehouse: Path) -> dict[str, landing.Loaded]:
    """The raw schema by the files' names; asserts the conservation of section 2."""
    loaded = landing.read_raw(warehouse)
    for name, each in loaded.items():
        assert each.file is not None, f"{name} has rows and is not among the loaded files"
        accepted, rejected = sum(map(len, each.accepted.values())), len(each.rejected)
        assert each.file["records_read"] == accepted + rejected, name
        assert (each.file["accepted"], each.file["rejected"]) == (accepted, rejected), name
    return {Path(name).name: each for name, each in loaded.items()}


def users(loaded: landing.Loaded) -> list[str]:
    return [row["user_id"] for rows in loaded.accepted.values() for row in rows]


def polite(ran: landing.Ran, code: int, *words: str) -> None:
    """The exit code, every word said (without case), and no traceback."""
    assert ran.code == code, ran.said[-3000:]
    assert "Traceback" not in ran.said, ran.said[-3000:]
    plain = re.sub(r"\s+", " ", ran.said).lower()
    for word in words:
        assert word.lower() in plain, f"{word!r} is not in: {ran.said[-3000:]}"


BAD_FILES = {
    "broken.json": ("impressions", impression("a") + b'{"timestamp": \n' + impression("b"), 2, 1),
    "widths.csv": ("clicks", CLICKS + click("c") + b"1,2\n1,2,3,4\n" + click("d"), 2, 2),
    "open_quote.csv": ("clicks", CLICKS + click("e") + b'2024,"f,k1\n' + click("g"), 1, 1),
    "utf8.json": ("impressions", impression("h") + b'{"user_id":"\xff"}\n', 1, 1),
    "utf8.csv": ("clicks", CLICKS + click("i") + b"2024-06-09T12:34:56Z,\xff,k1\n", 1, 1),
    "nul.json": ("impressions", impression("j") + b"\0\0\0\n" + impression("k"), 2, 1),
    "nul.csv": ("clicks", CLICKS + click("l") + b"2024-06-09T12:34:56Z,\0,k1\n", 1, 1),
    "cut.avro": (
        "bid_requests", avro_header(BID) + bid_block("m", "n") + bid_block("o", "p")[:-20], 2, 1,
    ),
    "damaged.avro": (
        "bid_requests",
        avro_header(BID) + bid_block("q") + bid_block("r").replace(b"\xa0", b"\xff", 1)
        + bid_block("lost too") + bid_block("s"),
        2, 1,
    ),
    "no_header.avro": ("bid_requests", b"not an Avro file at all", 0, 1),
    "empty.csv": ("clicks", b"", 0, 1),
    "empty.avro": ("bid_requests", b"", 0, 1),
    "empty.json": ("impressions", b"", 0, 0),
    "json_inside.csv": ("clicks", b'{"ts":1717936496,"user_id":"t","campaign_id":"k"}', 1, 0),
    "json_inside.avro": ("bid_requests", b'[{"ts":1717936496,"auction_id":"u"}]', 1, 0),
    "avro_inside.json": ("bid_requests", avro_header(BID) + bid_block("v"), 1, 0),
    "picture.csv": ("clicks", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", 0, 1),
}  # fmt: skip


def test_bad_files_are_rejects_and_the_run_goes_on(logs: Path, warehouse: Path) -> None:
    for name, (stream, content, _, _) in BAD_FILES.items():
        put(logs, stream, name, content)
    ran = landing.adx("load", logs, warehouse=warehouse)
    polite(ran, 0, *BAD_FILES, "malformed")
    loaded = read_raw(warehouse)
    assert users(loaded["good.csv"]) == ["good1", "good2"]
    got = {
        name: (loaded[name].file["accepted"], loaded[name].file["rejected"])  # type: ignore[index]
        for name in BAD_FILES
    }
    assert got == {name: counts for name, (_, _, *counts_) in BAD_FILES.items()
                   for counts in [tuple(counts_)]}  # fmt: skip
    for each in loaded.values():
        assert all(row["reason"] == "malformed" and row["detail"] for row in each.rejected)


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """A file that is there and cannot be read, by root either."""
    path.symlink_to(path.name)  # it leads to itself
    yield


def test_an_unreadable_file_is_said_after_the_others_are_loaded(
    logs: Path, warehouse: Path
) -> None:
    bad = logs / "clicks" / "a_bad.csv"
    with unreadable(bad):
        ran = landing.adx("load", logs, warehouse=warehouse)
    polite(ran, 1, "a_bad.csv")
    loaded = read_raw(warehouse)
    assert set(loaded) == {"good.csv"}
    assert users(loaded["good.csv"]) == ["good1", "good2"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission(logs: Path, warehouse: Path) -> None:
    bad = put(logs, "clicks", "a_bad.csv", CLICKS + click("x"))
    bad.chmod(0)
    polite(landing.adx("load", logs, warehouse=warehouse), 1, "a_bad.csv", "permission")
    assert set(read_raw(warehouse)) == {"good.csv"}
    bad.chmod(0o600)
    polite(landing.adx("load", logs, warehouse=warehouse), 0)
    assert set(read_raw(warehouse)) == {"good.csv", "a_bad.csv"}


def test_file_names_that_are_no_text_or_odd(logs: Path, warehouse: Path) -> None:
    """A name that is not UTF-8 ended the whole load."""
    folder = os.fsencode(logs / "clicks")
    names = [b"caf\xe9.csv", b'it\'s "q" [b] \\ \n.csv', "naïve 日本.csv".encode()]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(CLICKS + click(f"n{number}"))
    polite(landing.adx("load", logs, warehouse=warehouse), 0, r"caf\udce9.csv")
    loaded = read_raw(warehouse)
    assert users(loaded[r"caf\udce9.csv"]) == ["n0"]
    assert users(loaded['it\'s "q" [b] \\ \n.csv']) == ["n1"]
    assert users(loaded["naïve 日本.csv"]) == ["n2"]
    assert set(map(len, map(users, loaded.values()))) == {1, 2}
    polite(landing.adx("load", logs, warehouse=warehouse), 0, "skipped")
    assert len(read_raw(warehouse)) == len(names) + 1


def test_a_path_that_is_not_there(logs: Path, warehouse: Path) -> None:
    ran = landing.adx("load", logs / "nowhere.csv", logs, warehouse=warehouse)
    assert ran.code in (1, 2)
    polite(ran, ran.code, "nowhere.csv")
    if ran.code == 1:
        assert set(read_raw(warehouse)) == {"good.csv"}


def test_a_folder_without_logs(tmp_path: Path, warehouse: Path) -> None:
    (tmp_path / "nothing_here").mkdir()
    ran = landing.adx("load", tmp_path / "nothing_here", warehouse=warehouse)
    assert ran.code in (1, 2)
    polite(ran, ran.code, "nothing_here")


def test_files_whose_stream_no_folder_tells(logs: Path, warehouse: Path) -> None:
    path = put(logs, "somewhere", "file.csv", CLICKS + click("a"))
    ran = landing.adx("load", logs, warehouse=warehouse)
    assert ran.code in (0, 1)
    polite(ran, ran.code, "file.csv", "--stream")
    assert set(read_raw(warehouse)) == {"good.csv"}
    ran = landing.adx("load", path, warehouse=warehouse)
    assert ran.code in (1, 2)
    polite(ran, ran.code, "file.csv", "--stream")
    polite(landing.adx("load", path, "--stream", "clicks", warehouse=warehouse), 0)
    assert users(read_raw(warehouse)["file.csv"]) == ["a"]


def test_an_unknown_stream(logs: Path, warehouse: Path) -> None:
    ran = landing.adx("load", logs, "--stream", "views", warehouse=warehouse)
    polite(ran, 2, "views", "impressions", "clicks")


def test_no_path_at_all(warehouse: Path) -> None:
    polite(landing.adx("load", warehouse=warehouse), 2, "path")


def test_an_unknown_contract(logs: Path, warehouse: Path) -> None:
    ran = landing.adx("load", logs, "--contract", "nosuchfeed", warehouse=warehouse)
    assert ran.code in (1, 2)
    polite(ran, ran.code, "nosuchfeed", "openrtb")


GOOD_FEED = """\
stream: clicks
paths:
  timestamp: when
  user_id: who.id
  ad_campaign_id: what
"""


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (GOOD_FEED.replace("who.id", "who[").replace("what", "what"), 4, "user_id"),
        (GOOD_FEED.replace("  user_id", "  userid"), 4, "userid"),
        (GOOD_FEED.replace("paths:", "path:"), 2, "path"),
        (GOOD_FEED.replace("stream: clicks", "stream: views"), 1, "stream"),
        (GOOD_FEED + "  user_id: other\n", 6, "user_id"),
        (GOOD_FEED.replace("  timestamp: when", "  timestamp: {x: 1}"), 3, "timestamp"),
        (GOOD_FEED.replace("  user_id: who.id", "  user_id: [who.id"), None, ""),
        ("- a\n- b\n", 1, ""),
        ("", None, ""),
    ],
)
def test_a_contract_with_a_mistake(
    logs: Path, warehouse: Path, tmp_path: Path, text: str, line: int | None, key: str
) -> None:
    feed = tmp_path / "my_feed.yml"
    feed.write_text(text)
    ran = landing.adx("load", logs, "--contract", feed, warehouse=warehouse)
    assert ran.code in (1, 2), ran.said[-3000:]
    polite(ran, ran.code, "my_feed.yml", key)
    if line is not None:
        assert re.search(rf"\b{line}\b", ran.said.replace(str(feed), "")), ran.said[-3000:]


def test_a_contract_without_a_mistake(logs: Path, warehouse: Path, tmp_path: Path) -> None:
    feed = tmp_path / "my_feed.yml"
    feed.write_text(GOOD_FEED)
    path = put(
        tmp_path / "other", "clicks", "feed.json",
        b'[{"when":1717936496,"who":{"id":5,"name":"n"},"what":"k1"},{"when":1717936496}]',
    )  # fmt: skip
    polite(landing.adx("load", path, "--contract", feed, warehouse=warehouse), 0)
    loaded = read_raw(warehouse)["feed.json"]
    assert users(loaded) == ["5"]
    assert [row["reason"] for row in loaded.rejected] == ["missing:user_id"]


def test_no_server_at_pghost(logs: Path, warehouse: Path) -> None:
    ran = landing.adx(
        "load", logs, warehouse=warehouse, ADX_TARGET="postgres", PGHOST="127.0.0.1", PGPORT="1",
        PGUSER="nobody", PGPASSWORD="secret-word", PGDATABASE="nothing",
    )  # fmt: skip
    polite(ran, 1, "127.0.0.1", "PGHOST")
    assert "secret-word" not in ran.said


def test_a_warehouse_that_another_process_holds(logs: Path, warehouse: Path) -> None:
    held = duckdb.connect(str(warehouse))
    try:
        held.execute("create table mine as select 1 as one")
        ran = landing.adx("load", logs, warehouse=warehouse)
    finally:
        held.close()
    polite(ran, 1, "bad_input.duckdb", "process")
    polite(landing.adx("load", logs, warehouse=warehouse), 0)
    assert users(read_raw(warehouse)["good.csv"]) == ["good1", "good2"]


def test_a_warehouse_that_is_none(logs: Path, warehouse: Path) -> None:
    warehouse.write_bytes(b"this is a letter, not a warehouse" * 1000)
    polite(landing.adx("load", logs, warehouse=warehouse), 1, "bad_input.duckdb")
    assert warehouse.read_bytes() == b"this is a letter, not a warehouse" * 1000


def test_a_warehouse_in_a_folder_that_is_a_file(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    ran = landing.adx("load", logs, warehouse=tmp_path / "file" / "x.duckdb")
    polite(ran, 1, "x.duckdb")


def test_too_many_rejects(logs: Path, warehouse: Path) -> None:
    put(logs, "clicks", "half.csv", CLICKS + click("a") + b"1,2\n")
    ran = landing.adx("load", logs, "--max-rejects", "1%", warehouse=warehouse)
    polite(ran, 1, "1")
    assert set(read_raw(warehouse)) == {"good.csv", "half.csv"}
    put(logs, "clicks", "half2.csv", CLICKS + click("b") + b"1,2\n")
    polite(landing.adx("load", logs, "--max-rejects", "60%", warehouse=warehouse), 0)
    ran = landing.adx("load", logs, "--max-rejects", "many", warehouse=warehouse)
    polite(ran, 2, "max-rejects")


def test_content_that_was_loaded_before_is_skipped(logs: Path, warehouse: Path) -> None:
    polite(landing.adx("load", logs, warehouse=warehouse), 0)
    put(logs, "clicks", "again.csv", CLICKS + click("good1") + click("good2"))
    put(logs, "interactions", "other_stream.csv", CLICKS + click("good1") + click("good2"))
    ran = landing.adx("load", logs, warehouse=warehouse)
    polite(ran, 0, "again.csv", "skipped")
    assert set(read_raw(warehouse)) == {"good.csv", "other_stream.csv"}


def test_the_same_content_twice_in_one_run(logs: Path, warehouse: Path) -> None:
    put(logs, "clicks", "twin.csv", CLICKS + click("good1") + click("good2"))
    polite(landing.adx("load", logs, warehouse=warehouse), 0, "skipped")
    assert len(read_raw(warehouse)) == 1


def _many_clicks(name: str, count: int) -> bytes:
    return CLICKS + b"".join(click(f"{name}{number}") for number in range(count))


def test_a_full_disk(logs: Path, tmp_path: Path) -> None:
    """On a file system of 4 MB: said, nothing half loaded; with room again all is loaded."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        warehouse = disk / "full.duckdb"
        polite(landing.adx("load", logs, warehouse=warehouse), 0)
        for number in range(4):
            put(logs, "clicks", f"big{number}.csv", _many_clicks(f"b{number}-", 50_000))
        ran = landing.adx("load", logs, warehouse=warehouse)
        polite(ran, 1, "full.duckdb")
        assert re.search(r"space|disk|full", ran.said.replace("full.duckdb", ""), re.I), ran.said
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        assert users(read_raw(warehouse)["good.csv"]) == ["good1", "good2"]
        polite(landing.adx("load", logs, warehouse=warehouse), 0)
        loaded = read_raw(warehouse)
        counts = {name: len(users(each)) for name, each in loaded.items()}
        assert counts == {"good.csv": 2, **{f"big{number}.csv": 50_000 for number in range(4)}}
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.skipif(os.geteuid() == 0 and not landing.LONG, reason="the full disk shows the same")
def test_a_limit_of_file_size(logs: Path, warehouse: Path) -> None:
    """What a quota does: writing fails in the midst."""
    put(logs, "clicks", "big.csv", _many_clicks("q", 100_000))
    polite(landing.adx("load", logs / "clicks" / "good.csv", warehouse=warehouse), 0)

    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
    ran = landing.start("load", logs, warehouse=warehouse, before=limit)
    out, err = ran.communicate(timeout=300)
    assert ran.returncode == 1, err[-3000:]
    assert "Traceback" not in out + err
    polite(landing.adx("load", logs, warehouse=warehouse), 0)
    counts = {name: len(users(each)) for name, each in read_raw(warehouse).items()}
    assert counts == {"good.csv": 2, "big.csv": 100_000}


@pytest.mark.parametrize("seconds", [n / 4 for n in range(4, 40)] if landing.LONG else [3.0])
def test_killed_at_any_moment_and_run_again(logs: Path, warehouse: Path, seconds: float) -> None:
    for number in range(3):
        put(logs, "clicks", f"big{number}.csv", _many_clicks(f"b{number}-", 40_000) + b"x\n")
    running = landing.start("load", logs, warehouse=warehouse)
    time.sleep(seconds)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    polite(landing.adx("load", logs, warehouse=warehouse), 0)
    loaded = read_raw(warehouse)
    counts = {name: (len(users(each)), len(each.rejected)) for name, each in loaded.items()}
    assert counts == {"good.csv": (2, 0), **{f"big{n}.csv": (40_000, 1) for n in range(3)}}
