{{ config(
    materialized='incremental',
    unique_key='creative_id',
    meta={'touched': 'everything'},
) }}

with

creatives as (

    select * from {{ ref('stg_campaign_manager__creatives') }}

),

ordered as (

    select
        *,
        lag(updated_at) over (partition by creative_id order by updated_at) as previous_updated_at,
        lead(updated_at) over (partition by creative_id order by updated_at) as next_updated_at

    from creatives

),

versioned as (

    select
        -- ids
        creative_id,
        campaign_id,

        -- strings
        creative_name,
        format,

        -- numerics
        width,
        height,

        -- times
        updated_at,

        next_updated_at is null as is_current,

        -- The bounds without null, for joins: the first version also holds before.
        case
            when previous_updated_at is null then cast('0001-01-01 00:00:00' as timestamp)
            else updated_at
        end as holds_from,
        coalesce(next_updated_at, cast('9999-12-31 00:00:00' as timestamp)) as holds_until

    from ordered

)

select * from versioned
