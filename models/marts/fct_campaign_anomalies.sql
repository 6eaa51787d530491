{{ config(
    materialized='incremental',
    unique_key='date',
    meta={'touched': 'anomalies'},
    indexes=lookup_indexes(['date']),
) }}

with

measured as (

    select * from {{ ref('int_dimensions_measured_daily') }}
    where dimension = 'campaign'

),

metrics as (

    select
        'impressions' as metric,
        false as is_ratio
    union all
    select
        'clicks' as metric,
        false as is_ratio
    union all
    select
        'conversions' as metric,
        false as is_ratio
    union all
    select
        'spend' as metric,
        false as is_ratio
    union all
    select
        'ctr' as metric,
        true as is_ratio
    union all
    select
        'cvr' as metric,
        true as is_ratio

),

-- Counts and money stay exact decimals until the end, only ratios are doubles: so equal days have a
-- deviation of exactly 0, and a score at the threshold does not depend on rounding.
daily as (

    select
        measured.dimension_id as campaign_id,
        measured.date,
        metrics.metric,
        metrics.is_ratio,
        case metrics.metric
            when 'impressions' then cast(measured.impressions as numeric(38, 9))
            when 'clicks' then cast(measured.clicks as numeric(38, 9))
            when 'conversions' then cast(measured.conversions as numeric(38, 9))
            when 'spend' then measured.spend
        end as amount,
        case metrics.metric
            when 'ctr' then measured.ctr
            when 'cvr' then measured.cvr
        end as ratio

    from measured
    cross join metrics
    where {{ touched('measured.date', 'anomalies', days_before=var('anomaly_window_days')) }}

),

bounds as (

    select
        dimension_id as campaign_id,
        min(date) as first_date,
        max(max(date)) over () as latest_date

    from measured
    group by dimension_id

),

offsets as (

    {% for days in range(var('anomaly_window_days') + 1) -%}
        select {{ days }} as days_later
        {% if not loop.last %}union all{% endif %}
    {% endfor -%}

),

-- Each day of a campaign also speaks for the days whose window it is in.
seen as (

    select
        daily.campaign_id,
        daily.metric,
        daily.is_ratio,
        daily.amount,
        daily.ratio,
        offsets.days_later,
        cast({{ dbt.dateadd('day', 'offsets.days_later', 'daily.date') }} as date) as date

    from daily
    cross join offsets

),

windows as (

    select
        seen.campaign_id,
        seen.metric,
        seen.date,
        seen.is_ratio,
        max(case when seen.days_later = 0 then seen.amount end) as amount,
        max(case when seen.days_later = 0 then seen.ratio end) as ratio,
        coalesce(sum(case when seen.days_later > 0 then seen.amount end), 0) as amount_sum,
        sum(case when seen.days_later > 0 then seen.ratio end) as ratio_sum,
        count(case when seen.days_later > 0 and not seen.is_ratio then 1 end) as days_with_amount,
        cast(
            case
                when seen.is_ratio then count(case when seen.days_later > 0 then seen.ratio end)
                else least(
                    {{ var('anomaly_window_days') }},
                    {{ dbt.datediff('min(bounds.first_date)', 'seen.date', 'day') }}
                )
            end as integer
        ) as window_days

    from seen
    inner join bounds
        on
            seen.campaign_id = bounds.campaign_id
            and seen.date <= bounds.latest_date
    where {{ touched('seen.date', 'anomalies') }}
    group by seen.campaign_id, seen.metric, seen.date, seen.is_ratio

),

-- Deviations from the mean times the number of days, which needs no division.
deviations as (

    select
        windows.campaign_id,
        windows.metric,
        windows.date,
        case
            when windows.is_ratio then seen.ratio * windows.window_days - windows.ratio_sum
            else cast(seen.amount * windows.window_days - windows.amount_sum as double precision)
        end as scaled_deviation

    from windows
    inner join seen
        on
            windows.campaign_id = seen.campaign_id
            and windows.metric = seen.metric
            and windows.date = seen.date
            and seen.days_later > 0

),

squares as (

    select
        campaign_id,
        metric,
        date,
        sum(scaled_deviation * scaled_deviation) as squares

    from deviations
    group by campaign_id, metric, date

),

-- A day without a row counts as 0, and so deviates by the whole mean.
completed as (

    select
        windows.*,
        case
            when windows.is_ratio then squares.squares
            else
                coalesce(squares.squares, 0)
                + (windows.window_days - windows.days_with_amount)
                * cast(windows.amount_sum as double precision)
                * cast(windows.amount_sum as double precision)
        end as squares,
        windows.window_days >= {{ var('anomaly_minimum_days') }} as has_baseline

    from windows
    left join squares
        on
            windows.campaign_id = squares.campaign_id
            and windows.metric = squares.metric
            and windows.date = squares.date

),

described as (

    select
        campaign_id,
        date,
        metric,
        case
            when is_ratio then ratio
            else cast(coalesce(amount, 0) as double precision)
        end as value,
        case
            when not has_baseline then null
            when is_ratio then ratio_sum / window_days
            else cast(amount_sum as double precision) / window_days
        end as mean,
        case
            when has_baseline then sqrt(squares / nullif(window_days - 1, 0)) / window_days
        end as standard_deviation,
        case
            when is_ratio then ratio * window_days - ratio_sum
            else cast(coalesce(amount, 0) * window_days - amount_sum as double precision)
        end as scaled_deviation,
        case
            when has_baseline then sqrt(squares / nullif(window_days - 1, 0))
        end as scaled_standard_deviation

    from completed

),

scored as (

    select
        *,
        case
            when standard_deviation >= 1e-9 * greatest(1, abs(mean))
                then scaled_deviation / scaled_standard_deviation
        end as z_score

    from described

),

flagged as (

    select
        campaign_id,
        date,
        metric,
        value,
        mean,
        standard_deviation,
        z_score,
        coalesce(abs(z_score) > {{ var('anomaly_z_score') }}, false) as is_anomaly

    from scored

)

select * from flagged
