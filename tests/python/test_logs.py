"""The log: each line says what happened, and none says what nobody may read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from logstash_pipeline_parser import Pipeline

from conftest import MakeWarehouse
from monitoring.logs.redaction import redacted, redacted_error
from support.prometheus import until
from support.warehouses import ROOT, Warehouse
from test_metrics import clicks, load

USER = "user-7f3a9"
SECRET = "hunter2-s3cr3t"


def logged(warehouse: Warehouse, log: Path, *arguments: str, exit_code: int = 0) -> list[Any]:
    """The events of one command."""
    there = log.read_text(encoding="utf-8").count("\n") if log.exists() else 0
    env = {**warehouse.env, "ADX_LOG_FILE": str(log)}
    Warehouse(warehouse.engine, env, warehouse.folder).adx(*arguments, exit_code=exit_code)
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[there:]]


def test_a_load_is_told_file_by_file(warehouse: Warehouse, landing: Path, tmp_path: Path) -> None:
    """With its run, stream, file, counts and seconds; the user ids of its records stay out."""
    path = clicks(landing, USER, 3, f"no time,{USER},c", f",{USER},c")
    log = tmp_path / "adx.jsonl"
    started, read, file, ended = logged(warehouse, log, "load", str(landing))
    assert (started["event"], started["status"]) == ("load", "started")
    assert (read["event"], read["status"], read["records"]) == ("file", "read", 5)
    assert (read["file"], read["files_done"], read["files"]) == (str(path), 1, 1)
    assert {
        key: file[key] for key in file if key not in ("time", "run_id", "seconds", "level")
    } == {
        "event": "file",
        "stream": "clicks",
        "file": str(path),
        "status": "loaded",
        "records_read": 5,
        "accepted": 3,
        "rejected": 2,
        "rejected_by_reason": {"bad_type:timestamp": 1, "missing:timestamp": 1},
    }
    (run,) = warehouse.rows("select run_id, load_id from monitoring.runs")
    assert {event["run_id"] for event in (started, read, file, ended)} == {run["run_id"]}
    assert (ended["event"], ended["status"], ended["load_id"]) == (
        "load",
        "succeeded",
        run["load_id"],
    )
    assert (ended["records_read"], ended["accepted"], ended["rejected"]) == (5, 3, 2)
    assert ended["seconds"] > 0
    assert log.read_text(encoding="utf-8").count(USER) == 2  # the file's name
    (again,) = [
        event for event in logged(warehouse, log, "load", str(landing)) if event["event"] == "file"
    ]
    assert again["status"] == "skipped"


def test_what_fails_says_why(make_warehouse: MakeWarehouse, landing: Path, tmp_path: Path) -> None:
    """Without the password of a URL."""
    warehouse, log = make_warehouse("duckdb"), tmp_path / "adx.jsonl"
    url = f"http://me:{SECRET}@127.0.0.1:9/clicks.csv?sig={SECRET}"
    _, file, ended = logged(warehouse, log, "load", "--stream", "clicks", url, exit_code=1)
    assert (file["level"], file["status"]) == ("error", "failed")
    assert file["file"] == "http://127.0.0.1:9/clicks.csv"
    assert "cannot reach 127.0.0.1:9" in file["error"]
    assert (ended["level"], ended["status"]) == ("error", "failed")
    assert "cannot reach 127.0.0.1:9" in ended["error"]
    assert SECRET not in log.read_text(encoding="utf-8")
    *_, ended = logged(warehouse, log, "load", str(landing), exit_code=1)
    assert "no logs in it" in ended["error"]


def test_a_build_is_told_node_by_node(
    make_warehouse: MakeWarehouse, landing: Path, tmp_path: Path
) -> None:
    """One that fails on a record's value does not quote it."""
    warehouse, log = make_warehouse("duckdb"), tmp_path / "adx.jsonl"
    load(warehouse, clicks(landing, "a", 3))
    warehouse.execute('alter table raw.clicks alter "timestamp" type text')
    warehouse.execute(f"update raw.clicks set \"timestamp\" = '{USER}'")
    warehouse.execute("alter table raw.clicks rename to as_text")
    warehouse.execute(
        'create view raw.clicks as select * replace ("timestamp"::timestamp as "timestamp")'
        " from raw.as_text"
    )
    selected = "+stg_tracker__clicks exchange_rates"
    events = logged(warehouse, log, "build", "--select", selected, exit_code=1)
    assert (events[0]["event"], events[0]["status"]) == ("build", "started")
    seed = next(event for event in events if event.get("node") == "exchange_rates")
    assert (seed["level"], seed["kind"], seed["status"]) == ("info", "seed", "success")
    assert seed["seconds"] > 0
    failed = next(event for event in events if "Conversion Error" in event.get("error", ""))
    assert (failed["event"], failed["level"], failed["status"]) == ("node", "error", "error")
    assert (events[-1]["event"], events[-1]["status"]) == ("build", "failed")
    assert USER not in log.read_text(encoding="utf-8")


def test_alerts_are_told(make_warehouse: MakeWarehouse, landing: Path, tmp_path: Path) -> None:
    """One that is new, and one that is over."""
    warehouse, log = make_warehouse("duckdb"), tmp_path / "adx.jsonl"
    logged(warehouse, log, "load", str(landing), exit_code=1)
    events = logged(warehouse, log, "alerts")
    (fired,) = [event for event in events if event["event"] == "alert"]
    assert (fired["status"], fired["kind"], fired["level"]) == ("fired", "load_failed", "error")
    assert fired["summary"] and fired["since"].endswith("Z")
    warehouse.adx("load", str(clicks(landing, "a", 3)))
    (over,) = [event for event in logged(warehouse, log, "alerts") if event["event"] == "alert"]
    assert (over["status"], over["key"]) == ("resolved", fired["key"])


def test_a_log_that_cannot_be_written_is_said(
    make_warehouse: MakeWarehouse, landing: Path, tmp_path: Path
) -> None:
    warehouse = make_warehouse("duckdb")
    env = {**warehouse.env, "ADX_LOG_FILE": str(tmp_path / "none" / "adx.jsonl")}
    failed = Warehouse("duckdb", env, warehouse.folder).adx("load", str(landing), exit_code=1)
    assert "cannot write the log" in failed.stderr
    assert "ADX_LOG_FILE" in failed.stderr


def test_without_the_variable_nothing_is_logged(
    make_warehouse: MakeWarehouse, landing: Path
) -> None:
    failed = make_warehouse("duckdb").adx("load", str(landing / "nothing"), exit_code=1)
    assert [line for line in failed.stderr.splitlines() if "Not loaded" not in line] == []


# What may not be read ----------------------------------------------------------------------------

SECRETS = [
    "cannot read s3://{}:{}@bucket/logs/a.csv",
    "GET https://user:{}@host:8080/a?x=1 failed",
    "postgres://adx:{}@db.internal:5432/ads refused",
    "https://account.blob.core.windows.net/c/a.csv?sv=2024&sig={}",
    "connection failed: host=db user=adx password={} dbname=ads",
    "connection failed: password='{}' dbname=ads",
    'config {{"aws_secret_access_key": "{}", "region": "x"}}',
    "Authorization: Bearer {}",
    "header Authorization = Basic {}",
    "API-Key: {}",
    "DefaultEndpointsProtocol=https;AccountKey={};EndpointSuffix=core.windows.net",
    "token={}&page=2",
]
RECORDS = [
    "Conversion Error: Could not convert string '{}' to INT32",
    'Conversion Error: Could not convert string "{}" to DECIMAL',
    'invalid input syntax for type timestamp: "{}"',
    "duplicate key value violates unique constraint\nDETAIL:  Key (user_id)=({}) already exists.",
    "null value violates not-null constraint DETAIL: Failing row contains (1, {}, null).",
    "COPY failed\nCONTEXT:  COPY clicks, line 3: 2024-06-09,{},k1",
    'Malformed JSON at byte 3: {{"user_id": "{}", "website": "a"}}',
    'Malformed JSON: {{"user": {{"id": "{}"',
    "CSV Error on Line: 4\nOriginal Line: 2024-06-09T12:00:00Z,{},cmp-1\nExpected 3 columns",
    'syntax error at or near "x" LINE 1: select * from t where u = {}',
    "user_id={} is not known",
    "no match for user_id {}",
    "the record: 2024-06-09,{},k1",
    "bad value: {}",
    "cannot cast `{}`",
    "cannot cast “{}”",
]
IDS = st.one_of(
    st.text("abcdef0123456789-", min_size=8, max_size=36),
    st.from_regex(r"[a-z]{3,8}\.[a-z]{3,8}@[a-z]{3,8}\.(com|org)", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9+/_]{12,40}", fullmatch=True),
)


@pytest.mark.parametrize("text", SECRETS)
@given(secret=st.from_regex(r"[A-Za-z0-9_.~]{12,40}", fullmatch=True))
def test_secrets_are_not_logged(text: str, secret: str) -> None:
    """Neither in an error nor in another field."""
    said = text.format(*["me", secret][-text.count("{}") :])
    assert secret not in redacted(said)
    assert secret not in redacted_error(said)
    assert secret not in json.dumps(redacted({"files": [said]}))


@pytest.mark.parametrize("text", RECORDS)
@given(value=IDS)
def test_records_are_not_logged(text: str, value: str) -> None:
    said = redacted_error(text.format(value))
    assert value not in said
    assert len(said) > 3


def test_the_environment_s_secrets_are_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they turn up."""
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/def+ghijkl")
    assert redacted(f"odd {SECRET}x and abc/def+ghijkl") == "odd …x and …"


@pytest.mark.parametrize(
    "text",
    [
        "/data/logs/clicks/2024-06-09.csv: no such file or folder",
        "s3://bucket/logs/2024-06-09/part-1.json",
        "cannot read it: Permission denied; mend that, then run again",
        "Got 3 results, configured to fail if != 0",
        "the column 'user_id' is missing",
        "12 of 200 records were rejected",
    ],
)
def test_what_helps_is_left(text: str) -> None:
    assert redacted_error(text) == text
    assert redacted(text) == text


# Shippers ----------------------------------------------------------------------------------------

SHIPPERS = {
    "fluentd": ("-c", "fluentd.conf"),
    "fluent-bit": ("-c", "fluent-bit.yaml"),
    "logstash": ("-f", "logstash.conf"),
    "vector": ("--config", "vector.yaml"),
}
CONFIGURATIONS = ROOT / "monitoring" / "logs"


@pytest.mark.parametrize("shipper", SHIPPERS)
def test_a_shipper_reads_the_log(
    shipper: str, make_warehouse: MakeWarehouse, landing: Path, tmp_path: Path
) -> None:
    """Each event comes out of the real program as it stands in the log."""
    program = shutil.which(shipper)
    if program is None:
        pytest.skip(f"{shipper} is not installed; its own packages have it")
    log = tmp_path / "adx.jsonl"
    events = logged(make_warehouse("duckdb"), log, "load", str(clicks(landing, "a", 3)))
    option, name = SHIPPERS[shipper]
    env = {**os.environ, "ADX_LOG_FILE": str(log), "VECTOR_DATA_DIR": str(tmp_path)}
    out = tmp_path / "shipped"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [program, option, str(CONFIGURATIONS / name)],
            env=env,
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
    try:
        shipped = until(shipper, lambda: events_in(out, len(events)), seconds=120)
    finally:
        process.terminate()
        process.wait(30)
    for event, found in zip(events, shipped, strict=True):
        assert {name: found[name] for name in event} == event


def events_in(out: Path, count: int) -> list[Any] | None:
    lines = [line for line in out.read_text(encoding="utf-8").splitlines() if '"run_id"' in line]
    return [json.loads(line) for line in lines] if len(lines) == count else None


def test_configurations_can_be_read() -> None:
    """By a parser of each syntax but Fluentd's, where the program itself is not to be had."""
    for name in ("fluent-bit.yaml", "vector.yaml"):
        text = (CONFIGURATIONS / name).read_text(encoding="utf-8")
        assert "${ADX_LOG_FILE}" in str(yaml.safe_load(text))
    assert "ADX_LOG_FILE" in (CONFIGURATIONS / "fluentd.conf").read_text(encoding="utf-8")
    logstash = Pipeline((CONFIGURATIONS / "logstash.conf").read_text(encoding="utf-8"))
    assert [section[0] for section in logstash.parse()] == ["input", "filter", "output"]
