{{ config(materialized='view') }}

with

bid_requests as (

    select * from {{ ref('stg_exchange__bid_requests') }}

),

creative_versions as (

    select * from {{ ref('int_creatives_versioned') }}

),

user_agents as (

    select * from {{ ref('int_user_agents_classified') }}

),

judged as (

    select
        bid_requests.*,
        coalesce(
            bid_requests.ad_campaign_id, creative_versions.campaign_id, 'unknown'
        ) as campaign_id,
        case when user_agents.is_crawler then 'bot_user_agent' end as invalid_reason

    from bid_requests
    left join creative_versions
        on
            bid_requests.creative_id = creative_versions.creative_id
            and bid_requests.event_at >= creative_versions.holds_from
            and bid_requests.event_at < creative_versions.holds_until
    left join user_agents
        on bid_requests.user_agent = user_agents.user_agent

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
        invalid_reason,
        bid_floor_cpm,
        bid_price_cpm,
        copies,
        event_at,
        event_date,
        _loaded_at,
        invalid_reason is null as is_valid

    from judged

)

select * from validated
