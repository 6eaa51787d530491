"""What is measured: the metric families, and the questions to the warehouse that fill them.

Names follow the Prometheus conventions: base units, `_total` on what only grows, times as seconds
since 1970. Labels have few values: streams, reasons, models, at most twenty campaigns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Literal

from ingestion.contract import event_streams, streams
from monitoring.record import LATEST_RESULTS
from monitoring.view import STAGES

REASONS = ("malformed", "missing", "bad_type", "out_of_range")
COMMANDS = ("load", "build")
OUTCOMES = ("succeeded", "failed", "died")
SEVERITIES = ("error", "warn")
STATUSES = ("pass", "warn", "fail", "error", "skipped")
CAMPAIGNS = 20  # that have a label of their own
DURATIONS = (1, 5, 15, 60, 300, 900, 3600, 14_400)  # seconds, from a small load to a full refresh


@dataclass(frozen=True)
class Family:
    """A metric; a counter's `name` lacks the `_total` under which it is exposed.

    `zeros` are labels that count 0 until there is more: Prometheus sees no increase in a series
    that begins with its first event.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    zeros: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Value:
    """A column of numbers: a family's values, with the labels that the column itself stands for."""

    column: str
    family: Family
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Question:
    """A query with a column for each label and each value; asked when its tables are there.

    Rows with the same labels, of one question or of several, add up.
    """

    needs: tuple[str, ...]
    sql: str
    values: tuple[Value, ...]


def _family(
    kind: Literal["counter", "gauge", "histogram"],
    name: str,
    help: str,
    *labels: str,
    zeros: Iterable[Iterable[str]] = (),
) -> Family:
    return Family(f"advertisex_{name}", kind, help, labels, tuple(map(tuple, zeros)))


_STREAMS = [(name,) for name in streams()]

FILES = _family(
    "counter", "loaded_files", "Files loaded, by the stream of the file.", "stream", zeros=_STREAMS
)
BYTES = _family(
    "counter",
    "loaded_bytes",
    "Bytes of the files loaded, as stored.",
    "stream",
    zeros=_STREAMS,
)
READ = _family(
    "counter",
    "records_read",
    "Records read, by the stream of their file: accepted and rejected ones.",
    "stream",
    zeros=_STREAMS,
)
ACCEPTED = _family(
    "counter", "records_accepted", "Records accepted into a raw table.", "stream", zeros=_STREAMS
)
REJECTED = _family(
    "counter",
    "records_rejected",
    "Records rejected, by the class of the reason; `adx rejects` names the fields.",
    "stream",
    "reason",
    zeros=product(streams(), REASONS),
)
REPLAYED = _family(
    "counter",
    "records_replayed",
    "Records that were rejected first and accepted after all.",
    "stream",
    zeros=_STREAMS,
)
LAST_LOAD = _family(
    "gauge",
    "stream_last_load_timestamp_seconds",
    "When a record of the stream was last accepted.",
    "stream",
)
LAST_EVENT = _family(
    "gauge",
    "stream_last_event_timestamp_seconds",
    "The latest time in the stream's raw table, its watermark.",
    "stream",
)
RUNS = _family(
    "counter",
    "runs",
    "Loads and builds that ended, by outcome.",
    "command",
    "outcome",
    zeros=product(COMMANDS, OUTCOMES),
)
RUN_SECONDS = _family(
    "histogram", "run_duration_seconds", "How long loads and builds took.", "command"
)
LAST_RUN = _family(
    "gauge",
    "run_last_end_timestamp_seconds",
    "When a load or build last ended so; of one that died, when it began.",
    "command",
    "outcome",
)
LAST_SECONDS = _family(
    "gauge", "run_last_duration_seconds", "How long the latest load or build took.", "command"
)
FAILING = _family(
    "gauge", "run_failing", "1 when the latest load or build failed or died, else 0.", "command"
)
RUNNING = _family(
    "gauge",
    "run_running_since_timestamp_seconds",
    "When the load or build under way began; absent when none is.",
    "command",
)
TESTS = _family(
    "gauge",
    "tests",
    "Tests by their severity and their latest result.",
    "severity",
    "status",
    zeros=product(SEVERITIES, STATUSES),
)
MODELS = _family("gauge", "models", "Models and seeds by their latest result.", "status")
MODEL_SECONDS = _family(
    "gauge", "model_build_duration_seconds", "How long a model's latest build took.", "model"
)
MODEL_BUILT = _family(
    "gauge",
    "model_last_build_timestamp_seconds",
    "When a model was last built with success.",
    "model",
)
WATERMARK = _family(
    "gauge",
    "mart_watermark_timestamp_seconds",
    "The latest time, hour or date in a mart.",
    "mart",
)
ALERTS = _family(
    "gauge",
    "alerts_open",
    "Alerts of `adx alerts` that are not resolved, by kind and severity.",
    "kind",
    "severity",
)
ANOMALIES = _family(
    "gauge",
    "campaign_anomalies",
    "Campaigns with an anomaly on the latest date, by metric.",
    "metric",
)
EVENTS = _family(
    "gauge", "events", "Events in the marts over all dates, by stage.", "stage", "validity"
)
SPEND = _family("gauge", "spend_usd", "Spend over all dates, in USD.")
REVENUE = _family("gauge", "revenue_usd", "Revenue over all dates, in USD.")
DAY_EVENTS = _family(
    "gauge",
    "campaign_day_events",
    f"Valid events of the latest date, of the {CAMPAIGNS} campaigns with most spend and of others.",
    "campaign_id",
    "stage",
)
DAY_SPEND = _family(
    "gauge", "campaign_day_spend_usd", "The same campaigns' spend on that date.", "campaign_id"
)
DAY_REVENUE = _family(
    "gauge", "campaign_day_revenue_usd", "The same campaigns' revenue on that date.", "campaign_id"
)
LATE = _family(
    "gauge", "late_events", "Events over a day older than their load, over all loads.", "stream"
)
COPIES = _family("gauge", "extra_copies", "Copies of events already there.", "stream")

# Of the exporter itself.
UP = _family("gauge", "warehouse_up", "1 when the warehouse could be read at the latest try.")
LOCKED = _family(
    "gauge", "warehouse_locked", "1 when another process held the DuckDB file at the latest try."
)
READ_AT = _family(
    "gauge",
    "warehouse_last_read_timestamp_seconds",
    "When these values were last known to be the warehouse's.",
)
READ_SECONDS = _family(
    "gauge", "warehouse_read_duration_seconds", "How long the latest reading took."
)


def _latest(columns: str) -> str:
    return f"select {columns} from ({LATEST_RESULTS}) as latest"


def _rejects(table: str, load: str) -> str:
    """Rejects by the stream of their file, where a record of an interactions file was read."""
    return f"""
        select
            loaded_files.stream,
            split_part(rejects.reason, ':', 1) as reason,
            sum(rejects.records) as rejected
        from raw.loaded_files as loaded_files
        inner join (
            select file, {load} as load_id, reason, count(*) as records
            from {table}
            group by file, {load}, reason
        ) as rejects
            on loaded_files.file = rejects.file and loaded_files.load_id = rejects.load_id
        group by loaded_files.stream, split_part(rejects.reason, ':', 1)
    """


def _stages(family: Family, *, prefix: str = "", **labels: str) -> tuple[Value, ...]:
    return tuple(
        Value(f"{prefix}{stage}", family, (("stage", stage), *labels.items())) for stage in STAGES
    )


_BUCKETS = ", ".join(
    f'count(case when seconds <= {limit} then 1 end) as "{limit}"' for limit in DURATIONS
)

QUESTIONS = (
    Question(
        ("raw.loaded_files",),
        """
        select
            stream,
            count(*) as files,
            sum(size) as bytes,
            sum(records_read) as records_read,
            sum(accepted) as accepted
        from raw.loaded_files
        group by stream
        """,
        (
            Value("files", FILES),
            Value("bytes", BYTES),
            Value("records_read", READ),
            Value("accepted", ACCEPTED),
        ),
    ),
    Question(
        ("raw.loaded_files", "raw.rejected_records"),
        _rejects("raw.rejected_records", "_dlt_load_id"),
        (Value("rejected", REJECTED),),
    ),
    # What was replayed was rejected too.
    Question(
        ("raw.loaded_files", "raw.replayed_records"),
        _rejects("raw.replayed_records", "rejected_load_id"),
        (Value("rejected", REJECTED), Value("rejected", REPLAYED)),
    ),
    *(
        Question(
            (f"raw.{contract.stream}",),
            f"""
            select
                '{contract.stream}' as stream,
                max({"updated_at" if contract.reference else '"timestamp"'}) as last_event,
                max(_loaded_at) as last_load
            from raw.{contract.stream}
            """,
            (Value("last_event", LAST_EVENT), Value("last_load", LAST_LOAD)),
        )
        for contract in event_streams()
    ),
    Question(
        ("monitoring.runs",),
        """
        select
            command,
            outcome,
            count(*) as runs,
            max(coalesce(ended_at, started_at)) as last_end
        from monitoring.runs
        where outcome <> 'running'
        group by command, outcome
        """,
        (Value("runs", RUNS), Value("last_end", LAST_RUN)),
    ),
    Question(
        ("monitoring.runs",),
        """
        select command, seconds, case when outcome = 'succeeded' then 0 else 1 end as failing
        from (
            select
                runs.*, row_number() over (partition by command order by started_at desc) as age
            from monitoring.runs as runs
            where outcome <> 'running'
        ) as aged
        where age = 1
        """,
        (Value("seconds", LAST_SECONDS), Value("failing", FAILING)),
    ),
    Question(
        ("monitoring.runs",),
        """
        select command, min(started_at) as since
        from monitoring.runs
        where outcome = 'running'
        group by command
        """,
        (Value("since", RUNNING),),
    ),
    Question(
        ("monitoring.runs",),
        f"""
        select
            command,
            sum(seconds) as "sum",
            {_BUCKETS},
            count(*) as "+Inf"
        from monitoring.runs
        where seconds is not null
        group by command
        """,
        tuple(Value(name, RUN_SECONDS) for name in ("sum", *map(str, DURATIONS), "+Inf")),
    ),
    Question(
        ("monitoring.node_results",),
        f"""
        select severity, replace(status, 'runtime error', 'error') as status, count(*) as tests
        from ({_latest("*")}) as latest
        where kind = 'test'
        group by severity, replace(status, 'runtime error', 'error')
        """,
        (Value("tests", TESTS),),
    ),
    Question(
        ("monitoring.node_results",),
        f"""
        select status, count(*) as models
        from ({_latest("*")}) as latest
        where kind in ('model', 'seed')
        group by status
        """,
        (Value("models", MODELS),),
    ),
    Question(
        ("monitoring.node_results",),
        f"""
        select name as model, seconds
        from ({_latest("*")}) as latest
        where kind = 'model'
        """,
        (Value("seconds", MODEL_SECONDS),),
    ),
    Question(
        ("monitoring.node_results",),
        """
        select name as model, max(ended_at) as built
        from monitoring.node_results
        where kind = 'model' and status = 'success'
        group by name
        """,
        (Value("built", MODEL_BUILT),),
    ),
    Question(
        ("monitoring.alerts",),
        """
        select kind, severity, count(case when resolved_at is null then 1 end) as alerts
        from monitoring.alerts
        group by kind, severity
        """,
        (Value("alerts", ALERTS),),
    ),
    Question(
        ("marts.fct_campaign_anomalies",),
        """
        select metric, count(case when is_anomaly then 1 end) as campaigns
        from marts.fct_campaign_anomalies
        where date = (select max(date) from marts.fct_campaign_anomalies)
        group by metric
        """,
        (Value("campaigns", ANOMALIES),),
    ),
    Question(
        ("marts.fct_campaign_daily",),
        f"""
        select
            {", ".join(f"sum({stage}) as {stage}" for stage in STAGES)},
            {", ".join(f"sum(invalid_{stage}) as invalid_{stage}" for stage in STAGES)},
            sum(spend) as spend,
            sum(revenue) as revenue
        from marts.fct_campaign_daily
        """,
        (
            *_stages(EVENTS, validity="valid"),
            *_stages(EVENTS, prefix="invalid_", validity="invalid"),
            Value("spend", SPEND),
            Value("revenue", REVENUE),
        ),
    ),
    Question(
        ("marts.fct_campaign_daily",),
        f"""
        select
            case when place <= {CAMPAIGNS} then campaign_id else 'other' end as campaign_id,
            {", ".join(f"sum({stage}) as {stage}" for stage in STAGES)},
            sum(spend) as spend,
            sum(revenue) as revenue
        from (
            select daily.*, row_number() over (order by spend desc, campaign_id) as place
            from marts.fct_campaign_daily as daily
            where date = (select max(date) from marts.fct_campaign_daily)
        ) as placed
        group by case when place <= {CAMPAIGNS} then campaign_id else 'other' end
        """,
        (
            *_stages(DAY_EVENTS),
            Value("spend", DAY_SPEND),
            Value("revenue", DAY_REVENUE),
        ),
    ),
    Question(
        ("marts.fct_data_quality_daily",),
        """
        select stream, sum(late_events) as late_events, sum(extra_copies) as extra_copies
        from marts.fct_data_quality_daily
        group by stream
        """,
        (Value("late_events", LATE), Value("extra_copies", COPIES)),
    ),
)

# A mart's watermark is in the first of these columns that it has.
TIME_COLUMNS = ("event_at", "conversion_at", "hour", "date")


def watermark(mart: str, column: str) -> Question:
    """How far a mart reaches."""
    return Question(
        (f"marts.{mart}",),
        f"select '{mart}' as mart, max({column}) as watermark from marts.{mart}",
        (Value("watermark", WATERMARK),),
    )


def families() -> list[Family]:
    """All that can be exposed, in the order of the documentation."""
    found = [value.family for question in QUESTIONS for value in question.values]
    return list(dict.fromkeys([*found, WATERMARK, UP, LOCKED, READ_AT, READ_SECONDS]))
