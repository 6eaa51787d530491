{#- A timestamp as `2024-06-09T12:34:56.000000Z`. -#}
{% macro iso_timestamp(column) -%}
    {{ return(adapter.dispatch('iso_timestamp', 'advertisex')(column)) }}
{%- endmacro %}

{% macro duckdb__iso_timestamp(column) -%}
    strftime({{ column }}, '%Y-%m-%dT%H:%M:%S.%fZ')
{%- endmacro %}

{% macro postgres__iso_timestamp(column) -%}
    to_char({{ column }}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
{%- endmacro %}
