{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'arrived_clicks'},
    indexes=lookup_indexes(['event_date']),
) }}

with

identified as {{ inlined() }} (

    {{ copies_to_stage(source('tracker', 'clicks'), 'clicks') }}

),

renamed as {{ inlined() }} (

    select
        -- ids
        event_id,
        click_id,
        impression_id,
        user_id,
        ad_campaign_id,
        ad_creative_id as creative_id,

        -- strings
        event_text,
        website,
        user_agent,

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
        click_id,
        impression_id,
        user_id,
        ad_campaign_id,
        creative_id,
        website,
        user_agent,
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
{{ and_others_of_dates('clicks') }}
