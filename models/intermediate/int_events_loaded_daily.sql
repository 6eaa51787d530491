{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'events'},
    indexes=lookup_indexes(['event_date']),
) }}

with

impressions as (

    select * from {{ ref('int_impressions_priced') }}
    where {{ touched('event_date', 'events') }}

),

clicks as (

    select * from {{ ref('int_clicks_priced') }}
    where {{ touched('event_date', 'events') }}

),

conversions as (

    select * from {{ ref('int_conversions_priced') }}
    where {{ touched('event_date', 'events') }}

),

bid_requests as (

    select * from {{ ref('int_bid_requests_priced') }}
    where {{ touched('event_date', 'events') }}

),

events as (

    select
        'impressions' as stream,
        copies,
        event_at,
        event_date,
        _loaded_at,
        0 as is_unmatched,
        0 as is_unattributed
    from impressions

    union all

    select
        'clicks' as stream,
        copies,
        event_at,
        event_date,
        _loaded_at,
        case when is_valid and impression_event_id is null then 1 else 0 end as is_unmatched,
        0 as is_unattributed
    from clicks

    union all

    select
        'conversions' as stream,
        copies,
        event_at,
        event_date,
        _loaded_at,
        0 as is_unmatched,
        case when is_valid and touch_type is null then 1 else 0 end as is_unattributed
    from conversions

    union all

    select
        'bid_requests' as stream,
        copies,
        event_at,
        event_date,
        _loaded_at,
        0 as is_unmatched,
        0 as is_unattributed
    from bid_requests

),

events_by_load as (

    select
        stream,
        event_date,
        cast(_loaded_at as date) as load_date,
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
    group by stream, event_date, cast(_loaded_at as date)

)

select * from events_by_load
