{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'arrived_impressions'},
    indexes=lookup_indexes(['event_date', 'impression_id', 'auction_id', 'creative_id']),
) }}

with

identified as {{ inlined() }} (

    {{ copies_to_stage(source('adserver', 'impressions'), 'impressions') }}

),

renamed as {{ inlined() }} (

    select
        -- ids
        event_id,
        impression_id,
        auction_id,
        user_id,
        ad_campaign_id,
        ad_creative_id as creative_id,

        -- strings
        event_text,
        website,
        user_agent,
        country,
        device_type,
        currency,

        -- numerics
        price_cpm,

        -- times
        timestamp as event_at,
        cast(timestamp as date) as event_date,

        -- lineage
        _file,
        _position,
        _loaded_at,
        _dlt_load_id

    from identified

),

repeated as (

    {{ repeated_events('renamed') }}

),

numbered as (

    {{ number_copies('renamed') }}

),

deduplicated as (

    select
        event_id,
        impression_id,
        auction_id,
        user_id,
        ad_campaign_id,
        creative_id,
        website,
        user_agent,
        country,
        device_type,
        currency,
        price_cpm,
        copies,
        event_at,
        event_date,
        _file,
        _position,
        _loaded_at,
        _dlt_load_id

    from numbered
    where copy_number = 1

)

select * from deduplicated
{{ and_others_of_dates('impressions') }}
