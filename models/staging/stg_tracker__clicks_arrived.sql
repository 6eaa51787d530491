{{ config(
    pre_hook="{{ index_raw_table(source('tracker', 'clicks'), 'clicks') }}",
) }}

{{ arrived_copies(source('tracker', 'clicks'), 'clicks') }}
