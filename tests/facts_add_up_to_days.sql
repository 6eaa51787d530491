-- What people count in the event facts is what the daily mart says.
with

facts as (

    select
        campaign_id,
        event_date as date,
        'bid_requests' as stream,
        is_valid
    from {{ ref('fct_bid_requests') }}

    union all

    select
        campaign_id,
        event_date as date,
        'impressions' as stream,
        is_valid
    from {{ ref('fct_impressions') }}

    union all

    select
        campaign_id,
        event_date as date,
        'clicks' as stream,
        is_valid
    from {{ ref('fct_clicks') }}

    union all

    select
        campaign_id,
        event_date as date,
        'conversions' as stream,
        is_valid
    from {{ ref('fct_conversions') }}

),

counted as (

    select
        campaign_id,
        date,
        {% for stream in ['bid_requests', 'impressions', 'clicks', 'conversions'] -%}
            count(case when stream = '{{ stream }}' and is_valid then 1 end) as {{ stream }},
            count(
                case when stream = '{{ stream }}' and not is_valid then 1 end
            ) as invalid_{{ stream }},
        {% endfor -%}
        count(*) as events

    from facts
    group by campaign_id, date

),

days as (

    select * from {{ ref('fct_campaign_daily') }}

),

compared as (

    select
        coalesce(days.campaign_id, counted.campaign_id) as campaign_id,
        coalesce(days.date, counted.date) as date

    from days
    full outer join counted
        on
            days.campaign_id = counted.campaign_id
            and days.date = counted.date
    where
        days.date is null
        or counted.date is null
        {% for stream in ['bid_requests', 'impressions', 'clicks', 'conversions'] -%}
            or days.{{ stream }} <> counted.{{ stream }}
            or days.invalid_{{ stream }} <> counted.invalid_{{ stream }}
        {% endfor -%}

)

select * from compared
