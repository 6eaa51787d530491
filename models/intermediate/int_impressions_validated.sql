{{ config(materialized='view') }}

with

impressions as (

    select * from {{ ref('stg_adserver__impressions') }}

),

creative_versions as (

    select * from {{ ref('int_creatives_versioned') }}

),

user_agents as (

    select * from {{ ref('int_user_agents_classified') }}

),

judged as (

    select
        impressions.*,
        coalesce(
            impressions.ad_campaign_id, creative_versions.campaign_id, 'unknown'
        ) as campaign_id,
        case when user_agents.is_crawler then 'bot_user_agent' end as invalid_reason

    from impressions
    left join creative_versions
        on
            impressions.creative_id = creative_versions.creative_id
            and impressions.event_at >= creative_versions.holds_from
            and impressions.event_at < creative_versions.holds_until
    left join user_agents
        on impressions.user_agent = user_agents.user_agent

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
        invalid_reason,
        price_cpm,
        copies,
        event_at,
        event_date,
        _loaded_at,
        invalid_reason is null as is_valid

    from judged

)

select * from validated
