-- A feed grew a field: the last load that fed the stream is the first that has it. It is kept in
-- `extra`; name it in the stream's contract, then `adx backfill` (docs/contracts.md).
-- The rule is also that of `unknown_fields` in ingestion/pipelines/drift.py.
{{ config(severity='warn') }}

with

unknown_fields as (

    select * from {{ source('ingestion', 'unknown_fields') }}

),

loaded_files as (

    select * from {{ source('ingestion', 'loaded_files') }}

),

loads as (

    select
        stream,
        min(loaded_at) as first_load,
        max(loaded_at) as last_load

    from loaded_files
    where records_read > 0
    group by stream

),

-- A mixed file feeds the streams of its rows: what counts is when its like was loaded last.
sightings as (

    select
        unknown_fields.stream,
        unknown_fields.field,
        unknown_fields.records,
        unknown_fields.load_id,
        unknown_fields.loaded_at,
        coalesce(loaded_files.stream, unknown_fields.stream) as fed_by,
        row_number() over (
            partition by unknown_fields.stream, unknown_fields.field
            order by unknown_fields.loaded_at
        ) as sighting

    from unknown_fields
    left join loaded_files
        on
            unknown_fields.file = loaded_files.file
            and unknown_fields.load_id = loaded_files.load_id

),

new_fields as (

    select
        sightings.stream,
        sightings.field,
        sightings.records,
        sightings.load_id as since_load

    from sightings
    inner join loads
        on sightings.fed_by = loads.stream
    where
        sightings.sighting = 1
        and sightings.loaded_at >= loads.last_load
        and sightings.loaded_at > loads.first_load

)

select * from new_fields
