{{ config(
    materialized='incremental',
    unique_key='campaign_id',
    meta={'touched': 'everything'},
) }}

with

campaigns as (

    select * from {{ ref('stg_campaign_manager__campaigns') }}

),

ordered as (

    select
        *,
        lag(updated_at) over (partition by campaign_id order by updated_at) as previous_updated_at,
        lead(updated_at) over (partition by campaign_id order by updated_at) as next_updated_at

    from campaigns

),

versioned as (

    select
        -- ids
        campaign_id,

        -- strings
        campaign_name,
        advertiser,
        pricing_model,
        currency,
        time_zone,

        -- numerics
        rate,
        daily_budget,

        -- times
        start_date,
        end_date,
        updated_at,
        updated_at as valid_from,
        next_updated_at as valid_to,

        next_updated_at is null as is_current,

        -- The same bounds without null, for joins: the first version also holds before.
        case
            when previous_updated_at is null then cast('0001-01-01 00:00:00' as timestamp)
            else updated_at
        end as holds_from,
        coalesce(next_updated_at, cast('9999-12-31 00:00:00' as timestamp)) as holds_until

    from ordered

)

select * from versioned
