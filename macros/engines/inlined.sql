{#- Between `as` and a common table expression that is read several times: each reading is planned by
    itself, with only the columns that it needs, instead of one table of all. -#}
{% macro inlined() -%}
    {{ return(adapter.dispatch('inlined', 'advertisex')()) }}
{%- endmacro %}

{% macro default__inlined() -%}
{%- endmacro %}

{% macro duckdb__inlined() -%}
    not materialized
{%- endmacro %}

{% macro postgres__inlined() -%}
    not materialized
{%- endmacro %}
