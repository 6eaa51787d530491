{% set priced_columns = {
    'campaign_id': dbt.type_string(), 'event_at': 'timestamp', 'event_date': 'date'
} %}

with

arrived_impressions as (

    select * from {{ ref('stg_adserver__impressions_arrived') }}

),

arrived_clicks as (

    select * from {{ ref('stg_tracker__clicks_arrived') }}

),

arrived_conversions as (

    select * from {{ ref('stg_tracker__conversions_arrived') }}

),

arrived_bid_requests as (

    select * from {{ ref('stg_exchange__bid_requests_arrived') }}

),

impressions as (

    select * from {{ ref('stg_adserver__impressions') }}

),

clicks as (

    select * from {{ ref('stg_tracker__clicks') }}

),

conversions as (

    select * from {{ ref('stg_tracker__conversions') }}

),

bid_requests as (

    select * from {{ ref('stg_exchange__bid_requests') }}

),

-- What can be in a window of a user's changed impressions and clicks.
clicks_after_views as (

    select
        user_id,
        event_date
    from clicks
    where
        {{ is_within(
            'event_date', touched_dates('users_of_impressions', days_after=click_window_days())
        ) }}

),

conversions_after_views as (

    select
        user_id,
        event_date
    from conversions
    where
        {{ is_within(
            'event_date',
            touched_dates('users_of_impressions', days_after=var('view_through_days'))
        ) }}

),

conversions_after_clicks as (

    select
        user_id,
        click_id,
        event_date
    from conversions
    where
        {{ is_within(
            'event_date', touched_dates('users_of_clicks', days_after=var('click_through_days'))
        ) }}

),

seen_users as (

    select * from {{ ref('int_users_touched') }}
    where stream = 'impressions'

),

clicking_users as (

    select * from {{ ref('int_users_touched') }}
    where stream = 'clicks'

),

changed_campaigns as (

    select * from {{ ref('int_versions_changed') }}
    where entity = 'campaign'

),

changed_creatives as (

    select * from {{ ref('int_versions_changed') }}
    where entity = 'creative'

),

-- Clicks that may have changed as touches, by the ids that conversions name: those that have
-- arrived, and those that are in one flood with them.
touched_clicks as (

    select
        event_id,
        event_date
    from arrived_clicks

    union all

    select
        clicks.event_id,
        clicks.event_date

    from clicks
    inner join clicking_users
        on
            clicks.user_id = clicking_users.user_id
            and clicks.event_date = clicking_users.event_date
    where {{ is_within('clicks.event_date', touched_dates('users_of_clicks')) }}

),

touched as (

    -- Bid requests: they themselves, those of a creative that went to another campaign, and those
    -- of which an impression came, or went when it turned out to be another's.
    select
        'bid_requests' as stream,
        event_date
    from arrived_bid_requests

    union all

    select
        'bid_requests' as stream,
        bid_requests.event_date

    from bid_requests
    inner join changed_creatives
        on
            bid_requests.creative_id = changed_creatives.entity_id
            and bid_requests.event_at >= changed_creatives.holds_from
            and bid_requests.event_at < changed_creatives.holds_until
    where bid_requests.ad_campaign_id is null

    union all

    select
        'bid_requests' as stream,
        event_date
    from bid_requests
    where event_id in (select arrived_impressions.auction_id from arrived_impressions)

    union all

    -- Impressions: they themselves, those of a creative that went to another campaign, those of
    -- which the bid request came, and those that a campaign's version prices anew.
    select
        'impressions' as stream,
        event_date
    from seen_users

    union all

    select
        'impressions' as stream,
        event_date
    from impressions
    where
        auction_id in (select arrived_bid_requests.event_id from arrived_bid_requests)

    union all

    select
        'impressions' as stream,
        priced.event_date

    from {{ built('int_impressions_priced', priced_columns) }} as priced
    inner join changed_campaigns
        on
            priced.campaign_id = changed_campaigns.entity_id
            and priced.event_at >= changed_campaigns.holds_from
            and priced.event_at < changed_campaigns.holds_until

    union all

    -- Clicks: they themselves with the floods they are in, those that name an impression which came
    -- or moved, those of a user whose impressions before them changed, and those priced anew.
    select
        'clicks' as stream,
        event_date
    from clicking_users

    union all

    select
        'clicks' as stream,
        event_date
    from clicks
    where
        impression_id in (select arrived_impressions.event_id from arrived_impressions)

    union all

    select
        'clicks' as stream,
        clicks_after_views.event_date

    from clicks_after_views
    inner join seen_users
        on
            clicks_after_views.user_id = seen_users.user_id
            and clicks_after_views.event_date >= seen_users.event_date
            and clicks_after_views.event_date
            <= {{ dbt.dateadd('day', click_window_days(), 'seen_users.event_date') }}

    union all

    select
        'clicks' as stream,
        priced.event_date

    from {{ built('int_clicks_priced', priced_columns) }} as priced
    inner join changed_campaigns
        on
            priced.campaign_id = changed_campaigns.entity_id
            and priced.event_at >= changed_campaigns.holds_from
            and priced.event_at < changed_campaigns.holds_until

    union all

    -- Conversions: they themselves, those of the same order, those whose touches may have changed
    -- (the user's clicks, the named click, the user's impressions), and those priced anew.
    select
        'conversions' as stream,
        event_date
    from arrived_conversions

    union all

    select
        'conversions' as stream,
        event_date
    from conversions
    where
        (user_id, order_id) in (
            select
                arrived_conversions.user_id,
                arrived_conversions.order_id
            from arrived_conversions
            where arrived_conversions.order_id <> ''
        )

    union all

    select
        'conversions' as stream,
        conversions_after_clicks.event_date

    from conversions_after_clicks
    inner join clicking_users
        on
            conversions_after_clicks.user_id = clicking_users.user_id
            and conversions_after_clicks.event_date >= clicking_users.event_date
            and conversions_after_clicks.event_date
            <= {{ dbt.dateadd('day', var('click_through_days'), 'clicking_users.event_date') }}

    union all

    select
        'conversions' as stream,
        conversions_after_clicks.event_date

    from conversions_after_clicks
    inner join touched_clicks
        on
            conversions_after_clicks.click_id = touched_clicks.event_id
            and conversions_after_clicks.event_date >= touched_clicks.event_date
            and conversions_after_clicks.event_date
            <= {{ dbt.dateadd('day', var('click_through_days'), 'touched_clicks.event_date') }}

    union all

    select
        'conversions' as stream,
        conversions_after_views.event_date

    from conversions_after_views
    inner join seen_users
        on
            conversions_after_views.user_id = seen_users.user_id
            and conversions_after_views.event_date >= seen_users.event_date
            and conversions_after_views.event_date
            <= {{ dbt.dateadd('day', var('view_through_days'), 'seen_users.event_date') }}

    union all

    select
        'conversions' as stream,
        priced.event_date

    from {{ built('int_conversions_priced', priced_columns) }} as priced
    inner join changed_campaigns
        on
            priced.campaign_id = changed_campaigns.entity_id
            and priced.event_at >= changed_campaigns.holds_from
            and priced.event_at < changed_campaigns.holds_until

),

dates as (

    select
        stream,
        event_date

    from touched
    group by stream, event_date

)

select * from dates
