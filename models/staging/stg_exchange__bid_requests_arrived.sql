{{ config(
    pre_hook="{{ index_raw_table(source('exchange', 'bid_requests'), 'bid_requests') }}",
) }}

{{ arrived_copies(source('exchange', 'bid_requests'), 'bid_requests') }}
