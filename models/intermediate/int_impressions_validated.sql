{{ config(materialized='view') }}

with

impressions as (

    select * from {{ ref('stg_adserver__impressions') }}

),

assigned as (

    {{ resolve_campaigns('impressions') }}

),

validated as (

    select
        event_id,
        auction_id,
        user_id,
        ad_campaign_id,
        campaign_id,
        creative_id,
        website,
        currency,
        price_cpm,
        copies,
        event_at,
        event_date,
        _loaded_at,
        case when is_crawler then 'bot_user_agent' end as invalid_reason,
        not is_crawler as is_valid

    from assigned

)

select * from validated
