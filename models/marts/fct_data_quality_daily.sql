{{ config(
    materialized='incremental',
    unique_key='date',
    meta={'touched': 'everything'},
) }}

with

records_accepted as (

    select * from {{ ref('int_records_accepted') }}

),

rejected_records as (

    select * from {{ source('ingestion', 'rejected_records') }}
    where _dlt_load_id in (select loads.load_id from {{ ref('stg_ingestion__loads') }} as loads)

),

events as (

    select * from {{ ref('int_events_loaded_daily') }}

),

accepted_records as (

    select
        stream,
        load_date as date,
        sum(accepted) as accepted

    from records_accepted
    group by stream, load_date

),

rejected_by_reason as (

    select
        stream,
        cast(_loaded_at as date) as date,
        count(case when reason = 'malformed' then 1 end) as rejected_malformed,
        count(case when reason like 'missing:%' then 1 end) as rejected_missing,
        count(case when reason like 'bad_type:%' then 1 end) as rejected_bad_type,
        count(case when reason like 'out_of_range:%' then 1 end) as rejected_out_of_range

    from rejected_records
    group by stream, cast(_loaded_at as date)

),

events_by_load as (

    select
        stream,
        load_date as date,
        sum(extra_copies) as extra_copies,
        sum(late_events) as late_events,
        sum(unmatched_clicks) as unmatched_clicks,
        sum(unattributed_conversions) as unattributed_conversions

    from events
    group by stream, load_date

),

stream_days as (

    select
        stream,
        date
    from accepted_records

    union all

    select
        stream,
        date
    from rejected_by_reason

),

grain as (

    select
        stream,
        date

    from stream_days
    group by stream, date

),

quality as (

    select
        grain.stream,
        grain.date,
        cast(
            coalesce(accepted_records.accepted, 0)
            + coalesce(rejected_by_reason.rejected_malformed, 0)
            + coalesce(rejected_by_reason.rejected_missing, 0)
            + coalesce(rejected_by_reason.rejected_bad_type, 0)
            + coalesce(rejected_by_reason.rejected_out_of_range, 0) as bigint
        ) as records_read,
        cast(coalesce(accepted_records.accepted, 0) as bigint) as accepted,
        cast(coalesce(rejected_by_reason.rejected_malformed, 0) as bigint) as rejected_malformed,
        cast(coalesce(rejected_by_reason.rejected_missing, 0) as bigint) as rejected_missing,
        cast(coalesce(rejected_by_reason.rejected_bad_type, 0) as bigint) as rejected_bad_type,
        cast(
            coalesce(rejected_by_reason.rejected_out_of_range, 0) as bigint
        ) as rejected_out_of_range,
        cast(coalesce(events_by_load.extra_copies, 0) as bigint) as extra_copies,
        cast(coalesce(events_by_load.late_events, 0) as bigint) as late_events,
        cast(coalesce(events_by_load.unmatched_clicks, 0) as bigint) as unmatched_clicks,
        cast(
            coalesce(events_by_load.unattributed_conversions, 0) as bigint
        ) as unattributed_conversions

    from grain
    left join accepted_records
        on
            grain.stream = accepted_records.stream
            and grain.date = accepted_records.date
    left join rejected_by_reason
        on
            grain.stream = rejected_by_reason.stream
            and grain.date = rejected_by_reason.date
    left join events_by_load
        on
            grain.stream = events_by_load.stream
            and grain.date = events_by_load.date

)

select * from quality
