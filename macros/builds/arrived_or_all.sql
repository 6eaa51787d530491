{#- Where a model finds values that may be new: among the copies that have arrived, in a build of
    everything among all events. -#}
{% macro arrived_or_all(staging_model) -%}
    {%- set arrived = ref(staging_model ~ '_arrived') -%}
    {%- set all_events = ref(staging_model) -%}
    {{ return(arrived if is_incremental() else all_events) }}
{%- endmacro %}
