{#- How many dates before a click's own its impression may be of (semantics section 6). -#}
{% macro click_window_days() -%}
    {{ return((var('click_window_hours') / 24) | round(0, 'ceil') | int) }}
{%- endmacro %}
