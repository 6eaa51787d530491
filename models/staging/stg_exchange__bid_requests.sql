{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'arrived_bid_requests'},
    indexes=lookup_indexes(['event_date', 'event_id', 'creative_id']),
) }}

with

identified as {{ inlined() }} (

    {{ copies_to_stage(source('exchange', 'bid_requests'), 'bid_requests') }}

),

renamed as {{ inlined() }} (

    select
        -- ids
        event_id,
        auction_id,
        user_id,
        ad_campaign_id,
        ad_creative_id as creative_id,

        -- strings
        event_text,
        website,
        exchange,
        user_agent,
        country,
        device_type,
        currency,

        -- numerics
        bid_floor_cpm,
        bid_price_cpm,

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
        auction_id,
        user_id,
        ad_campaign_id,
        creative_id,
        website,
        exchange,
        user_agent,
        country,
        device_type,
        currency,
        bid_floor_cpm,
        bid_price_cpm,
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
{{ and_others_of_dates('bid_requests') }}
