{#- For a post-hook: tells the engine's planner how large a new table is, where it needs telling.
    Without it PostgreSQL takes nested loops over tables that it believes to be small. -#}
{% macro analyze_table(relation) -%}
    {{ return(adapter.dispatch('analyze_table', 'advertisex')(relation)) }}
{%- endmacro %}

{% macro default__analyze_table(relation) -%}
{%- endmacro %}

{% macro postgres__analyze_table(relation) -%}
    {%- if config.get('materialized') != 'view' -%}
        analyze {{ relation }}
    {%- endif -%}
{%- endmacro %}
