-- An event without an id of its own has the md5 of its text as its identity (semantics section 3).
-- Ingestion hashes the text, the models write it again where they compare copies: one text.
with

texts as (

    select
        'impressions' as stream,
        impression_id as own_id,
        text_md5,
        {{ event_text('impressions') }} as event_text

    from {{ source('adserver', 'impressions') }}

    union all

    select
        'clicks' as stream,
        click_id as own_id,
        text_md5,
        {{ event_text('clicks') }} as event_text

    from {{ source('tracker', 'clicks') }}

    union all

    select
        'conversions' as stream,
        conversion_id as own_id,
        text_md5,
        {{ event_text('conversions') }} as event_text

    from {{ source('tracker', 'conversions') }}

    union all

    select
        'bid_requests' as stream,
        auction_id as own_id,
        text_md5,
        {{ event_text('bid_requests') }} as event_text

    from {{ source('exchange', 'bid_requests') }}

)

select *
from texts
where
    (own_id is null and (text_md5 is null or text_md5 <> md5(event_text)))
    or (own_id is not null and text_md5 is not null)
