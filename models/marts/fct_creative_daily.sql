{{ config(materialized='view') }}

with

measured as (

    select * from {{ ref('int_dimensions_measured_daily') }}
    where dimension = 'creative'

),

daily as (

    select
        dimension_id as creative_id,
        date,
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
        cast(round(revenue, 6) as numeric(38, 6)) as revenue,
        reach,
        frequency,
        bid_rate,
        win_rate,
        ctr,
        cvr,
        cpm,
        cpc,
        cpa,
        roas

    from measured

)

select * from daily
