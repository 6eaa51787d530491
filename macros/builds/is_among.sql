{#- Whether a column's value is among the keys in another relation, so that an incremental build only
    keeps those; true in a build of everything, which needs all. -#}
{% macro is_among(column, relation, key) -%}
    {%- if is_incremental() -%}
        {{ column }} in (select {{ relation }}.{{ key }} from {{ relation }})
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}
