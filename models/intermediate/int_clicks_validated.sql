with

clicks as (

    select * from {{ ref('stg_tracker__clicks') }}

),

creative_versions as (

    select * from {{ ref('int_creatives_versioned') }}

),

user_agents as (

    select * from {{ ref('int_user_agents_classified') }}

),

assigned as (

    select
        clicks.*,
        coalesce(clicks.ad_campaign_id, creative_versions.campaign_id, 'unknown') as campaign_id,
        coalesce(user_agents.is_crawler, false) as is_crawler

    from clicks
    left join creative_versions
        on
            clicks.creative_id = creative_versions.creative_id
            and clicks.event_at >= creative_versions.holds_from
            and clicks.event_at < creative_versions.holds_until
    left join user_agents
        on clicks.user_agent = user_agents.user_agent

),

-- Crawlers' clicks count towards a flood too.
counted as (

    select
        *,
        count(*) over (
            partition by user_id, campaign_id, {{ dbt.date_trunc('minute', 'event_at') }}
        ) as clicks_in_minute

    from assigned

),

judged as (

    select
        *,
        case
            when is_crawler then 'bot_user_agent'
            when clicks_in_minute > {{ var('click_flood_clicks') }} then 'click_flood'
        end as invalid_reason

    from counted

),

validated as (

    select
        event_id,
        click_id,
        impression_id,
        user_id,
        campaign_id,
        creative_id,
        website,
        invalid_reason,
        copies,
        clicks_in_minute,
        event_at,
        event_date,
        _loaded_at,
        invalid_reason is null as is_valid

    from judged

)

select * from validated
