-- Law 1: an additive measure has the same sum over the events, the campaigns' hours and each daily
-- roll-up, before rounding exactly.
{% set measures = [
    'bid_requests', 'bids', 'impressions', 'clicks', 'conversions', 'invalid_bid_requests',
    'invalid_impressions', 'invalid_clicks', 'invalid_conversions', 'click_through_conversions',
    'view_through_conversions', 'unattributed_conversions', 'won_impressions', 'spend', 'revenue',
] -%}

with

events as (

    select
        event_date as date,
        {% for measure in measures -%}
            coalesce(sum({{ measure }}), 0) as {{ measure }},
        {% endfor -%}
        count(*) as events

    from {{ ref('int_events_measured') }}
    group by event_date

),

dimensions as (

    select 'campaign' as dimension
    union all
    select 'creative' as dimension
    union all
    select 'website' as dimension
    union all
    select 'campaign_hour' as dimension

),

expected as (

    select
        events.*,
        dimensions.dimension

    from events
    cross join dimensions

),

daily as (

    select
        dimension,
        date,
        {% for measure in measures -%}
            sum({{ measure }}) as {{ measure }},
        {% endfor -%}
        count(*) as members

    from {{ ref('int_dimensions_measured_daily') }}
    group by dimension, date

    union all

    select
        'campaign_hour' as dimension,
        event_date as date,
        {% for measure in measures -%}
            sum({{ measure }}) as {{ measure }},
        {% endfor -%}
        count(*) as members

    from {{ ref('int_campaigns_measured_hourly') }}
    group by event_date

),

compared as (

    select
        coalesce(expected.dimension, daily.dimension) as dimension,
        coalesce(expected.date, daily.date) as date

    from expected
    full outer join daily
        on
            expected.dimension = daily.dimension
            and expected.date = daily.date
    where
        expected.date is null
        or daily.date is null
        {% for measure in measures -%}
            or expected.{{ measure }} <> daily.{{ measure }}
        {% endfor -%}

)

select * from compared
