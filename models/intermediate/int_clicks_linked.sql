{{ config(
    materialized='incremental',
    unique_key='event_date',
    meta={'touched': 'clicks'},
    indexes=lookup_indexes(['event_date']),
) }}


with

clicks as (

    select * from {{ ref('int_clicks_validated') }}
    where {{ touched('event_date', 'clicks') }}

),

impressions as (

    select * from {{ ref('int_impressions_priced') }}
    where {{ touched('event_date', 'clicks', days_before=click_window_days()) }}

),

identified_impressions as (

    select
        impression_id,
        event_id,
        event_at

    from {{ ref('stg_adserver__impressions') }}
    where impression_id is not null

),

linked_by_id as (

    select
        clicks.event_id,
        identified_impressions.event_id as impression_event_id,
        'id' as match_method,
        clicks.event_at,
        clicks.event_date,
        identified_impressions.event_at as impression_at

    from clicks
    inner join identified_impressions
        on clicks.impression_id = identified_impressions.impression_id

),

-- The rest looks back in time. Impressions and clicks of one user and campaign are put in order of
-- time, impressions before clicks of the same moment, and of impressions of one moment the smaller
-- identity last; so the last impression passed is the one that a click belongs to.
timeline as (

    select
        user_id,
        campaign_id,
        event_id,
        event_at,
        event_date,
        0 as is_click

    from impressions
    where is_valid and campaign_id <> 'unknown'

    union all

    select
        clicks.user_id,
        clicks.campaign_id,
        clicks.event_id,
        clicks.event_at,
        clicks.event_date,
        1 as is_click

    from clicks
    left join linked_by_id
        on clicks.event_id = linked_by_id.event_id
    where linked_by_id.event_id is null and clicks.campaign_id <> 'unknown'

),

-- Each impression opens a group, which the clicks up to the next impression join.
grouped as (

    select
        *,
        count(case when is_click = 0 then 1 end) over (
            partition by user_id, campaign_id
            order by event_at, is_click, {{ bytewise('event_id') }} desc
            rows between unbounded preceding and current row
        ) as impressions_passed

    from timeline

),

clicks_in_groups as (

    select * from grouped
    where is_click = 1 and impressions_passed > 0

),

impressions_of_groups as (

    select * from grouped
    where is_click = 0

),

linked_by_window as (

    select
        clicks_in_groups.event_id,
        impressions_of_groups.event_id as impression_event_id,
        'window' as match_method,
        clicks_in_groups.event_at,
        clicks_in_groups.event_date,
        impressions_of_groups.event_at as impression_at

    from clicks_in_groups
    inner join impressions_of_groups
        on
            clicks_in_groups.user_id = impressions_of_groups.user_id
            and clicks_in_groups.campaign_id = impressions_of_groups.campaign_id
            and clicks_in_groups.impressions_passed = impressions_of_groups.impressions_passed
    where
        impressions_of_groups.event_at
        >= {{ dbt.dateadd('hour', -var('click_window_hours'), 'clicks_in_groups.event_at') }}

),

unioned as (

    select * from linked_by_id
    union all
    select * from linked_by_window

),

linked as (

    select
        event_id,
        impression_event_id,
        match_method,
        cast(
            cast({{ microseconds_between('impression_at', 'event_at') }} as numeric(18, 0))
            * 0.000001 as numeric(18, 6)
        ) as seconds_since_impression,
        event_date

    from unioned

)

select * from linked
