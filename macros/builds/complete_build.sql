{#- For the end of a run: the loads that this build took in are built, if it built every model of the
    project, and tested, if every test passed too. A build of some models, or one that died, leaves them
    to the next; it does them again, for all models. -#}
{% macro complete_build(results) -%}
    {%- set loads = ref('stg_ingestion__loads') -%}
    {%- set done = [] -%}
    {%- for result in results if result.status in ['success', 'pass', 'warn'] -%}
        {%- do done.append(result.node.unique_id) -%}
    {%- endfor -%}
    {%- set left = {'model': [], 'test': []} -%}
    {%- set nodes = graph.nodes.values() if execute else [] -%}
    {%- for node in nodes if node.package_name == project_name -%}
        {%- if node.resource_type in left and node.unique_id not in done -%}
            {%- do left[node.resource_type].append(node.unique_id) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if execute and flags.WHICH in ['build', 'run'] and not left.model -%}
        update {{ loads }}
        set
            is_built = true,
            is_tested = {{ not left.test }},
            project = '{{ env_var("ADX_PROJECT_DIGEST", "") }}'
    {%- endif -%}
{%- endmacro %}
