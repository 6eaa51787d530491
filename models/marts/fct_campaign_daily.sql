{{ config(materialized='view') }}

with

measured as (

    select * from {{ ref('int_dimensions_measured_daily') }}
    where dimension = 'campaign'

),

campaign_versions as (

    select * from {{ ref('int_campaigns_versioned') }}

),

exchange_rates as (

    select * from {{ ref('int_exchange_rates_dated') }}

),

days as (

    select
        *,
        {{ dbt.dateadd('day', 1, 'date') }} as day_end

    from measured

),

-- The budget of the version that holds in the last moment of the day.
budgeted as (

    select
        days.*,
        round(campaign_versions.daily_budget * exchange_rates.usd_rate, 9) as daily_budget_usd

    from days
    left join campaign_versions
        on
            days.dimension_id = campaign_versions.campaign_id
            and days.day_end > campaign_versions.holds_from
            and days.day_end <= campaign_versions.holds_until
    left join exchange_rates
        on
            campaign_versions.currency = exchange_rates.currency
            and days.date = exchange_rates.rate_date

),

daily as (

    select
        dimension_id as campaign_id,
        date,
        bid_requests,
        bids,
        impressions,
        clicks,
        conversions,
        invalid_bid_requests,
        invalid_impressions,
        invalid_clicks,
        invalid_conversions,
        click_through_conversions,
        view_through_conversions,
        unattributed_conversions,
        won_impressions,
        cast(round(spend, 6) as numeric(38, 6)) as spend,
        cast(round(revenue, 6) as numeric(38, 6)) as revenue,
        reach,
        frequency,
        bid_rate,
        win_rate,
        ctr,
        cvr,
        cpm,
        cpc,
        cpa,
        roas,
        cast(spend as double precision)
        / nullif(cast(daily_budget_usd as double precision), 0) as budget_pacing

    from budgeted

)

select * from daily
