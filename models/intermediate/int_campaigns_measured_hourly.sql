{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'events'},
    indexes=lookup_indexes(['event_date']),
) }}

with

events as (

    select * from {{ ref('int_events_measured') }}
    where {{ touched('event_date', 'events') }}

),

hourly as (

    select
        campaign_id,
        event_date,
        cast({{ dbt.date_trunc('hour', 'event_at') }} as timestamp) as hour,
        cast(sum(bid_requests) as bigint) as bid_requests,
        cast(sum(bids) as bigint) as bids,
        cast(sum(impressions) as bigint) as impressions,
        cast(sum(clicks) as bigint) as clicks,
        cast(sum(conversions) as bigint) as conversions,
        cast(sum(invalid_bid_requests) as bigint) as invalid_bid_requests,
        cast(sum(invalid_impressions) as bigint) as invalid_impressions,
        cast(sum(invalid_clicks) as bigint) as invalid_clicks,
        cast(sum(invalid_conversions) as bigint) as invalid_conversions,
        cast(sum(click_through_conversions) as bigint) as click_through_conversions,
        cast(sum(view_through_conversions) as bigint) as view_through_conversions,
        cast(sum(unattributed_conversions) as bigint) as unattributed_conversions,
        cast(sum(won_impressions) as bigint) as won_impressions,
        cast(coalesce(sum(spend), 0) as numeric(38, 9)) as spend,
        cast(coalesce(sum(revenue), 0) as numeric(38, 9)) as revenue

    from events
    group by campaign_id, event_date, {{ dbt.date_trunc('hour', 'event_at') }}

)

select * from hourly
