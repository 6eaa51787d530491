{#- How PostgreSQL loads a seed. dbt's own macro calls another macro for each cell, which takes 10 s
    for the exchange rates; this one writes the placeholders of a row once. -#}
{% macro postgres__load_csv_rows(model, agate_table) -%}
    {%- set columns = get_seed_column_quoted_csv(model, agate_table.column_names) -%}
    {%- set row = '(' ~ (['%s'] * (agate_table.column_names | length)) | join(', ') ~ ')' -%}
    {%- set statements = [] -%}
    {%- for batch in agate_table.rows | batch(get_batch_size()) -%}
        {%- set bindings = [] -%}
        {%- for cells in batch -%}
            {%- do bindings.extend(cells) -%}
        {%- endfor -%}
        {%- set values = ([row] * (batch | length)) | join(', ') -%}
        {%- set insert -%}
            insert into {{ this.render() }} ({{ columns }}) values {{ values }}
        {%- endset -%}
        {%- do adapter.add_query(insert, bindings=bindings, abridge_sql_log=True) -%}
        {%- do statements.append(insert) -%}
    {%- endfor -%}
    {{ return(statements[0] if statements else '') }}
{%- endmacro %}
