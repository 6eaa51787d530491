{{ config(
    materialized='incremental',
    unique_key='date',
    meta={'touched': 'events'},
    indexes=lookup_indexes(['date']),
) }}

{% set dimensions = {'campaign': 'campaign_id', 'creative': 'creative_id', 'website': 'website'} %}

with

events as (

    select * from {{ ref('int_events_measured') }}
    where {{ touched('event_date', 'events') }}

),

valid_impressions as (

    select
        campaign_id,
        user_id,
        event_date,
        coalesce(creative_id, 'unknown') as creative_id,
        coalesce(website, 'unknown') as website

    from {{ ref('int_impressions_priced') }}
    where is_valid and {{ touched('event_date', 'events') }}

),

summed as (

    {% for dimension, member in dimensions.items() -%}
        select
            '{{ dimension }}' as dimension,
            {{ member }} as dimension_id,
            event_date,
            sum(bid_requests) as bid_requests,
            sum(bids) as bids,
            sum(impressions) as impressions,
            sum(clicks) as clicks,
            sum(conversions) as conversions,
            sum(invalid_bid_requests) as invalid_bid_requests,
            sum(invalid_impressions) as invalid_impressions,
            sum(invalid_clicks) as invalid_clicks,
            sum(invalid_conversions) as invalid_conversions,
            sum(click_through_conversions) as click_through_conversions,
            sum(view_through_conversions) as view_through_conversions,
            sum(unattributed_conversions) as unattributed_conversions,
            sum(won_impressions) as won_impressions,
            coalesce(sum(spend), 0) as spend,
            coalesce(sum(revenue), 0) as revenue

        from events
        group by {{ member }}, event_date

        {% if not loop.last %}union all{% endif %}

    {% endfor -%}

),

-- A user counts once a day: first the users, then how many.
reached_users as (

    {% for dimension, member in dimensions.items() -%}
        select
            '{{ dimension }}' as dimension,
            {{ member }} as dimension_id,
            event_date,
            user_id

        from valid_impressions
        group by {{ member }}, event_date, user_id

        {% if not loop.last %}union all{% endif %}

    {% endfor -%}

),

reaches as (

    select
        dimension,
        dimension_id,
        event_date,
        count(*) as reach

    from reached_users
    group by dimension, dimension_id, event_date

),

joined as (

    select
        summed.dimension,
        summed.dimension_id,
        summed.event_date as date,
        cast(summed.bid_requests as bigint) as bid_requests,
        cast(summed.bids as bigint) as bids,
        cast(summed.impressions as bigint) as impressions,
        cast(summed.clicks as bigint) as clicks,
        cast(summed.conversions as bigint) as conversions,
        cast(summed.invalid_bid_requests as bigint) as invalid_bid_requests,
        cast(summed.invalid_impressions as bigint) as invalid_impressions,
        cast(summed.invalid_clicks as bigint) as invalid_clicks,
        cast(summed.invalid_conversions as bigint) as invalid_conversions,
        cast(summed.click_through_conversions as bigint) as click_through_conversions,
        cast(summed.view_through_conversions as bigint) as view_through_conversions,
        cast(summed.unattributed_conversions as bigint) as unattributed_conversions,
        cast(summed.won_impressions as bigint) as won_impressions,
        cast(summed.spend as numeric(38, 9)) as spend,
        cast(summed.revenue as numeric(38, 9)) as revenue,
        cast(coalesce(reaches.reach, 0) as bigint) as reach

    from summed
    left join reaches
        on
            summed.dimension = reaches.dimension
            and summed.dimension_id = reaches.dimension_id
            and summed.event_date = reaches.event_date

),

-- Ratios are doubles of the exact amounts, with null for a denominator of zero.
divided as (

    select
        *,
        cast(impressions as double precision) / nullif(reach, 0) as frequency,
        cast(bids as double precision) / nullif(bid_requests, 0) as bid_rate,
        cast(won_impressions as double precision) / nullif(bids, 0) as win_rate,
        cast(clicks as double precision) / nullif(impressions, 0) as ctr,
        cast(conversions as double precision) / nullif(clicks, 0) as cvr,
        1000 * cast(spend as double precision) / nullif(impressions, 0) as cpm,
        cast(spend as double precision) / nullif(clicks, 0) as cpc,
        cast(spend as double precision) / nullif(conversions, 0) as cpa,
        cast(revenue as double precision)
        / nullif(cast(spend as double precision), 0) as roas

    from joined

)

select * from divided
