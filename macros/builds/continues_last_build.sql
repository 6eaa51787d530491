{#- Whether this build takes up where the last complete one ended. It does not when nothing was built
    yet, when a full build died on its way, when records of earlier loads were rewritten since (a
    back-fill) or are gone, or when a full refresh is asked for; then every model is built from all that
    is loaded. -#}
{% macro continues_last_build() -%}
    {%- if not execute or flags.FULL_REFRESH -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set loads = built_relation('staging', 'stg_ingestion__loads') -%}
    {%- if loads is none -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set query -%}
        select 1 from {{ loads }}
        where is_built
        limit 1
    {%- endset -%}
    {{ return(ask_once(query) | length > 0 and not is_rewritten(loads) and not is_gone(loads)) }}
{%- endmacro %}

{#- The rows of a query, which a build asks once however many models want to know, and so with one answer.
    They are kept in `graph`, which is all that the nodes of one run share. -#}
{% macro ask_once(query) -%}
    {%- set answers = graph.setdefault('advertisex_answers ' ~ invocation_id, {}) -%}
    {%- if query not in answers -%}
        {%- do answers.update({query: run_query(query).rows}) -%}
    {%- endif -%}
    {{ return(answers[query]) }}
{%- endmacro %}

{#- Whether a run that the last complete build has not seen has changed what earlier loads brought.
    A warehouse that was loaded by an older version has no record of such. -#}
{% macro is_rewritten(loads) -%}
    {%- set rewrites = adapter.get_relation(loads.database, 'raw', 'rewrites') -%}
    {%- if rewrites is none -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set query -%}
        select 1 from {{ rewrites }}
        where load_id not in (select built.load_id from {{ loads }} as built where built.is_built)
        limit 1
    {%- endset -%}
    {{ return(ask_once(query) | length > 0) }}
{%- endmacro %}

{#- Whether a load that the last complete build took in is no longer there, as where the raw tables were
    dropped and loaded anew, or are an earlier copy. -#}
{% macro is_gone(loads) -%}
    {%- set query -%}
        select 1 from {{ loads }}
        where is_built and load_id not in (
            select there.load_id from raw._dlt_loads as there where there.status = 0
        )
        limit 1
    {%- endset -%}
    {{ return(ask_once(query) | length > 0) }}
{%- endmacro %}

{#- dbt asks this of each incremental model and seed. -#}
{% macro should_full_refresh() -%}
    {%- if config.get('full_refresh') is not none -%}
        {{ return(config.get('full_refresh')) }}
    {%- endif -%}
    {{ return(not continues_last_build()) }}
{%- endmacro %}

{#- A table as the last build left it, none if there is no such. For what has to be known before the
    table itself is built, where a ref would close a circle. -#}
{% macro built_relation(schema, name) -%}
    {{ return(adapter.get_relation(this.database, generate_schema_name(schema, none), name)) }}
{%- endmacro %}

{#- The same as a relation with these columns (names and types), which a build that continues cannot
    do without; in a build of everything it has no rows. -#}
{% macro built(name, columns) -%}
    {%- if not continues_last_build() -%}
        (
            select
                {% for column, type in columns.items() -%}
                    cast(null as {{ type }}) as {{ column }}{{ ', ' if not loop.last }}
                {%- endfor %}
            where false
        )
    {%- else -%}
        {%- set relation = built_relation('intermediate', name) -%}
        {%- if relation is none -%}
            {%- do exceptions.raise_compiler_error(
                'The table ' ~ name ~ ' is gone: build everything anew with a full refresh'
                ~ ' ("adx build --full-refresh", "dbt build --full-refresh").'
            ) -%}
        {%- endif -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}

{#- The loads that are built, as `stg_ingestion__loads` holds them before it is built itself. -#}
{% macro last_build_of_loads() -%}
    select
        load_id,
        project,
        is_built,
        is_tested

    {% if is_incremental() -%}
    from {{ this }}
    where is_built
    {%- else -%}
    from (
        select
            cast(null as {{ dbt.type_string() }}) as load_id,
            '' as project,
            false as is_built,
            false as is_tested
    ) as none_yet
    where false
    {%- endif %}
{%- endmacro %}
