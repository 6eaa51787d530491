{#- The rows of an event stream with `event_id` and `event_text` (semantics section 3). -#}
{% macro identified(relation, stream) -%}
    select
        *,
        {{ identity(stream) }} as event_id,
        {{ event_text(stream) }} as event_text

    from {{ relation }}
{%- endmacro %}

{#- An event's identity over its raw row: its own id, else the md5 that ingestion made of its text. -#}
{% macro identity(stream) -%}
    {%- set own_ids = {
        'impressions': 'impression_id',
        'clicks': 'click_id',
        'conversions': 'conversion_id',
        'bid_requests': 'auction_id',
    } -%}
    coalesce({{ own_ids[stream] }}, text_md5)
{%- endmacro %}

{#- An event's text over its raw row: the fields of its contract in their order, but for `targeting`,
    joined by U+001F. The order is that of `ingestion/contracts/`, as a test makes sure. -#}
{% macro event_text(stream) -%}
    {%- set fields = {
        'impressions': [
            'timestamp', 'user_id', 'ad_creative_id', 'website', 'impression_id', 'auction_id',
            'ad_campaign_id', 'price_cpm', 'currency', 'user_agent', 'country', 'device_type',
        ],
        'clicks': [
            'timestamp', 'user_id', 'ad_campaign_id', 'click_id', 'impression_id',
            'ad_creative_id', 'website', 'user_agent',
        ],
        'conversions': [
            'timestamp', 'user_id', 'conversion_type', 'conversion_id', 'ad_campaign_id',
            'click_id', 'revenue', 'currency', 'order_id',
        ],
        'bid_requests': [
            'timestamp', 'auction_id', 'user_id', 'website', 'exchange', 'bid_floor_cpm',
            'bid_price_cpm', 'currency', 'ad_campaign_id', 'ad_creative_id', 'country',
            'device_type', 'user_agent',
        ],
    } -%}
    {%- for field in fields[stream] -%}
        {%- if field == 'timestamp' -%}
            {{ iso_timestamp(field) }}
        {%- else -%}
            coalesce(cast({{ field }} as {{ dbt.type_string() }}), '')
        {%- endif -%}
        {%- if not loop.last %} || chr(31) || {% endif -%}
    {%- endfor -%}
{%- endmacro %}
