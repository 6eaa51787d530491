{#- Whether the text in a column is a regular expression that the engine can read. PostgreSQL cannot
    ask without stopping at one that it cannot read; its message then says what is wrong with it. -#}
{% macro is_regular_expression(text) -%}
    {{ return(adapter.dispatch('is_regular_expression', 'advertisex')(text)) }}
{%- endmacro %}

{% macro duckdb__is_regular_expression(text) -%}
    (try(regexp_matches('', {{ text }})) is not null)
{%- endmacro %}

{% macro postgres__is_regular_expression(text) -%}
    (('' ~ {{ text }}) is not null)
{%- endmacro %}
