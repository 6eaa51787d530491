"""Made-up raw tables of any size, as `adx load` would leave them, for benchmarks of builds.

Written in SQL, since the files and their parsing are not what is measured. Of 100 events about 60
are bid requests, 36 impressions (most of them of an auction), 3 clicks, 1 conversions; 2 % of a
day's events are up to 10 days late, 0.5 % come twice.
"""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import duckdb
from pyarrow import csv

from ingestion.pipelines import raw
from ingestion.pipelines.schema import ensure_tables
from ingestion.pipelines.writers import Load, record_load
from ingestion.warehouse import Warehouse

CAMPAIGNS, CREATIVES, WEBSITES = 60, 240, 400
FIRST_DAY = "2024-01-01"
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/124.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Version/17.4 Mobile/15E148 Safari",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
)


def _number(seed: str, most: int | str) -> str:
    """A number from 0 up to `most` that the event's number decides."""
    return f"cast(hash(number * 31 + {sum(map(ord, seed))}) % ({most}) as bigint)"


def _select(stream: str) -> str:
    """A stream's columns, from `number`, `moment`, `per_day`, `loaded_at` and `load_id`."""
    users = "greatest(1000, per_day * 3)"
    user = f"'user-' || {_number('user', users)}"
    campaign = f"'cmp-' || ({_number('creative', CREATIVES)} % {CAMPAIGNS})"
    creative = f"'crt-' || {_number('creative', CREATIVES)}"
    agents = "[" + ", ".join(f"'{agent}'" for agent in _AGENTS) + "]"
    agent = f"{agents}[cast(1 + least(2, {_number('agent', 41)} // 20) as integer)]"
    website = f"'site-' || {_number('site', WEBSITES)} || '.example'"
    money = f"cast({_number('price', 9_000_000)} * 0.000001 as decimal(18, 6))"
    currency = f"['USD', 'USD', 'EUR', 'GBP'][1 + {_number('money', 4)}]"
    shared = {
        "user_id": user,
        "ad_creative_id": creative,
        "website": website,
        "user_agent": agent,
        "currency": currency,
        "country": "'DE'",
        "device_type": "'phone'",
    }
    # An impression shows the auction of the same number, a click follows its impression, and so on.
    own = {
        "bid_requests": {
            "auction_id": "'auc-' || number",
            "bid_floor_cpm": money,
            "bid_price_cpm": f"case when {_number('bid', 10)} < 8 then {money} end",
            "ad_campaign_id": campaign,
            "exchange": "'openx'",
        },
        "impressions": {
            "impression_id": "'imp-' || number",
            "auction_id": f"case when {_number('won', 20)} > 0 then 'auc-' || number end",
            "ad_campaign_id": f"case when {_number('named', 3)} > 0 then {campaign} end",
            "price_cpm": money,
        },
        "clicks": {
            "click_id": "'clk-' || number",
            "impression_id": f"case when {_number('linked', 3)} > 0 then 'imp-' || number end",
            "ad_campaign_id": campaign,
        },
        "conversions": {
            "conversion_id": "'cnv-' || number",
            "click_id": f"case when {_number('followed', 2)} > 0 then 'clk-' || number end",
            "ad_campaign_id": f"case when {_number('whose', 2)} > 0 then {campaign} end",
            "conversion_type": f"['purchase', 'signup', 'lead'][1 + {_number('type', 3)}]",
            "revenue": f"case when {_number('worth', 2)} > 0 then {money} end",
            "order_id": "'ord-' || number",
        },
    }[stream]
    values = {
        "timestamp": "moment",
        **shared,
        **own,
        "_file": f"'/landing/{stream}/' || load_id",
        "_position": "number",
        "_loaded_at": "loaded_at",
        "_dlt_load_id": "load_id",
    }
    schema = raw.tables()[stream]
    return ", ".join(f'{values.get(name, "null")} as "{name}"' for name in schema.names)


_DELAYS = {"bid_requests": 0, "impressions": 1, "clicks": 30, "conversions": 4_000}
# Every so many events of a day, one of the stream has the same number.
_EVERY = {"bid_requests": 1, "impressions": 1, "clicks": 12, "conversions": 36}
_SHARE = {"bid_requests": 0.6, "impressions": 0.36, "clicks": 0.36, "conversions": 0.36}


def fill(path: Path, days: range, per_day: int, number: int) -> None:
    """Append a load with these days, counted from the first day of all, to a DuckDB file."""
    load = _load(number)
    warehouse = Warehouse("duckdb", path)
    version = ensure_tables(warehouse)
    with warehouse.connect() as connection:
        _fill(connection, days, per_day, number, load.id)
        record_load(connection, load, version)


def _load(number: int) -> Load:
    return Load(f"17{number:08}.5", dt.datetime(2024, 1, 1) + dt.timedelta(days=number))


def _fill(
    connection: duckdb.DuckDBPyConnection, days: range, per_day: int, load: int, load_id: str
) -> None:
    last = f"timestamp '{FIRST_DAY}' + interval {days[-1] + 1} day"
    for stream, share in _SHARE.items():
        rows = int(per_day * share)
        # A late event happened on an earlier day than the one whose file holds it.
        connection.execute(
            f"""
            insert into raw.{stream} by name
            with numbered as (
                select
                    day * {per_day * 2} + position * {_EVERY[stream]} as number,
                    day,
                    {per_day} as per_day,
                    '{load_id}' as load_id,
                    {last} + interval 1 hour as loaded_at
                from range({days[0]}, {days[-1] + 1}) as t(day),
                    range({rows // _EVERY[stream]}) as p(position)
            ),
            timed as (
                select
                    *,
                    timestamp '{FIRST_DAY}' + to_days(cast(day - case
                        when {_number("late", 50)} = 0 then least(day, 1 + {_number("by", 10)})
                        else 0
                    end as integer))
                    + to_seconds(
                        least(86399, {_number("second", 86_400)} + {_DELAYS[stream]})
                    ) as moment
                from numbered
            ),
            copied as (
                select * from timed
                union all
                select * from timed where {_number("twice", 200)} = 0
            )
            select {_select(stream)} from copied
            """
        )
    versions = f"{CAMPAIGNS}" if load == 1 else "3"
    connection.execute(
        f"""
        insert into raw.campaigns by name
        select
            'cmp-' || number as campaign_id,
            timestamp '{FIRST_DAY}' + to_days({days[0]}) as updated_at,
            ['auction', 'cpm', 'cpc', 'cpa'][1 + number % 4] as pricing_model,
            cast(1.5 + {load} as decimal(18, 6)) as rate,
            'EUR' as currency,
            cast(100 as decimal(18, 6)) as daily_budget,
            'version {load}' as version_text,
            '/landing/campaigns/{load}' as _file,
            number as _position,
            {last} as _loaded_at,
            '{load_id}' as _dlt_load_id
        from range({versions}) as t(number)
        """
    )
    if load == 1:
        connection.execute(
            f"""
            insert into raw.creatives by name
            select
                'crt-' || number as creative_id,
                'cmp-' || number % {CAMPAIGNS} as campaign_id,
                timestamp '{FIRST_DAY}' as updated_at,
                'version {load}' as version_text,
                '/landing/creatives/{load}' as _file,
                number as _position,
                {last} as _loaded_at,
                '{load_id}' as _dlt_load_id
            from range({CREATIVES}) as t(number)
            """
        )


def copy_to_postgres(source: Path, warehouse: Warehouse, number: int) -> None:
    """Append what one load brought to a DuckDB file's raw tables to the same tables there."""
    load = _load(number)
    version = ensure_tables(warehouse)
    with duckdb.connect(str(source), read_only=True) as origin, warehouse.connect() as target:
        cursor = target.cursor()
        for table, schema in raw.tables().items():
            columns = ", ".join(f'"{name}"' for name in schema.names)
            batches = origin.execute(
                f"select {columns} from raw.{table} where {raw.load_column(table)} = '{load.id}'"
            ).fetch_record_batch(200_000)
            for batch in batches:
                buffer = io.BytesIO()
                csv.write_csv(batch, buffer, csv.WriteOptions(include_header=False))
                buffer.seek(0)
                cursor.copy_expert(f"copy raw.{table} ({columns}) from stdin (format csv)", buffer)
        record_load(cursor, load, version)
        target.commit()
        target.autocommit = True
        cursor.execute("analyze")
