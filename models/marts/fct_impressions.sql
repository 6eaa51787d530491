{{ config(materialized='view') }}

with

impressions as (

    select * from {{ ref('int_impressions_priced') }}

),

shown as (

    select
        event_id,
        event_at,
        event_date,
        user_id,
        campaign_id,
        creative_id,
        website,
        is_valid,
        invalid_reason,
        copies,
        auction_id,
        has_bid_request,
        cast(round(spend, 6) as numeric(38, 6)) as spend

    from impressions

)

select * from shown
