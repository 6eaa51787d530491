{{ config(
    materialized='incremental',
    unique_key='creative_id',
    meta={'touched': 'everything'},
) }}

with

source as (

    select * from {{ source('campaign_manager', 'creatives') }}
    where _dlt_load_id in (select loads.load_id from {{ ref('stg_ingestion__loads') }} as loads)

),

-- Of two versions with the same updated_at the one with the greater text holds; of exact copies the
-- one that was loaded first.
numbered as (

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

        -- lineage
        _file,
        _position,
        _loaded_at,
        _dlt_load_id,

        row_number() over (
            partition by creative_id, updated_at
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
        creative_id,
        campaign_id,
        creative_name,
        format,
        width,
        height,
        updated_at,
        _file,
        _position,
        _loaded_at,
        _dlt_load_id

    from numbered
    where version_number = 1

)

select * from deduplicated
