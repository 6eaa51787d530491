{#- The schemas are called the same on every engine and for every user: raw, staging, intermediate,
    marts, monitoring. dbt's own macro would put the target's schema before each name. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if node.package_name == 'elementary' -%}
        monitoring
    {%- else -%}
        {{ target.schema if custom_schema_name is none else custom_schema_name | trim }}
    {%- endif -%}
{%- endmacro %}
