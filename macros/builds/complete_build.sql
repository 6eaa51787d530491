{#- For the end of a run: the loads that this build took in are built, if every model of the project
    was built and nothing failed. A build of some models, or one that died, leaves them to the next;
    it does them again, for all models. -#}
{% macro complete_build(results) -%}
    {%- set loads = ref('stg_ingestion__loads') -%}
    {%- set done = [] -%}
    {%- set failed = [] -%}
    {%- for result in results -%}
        {%- if result.status in ['success', 'pass', 'warn'] -%}
            {%- do done.append(result.node.unique_id) -%}
        {%- else -%}
            {%- do failed.append(result.node.unique_id) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set tested = [] -%}
    {%- set nodes = graph.nodes.values() if execute else [] -%}
    {%- for node in nodes if node.package_name == project_name -%}
        {%- if node.resource_type == 'model' and node.unique_id not in done -%}
            {%- do failed.append(node.unique_id) -%}
        {%- elif node.resource_type == 'test' and node.unique_id not in done -%}
            {%- do tested.append(node.unique_id) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if execute and flags.WHICH in ['build', 'run'] and not failed -%}
        update {{ loads }}
        set
            is_built = true,
            is_tested = {{ not tested }},
            project = '{{ env_var("ADX_PROJECT_DIGEST", "") }}'
    {%- endif -%}
{%- endmacro %}
