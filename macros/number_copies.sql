{#- The rows of an event stream with the number of `copies` of their event, and `copy_number`: of the
    copies of one event the earliest counts (1), then the smallest text; of exact copies the one
    that was loaded first (semantics section 3). Most events have one copy: only the others are put in
    order, as that and their texts cost far more than to find out who they are. -#}
{% macro number_copies(relation) -%}
    select
        single.*,
        cast(1 as bigint) as copies,
        1 as copy_number

    from {{ relation }} as single
    where not exists (
        select 1 from repeated
        where repeated.event_id = single.event_id
    )

    union all

    select
        several.*,
        count(*) over (partition by several.event_id) as copies,
        row_number() over (
            partition by several.event_id
            order by
                several.event_at,
                {{ bytewise('several.event_text') }},
                several._loaded_at,
                {{ bytewise('several._file') }},
                several._position
        ) as copy_number

    from {{ relation }} as several
    inner join repeated
        on several.event_id = repeated.event_id
{%- endmacro %}

{#- The events of a relation that have several copies. -#}
{% macro repeated_events(relation) -%}
    select event_id

    from {{ relation }}
    group by event_id
    having count(*) > 1
{%- endmacro %}
