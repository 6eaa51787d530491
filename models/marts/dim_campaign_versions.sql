{{ config(
    materialized='incremental',
    unique_key='campaign_id',
    meta={'touched': 'everything'},
) }}

with

versions as (

    select * from {{ ref('int_campaigns_versioned') }}

),

campaign_versions as (

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
        time_zone,
        valid_from,
        valid_to

    from versions

)

select * from campaign_versions
