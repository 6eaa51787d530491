{{ config(
    pre_hook="{{ index_raw_table(source('adserver', 'impressions'), 'impressions') }}",
) }}

{{ arrived_copies(source('adserver', 'impressions'), 'impressions') }}
