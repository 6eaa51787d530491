{{ config(
    materialized='incremental',
    unique_key='conversion_date',
    meta={'touched': 'conversions'},
    indexes=lookup_indexes(['conversion_date']),
) }}

with

conversions as (

    select
        *,
        {{ dbt.dateadd('day', -var('click_through_days'), 'event_at') }} as click_through_from,
        {{ dbt.dateadd('day', -var('view_through_days'), 'event_at') }} as view_through_from

    from {{ ref('int_conversions_validated') }}
    where {{ touched('event_date', 'conversions') }}

),

clicks as (

    select * from {{ ref('int_clicks_validated') }}
    where
        is_valid
        and {{ touched('event_date', 'conversions', days_before=var('click_through_days')) }}

),

impressions as (

    select * from {{ ref('int_impressions_priced') }}
    where
        is_valid
        and {{ touched('event_date', 'conversions', days_before=var('view_through_days')) }}

),

-- The click that the conversion names, whatever its user and campaign.
named_clicks as (

    select
        conversions.event_id as conversion_event_id,
        conversions.event_at as conversion_at,
        clicks.event_id as touch_event_id,
        clicks.event_at as touch_at,
        clicks.campaign_id,
        clicks.creative_id,
        clicks.website

    from conversions
    inner join clicks
        on
            conversions.click_id = clicks.click_id
            and conversions.click_through_from <= clicks.event_at
            and conversions.event_at >= clicks.event_at

),

-- The user's other clicks.
user_clicks as (

    select
        conversions.event_id as conversion_event_id,
        conversions.event_at as conversion_at,
        clicks.event_id as touch_event_id,
        clicks.event_at as touch_at,
        clicks.campaign_id,
        clicks.creative_id,
        clicks.website

    from conversions
    inner join clicks
        on
            conversions.user_id = clicks.user_id
            and conversions.click_through_from <= clicks.event_at
            and conversions.event_at >= clicks.event_at
    where
        (conversions.ad_campaign_id is null or conversions.ad_campaign_id = clicks.campaign_id)
        and (
            conversions.click_id is null
            or clicks.click_id is null
            or conversions.click_id <> clicks.click_id
        )

),

click_touches as (

    select * from named_clicks
    union all
    select * from user_clicks

),

clicked_conversions as (

    select conversion_event_id from click_touches
    group by conversion_event_id

),

-- Dates on which a view could be, so that the join below is one of equals and a user with very many
-- impressions stays cheap.
view_dates as (

    {% for days in range(var('view_through_days') + 1) -%}
        select
            conversions.*,
            cast({{ dbt.dateadd('day', -days, 'conversions.event_date') }} as date) as view_date

        from conversions
        left join clicked_conversions
            on conversions.event_id = clicked_conversions.conversion_event_id
        where clicked_conversions.conversion_event_id is null

        {% if not loop.last %}union all{% endif %}

    {% endfor -%}

),

view_touches as (

    select
        view_dates.event_id as conversion_event_id,
        view_dates.event_at as conversion_at,
        impressions.event_id as touch_event_id,
        impressions.event_at as touch_at,
        impressions.campaign_id,
        impressions.creative_id,
        impressions.website

    from view_dates
    inner join impressions
        on
            view_dates.user_id = impressions.user_id
            and view_dates.view_date = impressions.event_date
            and view_dates.view_through_from <= impressions.event_at
            and view_dates.event_at >= impressions.event_at
    where view_dates.ad_campaign_id is null or view_dates.ad_campaign_id = impressions.campaign_id

),

unioned as (

    select
        *,
        'click' as touch_type
    from click_touches

    union all

    select
        *,
        'view' as touch_type
    from view_touches

),

touched as (

    select
        conversion_event_id,
        touch_event_id,
        campaign_id,
        creative_id,
        website,
        touch_type,
        row_number() over (
            partition by conversion_event_id
            order by touch_at, {{ bytewise('touch_event_id') }}
        ) as touch_number,
        count(*) over (partition by conversion_event_id) as touches,
        {{ microseconds_between('touch_at', 'conversion_at') }} as microseconds_to_convert,
        cast(conversion_at as date) as conversion_date,
        touch_at

    from unioned

)

select * from touched
