with

campaign_days as (

    select
        dimension_id as campaign_id,
        date

    from {{ ref('int_dimensions_measured_daily') }}
    where dimension = 'campaign'

),

touched as (

    select event_date from {{ ref('int_dates_touched') }}
    group by event_date

),

untouched as (

    select
        campaign_days.campaign_id,
        campaign_days.date

    from campaign_days
    left join touched
        on campaign_days.date = touched.event_date
    where touched.event_date is null

),

-- How many days a window has depends on the campaign's first date, which this build may have moved
-- if it touches a date before. Windows that begin on touched dates are done anew anyhow.
first_dates as (

    select min(date) as event_date

    from untouched
    group by campaign_id

),

-- The mart ends with the latest date of all, which this build may have moved if it touches a later
-- one.
last_dates as (

    select max(date) as event_date from untouched

),

opened as (

    select event_date from touched

    union all

    select event_date from first_dates
    where event_date > (select min(touched.event_date) from touched)

    union all

    select event_date from last_dates
    where event_date < (select max(touched.event_date) from touched)

),

dates as (

    select event_date from opened
    group by event_date

)

select * from dates
