{{ config(materialized='view') }}

with

measured as (

    select * from {{ ref('int_campaigns_measured_hourly') }}

),

hourly as (

    select
        campaign_id,
        hour,
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
        cast(round(spend, 6) as numeric(38, 6)) as spend,
        cast(round(revenue, 6) as numeric(38, 6)) as revenue

    from measured

)

select * from hourly
