{#- The patterns of the seed crawler_user_agents as a list of few regular expressions, each an
    alternation of many patterns: every engine compiles a constant expression once, but one that comes
    from a join anew for each row. Of up to 30 expressions PostgreSQL keeps all compiled (it has room for
    32). Patterns that begin with `(?i)` get expressions of their own, which begin so. -#}
{% macro crawler_patterns() -%}
    {%- set seed = ref('crawler_user_agents') -%}
    {%- set expressions = [] -%}
    {%- if execute and load_relation(seed) is none -%}
        {%- if flags.WHICH in ['build', 'run', 'test'] -%}
            {%- do exceptions.raise_compiler_error(
                'The seed crawler_user_agents is not in the warehouse yet: run "dbt seed" first.'
            ) -%}
        {%- endif -%}
    {%- elif execute -%}
        {%- set query -%}
            select pattern from {{ seed }} where pattern <> '' order by {{ bytewise('pattern') }}
        {%- endset -%}
        {%- set patterns = run_query(query).columns[0].values() | map('string') | list -%}
        {%- set any_case = [] -%}
        {%- set as_written = [] -%}
        {%- for pattern in patterns -%}
            {%- if pattern.startswith('(?i)') -%}
                {%- do any_case.append('(?:' ~ pattern[4:] ~ ')') -%}
            {%- else -%}
                {%- do as_written.append('(?:' ~ pattern ~ ')') -%}
            {%- endif -%}
        {%- endfor -%}
        {%- set size = [100, (patterns | length) // 28 + 1] | max -%}
        {%- for group in as_written | batch(size) -%}
            {%- do expressions.append(group | join('|')) -%}
        {%- endfor -%}
        {%- for group in any_case | batch(size) -%}
            {%- do expressions.append('(?i)' ~ group | join('|')) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(expressions) }}
{%- endmacro %}
