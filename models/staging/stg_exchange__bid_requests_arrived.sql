{{ config(
    materialized='table',
    pre_hook="{{ index_raw_table(source('exchange', 'bid_requests'), ['_dlt_load_id', 'event_id']) }}",
) }}

{{ arrived_copies(source('exchange', 'bid_requests')) }}
