{{ config(
    materialized='incremental',
    unique_key='load_id',
    meta={'touched': 'everything'},
) }}

-- depends_on: {{ ref('conversion_types') }}
-- depends_on: {{ ref('crawler_user_agents') }}
-- depends_on: {{ ref('exchange_rates') }}
{% do check_settings() %}

with

loads as (

    select * from {{ source('ingestion', '_dlt_loads') }}

),

-- What an unfinished load has left in the raw tables does not count.
finished as (

    select load_id

    from loads
    where status = 0
    group by load_id

),

last_build as (

    {{ last_build_of_loads() }}

),

marked as (

    select
        finished.load_id,
        '{{ settings_fingerprint() }}' as settings,
        coalesce(last_build.project, '') as project,
        coalesce(last_build.is_built, false) as is_built,
        coalesce(last_build.is_tested, false) as is_tested

    from finished
    left join last_build
        on finished.load_id = last_build.load_id

)

select * from marked
