-- The hours of a campaign's date add up to the date. Amounts are shown rounded, so that each hour
-- and the day may be off by half of a millionth.
{% set counts = [
    'bid_requests', 'bids', 'impressions', 'clicks', 'conversions', 'invalid_bid_requests',
    'invalid_impressions', 'invalid_clicks', 'invalid_conversions', 'click_through_conversions',
    'view_through_conversions', 'unattributed_conversions', 'won_impressions',
] -%}

with

hours as (

    select
        campaign_id,
        cast(hour as date) as date,
        count(*) as number_of_hours,
        {% for count in counts -%}
            sum({{ count }}) as {{ count }},
        {% endfor -%}
        sum(spend) as spend,
        sum(revenue) as revenue

    from {{ ref('fct_campaign_hourly') }}
    group by campaign_id, cast(hour as date)

),

days as (

    select * from {{ ref('fct_campaign_daily') }}

),

compared as (

    select
        coalesce(days.campaign_id, hours.campaign_id) as campaign_id,
        coalesce(days.date, hours.date) as date

    from days
    full outer join hours
        on
            days.campaign_id = hours.campaign_id
            and days.date = hours.date
    where
        days.date is null
        or hours.date is null
        {% for count in counts -%}
            or days.{{ count }} <> hours.{{ count }}
        {% endfor -%}
        or abs(days.spend - hours.spend) > 0.0000005 * (hours.number_of_hours + 1)
        or abs(days.revenue - hours.revenue) > 0.0000005 * (hours.number_of_hours + 1)

)

select * from compared
