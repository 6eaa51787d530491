{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'bid_requests'},
    indexes=lookup_indexes(['event_date']),
) }}

with

bid_requests as (

    select * from {{ ref('int_bid_requests_validated') }}
    where {{ touched('event_date', 'bid_requests') }}

),

shown_auctions as (

    select auction_id

    from {{ ref('stg_adserver__impressions') }}
    where auction_id is not null
    {% if is_incremental() -%}
        and auction_id in (select bid_requests.event_id from bid_requests)
    {%- endif %}
    group by auction_id

),

exchange_rates as (

    select * from {{ ref('int_exchange_rates_dated') }}

),

priced as (

    select
        bid_requests.event_id,
        bid_requests.user_id,
        bid_requests.campaign_id,
        bid_requests.creative_id,
        bid_requests.website,
        bid_requests.exchange,
        bid_requests.invalid_reason,
        bid_requests.copies,
        bid_requests.is_valid,
        bid_requests.event_at,
        bid_requests.event_date,
        bid_requests._loaded_at,
        cast(
            round(bid_requests.bid_floor_cpm * exchange_rates.usd_rate, 9) as numeric(38, 9)
        ) as bid_floor_cpm,
        cast(
            round(bid_requests.bid_price_cpm * exchange_rates.usd_rate, 9) as numeric(38, 9)
        ) as bid_price_cpm,
        -- As sent: also a bid in a currency without a rate is one.
        bid_requests.bid_price_cpm is not null as has_bid,
        shown_auctions.auction_id is not null as has_impression

    from bid_requests
    left join shown_auctions
        on bid_requests.event_id = shown_auctions.auction_id
    left join exchange_rates
        on
            bid_requests.currency = exchange_rates.currency
            and bid_requests.event_date = exchange_rates.rate_date

)

select * from priced
