{{ config(materialized='view') }}

with

bid_requests as (

    select * from {{ ref('stg_exchange__bid_requests') }}

),

assigned as (

    {{ resolve_campaigns('bid_requests') }}

),

validated as (

    select
        event_id,
        user_id,
        ad_campaign_id,
        campaign_id,
        creative_id,
        website,
        exchange,
        currency,
        bid_floor_cpm,
        bid_price_cpm,
        copies,
        event_at,
        event_date,
        _loaded_at,
        case when is_crawler then 'bot_user_agent' end as invalid_reason,
        not is_crawler as is_valid

    from assigned

)

select * from validated
