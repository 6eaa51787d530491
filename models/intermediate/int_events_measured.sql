{{ config(materialized='view') }}

with

bid_requests as (

    select * from {{ ref('int_bid_requests_priced') }}

),

impressions as (

    select * from {{ ref('int_impressions_priced') }}

),

clicks as (

    select * from {{ ref('int_clicks_priced') }}

),

conversions as (

    select * from {{ ref('int_conversions_priced') }}

),

unioned as (

    select
        campaign_id,
        creative_id,
        website,
        event_at,
        event_date,
        cast(is_valid as integer) as bid_requests,
        case when is_valid and has_bid then 1 else 0 end as bids,
        0 as impressions,
        0 as clicks,
        0 as conversions,
        cast(not is_valid as integer) as invalid_bid_requests,
        0 as invalid_impressions,
        0 as invalid_clicks,
        0 as invalid_conversions,
        0 as click_through_conversions,
        0 as view_through_conversions,
        0 as unattributed_conversions,
        0 as won_impressions,
        cast(0 as numeric(38, 9)) as spend,
        cast(0 as numeric(38, 9)) as revenue

    from bid_requests

    union all

    select
        campaign_id,
        creative_id,
        website,
        event_at,
        event_date,
        0 as bid_requests,
        0 as bids,
        cast(is_valid as integer) as impressions,
        0 as clicks,
        0 as conversions,
        0 as invalid_bid_requests,
        cast(not is_valid as integer) as invalid_impressions,
        0 as invalid_clicks,
        0 as invalid_conversions,
        0 as click_through_conversions,
        0 as view_through_conversions,
        0 as unattributed_conversions,
        case when is_valid and has_bid_request then 1 else 0 end as won_impressions,
        spend,
        cast(0 as numeric(38, 9)) as revenue

    from impressions

    union all

    select
        campaign_id,
        creative_id,
        website,
        event_at,
        event_date,
        0 as bid_requests,
        0 as bids,
        0 as impressions,
        cast(is_valid as integer) as clicks,
        0 as conversions,
        0 as invalid_bid_requests,
        0 as invalid_impressions,
        cast(not is_valid as integer) as invalid_clicks,
        0 as invalid_conversions,
        0 as click_through_conversions,
        0 as view_through_conversions,
        0 as unattributed_conversions,
        0 as won_impressions,
        spend,
        cast(0 as numeric(38, 9)) as revenue

    from clicks

    union all

    select
        campaign_id,
        creative_id,
        website,
        event_at,
        event_date,
        0 as bid_requests,
        0 as bids,
        0 as impressions,
        0 as clicks,
        cast(is_valid as integer) as conversions,
        0 as invalid_bid_requests,
        0 as invalid_impressions,
        0 as invalid_clicks,
        cast(not is_valid as integer) as invalid_conversions,
        case when is_valid and touch_type = 'click' then 1 else 0 end
            as click_through_conversions,
        case when is_valid and touch_type = 'view' then 1 else 0 end
            as view_through_conversions,
        case when is_valid and touch_type is null then 1 else 0 end as unattributed_conversions,
        0 as won_impressions,
        spend,
        case when is_valid then revenue else 0 end as revenue

    from conversions

),

measured as (

    select
        campaign_id,
        event_at,
        event_date,
        bid_requests,
        bids,
        impressions,
        clicks,
        conversions,
        invalid_bid_requests,
        invalid_impressions,
        invalid_clicks,
        invalid_conversions,
        click_through_conversions,
        view_through_conversions,
        unattributed_conversions,
        won_impressions,
        spend,
        revenue,
        coalesce(creative_id, 'unknown') as creative_id,
        coalesce(website, 'unknown') as website

    from unioned

)

select * from measured
