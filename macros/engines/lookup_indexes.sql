{#- Indexes for the columns by which few rows of a large table are found, where an engine needs such:
    for a model's config `indexes`. -#}
{% macro lookup_indexes(columns) -%}
    {{ return(adapter.dispatch('lookup_indexes', 'advertisex')(columns)) }}
{%- endmacro %}

{% macro default__lookup_indexes(columns) -%}
    {{ return([]) }}
{%- endmacro %}

{% macro postgres__lookup_indexes(columns) -%}
    {%- set indexes = [] -%}
    {%- for column in columns -%}
        {%- do indexes.append({'columns': [column], 'type': 'btree'}) -%}
    {%- endfor -%}
    {{ return(indexes) }}
{%- endmacro %}

{#- The same for a stream's raw table, which no model makes: for a hook. An index that is there is not
    made again, as that would wait for a load that is writing. -#}
{% macro index_raw_table(relation, stream) -%}
    {{ return(adapter.dispatch('index_raw_table', 'advertisex')(relation, stream)) }}
{%- endmacro %}

{% macro default__index_raw_table(relation, stream) -%}
{%- endmacro %}

{% macro postgres__index_raw_table(relation, stream) -%}
    {%- set keys = {'identity': identity(stream), 'load': '_dlt_load_id'} -%}
    {%- for name, key in keys.items() -%}
        {%- set index = stream ~ '_by_' ~ name -%}
        {%- set query -%}
            select 1 from pg_indexes
            where schemaname = '{{ relation.schema }}' and indexname = '{{ index }}'
        {%- endset -%}
        {%- if execute and run_query(query).rows | length == 0 %}
            create index {{ index }} on {{ relation }} (({{ key }}));
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
