{{ config(materialized='view') }}

with

conversions as (

    select * from {{ ref('int_conversions_priced') }}

),

shown as (

    select
        event_id,
        event_at,
        event_date,
        user_id,
        campaign_id,
        creative_id,
        website,
        is_valid,
        invalid_reason,
        copies,
        conversion_type,
        order_id,
        touch_type,
        touches,
        last_touch_event_id,
        cast(round(revenue, 6) as numeric(38, 6)) as revenue,
        cast(round(spend, 6) as numeric(38, 6)) as spend

    from conversions

)

select * from shown
