-- Law 1, stream by stream: accepted = events + extra copies, no event is lost between the raw table
-- and the fact, and the data quality mart says the same. Only loads that are finished count.
with

{% set streams = {
    'impressions': source('adserver', 'impressions'),
    'clicks': source('tracker', 'clicks'),
    'conversions': source('tracker', 'conversions'),
    'bid_requests': source('exchange', 'bid_requests'),
} -%}

accepted as (

    {% for stream, raw_table in streams.items() -%}
        select
            '{{ stream }}' as stream,
            count(*) as accepted
        from {{ raw_table }}
        where _dlt_load_id in (select loads.load_id from {{ ref('stg_ingestion__loads') }} as loads)
        {%- if not loop.last %}
            union all
        {% endif %}
    {%- endfor %}

),

events as (

    {% for stream in streams -%}
        select
            '{{ stream }}' as stream,
            count(*) as events,
            coalesce(sum(copies - 1), 0) as extra_copies
        from {{ ref('fct_' ~ stream) }}
        {%- if not loop.last %}
            union all
        {% endif %}
    {%- endfor %}

),

quality as (

    select
        stream,
        sum(accepted) as accepted,
        sum(extra_copies) as extra_copies

    from {{ ref('fct_data_quality_daily') }}
    group by stream

),

compared as (

    select
        accepted.stream,
        accepted.accepted,
        events.events,
        events.extra_copies,
        coalesce(quality.accepted, 0) as quality_accepted,
        coalesce(quality.extra_copies, 0) as quality_extra_copies

    from accepted
    inner join events
        on accepted.stream = events.stream
    left join quality
        on accepted.stream = quality.stream

)

select * from compared
where
    accepted <> events + extra_copies
    or accepted <> quality_accepted
    or extra_copies <> quality_extra_copies
