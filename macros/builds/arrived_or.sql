{#- Where a model finds what may be new: among the copies that have arrived, in a build of everything
    in `all_of_them`, a relation. -#}
{% macro arrived_or(all_of_them, arrived) -%}
    {%- if not execute -%}
        {%- do ref(arrived) -%}
    {%- endif -%}
    {{ return(ref(arrived) if is_incremental() else all_of_them) }}
{%- endmacro %}
