{{ config(
    materialized='incremental',
    unique_key='campaign_id',
    meta={'touched': 'everything'},
) }}

with

versions as (

    select * from {{ ref('int_campaigns_versioned') }}
    where is_current

),

current_campaigns as (

    select
        campaign_id,
        updated_at,
        campaign_name,
        advertiser,
        pricing_model,
        rate,
        currency,
        daily_budget,
        start_date,
        end_date,
        time_zone

    from versions

)

select * from current_campaigns
