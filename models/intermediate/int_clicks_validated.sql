{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'clicks'},
    indexes=lookup_indexes(['event_date']),
) }}

with

clicks as (

    select * from {{ ref('stg_tracker__clicks') }}
    where {{ touched('event_date', 'clicks') }}

),

assigned as (

    {{ resolve_campaigns('clicks') }}

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
