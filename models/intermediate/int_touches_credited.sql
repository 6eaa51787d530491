{{ config(
    materialized='incremental',
    unique_key='conversion_date',
    meta={'touched': 'conversions'},
    indexes=lookup_indexes(['conversion_date', 'touch_date']),
) }}

with

conversions as (

    select * from {{ ref('int_conversions_priced') }}
    where is_valid and {{ touched('event_date', 'conversions') }}

),

touches as (

    select * from {{ ref('int_conversions_touched') }}
    where {{ touched('conversion_date', 'conversions') }}

),

models as (

    select 'last_touch' as model
    union all
    select 'first_touch' as model
    union all
    select 'linear' as model
    union all
    select 'time_decay' as model
    union all
    select 'position_based' as model

),

attributable as (

    select
        touches.*,
        conversions.event_at as conversion_at,
        conversions.conversion_type,
        conversions.revenue,
        models.model,
        -- The ages of touches differ by this from the age of the last one.
        touches.microseconds_to_convert
        - min(touches.microseconds_to_convert) over (
            partition by touches.conversion_event_id, models.model
        ) as microseconds_to_last_touch

    from touches
    inner join conversions
        on touches.conversion_event_id = conversions.event_id
    cross join models

),

-- Whole weights, so that all that follows is exact. Those of time_decay are relative to the last
-- touch, which keeps them large: 10^15 for it, half of that for each half-life before.
weighted as (

    select
        *,
        case
            when model = 'last_touch' then case when touch_number = touches then 1 else 0 end
            when model = 'first_touch' then case when touch_number = 1 then 1 else 0 end
            when model = 'linear' then 1
            when model = 'time_decay'
                then cast(floor(
                    power(
                        cast(2 as double precision),
                        -cast(microseconds_to_last_touch as double precision)
                        / {{ var('time_decay_half_life_seconds') * 1000000 }}
                    ) * 1e15
                ) as bigint)
            -- 0.4, 0.2 / (n - 2) for each between, 0.4, times 5 (n - 2)
            when touches > 2 and touch_number in (1, touches) then 2 * (touches - 2)
            else 1
        end as weight

    from attributable

),

totalled as (

    select
        *,
        sum(weight) over (partition by conversion_event_id, model) as total_weight

    from weighted

),

-- Credits in units of 10^-12.
floored as (

    select
        *,
        cast(
            {{ whole_quotient('cast(weight as numeric(38, 0)) * 1000000000000', 'total_weight') }}
            as bigint
        ) as floored_units

    from totalled

),

completed as (

    select
        *,
        case
            when touch_number < touches then floored_units
            else
                floored_units + 1000000000000
                - sum(floored_units) over (partition by conversion_event_id, model)
        end as units

    from floored

),

credited as (

    select
        *,
        cast(cast(units as numeric(13, 0)) * 0.000000000001 as numeric(13, 12)) as credit

    from completed
    where units > 0

),

valued as (

    select
        conversion_event_id,
        touch_event_id,
        campaign_id,
        creative_id,
        website,
        conversion_type,
        touch_type,
        model,
        touch_number,
        touches,
        credit,
        cast(round(credit * revenue, 9) as numeric(38, 9)) as credited_revenue,
        cast(
            cast(microseconds_to_convert as numeric(18, 0)) * 0.000001 as numeric(18, 6)
        ) as seconds_to_convert,
        conversion_at,
        conversion_date,
        touch_at,
        cast(touch_at as date) as touch_date

    from credited

)

select * from valued
