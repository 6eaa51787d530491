{{ config(materialized='incremental', incremental_strategy='append') }}
-- depends_on: {{ ref('crawler_user_agents') }}

{% set expressions = crawler_patterns() %}

with

impressions as (

    select * from {{ arrived_or(ref('stg_adserver__impressions'), 'impressions') }}

),

clicks as (

    select * from {{ arrived_or(ref('stg_tracker__clicks'), 'clicks') }}

),

bid_requests as (

    select * from {{ arrived_or(ref('stg_exchange__bid_requests'), 'bid_requests') }}

),

agents_by_stream as (

    select user_agent from impressions
    group by user_agent

    union all

    select user_agent from clicks
    group by user_agent

    union all

    select user_agent from bid_requests
    group by user_agent

),

user_agents as (

    select user_agent

    from agents_by_stream
    where user_agent is not null
    {% if is_incremental() -%}
        and user_agent not in (select known.user_agent from {{ this }} as known)
    {%- endif %}
    group by user_agent

),

-- Each user agent is judged once: a match costs far more than a join.
classified as (

    select
        user_agent,
        (
            false
            {% for expression in expressions -%}
                or {{ regex_matches('user_agent', expression) }}
            {% endfor -%}
        ) as is_crawler

    from user_agents

)

select * from classified
