{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'conversions'},
    indexes=lookup_indexes(['event_date']),
) }}

with

conversions as (

    select * from {{ ref('int_conversions_validated') }}
    where {{ touched('event_date', 'conversions') }}

),

last_touches as (

    select * from {{ ref('int_conversions_touched') }}
    where touch_number = touches and {{ touched('conversion_date', 'conversions') }}

),

campaign_versions as (

    select * from {{ ref('int_campaigns_versioned') }}

),

exchange_rates as (

    select * from {{ ref('int_exchange_rates_dated') }}

),

conversion_types as (

    select
        conversion_type,
        default_value,
        coalesce(nullif(currency, ''), 'USD') as currency

    from {{ ref('conversion_types') }}

),

-- The revenue as stated, else the default of the type, else 0; with the currency it is in.
valued as (

    select
        conversions.*,
        coalesce(conversions.revenue, conversion_types.default_value, 0) as value_amount,
        case
            when conversions.revenue is not null then conversions.currency
            when conversion_types.default_value is not null then conversion_types.currency
            else 'USD'
        end as value_currency

    from conversions
    left join conversion_types
        on conversions.conversion_type = conversion_types.conversion_type

),

touched as (

    select
        valued.*,
        last_touches.touch_event_id as last_touch_event_id,
        last_touches.touch_type,
        last_touches.creative_id,
        last_touches.website,
        coalesce(last_touches.touches, 0) as touches,
        coalesce(valued.ad_campaign_id, last_touches.campaign_id, 'unknown') as campaign_id

    from valued
    left join last_touches
        on valued.event_id = last_touches.conversion_event_id

),

joined as (

    select
        touched.*,
        campaign_versions.pricing_model,
        campaign_versions.rate,
        campaign_rates.usd_rate as campaign_usd_rate,
        value_rates.usd_rate as value_usd_rate

    from touched
    left join campaign_versions
        on
            touched.campaign_id = campaign_versions.campaign_id
            and touched.event_at >= campaign_versions.holds_from
            and touched.event_at < campaign_versions.holds_until
    left join exchange_rates as campaign_rates
        on
            campaign_versions.currency = campaign_rates.currency
            and touched.event_date = campaign_rates.rate_date
    left join exchange_rates as value_rates
        on
            touched.value_currency = value_rates.currency
            and touched.event_date = value_rates.rate_date

),

priced as (

    select
        event_id,
        last_touch_event_id,
        order_id,
        user_id,
        campaign_id,
        creative_id,
        website,
        conversion_type,
        invalid_reason,
        touch_type,
        touches,
        copies,
        is_valid,
        event_at,
        event_date,
        _loaded_at,
        cast(round(value_amount * value_usd_rate, 9) as numeric(38, 9)) as revenue,
        cast(case
            when is_valid and pricing_model = 'cpa' and rate is not null
                then round(rate * campaign_usd_rate, 9)
            else 0
        end as numeric(38, 9)) as spend

    from joined

)

select * from priced
