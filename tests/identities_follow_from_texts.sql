-- An event without an id of its own has the md5 of its text as its identity (semantics section 3).
-- Ingestion hashes the text, the models write it again where they compare copies: one text.
with

texts as (

    {%- for source_name, table, own_id in [
        ('adserver', 'impressions', 'impression_id'),
        ('tracker', 'clicks', 'click_id'),
        ('tracker', 'conversions', 'conversion_id'),
        ('exchange', 'bid_requests', 'auction_id'),
    ] %}

    select
        '{{ table }}' as stream,
        {{ own_id }} as own_id,
        text_md5,
        {{ event_text(table) }} as event_text

    from {{ source(source_name, table) }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}

)

select *
from texts
where
    (own_id is null and (text_md5 is null or text_md5 <> md5(event_text)))
    or (own_id is not null and text_md5 is not null)
