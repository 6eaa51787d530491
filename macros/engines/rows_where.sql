{#- The few rows of a large and wide table for which a condition holds. DuckDB would read all columns of
    all rows before it joins with the keys, so it looks for the rows first. -#}
{% macro rows_where(relation, condition) -%}
    {{ return(adapter.dispatch('rows_where', 'advertisex')(relation, condition)) }}
{%- endmacro %}

{% macro default__rows_where(relation, condition) -%}
    select * from {{ relation }}
    where {{ condition }}
{%- endmacro %}

{% macro duckdb__rows_where(relation, condition) -%}
    select * from {{ relation }}
    where rowid in (select found.rowid from {{ relation }} as found where {{ condition }})
{%- endmacro %}
