{% set anomalies = built(
    'fct_campaign_anomalies', {'campaign_id': dbt.type_string(), 'date': 'date'}
) %}

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

    from {{ anomalies }}
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

-- All dates that a campaign may have a row for.
windows_of_days as (

    select
        cast(
            {{ dbt.dateadd('day', 'offsets.days_later', 'campaign_days.date') }} as date
        ) as event_date

    from {{ ref('int_dimensions_measured_daily') }} as campaign_days
    cross join offsets
    where campaign_days.dimension = 'campaign'

),

opened as (

    select event_date from touched
    union all
    select event_date from begun_elsewhere

),

in_windows as (

    select
        cast(
            {{ dbt.dateadd('day', 'offsets.days_later', 'opened.event_date') }} as date
        ) as event_date

    from opened
    cross join offsets

),

-- The mart goes up to the latest date of all: what is between where it ended and where it ends now.
ends as (

    select
        (select max(last_date) from measured) as measured_end,
        (select max(last_date) from last_built) as built_end

),

after_end as (

    select windows_of_days.event_date

    from windows_of_days
    cross join ends
    where
        windows_of_days.event_date > ends.built_end
        and windows_of_days.event_date <= ends.measured_end

    union all

    select last_rows.date as event_date

    from {{ anomalies }} as last_rows
    cross join ends
    where last_rows.date > ends.measured_end

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
