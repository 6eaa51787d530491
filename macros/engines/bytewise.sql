{#- A text that orders, compares and takes its min and max by bytes, whatever the locale of the
    database (semantics section 8). Equality needs no such care. -#}
{% macro bytewise(text) -%}
    {{ return(adapter.dispatch('bytewise', 'advertisex')(text)) }}
{%- endmacro %}

{% macro default__bytewise(text) -%}
    {{ text }}
{%- endmacro %}

{% macro postgres__bytewise(text) -%}
    ({{ text }}) collate "C"
{%- endmacro %}
