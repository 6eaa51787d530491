{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'clicks'},
    indexes=lookup_indexes(['event_date', 'campaign_id']),
) }}

with

clicks as (

    select * from {{ ref('int_clicks_validated') }}
    where {{ touched('event_date', 'clicks') }}

),

links as (

    select * from {{ ref('int_clicks_linked') }}
    where {{ touched('event_date', 'clicks') }}

),

campaign_versions as (

    select * from {{ ref('int_campaigns_versioned') }}

),

exchange_rates as (

    select * from {{ ref('int_exchange_rates_dated') }}

),

joined as (

    select
        clicks.*,
        links.impression_event_id,
        links.match_method,
        links.seconds_since_impression,
        campaign_versions.pricing_model,
        campaign_versions.rate,
        exchange_rates.usd_rate

    from clicks
    left join links
        on clicks.event_id = links.event_id
    left join campaign_versions
        on
            clicks.campaign_id = campaign_versions.campaign_id
            and clicks.event_at >= campaign_versions.holds_from
            and clicks.event_at < campaign_versions.holds_until
    left join exchange_rates
        on
            campaign_versions.currency = exchange_rates.currency
            and clicks.event_date = exchange_rates.rate_date

),

priced as (

    select
        event_id,
        impression_event_id,
        user_id,
        campaign_id,
        creative_id,
        website,
        invalid_reason,
        match_method,
        copies,
        seconds_since_impression,
        is_valid,
        event_at,
        event_date,
        _loaded_at,
        cast(case
            when is_valid and pricing_model = 'cpc' and rate is not null
                then round(rate * usd_rate, 9)
            else 0
        end as numeric(38, 9)) as spend

    from joined

)

select * from priced
