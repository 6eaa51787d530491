{{ config(
    materialized='table',
    pre_hook="{{ index_raw_table(source('tracker', 'conversions'), ['_dlt_load_id', 'event_id']) }}",
) }}

{{ arrived_copies(source('tracker', 'conversions')) }}
