{{ config(
    materialized='incremental',
    unique_key='creative_id',
    meta={'touched': 'everything'},
) }}

with

versions as (

    select * from {{ ref('int_creatives_versioned') }}
    where is_current

),

current_creatives as (

    select
        creative_id,
        campaign_id,
        updated_at,
        creative_name,
        format,
        width,
        height

    from versions

)

select * from current_creatives
