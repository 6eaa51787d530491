{#- Each value of the column is a regular expression that the engine can read. -#}
{% test regular_expression(model, column_name) %}

    select {{ column_name }}

    from {{ model }}
    where {{ column_name }} <> '' and not {{ is_regular_expression(column_name) }}

{% endtest %}
