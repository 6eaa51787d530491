{#- What the numbers depend on beside the raw tables: vars and seeds, as one short text. After a change
    of these an incremental build would mix old numbers with new ones. -#}
{% macro settings_fingerprint() -%}
    {%- set parts = [] -%}
    {%- for name in [
        'anomaly_minimum_days', 'anomaly_window_days', 'anomaly_z_score', 'click_flood_clicks',
        'click_through_days', 'click_window_hours', 'late_after_days',
        'time_decay_half_life_seconds', 'view_through_days',
    ] -%}
        {%- do parts.append(name ~ '=' ~ var(name)) -%}
    {%- endfor -%}
    {%- if execute -%}
        {%- for seed in graph.nodes.values() | selectattr('resource_type', 'equalto', 'seed')
            | sort(attribute='name') -%}
            {%- do parts.append(seed.name ~ '=' ~ seed.checksum.checksum) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(local_md5(parts | join(';'))) }}
{%- endmacro %}

{#- Stops a build that would continue one with other vars or seeds (semantics section 9, law 2): before
    a seed is loaded anew, and where no seed is, before the first model. -#}
{% macro check_settings() -%}
    {%- if flags.WHICH in ['build', 'run'] and continues_last_build() -%}
        {%- set loads = built_relation('staging', 'stg_ingestion__loads') -%}
        {%- set query = "select 1 from " ~ loads ~ " where is_built and settings <> '"
            ~ settings_fingerprint() ~ "' limit 1" -%}
        {%- if run_query(query).rows | length > 0 -%}
            {%- do exceptions.raise_compiler_error(
                'Seeds or vars have changed since the last full build, which changes numbers of all'
                ~ ' dates: build everything anew with a full refresh ("adx build --full-refresh",'
                ~ ' "dbt build --full-refresh"). Nothing was changed.'
            ) -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
