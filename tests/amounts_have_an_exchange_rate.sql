-- Section 8: an amount in a currency without a rate on its date is null, and left out of all sums.
-- Add the currency to seeds/exchange_rates.csv.
{{ config(severity='warn') }}

with

impressions as (

    select
        currency,
        event_date,
        count(*) as amounts

    from {{ ref('stg_adserver__impressions') }}
    where price_cpm is not null
    group by currency, event_date

),

conversions as (

    select
        currency,
        event_date,
        count(*) as amounts

    from {{ ref('stg_tracker__conversions') }}
    where revenue is not null
    group by currency, event_date

),

bid_requests as (

    select
        currency,
        event_date,
        count(*) as amounts

    from {{ ref('stg_exchange__bid_requests') }}
    where bid_floor_cpm is not null or bid_price_cpm is not null
    group by currency, event_date

),

amounts as (

    select * from impressions
    union all
    select * from conversions
    union all
    select * from bid_requests

),

-- Rates and budgets of campaigns and default values of conversion types count for any date.
undated_currencies as (

    select currency from {{ ref('int_campaigns_versioned') }}
    where rate is not null or daily_budget is not null
    union
    select coalesce(nullif(currency, ''), 'USD') as currency from {{ ref('conversion_types') }}
    where default_value is not null

),

without_rate as (

    select * from {{ ref('int_exchange_rates_dated') }}
    where usd_rate is null

)

select
    without_rate.currency,
    without_rate.rate_date,
    coalesce(sum(amounts.amounts), 0) as amounts

from without_rate
left join amounts
    on
        without_rate.currency = amounts.currency
        and without_rate.rate_date = amounts.event_date
left join undated_currencies
    on without_rate.currency = undated_currencies.currency
where amounts.currency is not null or undated_currencies.currency is not null
group by without_rate.currency, without_rate.rate_date
