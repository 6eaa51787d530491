{{ config(
    materialized='table',
    pre_hook="{{ index_raw_table(source('adserver', 'impressions'), ['_dlt_load_id', 'event_id']) }}",
) }}

{{ arrived_copies(source('adserver', 'impressions')) }}
