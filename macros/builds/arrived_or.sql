{#- Where a model finds what may be new of a stream: among the copies that have arrived, in a build of
    everything in `all_of_them`, a relation. -#}
{% macro arrived_or(all_of_them, stream) -%}
    {%- set arrived = arrived_of(stream) if is_incremental() or not execute -%}
    {{ return(arrived if is_incremental() else all_of_them) }}
{%- endmacro %}
