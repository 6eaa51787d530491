{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='load_id',
) }}

with

{% set tables = {
    'impressions': arrived_or(source('adserver', 'impressions'), 'impressions'),
    'clicks': arrived_or(source('tracker', 'clicks'), 'clicks'),
    'conversions': arrived_or(source('tracker', 'conversions'), 'conversions'),
    'bid_requests': arrived_or(source('exchange', 'bid_requests'), 'bid_requests'),
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

    {% for stream, table in tables.items() -%}
        select
            '{{ stream }}' as stream,
            _dlt_load_id,
            _loaded_at
        from {{ table }}
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
