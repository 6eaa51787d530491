{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='load_id',
) }}

with

{% set arrived = {
    'impressions': 'stg_adserver__impressions_arrived',
    'clicks': 'stg_tracker__clicks_arrived',
    'conversions': 'stg_tracker__conversions_arrived',
    'bid_requests': 'stg_exchange__bid_requests_arrived',
} -%}
{% set raw_tables = {
    'impressions': source('adserver', 'impressions'),
    'clicks': source('tracker', 'clicks'),
    'conversions': source('tracker', 'conversions'),
    'bid_requests': source('exchange', 'bid_requests'),
    'campaigns': source('campaign_manager', 'campaigns'),
    'creatives': source('campaign_manager', 'creatives'),
} -%}

loads as (

    select * from {{ ref('stg_ingestion__loads') }}
    {% if is_incremental() -%}
        where not is_built
    {%- endif %}

),

-- What has arrived holds all rows of the new loads.
records as (

    {% for stream, raw_table in raw_tables.items() -%}
        {%- set copies = raw_table -%}
        {%- if stream in arrived -%}
            {%- set copies = arrived_or(raw_table, arrived[stream]) -%}
        {%- endif -%}
        select
            '{{ stream }}' as stream,
            _dlt_load_id,
            _loaded_at
        from {{ copies }}
        {%- if not loop.last %}

            union all

        {% endif %}
    {%- endfor %}

),

accepted as (

    select
        records.stream,
        loads.load_id,
        cast(records._loaded_at as date) as load_date,
        count(*) as accepted

    from records
    inner join loads
        on records._dlt_load_id = loads.load_id
    group by records.stream, loads.load_id, cast(records._loaded_at as date)

)

select * from accepted
