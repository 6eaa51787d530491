{{ config(
    materialized='incremental',
    unique_key='campaign_id',
    meta={'touched': 'everything'},
) }}

with

source as (

    select * from {{ source('campaign_manager', 'campaigns') }}
    where _dlt_load_id in (select loads.load_id from {{ ref('stg_ingestion__loads') }} as loads)

),

-- Of two versions with the same updated_at the one with the greater text holds; of exact copies the
-- one that was loaded first.
numbered as (

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

        -- lineage
        _file,
        _position,
        _loaded_at,
        _dlt_load_id,

        row_number() over (
            partition by campaign_id, updated_at
            order by
                {{ bytewise('version_text') }} desc,
                _loaded_at,
                {{ bytewise('_file') }},
                _position
        ) as version_number

    from source

),

deduplicated as (

    select
        campaign_id,
        campaign_name,
        advertiser,
        pricing_model,
        currency,
        time_zone,
        rate,
        daily_budget,
        start_date,
        end_date,
        updated_at,
        _file,
        _position,
        _loaded_at,
        _dlt_load_id

    from numbered
    where version_number = 1

)

select * from deduplicated
