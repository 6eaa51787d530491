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

{#- The same for a raw table, which no model makes. -#}
{% macro index_raw_table(relation, columns) -%}
    {{ return(adapter.dispatch('index_raw_table', 'advertisex')(relation, columns)) }}
{%- endmacro %}

{% macro default__index_raw_table(relation, columns) -%}
{%- endmacro %}

{% macro postgres__index_raw_table(relation, columns) -%}
    {%- for column in columns %}
        create index if not exists {{ relation.identifier }}_by_{{ column.strip('_') }}
        on {{ relation }} ({{ column }});
    {%- endfor %}
{%- endmacro %}
