{#- How Elementary writes its rows, with a value rendered in place: its own macro calls a dozen
    others for each value, which takes seconds for the results of one build. Elementary finds this
    one by the `dispatch` of dbt_project.yml. -#}
{% macro default__insert_rows(
    table_relation, rows, should_commit=false, chunk_size=5000, on_query_exceed=none
) %}
    {%- if not rows or not table_relation -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set columns = adapter.get_columns_in_relation(table_relation) -%}
    {%- set names = columns | map(attribute='name') | join(', ') -%}
    {%- set now = elementary.edr_current_timestamp() -%}
    {%- for batch in rows | batch([chunk_size, 500] | min) -%}
        {%- set rendered = [] -%}
        {%- for row in batch -%}
            {%- set values = [] -%}
            {%- for column in columns -%}
                {%- set value = row[column.name] -%}
                {%- if column.name == 'created_at' -%}
                    {%- do values.append(now) -%}
                {%- elif value is not defined or value is none -%}
                    {%- do values.append('null') -%}
                {%- elif value is boolean or value is number -%}
                    {%- do values.append(value | string | lower) -%}
                {%- else -%}
                    {%- set text = value if value is string else tojson(value) -%}
                    {%- do values.append("'" ~ text | replace("'", "''") ~ "'") -%}
                {%- endif -%}
            {%- endfor -%}
            {%- do rendered.append('(' ~ values | join(', ') ~ ')') -%}
        {%- endfor -%}
        {%- do run_query(
            'insert into ' ~ table_relation ~ ' (' ~ names ~ ') values ' ~ rendered | join(', ')
        ) -%}
    {%- endfor -%}
    {%- if should_commit -%}
        {%- do adapter.commit() -%}
    {%- endif -%}
{% endmacro %}
