with

impressions as (

    select * from {{ ref('int_impressions_priced') }}

),

clicks as (

    select * from {{ ref('int_clicks_priced') }}

),

conversions as (

    select * from {{ ref('int_conversions_priced') }}

),

bid_requests as (

    select * from {{ ref('int_bid_requests_priced') }}

),

rejected_records as (

    select * from {{ source('ingestion', 'rejected_records') }}

),

raw_records as (

    select
        'impressions' as stream,
        _loaded_at
    from {{ source('adserver', 'impressions') }}

    union all

    select
        'clicks' as stream,
        _loaded_at
    from {{ source('tracker', 'clicks') }}

    union all

    select
        'conversions' as stream,
        _loaded_at
    from {{ source('tracker', 'conversions') }}

    union all

    select
        'bid_requests' as stream,
        _loaded_at
    from {{ source('exchange', 'bid_requests') }}

    union all

    select
        'campaigns' as stream,
        _loaded_at
    from {{ source('campaign_manager', 'campaigns') }}

    union all

    select
        'creatives' as stream,
        _loaded_at
    from {{ source('campaign_manager', 'creatives') }}

),

accepted_records as (

    select
        stream,
        cast(_loaded_at as date) as date,
        count(*) as accepted

    from raw_records
    group by stream, cast(_loaded_at as date)

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

events as (

    select
        'impressions' as stream,
        copies,
        event_at,
        _loaded_at,
        0 as is_unmatched,
        0 as is_unattributed
    from impressions

    union all

    select
        'clicks' as stream,
        copies,
        event_at,
        _loaded_at,
        case when is_valid and impression_event_id is null then 1 else 0 end as is_unmatched,
        0 as is_unattributed
    from clicks

    union all

    select
        'conversions' as stream,
        copies,
        event_at,
        _loaded_at,
        0 as is_unmatched,
        case when is_valid and touch_type is null then 1 else 0 end as is_unattributed
    from conversions

    union all

    select
        'bid_requests' as stream,
        copies,
        event_at,
        _loaded_at,
        0 as is_unmatched,
        0 as is_unattributed
    from bid_requests

),

events_by_load as (

    select
        stream,
        cast(_loaded_at as date) as date,
        sum(copies - 1) as extra_copies,
        count(
            case
                when event_at < {{ dbt.dateadd('day', -var('late_after_days'), '_loaded_at') }}
                    then 1
            end
        ) as late_events,
        sum(is_unmatched) as unmatched_clicks,
        sum(is_unattributed) as unattributed_conversions

    from events
    group by stream, cast(_loaded_at as date)

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
