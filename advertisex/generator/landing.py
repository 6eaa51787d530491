"""Events → files: which record lands where and when, in which layout, with which faults."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from advertisex.generator.faults import (
    BREAKABLE,
    EXACT,
    LATER,
    ORIGINAL,
    OTHER_TEXT,
    REJECTED,
    Fault,
    break_record,
    catalogue,
    copies_of,
)
from advertisex.generator.model import (
    DAY,
    FIELDS,
    MINUTE,
    Codes,
    Ints,
    Kind,
    Market,
    Simulation,
    append,
    chance,
    rows_of,
)
from advertisex.generator.planted import Planted, Spoilt
from advertisex.generator.truth import FileTruth, by_reason
from advertisex.generator.writers import (
    SEPARATORS,
    Encoder,
    Raw,
    Style,
    Value,
    avro_file,
    avro_schema,
    compressed,
    csv_file,
    csv_text,
    json_file,
)

_ROWS_PER_FILE = 150_000
_LATE_SHARE = 0.008
_PARTNER_SHARE = 0.16  # of the clicks and conversions, logged by a partner: `interactions`
_REJECTED_SHARE = 0.003
# Where fewer records than this are good, a broken one could change how a JSON file reads.
_LEAST_FOR_BROKEN_LINES = 20

_SHORT = {"timestamp": "ts", "ad_campaign_id": "campaign_id", "ad_creative_id": "creative_id"}
_PAGE = {**_SHORT, "timestamp": "event_time", "website": "page_url"}

# Each feed goes through its styles day by day.
STYLES: Mapping[str, tuple[Style, ...]] = {
    "impressions": (
        Style("json", "lines", extras=("viewable",)),
        Style("json", "array", "iso_offset", {"website": "site"}),
        Style("json", "lines", "epoch_ms", {**_SHORT, "website": "url"}, "gzip",
              writes_integers=True),
        Style("json", "pretty", "iso_space", _PAGE),
        Style("csv", "tab", "iso_nano", {"website": "Page URL"}),
        Style("json", "lines", "epoch_s", {"website": "domain"}, "zstd", writes_nulls=True),
        Style("json", "joined", "iso_nano", {"timestamp": "event_timestamp"}, has_bom=True,
              money="text"),
        Style("json", "lines", is_crlf=True, extras=("slot", "sdk_version")),
        Style("json", "array", "epoch_us", _SHORT, "gzip"),
        Style("avro", "snappy", "iso_z", extras=("sdk_version",)),
    ),
    "clicks": (
        Style("csv", "comma"),
        Style("csv", "semicolon", "iso_offset",
              {"timestamp": "Event Time", "ad_campaign_id": "campaign_id"}, has_bom=True,
              is_crlf=True),
        Style("csv", "tab", "epoch_ms", {"timestamp": "ts", "website": "site"}),
        Style("csv", "comma", "iso_space", extras=("note",), quotes_all=True, is_crlf=True),
        Style("csv", "pipe", "iso_z", {"user_id": "User-ID"}, "gzip"),
        Style("json", "lines", "epoch_ms", _SHORT),
        Style("csv", "semicolon", "epoch_s", {"timestamp": "TS"}, "zstd", has_blank_lines=True,
              extras=("note",)),
    ),
    "conversions": (
        Style("csv", "comma"),
        Style("csv", "semicolon", "iso_space", {"revenue": "Value"}, is_crlf=True),
        Style("csv", "pipe", "iso_offset", {"conversion_type": "event_type"}, has_bom=True),
        Style("avro", "bzip2", "millis", money="text"),
        Style("csv", "tab", "epoch_ms", {"timestamp": "event_timestamp"}, "gzip"),
        Style("csv", "comma", "iso_nano", quotes_all=True, extras=("note",)),
    ),
    "bid_requests": (
        Style("avro", "deflate", "micros"),
        Style("avro", "snappy", "iso_z", money="text", targeting="map"),
        Style("avro", "zstandard", "millis", money="decimal", targeting="text"),
        Style("avro", "null", "micros", {**_SHORT, "targeting": "ad_targeting"},
              extras=("sdk_version",)),
        Style("avro", "deflate", "seconds", {"timestamp": "event_time", "website": "site"}),
        Style("json", "lines", "iso_z", compression="gzip"),
        Style("avro", "zstandard", "epoch_ms", targeting="map"),
    ),
    "interactions": (
        Style("csv", "semicolon", "iso_z",
              {"ad_campaign_id": "campaign_id", "conversion_type": "event_type"}),
        Style("csv", "comma", "epoch_ms",
              {"ad_campaign_id": "campaign_id", "conversion_type": "conversion_type",
               "revenue": "value", "timestamp": "ts"}),
    ),
}  # fmt: skip

FEEDS = tuple(STYLES)
EVENT_STREAMS = ("bid_requests", "impressions", "clicks", "conversions")

# One log of clicks and conversions: the columns of both.
_INTERACTIONS: Mapping[str, Kind] = {
    "timestamp": FIELDS["clicks"]["timestamp"],
    "user_id": FIELDS["clicks"]["user_id"],
    "ad_campaign_id": FIELDS["clicks"]["ad_campaign_id"],
    "conversion_type": FIELDS["conversions"]["conversion_type"],
    **{name: kind for name, kind in FIELDS["clicks"].items() if name != "click_id"},
    **FIELDS["conversions"],
}

Progress = Callable[[str, int, int], None]


@dataclass
class Rows:
    """All records of one stream: its events, then their copies, then what will be rejected."""

    columns: dict[str, Codes]
    event: Ints  # the event that a record is of, or was made from
    role: Ints
    day: Ints  # of the landing folder
    feed: Ints  # position in `FEEDS`
    file: Ints
    order: Ints  # within a file
    faults: list[Fault | None]  # one for each rejected record, the last rows


@dataclass
class LandingFile:
    """One file to be written; `tail` is a fault of the file rather than of a record."""

    feed: str
    path: str
    style: Style
    tail: str = ""
    rejected: Counter[str] = field(default_factory=Counter)
    read: int = 0


@dataclass
class Landing:
    """The records, assigned to files, and what is known about the files once written."""

    rows: dict[str, Rows]
    files: list[LandingFile]
    truths: dict[str, FileTruth] = field(default_factory=dict)
    rejected: dict[str, Counter[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def plan(simulation: Simulation, planted: Planted | None = None) -> Landing:
    """Assigns every record to a file and adds copies, late ones and rejected ones.

    With a planted fault the files are quiet otherwise: none is damaged, few records are rejected.
    """
    rows = {stream: _originals(simulation, stream) for stream in EVENT_STREAMS}
    files = _files(simulation.market, rows, planted)
    for stream in EVENT_STREAMS:
        _add_copies(simulation, stream, rows[stream], files)
    if planted is None:
        _add_tails(files)
    for stream in EVENT_STREAMS:
        _add_rejected(simulation, stream, rows[stream], files, each=planted is None)
    if planted is not None and planted.spoilt is not None:
        _add_spoilt(simulation, rows["impressions"], planted, planted.spoilt)
    return Landing(rows, files)


def _originals(simulation: Simulation, stream: str) -> Rows:
    market, rng = simulation.market, simulation.rng
    columns = dict(market.tables[stream])
    times = columns["timestamp"]
    count = len(times)
    day = (times - market.start) // DAY
    room = market.days - 1 - day
    is_late = (rng.random(count) < _LATE_SHARE) & (room > 0)
    if not is_late.any() and (room > 0).any():
        is_late[np.argmax(room > 0)] = True
    day = day + np.where(is_late, np.minimum(rng.integers(1, 4, count), room), 0)
    feed = np.full(count, FEEDS.index(stream))
    if stream in ("clicks", "conversions"):
        feed[chance(rng, _PARTNER_SHARE, count)] = FEEDS.index("interactions")
    # Logs are nearly sorted: servers flush now and then.
    order = times + rng.integers(0, 3 * MINUTE, count)
    return Rows(
        columns, np.arange(count), np.full(count, ORIGINAL), day, feed, np.zeros(count, np.int64),
        order, [],
    )  # fmt: skip


def _files(market: Market, rows: Mapping[str, Rows], planted: Planted | None) -> list[LandingFile]:
    """One file a feed and day, more of a large day; sets each row's `file`."""
    files: list[LandingFile] = []
    for feed_number, feed in enumerate(FEEDS):
        members = [
            (stream, np.flatnonzero(part.feed == feed_number)) for stream, part in rows.items()
        ]
        members = [(stream, index) for stream, index in members if len(index)]
        sizes = np.zeros(market.days, dtype=np.int64)
        for stream, index in members:
            sizes += np.bincount(rows[stream].day[index], minlength=market.days)
        parts = -(-sizes // _ROWS_PER_FILE)
        if market.days == 1 and feed != "interactions":
            parts = np.where(sizes > 1, np.maximum(parts, 2), parts)
        first = np.cumsum(parts) - parts
        for stream, index in members:
            part_of_day = rows[stream].day[index]
            # In order of time, so that a part covers some hours.
            ranked = np.lexsort((rows[stream].order[index], part_of_day))
            counts = np.bincount(part_of_day, minlength=market.days)
            rank = np.empty(len(index), dtype=np.int64)
            rank[ranked] = np.arange(len(index)) - (np.cumsum(counts) - counts)[part_of_day[ranked]]
            part = rank * parts[part_of_day] // np.maximum(counts[part_of_day], 1)
            rows[stream].file[index] = len(files) + first[part_of_day] + part
        for day in range(market.days):
            for part_number in range(int(parts[day])):
                style = STYLES[feed][(int(first[day]) + part_number) % len(STYLES[feed])]
                if planted is not None:
                    style = planted.style(feed, day, style, STYLES[feed][0])
                name = f"{feed}-{part_number + 1:02d}.{style.ending}"
                date = market.first_day + dt.timedelta(days=day)
                files.append(LandingFile(feed, f"{feed}/{date}/{name}", style))
    return files


def _extend(
    part: Rows, columns: Mapping[str, Codes], base: Ints, role: Ints, file: Ints, day: Ints
) -> None:
    append(part.columns, columns)
    part.event = np.r_[part.event, part.event[base]]
    part.role = np.r_[part.role, role]
    part.day = np.r_[part.day, day]
    part.feed = np.r_[part.feed, part.feed[base]]
    part.file = np.r_[part.file, file]
    part.order = np.r_[part.order, part.order[base]]


def _add_copies(simulation: Simulation, stream: str, part: Rows, files: list[LandingFile]) -> None:
    copies = copies_of(simulation, stream)
    by_folder: dict[tuple[str, str], list[int]] = {}
    for number, file in enumerate(files):
        by_folder.setdefault((file.feed, file.path.split("/")[1]), []).append(number)
    first_day = simulation.market.first_day
    feeds = [stream] if stream in ("bid_requests", "impressions") else [stream, "interactions"]
    target, day = part.file[copies.base].copy(), part.day[copies.base].copy()
    for row in np.flatnonzero(copies.elsewhere).tolist():
        # The next day's file of the same feed, else another file of the same day.
        landed = int(day[row])
        for later in (landed + 1, landed):
            date = str(first_day + dt.timedelta(days=later))
            found = [
                n for feed in feeds for n in by_folder.get((feed, date), ()) if n != target[row]
            ]
            if found:
                target[row], day[row] = found[row % len(found)], later
                break
    _extend(part, copies.columns, copies.base, copies.role, target, day)
    # A copy may have changed feeds; what it is rendered with follows from its file.
    part.feed = np.array([FEEDS.index(f.feed) for f in files])[part.file]


def _add_tails(files: list[LandingFile]) -> None:
    """One file each with a fault that reaches to its end, or with a damaged block."""
    wanted = [
        ("impressions", "json-array", ("cut", "after")),
        ("impressions", "json-pretty", ("cut",)),
        ("impressions", "json-lines", ("cut",)),
        ("clicks", "csv-comma", ("quote",)),
        ("interactions", "csv-semicolon", ("quote",)),
        ("bid_requests", "avro-deflate", ("damaged",)),
        ("bid_requests", "avro-snappy", ("cut",)),
        ("bid_requests", "avro-zstandard", ("damaged",)),
    ]
    for feed, label, tails in wanted:
        fitting = [f for f in files if f.feed == feed and f.style.label == label and not f.tail]
        # Not the first if there is a choice: a reader of the demo sees it whole.
        for file, tail in zip(fitting[1:] or fitting, tails, strict=False):
            file.tail = tail
            file.rejected["malformed"] += 1
            file.read += 1


def _add_rejected(
    simulation: Simulation, stream: str, part: Rows, files: list[LandingFile], *, each: bool
) -> None:
    """Spoilt versions of good records, beside these, where a style can express the fault: each
    fault at least once, or only as many as the share of rejects allows."""
    rng, encoder = simulation.rng, Encoder(simulation.market.vocabularies)
    count = len(part.event)
    sizes = np.bincount(part.file, minlength=len(files))
    of_file: dict[int, Ints] = {
        number: rows
        for number, rows in enumerate(np.split(
            np.argsort(part.file, kind="stable"), np.cumsum(sizes)[:-1]
        ))
        if len(rows)
    }  # fmt: skip
    listed = catalogue(stream)
    total = sum(fault.weight for fault in listed)
    # In a small stream one fault a reason is enough: most of its records shall be good.
    is_small = count * _REJECTED_SHARE < len(listed) / 3
    seen: set[str] = set()
    if is_small:
        listed = [listed[n] for n in rng.permutation(len(listed)).tolist()]
    base: list[int] = []
    faults: list[Fault | None] = []
    for fault in listed:
        key = (fault.broken or fault.reason) if count >= 1_000 else fault.reason
        if is_small and key in seen:
            continue
        able = [
            number
            for number in of_file
            if _can_hold(encoder, files[number], len(of_file[number]), stream, fault)
        ]
        if not able:
            continue
        seen.add(key)
        share = _REJECTED_SHARE * count * fault.weight / total
        wanted = max(1, round(share)) if each else int(share + rng.random())
        weights = np.array([len(of_file[number]) for number in able], dtype=np.float64)
        for number in rng.choice(able, wanted, p=weights / weights.sum()).tolist():
            base.append(int(rng.choice(of_file[number])))
            faults.append(fault)
    index = np.array(base, dtype=np.int64)
    part.faults = faults
    role = np.full(len(index), REJECTED)
    _extend(part, rows_of(part.columns, index), index, role, part.file[index], part.day[index])


def _add_spoilt(simulation: Simulation, part: Rows, planted: Planted, spoilt: Spoilt) -> None:
    """Records that are rejected in place of good ones, in the files of the planted day."""
    feed = FEEDS.index("impressions")
    beside = np.flatnonzero(
        (part.day == planted.day) & (part.feed == feed) & (part.role == ORIGINAL)
    )
    base = beside[simulation.rng.integers(0, len(beside), len(spoilt.faults))]
    role = np.full(len(base), REJECTED)
    _extend(part, spoilt.columns, base, role, part.file[base], part.day[base])
    part.faults += spoilt.faults


def _can_hold(encoder: Encoder, file: LandingFile, size: int, stream: str, fault: Fault) -> bool:
    style = file.style
    if fault.broken:
        able = BREAKABLE.get(style.label, BREAKABLE.get(style.format, ()))
        if style.format == "json" and size < _LEAST_FOR_BROKEN_LINES:
            return False
        return fault.broken in able
    if file.feed == "interactions" and "conversion_type" in fault.values:
        return False  # without a type the row is a click
    if style.format == "json":
        # A NUL between brackets is too much of a riddle for a demo.
        has_nul = any(isinstance(v, Raw) and b"\0" in v.value for v in fault.values.values())
        if has_nul and style.layout != "lines":
            return False
        is_raw = any(isinstance(v, Raw) for v in fault.values.values())
        if is_raw and size < _LEAST_FOR_BROKEN_LINES:
            return False
    kinds = FIELDS[stream]
    return all(encoder.supports(style, name, kinds[name], v) for name, v in fault.values.items())


# Writing.


def write(
    out: Path,
    simulation: Simulation,
    landing: Landing,
    progress: Progress | None,
    *,
    odd_files: bool = True,
) -> None:
    """Writes the event files one by one; `landing.truths` then says what each holds."""
    encoder = Encoder(simulation.market.vocabularies)
    landing.rejected = {stream: Counter() for stream in (*EVENT_STREAMS, "interactions")}
    grouped: dict[str, list[Ints]] = {}
    for stream, part in landing.rows.items():
        sizes = np.bincount(part.file, minlength=len(landing.files))
        ordered = np.lexsort((part.order, part.file))
        grouped[stream] = np.split(ordered, np.cumsum(sizes)[:-1])
    for number, file in enumerate(landing.files):
        members = {name: split[number] for name, split in grouped.items() if len(split[number])}
        data = _file_bytes(encoder, simulation.seed, landing, file, members)
        _put(out, file.path, data)
        rejected = file.rejected.total()
        landing.truths[file.path] = FileTruth(
            stream=file.feed,
            format=file.style.label,
            compression=file.style.compression,
            records_read=file.read,
            accepted=file.read - rejected,
            rejected_records=rejected,
            rejected=by_reason(file.rejected),
        )
        if file.tail:
            landing.rejected[file.feed]["malformed"] += 1
        if progress:
            progress("write", number + 1, len(landing.files))
    if odd_files:
        _write_specials(out, simulation.market, landing)


def _put(out: Path, path: str, data: bytes) -> None:
    target = out / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _file_bytes(
    encoder: Encoder, seed: int, landing: Landing, file: LandingFile, members: Mapping[str, Ints]
) -> bytes:
    style = file.style
    fields = FIELDS.get(file.feed, _INTERACTIONS)
    texts, orders = [], []
    for stream, index in members.items():
        part = landing.rows[stream]
        texts.append(_records(encoder, landing, file, stream, index, fields))
        orders.append(part.order[index])
    records = texts[0]
    if len(texts) > 1:
        order = np.argsort(np.concatenate(orders), kind="stable")
        records = pa.concat_arrays(texts).take(pa.array(order))
    file.read += len(records)
    if style.format == "avro":
        sync = hashlib.md5(f"{seed}:{file.path}".encode(), usedforsecurity=False).digest()
        schema = avro_schema(style, file.feed, fields)
        return avro_file(records, schema, style.layout, sync, file.tail)
    if style.format == "json":
        data = json_file(records, style, file.tail)
    else:
        header = [style.name_of(name) for name in fields] + list(style.extras)
        data = csv_file(records, header, style, file.tail)
    return compressed(data, style.compression)


def _records(
    encoder: Encoder,
    landing: Landing,
    file: LandingFile,
    stream: str,
    index: Ints,
    fields: Mapping[str, Kind],
) -> pa.BinaryArray:
    """The stream's records of one file as texts; counts what will be rejected."""
    part = landing.rows[stream]
    columns = rows_of(part.columns, index)
    if file.feed == "interactions" and stream == "clicks":
        fields = {**fields, "conversion_type": Kind("word", "click_types")}
        columns["conversion_type"] = columns["timestamp"] % 4
    planted: list[tuple[int, str, Value]] = []
    broken: list[tuple[int, Fault]] = []
    first_fault = len(part.event) - len(part.faults)
    for row in np.flatnonzero(index >= first_fault).tolist():
        fault = part.faults[int(index[row]) - first_fault]
        assert fault is not None
        if fault.broken:
            broken.append((row, fault))
        planted += [(row, name, value) for name, value in fault.values.items()]
        file.rejected[fault.reason] += 1
        is_unread = file.feed == "interactions" and fault.reason == "malformed"
        landing.rejected["interactions" if is_unread else stream][fault.reason] += 1
    records = encoder.records(file.style, fields, columns, planted)
    if broken:
        separator = SEPARATORS.get(file.style.layout, b",")
        spoilt = [
            break_record(records[row].as_py(), fault.broken, separator)
            for row, fault in broken
            if fault.broken
        ]
        order = np.arange(len(records))
        order[[row for row, _ in broken]] = len(records) + np.arange(len(broken))
        together = pa.concat_arrays([records, pa.array(spoilt, pa.binary())])
        records = together.take(pa.array(order))
    return records


def _write_specials(out: Path, market: Market, landing: Landing) -> None:
    """Files that are odd as a whole: another format than the name's, empty, without a column,
    and one that was sent twice."""
    last = market.first_day + dt.timedelta(days=market.days - 1)
    few = [[f"{last}T0{hour}:00:00Z", f"u-{hour}"] for hour in range(3)]
    specials = [
        (f"bid_requests/{last}/bid_requests-99.avro", "avro-none", b"<html>no bucket</html>\n",
         "malformed", 1),
        (f"conversions/{last}/conversions-98.csv", "csv-comma", b"", "malformed", 1),
        (f"conversions/{last}/conversions-99.csv", "csv-comma",
         b"timestamp,user_id,conversion_type\n", "", 0),
        (f"impressions/{last}/impressions-99.json", "json-lines", b"", "", 0),
        (f"clicks/{last}/clicks-99.csv", "csv-comma",
         csv_text(("timestamp", "user_id"), few, ","), "missing:ad_campaign_id", len(few)),
    ]  # fmt: skip
    for path, label, data, reason, count in specials:
        stream = path.split("/")[0]
        _put(out, path, data)
        rejected = {reason: count} if count else {}
        landing.truths[path] = FileTruth(stream, label, "", count, 0, count, rejected)
        landing.rejected[stream].update(rejected)
    shown = [f for f in landing.files if f.feed == "impressions"]
    sent = next((f for f in shown if not f.tail), shown[0])
    again = f"impressions/{last}/resent-{sent.path.split('/')[1]}.{sent.style.ending}"
    _put(out, again, (out / sent.path).read_bytes())
    landing.skipped[again] = sent.path


def copy_kinds(part: Rows) -> dict[str, int]:
    """Extra records by kind; whether a copy lies in its original's file is looked up."""
    file_of_event = part.file[: int((part.role == ORIGINAL).sum())]
    is_same = part.file == file_of_event[part.event]
    kinds = {
        "exact_same_file": (part.role == EXACT) & is_same,
        "exact_other_file": (part.role == EXACT) & ~is_same,
        "later_time": part.role == LATER,
        "other_text": part.role == OTHER_TEXT,
    }
    return {name: int(mask.sum()) for name, mask in kinds.items()}
