{#- An incremental strategy: what a model selects takes the place of the dates that this build touches
    (`meta: {touched: …}`, see `touched_dates`), also of those that have no rows any more; for
    `everything`, of the whole table. Where tables have partitions by date it is the overwrite of
    these; here a delete and an insert in one transaction. -#}
{% macro get_incremental_overwrite_sql(arguments) -%}
    {%- set columns = get_quoted_csv(arguments.dest_columns | map(attribute='name')) -%}
    delete from {{ arguments.target_relation }}
    where {{ touched(arguments.unique_key, config.get('meta').touched) }};

    insert into {{ arguments.target_relation }} ({{ columns }})
    select {{ columns }} from {{ arguments.temp_relation }}
{%- endmacro %}
