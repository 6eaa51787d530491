{{ config(materialized='view') }}

with

bid_requests as (

    select * from {{ ref('int_bid_requests_priced') }}

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
        exchange,
        cast(round(bid_floor_cpm, 6) as numeric(38, 6)) as bid_floor_cpm,
        cast(round(bid_price_cpm, 6) as numeric(38, 6)) as bid_price_cpm,
        has_impression

    from bid_requests

)

select * from shown
