with

arrived_impressions as (

    select * from {{ ref('stg_adserver__impressions_arrived') }}

),

arrived_clicks as (

    select * from {{ ref('stg_tracker__clicks_arrived') }}

),

impressions as (

    select * from {{ ref('stg_adserver__impressions') }}

),

clicks as (

    select * from {{ ref('stg_tracker__clicks') }}

),

changed_creatives as (

    select * from {{ ref('int_versions_changed') }}
    where entity = 'creative'

),

-- Users of events that have arrived, as these were and as they are.
arrived as (

    select
        'impressions' as stream,
        user_id,
        event_date
    from arrived_impressions

    union all

    select
        'clicks' as stream,
        user_id,
        event_date
    from arrived_clicks

),

-- Users of events that a creative has taken to another campaign.
moved as (

    select
        'impressions' as stream,
        impressions.user_id,
        impressions.event_date

    from impressions
    inner join changed_creatives
        on
            impressions.creative_id = changed_creatives.entity_id
            and impressions.event_at >= changed_creatives.holds_from
            and impressions.event_at < changed_creatives.holds_until
    where impressions.ad_campaign_id is null

    union all

    select
        'clicks' as stream,
        clicks.user_id,
        clicks.event_date

    from clicks
    inner join changed_creatives
        on
            clicks.creative_id = changed_creatives.entity_id
            and clicks.event_at >= changed_creatives.holds_from
            and clicks.event_at < changed_creatives.holds_until
    where clicks.ad_campaign_id is null

),

unioned as (

    select * from arrived
    union all
    select * from moved

),

touched as (

    select
        stream,
        user_id,
        event_date

    from unioned
    group by stream, user_id, event_date

)

select * from touched
