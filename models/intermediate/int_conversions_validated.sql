{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'conversions'},
    indexes=lookup_indexes(['event_date']),
) }}

with

-- With all conversions of the orders in question, whenever they were.
conversions as (

    select * from {{ ref('stg_tracker__conversions') }}
    where
        {{ touched('event_date', 'conversions') }}
        or (user_id, order_id) in (
            select
                touched.user_id,
                touched.order_id
            from {{ ref('stg_tracker__conversions') }} as touched
            where
                {{ touched('touched.event_date', 'conversions') }}
                and touched.order_id <> ''
        )

),

-- Which conversion of an order this is. Without an order id there is nothing to compare, and the
-- number means nothing.
numbered as (

    select
        *,
        row_number() over (
            partition by user_id, ad_campaign_id, conversion_type, order_id
            order by event_at, {{ bytewise('event_id') }}
        ) as number_in_order

    from conversions

),

judged as (

    select
        *,
        case
            when order_id <> '' and number_in_order > 1 then 'duplicate_conversion'
        end as invalid_reason

    from numbered

),

validated as (

    select
        event_id,
        click_id,
        order_id,
        user_id,
        ad_campaign_id,
        conversion_type,
        currency,
        invalid_reason,
        revenue,
        copies,
        event_at,
        event_date,
        _loaded_at,
        invalid_reason is null as is_valid

    from judged
    where {{ touched('event_date', 'conversions') }}

)

select * from validated
