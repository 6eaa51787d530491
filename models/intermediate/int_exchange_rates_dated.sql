{{ config(materialized='incremental', incremental_strategy='append') }}

with

exchange_rates as (

    select * from {{ ref('exchange_rates') }}

),

conversion_types as (

    select * from {{ ref('conversion_types') }}

),

impressions as (

    select * from {{ arrived_or(ref('stg_adserver__impressions'), 'impressions') }}

),

clicks as (

    select * from {{ arrived_or(ref('stg_tracker__clicks'), 'clicks') }}

),

conversions as (

    select * from {{ arrived_or(ref('stg_tracker__conversions'), 'conversions') }}

),

bid_requests as (

    select * from {{ arrived_or(ref('stg_exchange__bid_requests'), 'bid_requests') }}

),

campaigns as (

    select * from {{ ref('stg_campaign_manager__campaigns') }}

),

-- Few rows from here on: what occurs in each stream.
occurring as (

    select
        currency,
        event_date
    from impressions
    group by currency, event_date

    union all

    select
        currency,
        event_date
    from conversions
    group by currency, event_date

    union all

    select
        currency,
        event_date
    from bid_requests
    group by currency, event_date

    union all

    select
        cast(null as {{ dbt.type_string() }}) as currency,
        event_date
    from clicks
    group by event_date

    union all

    select
        currency,
        cast(null as date) as event_date
    from campaigns
    group by currency

    union all

    select
        currency,
        cast(null as date) as event_date
    from conversion_types
    group by currency

    union all

    select
        'USD' as currency,
        cast(null as date) as event_date

    {% if is_incremental() -%}
        union all

        select
            currency,
            rate_date as event_date
        from {{ this }}
    {%- endif %}

),

currencies as (

    select currency from occurring
    where currency is not null
    group by currency

),

dates as (

    select event_date from occurring
    where event_date is not null
    group by event_date

),

-- A rate holds until the currency's next one.
rates as (

    select
        currency,
        valid_from,
        cast(usd_rate as numeric(20, 8)) as usd_rate,
        lead(valid_from) over (partition by currency order by valid_from) as valid_to

    from exchange_rates

),

dated as (

    select
        currencies.currency,
        dates.event_date as rate_date,
        case
            when currencies.currency = 'USD' then cast(1 as numeric(20, 8))
            else rates.usd_rate
        end as usd_rate

    from currencies
    cross join dates
    left join rates
        on
            currencies.currency = rates.currency
            and dates.event_date >= rates.valid_from
            and (dates.event_date < rates.valid_to or rates.valid_to is null)

)

select * from dated
{% if is_incremental() -%}
    where not exists (
        select 1 from {{ this }} as known
        where known.currency = dated.currency and known.rate_date = dated.rate_date
    )
{%- endif %}
