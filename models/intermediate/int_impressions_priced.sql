{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'impressions'},
    indexes=lookup_indexes(['event_date', 'campaign_id']),
) }}

with

impressions as (

    select * from {{ ref('int_impressions_validated') }}
    where {{ touched('event_date', 'impressions') }}

),

bid_requests as (

    select * from {{ ref('stg_exchange__bid_requests') }}

),

campaign_versions as (

    select * from {{ ref('int_campaigns_versioned') }}

),

exchange_rates as (

    select * from {{ ref('int_exchange_rates_dated') }}

),

-- Apart from the join below: PostgreSQL would hash the impressions without an auction, which are
-- most of some feeds, into one bucket.
requested as (

    select impressions.event_id

    from impressions
    inner join bid_requests
        on impressions.auction_id = bid_requests.event_id

),

joined as (

    select
        impressions.*,
        campaign_versions.pricing_model,
        campaign_versions.rate,
        price_rates.usd_rate as price_usd_rate,
        campaign_rates.usd_rate as campaign_usd_rate,
        requested.event_id is not null as has_bid_request

    from impressions
    left join requested
        on impressions.event_id = requested.event_id
    left join campaign_versions
        on
            impressions.campaign_id = campaign_versions.campaign_id
            and impressions.event_at >= campaign_versions.holds_from
            and impressions.event_at < campaign_versions.holds_until
    left join exchange_rates as price_rates
        on
            impressions.currency = price_rates.currency
            and impressions.event_date = price_rates.rate_date
    left join exchange_rates as campaign_rates
        on
            campaign_versions.currency = campaign_rates.currency
            and impressions.event_date = campaign_rates.rate_date

),

priced as (

    select
        event_id,
        auction_id,
        user_id,
        campaign_id,
        creative_id,
        website,
        invalid_reason,
        copies,
        is_valid,
        has_bid_request,
        event_at,
        event_date,
        _loaded_at,

        -- An absent price or rate spends 0, an amount without an exchange rate is null.
        cast(case
            when not is_valid then 0
            when pricing_model = 'auction' and price_cpm is not null
                then round(price_cpm * price_usd_rate * 0.001, 9)
            when pricing_model = 'cpm' and rate is not null
                then round(rate * campaign_usd_rate * 0.001, 9)
            else 0
        end as numeric(38, 9)) as spend

    from joined

)

select * from priced
