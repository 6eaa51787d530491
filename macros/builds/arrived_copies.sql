{#- The copies of the events of which a copy has arrived since the last build, the earlier ones too: they
    tell what an event was and what it is. Everything that a build touches follows from these, so that a
    build that died half way is simply done again. In a build of everything there is no need of them. -#}
{% macro arrived_copies(raw_table, stream) -%}
    {%- set loads = ref('stg_ingestion__loads') -%}
    {%- set condition -%}
        {{ identity(stream) }} in (
            select {{ identity(stream) }} from {{ raw_table }}
            where _dlt_load_id in (select load_id from {{ loads }} where not is_built)
        )
    {%- endset -%}
with

copies as (

    {{ rows_where(raw_table, condition if continues_last_build() else 'false') }}

),

identified as (

    {{ identified('copies', stream) }}

)

select
    *,
    cast(timestamp as date) as event_date

from identified
where _dlt_load_id in (select load_id from {{ loads }})
{%- endmacro %}

{#- What a staging model reads: the copies that matter to this build, of loads that are finished. -#}
{% macro copies_to_stage(raw_table, stream) -%}
    {%- set loads = ref('stg_ingestion__loads') -%}
    {%- set arrived = arrived_of(stream) if is_incremental() or not execute -%}
    {%- if is_incremental() -%}
    select * from {{ arrived }}
    {%- else -%}
    {{ identified(raw_table, stream) }}
    where _dlt_load_id in (select load_id from {{ loads }})
    {%- endif -%}
{%- endmacro %}

{#- The end of a staging model: the other events of the dates that it overwrites, as they are. A table
    that is built anew is put in order of dates, so that later builds find the rows of a date together. -#}
{% macro and_others_of_dates(stream) -%}
    {%- if is_incremental() %}
union all

select kept.* from {{ this }} as kept
where
    {{ touched('kept.event_date', 'arrived_' ~ stream) }}
    and not exists (
        select 1 from {{ arrived_of(stream) }} as arrived
        where arrived.event_id = kept.event_id
    )
    {%- else %}
order by event_date
    {%- endif -%}
{%- endmacro %}

{#- The model that holds a stream's copies that have arrived. -#}
{% macro arrived_of(stream) -%}
    {{ return(ref({
        'impressions': 'stg_adserver__impressions_arrived',
        'clicks': 'stg_tracker__clicks_arrived',
        'conversions': 'stg_tracker__conversions_arrived',
        'bid_requests': 'stg_exchange__bid_requests_arrived',
    }[stream])) }}
{%- endmacro %}
