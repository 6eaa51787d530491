-- Law 1, file by file: records read = accepted + rejected, the accepted ones are in the raw tables,
-- the rejected ones among the rejected records.
with

-- An unfinished load's rows wait for the next load to wipe them.
finished as (

    select load_id from {{ ref('stg_ingestion__loads') }}

),

loaded_files as (

    select
        file,
        sum(records_read) as records_read,
        sum(accepted) as accepted,
        sum(rejected) as rejected

    from {{ source('ingestion', 'loaded_files') }}
    where load_id in (select finished.load_id from finished)
    group by file

),

raw_rows as (

    select
        _file as file,
        _dlt_load_id
    from {{ source('adserver', 'impressions') }}
    union all
    select
        _file as file,
        _dlt_load_id
    from {{ source('tracker', 'clicks') }}
    union all
    select
        _file as file,
        _dlt_load_id
    from {{ source('tracker', 'conversions') }}
    union all
    select
        _file as file,
        _dlt_load_id
    from {{ source('exchange', 'bid_requests') }}
    union all
    select
        _file as file,
        _dlt_load_id
    from {{ source('campaign_manager', 'campaigns') }}
    union all
    select
        _file as file,
        _dlt_load_id
    from {{ source('campaign_manager', 'creatives') }}

),

raw_counts as (

    select
        file,
        count(*) as raw_records

    from raw_rows
    where file is not null and _dlt_load_id in (select finished.load_id from finished)
    group by file

),

rejected_counts as (

    select
        file,
        count(*) as rejected_records

    from {{ source('ingestion', 'rejected_records') }}
    where file is not null and _dlt_load_id in (select finished.load_id from finished)
    group by file

),

files as (

    select file from loaded_files
    union
    select file from raw_counts
    union
    select file from rejected_counts

),

compared as (

    select
        files.file,
        loaded_files.records_read,
        loaded_files.accepted,
        loaded_files.rejected,
        coalesce(raw_counts.raw_records, 0) as raw_records,
        coalesce(rejected_counts.rejected_records, 0) as rejected_records

    from files
    left join loaded_files
        on files.file = loaded_files.file
    left join raw_counts
        on files.file = raw_counts.file
    left join rejected_counts
        on files.file = rejected_counts.file

)

select * from compared
where
    records_read is null
    or records_read <> accepted + rejected
    or accepted <> raw_records
    or rejected <> rejected_records
