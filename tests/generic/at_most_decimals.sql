{#- No value of the column has more decimals than these. -#}
{% test at_most_decimals(model, column_name, decimals) %}

    select {{ column_name }}

    from {{ model }}
    where {{ column_name }} <> round({{ column_name }}, {{ decimals }})

{% endtest %}
