{{ config(
    pre_hook="{{ index_raw_table(source('tracker', 'conversions'), 'conversions') }}",
) }}

{{ arrived_copies(source('tracker', 'conversions'), 'conversions') }}
