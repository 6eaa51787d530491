"""The log generator: its files hold what truth.json says, as an independent reader counts it.

The reader below knows semantics sections 1 to 3 and 5 and nothing of the generator: plain Python,
one record at a time.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import crawleruseragents
import fastavro
import pytest
from backports import zstd

from advertisex.generator import Truth, generate, read_truth

EVENTS, DAYS, SEED = 24_000, 12, 7
STREAMS = ("bid_requests", "impressions", "clicks", "conversions")

CONTRACTS: dict[str, dict[str, str]] = {
    "impressions": {
        "timestamp": "time!", "user_id": "text!", "ad_creative_id": "text!",
        "website": "website!", "impression_id": "text", "auction_id": "text",
        "ad_campaign_id": "text", "price_cpm": "money", "currency": "currency",
        "user_agent": "text", "country": "text", "device_type": "text",
    },
    "clicks": {
        "timestamp": "time!", "user_id": "text!", "ad_campaign_id": "text!", "click_id": "text",
        "impression_id": "text", "ad_creative_id": "text", "website": "website",
        "user_agent": "text",
    },
    "conversions": {
        "timestamp": "time!", "user_id": "text!", "conversion_type": "text!",
        "conversion_id": "text", "ad_campaign_id": "text", "click_id": "text",
        "revenue": "money", "currency": "currency", "order_id": "text",
    },
    "bid_requests": {
        "timestamp": "time!", "auction_id": "text!", "user_id": "text", "website": "website",
        "exchange": "text", "bid_floor_cpm": "money", "bid_price_cpm": "money",
        "currency": "currency", "ad_campaign_id": "text", "ad_creative_id": "text",
        "country": "text", "device_type": "text", "user_agent": "text",
    },
    "campaigns": {
        "campaign_id": "text!", "updated_at": "time!", "campaign_name": "text",
        "advertiser": "text", "pricing_model": "pricing", "rate": "money",
        "currency": "currency", "daily_budget": "money", "start_date": "date",
        "end_date": "date", "time_zone": "text",
    },
    "creatives": {
        "creative_id": "text!", "campaign_id": "text!", "updated_at": "time!",
        "creative_name": "text", "format": "text", "width": "whole", "height": "whole",
    },
}  # fmt: skip
ALIASES = {
    "timestamp": ("ts", "event_time", "event_timestamp"),
    "ad_campaign_id": ("campaign_id",),
    "ad_creative_id": ("creative_id",),
    "website": ("site", "url", "page_url", "domain"),
    "conversion_type": ("event_type",),
    "revenue": ("value",),
}
OWN_ID = {
    "bid_requests": "auction_id",
    "impressions": "impression_id",
    "clicks": "click_id",
    "conversions": "conversion_id",
}
BAD = None  # a record that cannot be parsed


# Bytes → records: a dict of raw values, or BAD.


def unpacked(data: bytes) -> bytes:
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return zstd.ZstdDecompressor().decompress(data)
    return data


def read_records(data: bytes, usual: str) -> Iterator[dict[str, Any] | None]:
    data = unpacked(data)
    if data[:4] == b"Obj\x01":
        return read_avro(data)
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    if text.lstrip()[:1] in ("{", "["):
        return read_json(text)
    if usual == "avro" or (usual == "csv" and not data):
        return iter([BAD])
    return read_csv(text) if usual == "csv" else iter(())


def parsed_json(text: str) -> dict[str, Any] | None:
    if has_bad_bytes(text):
        return BAD
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError:
        return BAD
    return value if isinstance(value, dict) else BAD


def has_bad_bytes(text: str) -> bool:
    return "\0" in text or any("\udc80" <= mark <= "\udcff" for mark in text)


def read_json(text: str) -> Iterator[dict[str, Any] | None]:
    text = text.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    is_lines = text[0] == "{" and sum(parsed_json(x) is not BAD for x in lines) >= len(lines) / 2
    if is_lines:
        yield from (parsed_json(line) for line in lines)
        return
    decoder = json.JSONDecoder(parse_float=Decimal, strict=False)
    at, is_array = (1, True) if text[0] == "[" else (0, False)
    while True:
        while at < len(text) and text[at] in " \r\n\t" + ("," if is_array else ""):
            at += 1
        if at == len(text) or (is_array and text[at] == "]"):
            if is_array and text[at:].rstrip() != "]":
                yield BAD
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            yield BAD
            return
        is_good = isinstance(value, dict) and not has_bad_bytes(text[at:end])
        yield value if is_good else BAD
        at = end


def read_csv(text: str) -> Iterator[dict[str, Any] | None]:
    first = re.sub(r'"[^"]*"', "", text.splitlines()[0])
    separator = max(",;\t|", key=first.count)
    header: list[str] | None = None
    for raw, fields in csv_records(text, separator):
        if header is None:
            assert fields
            header = [re.sub(r"[ -]", "_", name.strip().lower()) for name in fields]
        elif fields is None or len(fields) != len(header) or has_bad_bytes(raw):
            yield BAD
        else:
            yield dict(zip(header, fields, strict=True))


def csv_records(text: str, separator: str) -> Iterator[tuple[str, list[str] | None]]:
    """RFC 4180 by a regular expression a field; None for a record with a stray or open quote."""
    plain = re.compile(rf'[^"\r\n{re.escape(separator)}]*')
    quoted = re.compile(r'"((?:[^"]|"")*)"')
    at = 0
    while at < len(text):
        start, fields = at, list[str]()
        while True:
            if text[at : at + 1] == '"':
                match = quoted.match(text, at)
                if match is None:
                    yield text[start:], None
                    return
                fields.append(match[1].replace('""', '"'))
            else:
                match = plain.match(text, at)
                assert match
                fields.append(match[0])
            at = match.end()
            if text[at : at + 1] != separator:
                break
            at += 1
        if at < len(text) and text[at] not in "\r\n":
            at = text.index("\n", at)
            yield text[start:at], None
        elif fields != [""]:
            yield text[start:at], fields
        at += 2 if text[at : at + 2] == "\r\n" else 1


def read_avro(data: bytes) -> Iterator[dict[str, Any] | None]:
    """Block by block, each as a file of its own."""
    source = io.BytesIO(data)
    source.seek(4)

    def long() -> int:
        value = shift = 0
        while True:
            byte = source.read(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)

    while entries := long():
        for _ in range(entries * 2):
            source.read(long())
    source.read(16)
    prologue = data[: source.tell()]
    sync = prologue[-16:]
    while source.tell() < len(data):
        start = source.tell()
        long()
        end = long() + source.tell() + 16
        source.seek(end)
        if data[end - 16 : end] != sync:
            yield BAD
            return
        try:
            records: list[Any] = list(fastavro.reader(io.BytesIO(prologue + data[start:end])))
        except Exception:
            records = [BAD]
        yield from records


# Records → accepted values or a reason.


class RejectedError(Exception):
    pass


def as_number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise RejectedError("bad_type")
    text = repr(value) if isinstance(value, float) else str(value).strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise RejectedError("bad_type") from None
    if not number.is_finite():
        raise RejectedError("bad_type")
    return number


def as_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RejectedError("bad_type")
    return str(value).strip(" \t\r\n\f\v")


def as_time(value: Any) -> dt.datetime:
    if isinstance(value, dt.datetime):
        moment = value
    elif isinstance(value, str) and re.fullmatch(
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?", value
    ):
        try:
            moment = dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))
        except ValueError:
            raise RejectedError("bad_type") from None
        if value[11:13] == "24":
            raise RejectedError("bad_type")
    else:
        number = as_number(value)
        unit = 1 if number < 10**11 else 1_000 if number < 10**14 else 1_000_000
        microseconds = int(number * 1_000_000 / unit)
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=microseconds)
    if moment.tzinfo:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    if not dt.datetime(2000, 1, 1) <= moment < dt.datetime(2026, 1, 1):
        raise RejectedError("out_of_range")
    return moment


def as_money(value: Any) -> str:
    number = as_number(value)
    if number.is_signed() or number >= 10**12:
        raise RejectedError("out_of_range")
    rounded = number.quantize(Decimal("0.000001"), ROUND_HALF_UP)
    if rounded >= 10**12:
        raise RejectedError("out_of_range")
    return str(rounded)


def as_website(value: Any) -> str:
    host = re.sub(r"^[a-z][a-z0-9+.-]*://", "", as_text(value).lower())
    host = re.split(r"[/?#]", host)[0].split("@")[-1]
    return re.sub(r":\d*$", "", host).removeprefix("www.")


def parsed(name: str, kind: str, value: Any) -> str:
    """The value as it stands in the event's text; empty is absent."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return "USD" if kind == "currency" else ""
    if kind == "time":
        return as_time(value.strip() if isinstance(value, str) else value).isoformat()
    if kind == "money":
        return as_money(value)
    if kind == "website":
        return as_website(value)
    text = as_text(value)
    is_bad = {
        "currency": lambda: not re.fullmatch("[A-Za-z]{3}", text),
        "pricing": lambda: text.lower() not in ("auction", "cpm", "cpc", "cpa"),
        "whole": lambda: not text.isdigit(),
        "date": lambda: not is_date(text),
    }.get(kind, lambda: False)()
    if is_bad:
        raise RejectedError("bad_type")
    if name.endswith("_id") and len(text) > 256:
        raise RejectedError("out_of_range")
    return text.upper() if kind == "currency" else text


def is_date(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def judged(stream: str, record: dict[str, Any]) -> dict[str, str] | str:
    """The parsed fields, or the reason why not."""
    out = {}
    for name, kind in CONTRACTS[stream].items():
        names = [name, *ALIASES.get(name, ())]
        if stream in ("campaigns", "creatives"):
            names = [name]
        given = (record[key] for key in names if record.get(key) not in (None, ""))
        try:
            out[name] = parsed(name, kind.rstrip("!"), next(given, None))
        except RejectedError as error:
            return f"{error}:{name}"
        if kind.endswith("!") and not out[name]:
            return f"missing:{name}"
    return out


# A folder → counts.


@dataclass
class Counted:
    files: dict[str, tuple[int, int, dict[str, int]]] = field(default_factory=dict)
    rejected: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    accepted: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))
    skipped: list[str] = field(default_factory=list)


def count_folder(folder: Path) -> Counted:
    counted, known = Counted(), set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "truth.json"):
        feed = path.relative_to(folder).parts[0]
        name = path.relative_to(folder).as_posix()
        content = (feed, hashlib.sha256(path.read_bytes()).hexdigest())
        if content in known:
            counted.skipped.append(name)
            continue
        known.add(content)
        ending = re.sub(r"\.(gz|zst)$", "", path.name).rsplit(".", 1)[1]
        usual = {"tsv": "csv", "jsonl": "json"}.get(ending, ending)
        rejected: Counter[str] = Counter()
        read = 0
        for record in read_records(path.read_bytes(), usual):
            read += 1
            stream = feed
            if record is BAD:
                outcome: dict[str, str] | str = "malformed"
            else:
                if feed == "interactions":
                    kind = (record.get("conversion_type") or record.get("event_type") or "").lower()
                    stream = "clicks" if kind in ("", "click") else "conversions"
                outcome = judged(stream, record)
            if isinstance(outcome, str):
                rejected[outcome] += 1
                counted.rejected[stream][outcome] += 1
            else:
                counted.accepted[stream].append(outcome)
        counted.files[name] = (read, read - rejected.total(), dict(rejected))
    return counted


def distinct(stream: str, records: list[dict[str, str]]) -> list[dict[str, str]]:
    """One record an identity: the earliest, then the one with the smallest text."""
    best: dict[str, tuple[str, bytes]] = {}
    kept: dict[str, dict[str, str]] = {}
    for record in records:
        text = "\x1f".join(record.values()).encode()
        identity = record[OWN_ID[stream]] or hashlib.md5(text).hexdigest()
        rank = (record["timestamp"], text)
        if identity not in best or rank < best[identity]:
            best[identity], kept[identity] = rank, record
    return list(kept.values())


def invalid(stream: str, events: list[dict[str, str]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    minutes = Counter((e["user_id"], e.get("ad_campaign_id"), e["timestamp"][:16]) for e in events)
    orders = set()
    for event in sorted(events, key=lambda e: e["timestamp"]):
        minute = (event["user_id"], event.get("ad_campaign_id"), event["timestamp"][:16])
        order = tuple(
            event.get(k) for k in ("user_id", "ad_campaign_id", "conversion_type", "order_id")
        )
        if is_crawler(event.get("user_agent", "")):
            found["bot_user_agent"] += 1
        elif stream == "clicks" and minutes[minute] > 10:
            found["click_flood"] += 1
        elif stream == "conversions" and event["order_id"] and order in orders:
            found["duplicate_conversion"] += 1
        orders.add(order)
    return dict(found)


KNOWN_AGENTS: dict[str, bool] = {}


def is_crawler(agent: str) -> bool:
    if agent not in KNOWN_AGENTS:
        patterns = [entry["pattern"] for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA]
        KNOWN_AGENTS[agent] = any(re.search(pattern, agent) for pattern in patterns)
    return KNOWN_AGENTS[agent]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("landing") / "data"
    generate(out, EVENTS, DAYS, SEED)
    return out


@pytest.fixture(scope="module")
def truth(folder: Path) -> Truth:
    return read_truth(folder / "truth.json")


@pytest.fixture(scope="module")
def counted(folder: Path) -> Counted:
    return count_folder(folder)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_file_holds_what_truth_says(truth: Truth, counted: Counted) -> None:
    expected = {
        name: (file.records_read, file.accepted, file.rejected)
        for name, file in truth.files.items()
    }
    assert counted.files == expected
    assert counted.skipped or truth.skipped_files
    same = {*counted.skipped} | {*truth.skipped_files} | {*truth.skipped_files.values()}
    assert len(same) == 2


def test_streams_add_up(truth: Truth, counted: Counted) -> None:
    for name, stream in truth.streams.items():
        assert stream.rejected == dict(counted.rejected[name]), name
        assert stream.accepted == len(counted.accepted[name]), name
        assert stream.records_read == stream.accepted + stream.rejected_records
        assert stream.rejected_records == sum(stream.rejected.values())
    for name in STREAMS:
        assert truth.streams[name].accepted == (
            truth.streams[name].events + truth.streams[name].extra_copies
        )
        assert truth.streams[name].extra_copies == sum(truth.streams[name].copies.values())


@pytest.mark.parametrize("stream", STREAMS)
def test_events_and_validity(stream: str, truth: Truth, counted: Counted) -> None:
    events = distinct(stream, counted.accepted[stream])
    assert len(events) == truth.streams[stream].events
    assert invalid(stream, events) == {
        reason: count for reason, count in truth.streams[stream].invalid.items() if count
    }


def test_clicks_by_campaign_and_the_anomaly(truth: Truth, counted: Counted) -> None:
    clicks = distinct("clicks", counted.accepted["clicks"])
    flooded = Counter((e["user_id"], e["ad_campaign_id"], e["timestamp"][:16]) for e in clicks)
    valid = [
        e
        for e in clicks
        if not is_crawler(e["user_agent"])
        and flooded[e["user_id"], e["ad_campaign_id"], e["timestamp"][:16]] <= 10
    ]
    by_campaign = Counter(e["ad_campaign_id"] for e in valid)
    assert by_campaign == truth.streams["clicks"].valid_by_campaign
    by_day = Counter((e["ad_campaign_id"], e["timestamp"][:10]) for e in valid)
    assert truth.anomaly is not None
    planted = by_day[truth.anomaly.campaign_id, truth.anomaly.date]
    assert planted == truth.anomaly.clicks
    assert planted > 4 * truth.anomaly.usual_clicks
    assert truth.anomaly.is_detectable


def test_versions_of_references(truth: Truth, counted: Counted) -> None:
    for stream, key in (("campaigns", "campaign_id"), ("creatives", "creative_id")):
        rows = counted.accepted[stream]
        assert truth.streams[stream].versions == len({(r[key], r["updated_at"]) for r in rows})
        assert truth.streams[stream].current_versions == len({r[key] for r in rows})


def test_every_defect_is_there(truth: Truth) -> None:
    for name in STREAMS:
        stream = truth.streams[name]
        required = [field for field, kind in CONTRACTS[name].items() if kind.endswith("!")]
        expected = {"malformed", "bad_type:timestamp", "out_of_range:timestamp"}
        expected |= {f"missing:{field}" for field in required}
        expected |= {f"out_of_range:{OWN_ID[name]}"}
        money = [field for field, kind in CONTRACTS[name].items() if kind == "money"]
        expected |= {f"{why}:{field}" for why in ("bad_type", "out_of_range") for field in money}
        assert expected <= stream.rejected.keys()
        assert stream.late_events > 0
        assert all(stream.copies.values()), stream.copies
    assert truth.streams["interactions"].rejected.keys() == {"malformed"}
    assert all(truth.streams["clicks"].invalid.values())
    assert truth.streams["conversions"].invalid["duplicate_conversion"] > 0
    assert truth.streams["impressions"].invalid["bot_user_agent"] > 0
    formats = {label.split("-")[0] for label in truth.formats}
    assert formats == {"json", "csv", "avro"}
    assert truth.compressions.keys() == {"gzip", "none", "zstd"}


def test_rates_of_the_funnel(truth: Truth) -> None:
    valid = {
        name: truth.streams[name].events - sum(truth.streams[name].invalid.values())
        for name in STREAMS
    }
    assert sum(truth.streams[name].events for name in STREAMS) == pytest.approx(EVENTS, rel=0.03)
    assert valid["bid_requests"] > valid["impressions"] > 20 * valid["clicks"]
    assert 0.001 <= valid["clicks"] / valid["impressions"] <= 0.02
    assert 0.01 <= valid["conversions"] / valid["clicks"] <= 0.15


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    generate(tmp_path / "a", 1_500, 4, 3)
    generate(tmp_path / "b", 1_500, 4, 3)
    generate(tmp_path / "c", 1_500, 4, 4)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")


@pytest.mark.parametrize(("events", "days", "seed"), [(1_000, 1, 0), (1_000, 40, 1), (3_000, 2, 9)])
def test_small_folders_hold_what_truth_says(
    tmp_path: Path, events: int, days: int, seed: int
) -> None:
    truth = generate(tmp_path, events, days, seed)
    counted = count_folder(tmp_path)
    assert counted.files == {
        name: (file.records_read, file.accepted, file.rejected)
        for name, file in truth.files.items()
    }
    for name in STREAMS:
        events_of = distinct(name, counted.accepted[name])
        assert len(events_of) == truth.streams[name].events
        assert sum(invalid(name, events_of).values()) == sum(truth.streams[name].invalid.values())


def test_a_folder_is_replaced_but_nothing_else(tmp_path: Path) -> None:
    generate(tmp_path, 1_000, 3, 1)
    (tmp_path / "notes.txt").write_text("mine")
    truth = generate(tmp_path, 1_000, 2, 2)
    found = {name for name in hashes(tmp_path) if name not in ("truth.json", "notes.txt")}
    assert found == {*truth.files, *truth.skipped_files}
    assert (tmp_path / "notes.txt").exists()
    (tmp_path / "clicks" / "mine.csv").write_text("a,b\n")
    with pytest.raises(FileExistsError, match=r"mine\.csv"):
        generate(tmp_path, 1_000, 2, 2)
    assert (tmp_path / "clicks" / "mine.csv").exists()


@pytest.mark.parametrize(
    ("events", "days", "seed", "end"),
    [(10, 3, 1, None), (1_000, 0, 1, None), (1_000, 3, -1, None), (1_000, 3, 1, "1999-01-01")],
)
def test_arguments_out_of_range(
    tmp_path: Path, events: int, days: int, seed: int, end: str | None
) -> None:
    last = dt.date.fromisoformat(end) if end else None
    with pytest.raises(ValueError, match=r"must be|do not lie"):
        generate(tmp_path / "out", events, days, seed, end=last)
    assert not (tmp_path / "out").exists()


def test_another_last_day_and_progress(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    truth = generate(
        tmp_path,
        1_000,
        3,
        1,
        end=dt.date(2024, 2, 29),
        progress=lambda *call: calls.append(call),
    )
    assert (truth.first_date, truth.last_date) == ("2024-02-27", "2024-02-29")
    assert {phase for phase, *_ in calls} == {"simulate", "plan", "write"}
    assert calls[-1][1] == calls[-1][2]
