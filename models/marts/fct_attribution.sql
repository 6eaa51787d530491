{{ config(materialized='view') }}

with

credits as (

    select * from {{ ref('int_touches_credited') }}

),

shown as (

    select
        conversion_event_id,
        conversion_at,
        conversion_type,
        touch_event_id,
        touch_at,
        touch_type,
        touch_number,
        touches,
        model,
        credit,
        cast(round(credited_revenue, 6) as numeric(38, 6)) as credited_revenue,
        campaign_id,
        creative_id,
        website,
        seconds_to_convert

    from credits

)

select * from shown
