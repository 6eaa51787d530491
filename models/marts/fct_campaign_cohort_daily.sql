{{ config(
    materialized='incremental',
    unique_key='date',
    meta={'touched': 'cohorts'},
) }}

with

credits as (

    select * from {{ ref('int_touches_credited') }}
    where {{ touched('touch_date', 'cohorts') }}

),

cohorts as (

    select
        campaign_id,
        touch_date as date,
        model,
        cast(sum(credit) as numeric(38, 12)) as credited_conversions,
        cast(round(coalesce(sum(credited_revenue), 0), 6) as numeric(38, 6)) as credited_revenue,
        percentile_cont(0.5) within group (
            order by cast(seconds_to_convert as double precision)
        ) as median_seconds_to_convert,
        percentile_cont(0.9) within group (
            order by cast(seconds_to_convert as double precision)
        ) as p90_seconds_to_convert

    from credits
    group by campaign_id, touch_date, model

)

select * from cohorts
