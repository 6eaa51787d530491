{{ config(materialized='view') }}

with

clicks as (

    select * from {{ ref('int_clicks_priced') }}

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
        impression_event_id,
        match_method,
        seconds_since_impression,
        cast(round(spend, 6) as numeric(38, 6)) as spend

    from clicks

)

select * from shown
