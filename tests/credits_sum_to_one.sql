-- Section 7: each valid conversion with a touch has credits of each model, which sum to exactly 1.
with

conversions as (

    select
        event_id,
        touches
    from {{ ref('fct_conversions') }}
    where is_valid and touches > 0

),

models as (

    select model from {{ ref('fct_attribution') }}
    group by model

),

credits as (

    select
        conversion_event_id,
        model,
        sum(credit) as credit

    from {{ ref('fct_attribution') }}
    group by conversion_event_id, model

),

expected as (

    select
        conversions.event_id,
        models.model

    from conversions
    cross join models

),

compared as (

    select
        expected.event_id,
        credits.conversion_event_id,
        credits.credit

    from expected
    full outer join credits
        on
            expected.event_id = credits.conversion_event_id
            and expected.model = credits.model

)

select * from compared
where event_id is null or credit is null or credit <> 1
