{#- The rows of an event stream with the number of `copies` of their event, and `copy_number`: of the
    copies of one event the earliest counts (1), then the smallest text; of exact copies the one
    that was loaded first (semantics section 3). -#}
{% macro number_copies(relation) -%}
    select
        *,
        count(*) over (partition by event_id) as copies,
        row_number() over (
            partition by event_id
            order by
                event_at,
                {{ bytewise('event_text') }},
                _loaded_at,
                {{ bytewise('_file') }},
                _position
        ) as copy_number

    from {{ relation }}
{%- endmacro %}
