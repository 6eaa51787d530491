-- depends_on: {{ ref('int_dates_touched') }}
-- depends_on: {{ ref('int_dimensions_measured_daily') }}

{% if continues_last_build() -%}

with

measured as (

    select
        dimension_id as campaign_id,
        min(date) as first_date,
        max(date) as last_date

    from {{ ref('int_dimensions_measured_daily') }}
    where dimension = 'campaign'
    group by dimension_id

),

-- The first row of a campaign is that of its first date.
last_built as (

    select
        campaign_id,
        min(date) as first_date,
        max(date) as last_date

    from {{ built('fct_campaign_anomalies') }}
    group by campaign_id

),

touched as (

    select event_date from {{ ref('int_dates_touched') }}
    group by event_date

),

-- When a campaign has another first date, the windows after it have another number of days.
begun_elsewhere as (

    select greatest(measured.first_date, last_built.first_date) as event_date

    from measured
    inner join last_built
        on measured.campaign_id = last_built.campaign_id
    where measured.first_date <> last_built.first_date

),

offsets as (

    {% for days in range(var('anomaly_window_days') + 1) -%}
        select {{ days }} as days_later
        {% if not loop.last %}union all{% endif %}
    {% endfor -%}

),

opened as (

    select event_date from touched
    union all
    select event_date from begun_elsewhere

),

in_windows as (

    select cast({{ dbt.dateadd('day', 'offsets.days_later', 'opened.event_date') }} as date) as event_date

    from opened
    cross join offsets

),

-- The mart goes up to the latest date of all: where it ended and where it ends now.
ends as (

    select
        least(
            (select max(last_date) from measured), (select max(last_date) from last_built)
        ) as earlier_end

),

-- Every date between the two ends that some campaign may have a row for.
after_end as (

    select cast({{ dbt.dateadd('day', 'offsets.days_later', 'rows_of_campaigns.date') }} as date) as event_date

    from {{ ref('int_dimensions_measured_daily') }} as rows_of_campaigns
    cross join offsets
    cross join ends
    where
        rows_of_campaigns.dimension = 'campaign'
        and cast({{ dbt.dateadd('day', 'offsets.days_later', 'rows_of_campaigns.date') }} as date)
        > ends.earlier_end

    union all

    select last_rows.date as event_date

    from {{ built('fct_campaign_anomalies') }} as last_rows
    cross join ends
    where last_rows.date > ends.earlier_end

),

unioned as (

    select event_date from in_windows
    union all
    select event_date from after_end

),

dates as (

    select event_date from unioned
    group by event_date

)

select * from dates

{% else -%}

select
    cast(null as date) as event_date
where false

{%- endif %}
