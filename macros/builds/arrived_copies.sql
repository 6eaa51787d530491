{#- The copies of the events of which a copy has arrived since the last build, the earlier ones too: they
    tell what an event was and what it is. Everything that a build touches follows from these, so that a
    build that died half way is simply done again. In a build of everything there is no need of them. -#}
{% macro arrived_copies(raw_table) -%}
    {%- set loads = ref('stg_ingestion__loads') -%}
    {%- set condition -%}
        event_id in (
            select event_id from {{ raw_table }}
            where _dlt_load_id in (select load_id from {{ loads }} where not is_built)
        )
    {%- endset -%}
    select
        *,
        cast(timestamp as date) as event_date

    from ({{ rows_where(raw_table, condition if continues_last_build() else 'false') }}) as copies
    where _dlt_load_id in (select load_id from {{ loads }})
{%- endmacro %}

{#- What a staging model reads: the copies that matter to this build, of loads that are finished. -#}
{% macro copies_to_stage(raw_table, arrived) -%}
    {%- if not execute -%}
        {%- do ref(arrived) -%}
        {%- do ref('stg_ingestion__loads') -%}
    {%- endif -%}
    {%- if is_incremental() -%}
    select * from {{ ref(arrived) }}
    {%- else -%}
    select * from {{ raw_table }}
    where _dlt_load_id in (select load_id from {{ ref('stg_ingestion__loads') }})
    {%- endif -%}
{%- endmacro %}

{#- The end of a staging model: the other events of the dates that it overwrites, as they are. A table
    that is built anew is put in order of dates, so that later builds find the rows of a date together. -#}
{% macro and_others_of_dates(arrived, which) -%}
    {%- if is_incremental() %}
union all

select kept.* from {{ this }} as kept
where
    {{ touched('kept.event_date', which) }}
    and not exists (
        select 1 from {{ ref(arrived) }} as arrived
        where arrived.event_id = kept.event_id
    )
    {%- else %}
order by event_date
    {%- endif -%}
{%- endmacro %}
