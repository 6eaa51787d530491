with

source as (

    select * from {{ source('tracker', 'conversions') }}

),

renamed as (

    select
        -- ids
        event_id,
        conversion_id,
        click_id,
        order_id,
        user_id,
        ad_campaign_id,

        -- strings
        event_text,
        conversion_type,
        currency,

        -- numerics
        revenue,

        -- times
        timestamp as event_at,
        cast(timestamp as date) as event_date,

        -- lineage
        _file,
        _position,
        _loaded_at,
        _dlt_load_id

    from source

),

-- Of the copies of one event the earliest counts, then the smallest text; of exact copies the one
-- that was loaded first.
numbered as (

    select
        *,
        count(*) over (partition by event_id) as copies,
        row_number() over (
            partition by event_id
            order by
                event_at,
                {{ bytewise('event_text') }},
                _loaded_at,
                {{ bytewise('_file') }},
                _position
        ) as copy_number

    from renamed

),

deduplicated as (

    select
        event_id,
        conversion_id,
        click_id,
        order_id,
        user_id,
        ad_campaign_id,
        conversion_type,
        currency,
        revenue,
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
