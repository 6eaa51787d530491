{#- Whether the model's table has no row yet with this value in the column of the same name; for models
    that only grow. True in a build of everything. -#}
{% macro is_not_in_table(column) -%}
    {%- if is_incremental() -%}
        {{ column }} not in (select known.{{ column }} from {{ this }} as known)
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}
