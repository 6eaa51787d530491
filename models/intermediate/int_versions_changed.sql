with

campaigns as (

    select * from {{ source('campaign_manager', 'campaigns') }}

),

creatives as (

    select * from {{ source('campaign_manager', 'creatives') }}

),

loads as (

    select * from {{ ref('stg_ingestion__loads') }}

),

unioned as (

    select
        'campaign' as entity,
        campaign_id as entity_id,
        updated_at,
        version_text,
        _dlt_load_id
    from campaigns

    union all

    select
        'creative' as entity,
        creative_id as entity_id,
        updated_at,
        version_text,
        _dlt_load_id
    from creatives

),

-- The version that holds of those with one time, now and before the loads that are new.
compared as (

    select
        unioned.entity,
        unioned.entity_id,
        unioned.updated_at,
        max({{ bytewise('unioned.version_text') }}) as version_text,
        max(
            case when loads.is_built then {{ bytewise('unioned.version_text') }} end
        ) as last_version_text

    from unioned
    inner join loads
        on unioned._dlt_load_id = loads.load_id
    group by unioned.entity, unioned.entity_id, unioned.updated_at

),

changed as (

    select * from compared
    where
        {{ continues_last_build() | lower }}
        and (last_version_text is null or version_text <> last_version_text)

),

-- What a version that is not new holds for, it held for before: so the spans of the new ones are
-- all that has changed.
bounded as (

    select
        changed.entity,
        changed.entity_id,
        versions.holds_from,
        versions.holds_until

    from changed
    inner join {{ ref('int_campaigns_versioned') }} as versions
        on
            changed.entity_id = versions.campaign_id
            and changed.updated_at = versions.updated_at
    where changed.entity = 'campaign'

    union all

    select
        changed.entity,
        changed.entity_id,
        versions.holds_from,
        versions.holds_until

    from changed
    inner join {{ ref('int_creatives_versioned') }} as versions
        on
            changed.entity_id = versions.creative_id
            and changed.updated_at = versions.updated_at
    where changed.entity = 'creative'

)

select * from bounded
