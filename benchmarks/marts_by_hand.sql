-- The marts of docs/semantics.md from the raw tables, by hand and in one go: what a build of
-- everything is measured against. No tests, no increments, no state; one temporary table where a
-- result is needed twice. The benchmark fills in how the engine orders text by bytes and matches a
-- pattern; the rest is read by DuckDB and PostgreSQL alike. Windows and thresholds are the defaults.

-- Copies of one event are put in order by their text after their time, so that the time need not be in
-- it.
create temporary view identified_impressions as
select
    *,
    coalesce(impression_id, text_md5) as event_id,
    coalesce(user_id, '')
        || chr(31) || coalesce(ad_creative_id, '')
        || chr(31) || coalesce(website, '')
        || chr(31) || coalesce(impression_id, '')
        || chr(31) || coalesce(auction_id, '')
        || chr(31) || coalesce(ad_campaign_id, '')
        || chr(31) || coalesce(cast(price_cpm as text), '')
        || chr(31) || coalesce(currency, '')
        || chr(31) || coalesce(user_agent, '')
        || chr(31) || coalesce(country, '')
        || chr(31) || coalesce(device_type, '') as event_text
from raw.impressions;

create temporary view identified_clicks as
select
    *,
    coalesce(click_id, text_md5) as event_id,
    coalesce(user_id, '')
        || chr(31) || coalesce(ad_campaign_id, '')
        || chr(31) || coalesce(click_id, '')
        || chr(31) || coalesce(impression_id, '')
        || chr(31) || coalesce(ad_creative_id, '')
        || chr(31) || coalesce(website, '')
        || chr(31) || coalesce(user_agent, '') as event_text
from raw.clicks;

create temporary view identified_conversions as
select
    *,
    coalesce(conversion_id, text_md5) as event_id,
    coalesce(user_id, '')
        || chr(31) || coalesce(conversion_type, '')
        || chr(31) || coalesce(conversion_id, '')
        || chr(31) || coalesce(ad_campaign_id, '')
        || chr(31) || coalesce(click_id, '')
        || chr(31) || coalesce(cast(revenue as text), '')
        || chr(31) || coalesce(currency, '')
        || chr(31) || coalesce(order_id, '') as event_text
from raw.conversions;

create temporary view identified_bid_requests as
select
    *,
    coalesce(auction_id, text_md5) as event_id,
    coalesce(auction_id, '')
        || chr(31) || coalesce(user_id, '')
        || chr(31) || coalesce(website, '')
        || chr(31) || coalesce(exchange, '')
        || chr(31) || coalesce(cast(bid_floor_cpm as text), '')
        || chr(31) || coalesce(cast(bid_price_cpm as text), '')
        || chr(31) || coalesce(currency, '')
        || chr(31) || coalesce(ad_campaign_id, '')
        || chr(31) || coalesce(ad_creative_id, '')
        || chr(31) || coalesce(country, '')
        || chr(31) || coalesce(device_type, '')
        || chr(31) || coalesce(user_agent, '') as event_text
from raw.bid_requests;

create temporary table rates as
select
    currencies.currency,
    dates.date,
    case when currencies.currency = 'USD' then 1 else rates.usd_rate end as usd_rate
from (select 'USD' as currency union select currency from seeds.exchange_rates) as currencies
cross join (
    select cast(timestamp as date) as date from raw.bid_requests
    union
    select cast(timestamp as date) from raw.impressions
    union
    select cast(timestamp as date) from raw.clicks
    union
    select cast(timestamp as date) from raw.conversions
) as dates
left join (
    select
        *,
        lead(valid_from) over (partition by currency order by valid_from) as valid_to
    from seeds.exchange_rates
) as rates
    on
        currencies.currency = rates.currency
        and dates.date >= rates.valid_from
        and (dates.date < rates.valid_to or rates.valid_to is null);

create temporary table campaigns as
select
    *,
    lag(updated_at) over (partition by campaign_id order by updated_at) is null as is_first,
    lead(updated_at) over (partition by campaign_id order by updated_at) as valid_to
from (
    select
        *,
        row_number() over (
            partition by campaign_id, updated_at order by version_text {bytes} desc
        ) as place
    from raw.campaigns
) as ranked
where place = 1;

create temporary table creatives as
select
    *,
    lag(updated_at) over (partition by creative_id order by updated_at) is null as is_first,
    lead(updated_at) over (partition by creative_id order by updated_at) as valid_to
from (
    select
        *,
        row_number() over (
            partition by creative_id, updated_at order by version_text {bytes} desc
        ) as place
    from raw.creatives
) as ranked
where place = 1;

create temporary table agents as
select
    user_agent,
    exists (
        select 1 from seeds.crawler_user_agents as crawlers
        where {matches}
    ) as is_crawler
from (
    select user_agent from raw.bid_requests
    union
    select user_agent from raw.impressions
    union
    select user_agent from raw.clicks
) as seen
where user_agent is not null;

create table by_hand.bid_requests as
select
    events.event_id,
    events.timestamp as event_at,
    cast(events.timestamp as date) as event_date,
    events.user_id,
    coalesce(events.ad_campaign_id, creatives.campaign_id, 'unknown') as campaign_id,
    events.ad_creative_id as creative_id,
    events.website,
    not coalesce(agents.is_crawler, false) as is_valid,
    case when agents.is_crawler then 'bot_user_agent' end as invalid_reason,
    events.copies,
    events.exchange,
    round(round(events.bid_floor_cpm * rates.usd_rate, 9), 6) as bid_floor_cpm,
    round(round(events.bid_price_cpm * rates.usd_rate, 9), 6) as bid_price_cpm,
    events.bid_price_cpm is not null as has_bid,
    shown.auction_id is not null as has_impression,
    events._loaded_at
from (
    select
        *,
        count(*) over (partition by event_id) as copies,
        row_number() over (
            partition by event_id
            order by timestamp, event_text {bytes}, _loaded_at, _file {bytes}, _position
        ) as place
    from identified_bid_requests
) as events
left join creatives
    on
        events.ad_creative_id = creatives.creative_id
        and (events.timestamp >= creatives.updated_at or creatives.is_first)
        and (events.timestamp < creatives.valid_to or creatives.valid_to is null)
left join agents on events.user_agent = agents.user_agent
left join rates
    on events.currency = rates.currency and cast(events.timestamp as date) = rates.date
left join (
    select auction_id from raw.impressions where auction_id is not null group by auction_id
) as shown
    on events.event_id = shown.auction_id
where events.place = 1;

create table by_hand.impressions as
select
    events.event_id,
    events.timestamp as event_at,
    cast(events.timestamp as date) as event_date,
    events.user_id,
    coalesce(events.ad_campaign_id, creatives.campaign_id, 'unknown') as campaign_id,
    events.ad_creative_id as creative_id,
    events.website,
    not coalesce(agents.is_crawler, false) as is_valid,
    case when agents.is_crawler then 'bot_user_agent' end as invalid_reason,
    events.copies,
    events.auction_id,
    requested.event_id is not null as has_bid_request,
    events.impression_id,
    events._loaded_at,
    case
        when coalesce(agents.is_crawler, false) then 0
        when campaigns.pricing_model = 'auction' and events.price_cpm is not null
            then round(events.price_cpm * rates.usd_rate * 0.001, 9)
        when campaigns.pricing_model = 'cpm' and campaigns.rate is not null
            then round(campaigns.rate * campaign_rates.usd_rate * 0.001, 9)
        else 0
    end as spend
from (
    select
        *,
        count(*) over (partition by event_id) as copies,
        row_number() over (
            partition by event_id
            order by timestamp, event_text {bytes}, _loaded_at, _file {bytes}, _position
        ) as place
    from identified_impressions
) as events
left join creatives
    on
        events.ad_creative_id = creatives.creative_id
        and (events.timestamp >= creatives.updated_at or creatives.is_first)
        and (events.timestamp < creatives.valid_to or creatives.valid_to is null)
left join agents on events.user_agent = agents.user_agent
left join by_hand.bid_requests as requested on events.auction_id = requested.event_id
left join campaigns
    on
        coalesce(events.ad_campaign_id, creatives.campaign_id) = campaigns.campaign_id
        and (events.timestamp >= campaigns.updated_at or campaigns.is_first)
        and (events.timestamp < campaigns.valid_to or campaigns.valid_to is null)
left join rates
    on events.currency = rates.currency and cast(events.timestamp as date) = rates.date
left join rates as campaign_rates
    on
        campaigns.currency = campaign_rates.currency
        and cast(events.timestamp as date) = campaign_rates.date
where events.place = 1;

create temporary table valid_clicks as
select
    *,
    case
        when is_crawler then 'bot_user_agent'
        when count(*) over (
            partition by user_id, campaign_id, date_trunc('minute', event_at)
        ) > 10 then 'click_flood'
    end as invalid_reason
from (
    select
        events.event_id,
        events.click_id,
        events.impression_id,
        events.timestamp as event_at,
        cast(events.timestamp as date) as event_date,
        events.user_id,
        coalesce(events.ad_campaign_id, creatives.campaign_id, 'unknown') as campaign_id,
        events.ad_creative_id as creative_id,
        events.website,
        coalesce(agents.is_crawler, false) as is_crawler,
        events.copies,
        events._loaded_at
    from (
        select
            *,
            count(*) over (partition by event_id) as copies,
            row_number() over (
                partition by event_id
                order by timestamp, event_text {bytes}, _loaded_at, _file {bytes}, _position
            ) as place
        from identified_clicks
    ) as events
    left join creatives
        on
            events.ad_creative_id = creatives.creative_id
            and (events.timestamp >= creatives.updated_at or creatives.is_first)
            and (events.timestamp < creatives.valid_to or creatives.valid_to is null)
    left join agents on events.user_agent = agents.user_agent
    where events.place = 1
) as resolved;

create table by_hand.clicks as
with by_id as (
    select
        clicks.event_id,
        impressions.event_id as impression_event_id,
        impressions.event_at as impression_at
    from valid_clicks as clicks
    inner join by_hand.impressions as impressions
        on
            clicks.impression_id = impressions.impression_id
),

by_window as (
    select * from (
        select
            clicks.event_id,
            impressions.event_id as impression_event_id,
            impressions.event_at as impression_at,
            row_number() over (
                partition by clicks.event_id
                order by impressions.event_at desc, impressions.event_id {bytes}
            ) as place
        from valid_clicks as clicks
        inner join by_hand.impressions as impressions
            on
                clicks.user_id = impressions.user_id
                and clicks.campaign_id = impressions.campaign_id
                and impressions.event_at <= clicks.event_at
                and impressions.event_at >= clicks.event_at - interval '24 hours'
        where
            impressions.is_valid
            and clicks.campaign_id <> 'unknown'
            and not exists (select 1 from by_id where by_id.event_id = clicks.event_id)
    ) as ranked
    where place = 1
)

select
    clicks.*,
    clicks.invalid_reason is null as is_valid,
    coalesce(by_id.impression_event_id, by_window.impression_event_id) as impression_event_id,
    case
        when by_id.event_id is not null then 'id'
        when by_window.event_id is not null then 'window'
    end as match_method,
    extract(epoch from clicks.event_at - coalesce(by_id.impression_at, by_window.impression_at))
        as seconds_since_impression,
    case
        when
            clicks.invalid_reason is null
            and campaigns.pricing_model = 'cpc'
            and campaigns.rate is not null
            then round(campaigns.rate * rates.usd_rate, 9)
        else 0
    end as spend
from valid_clicks as clicks
left join by_id on clicks.event_id = by_id.event_id
left join by_window on clicks.event_id = by_window.event_id
left join campaigns
    on
        clicks.campaign_id = campaigns.campaign_id
        and (clicks.event_at >= campaigns.updated_at or campaigns.is_first)
        and (clicks.event_at < campaigns.valid_to or campaigns.valid_to is null)
left join rates on campaigns.currency = rates.currency and clicks.event_date = rates.date;

create temporary table valid_conversions as
select
    event_id,
    click_id,
    order_id,
    timestamp as event_at,
    cast(timestamp as date) as event_date,
    user_id,
    ad_campaign_id,
    conversion_type,
    revenue as stated_revenue,
    currency,
    copies,
    _loaded_at,
    not (
        coalesce(order_id, '') <> ''
        and row_number() over (
            partition by user_id, ad_campaign_id, conversion_type, order_id
            order by timestamp, event_id {bytes}
        ) > 1
    ) as is_valid
from (
    select
        *,
        count(*) over (partition by event_id) as copies,
        row_number() over (
            partition by event_id
            order by timestamp, event_text {bytes}, _loaded_at, _file {bytes}, _position
        ) as place
    from identified_conversions
) as events
where place = 1;

create temporary table touches as
with click_touches as (
    select
        conversions.event_id as conversion_event_id,
        conversions.event_at as conversion_at,
        clicks.event_id as touch_event_id,
        clicks.event_at as touch_at,
        clicks.campaign_id,
        clicks.creative_id,
        clicks.website,
        'click' as touch_type
    from valid_conversions as conversions
    inner join by_hand.clicks as clicks
        on
            conversions.user_id = clicks.user_id
            and clicks.event_at between conversions.event_at - interval '30 days'
            and conversions.event_at
    where
        clicks.is_valid
        and (conversions.ad_campaign_id is null or conversions.ad_campaign_id = clicks.campaign_id)

    union

    select
        conversions.event_id,
        conversions.event_at,
        clicks.event_id,
        clicks.event_at,
        clicks.campaign_id,
        clicks.creative_id,
        clicks.website,
        'click'
    from valid_conversions as conversions
    inner join by_hand.clicks as clicks
        on
            conversions.click_id = clicks.click_id
            and clicks.event_at between conversions.event_at - interval '30 days'
            and conversions.event_at
    where clicks.is_valid
),

all_touches as (
    select * from click_touches

    union all

    select
        conversions.event_id,
        conversions.event_at,
        impressions.event_id,
        impressions.event_at,
        impressions.campaign_id,
        impressions.creative_id,
        impressions.website,
        'view'
    from valid_conversions as conversions
    inner join by_hand.impressions as impressions
        on
            conversions.user_id = impressions.user_id
            and impressions.event_at between conversions.event_at - interval '1 day'
            and conversions.event_at
    where
        impressions.is_valid
        and not exists (
            select 1 from click_touches
            where click_touches.conversion_event_id = conversions.event_id
        )
        and (
            conversions.ad_campaign_id is null
            or conversions.ad_campaign_id = impressions.campaign_id
        )
)

select
    *,
    row_number() over (
        partition by conversion_event_id order by touch_at, touch_event_id {bytes}
    ) as touch_number,
    count(*) over (partition by conversion_event_id) as touches,
    extract(epoch from conversion_at - touch_at) as seconds_to_convert
from all_touches;

create table by_hand.conversions as
select
    conversions.*,
    coalesce(conversions.ad_campaign_id, last_touches.campaign_id, 'unknown') as campaign_id,
    last_touches.creative_id,
    last_touches.website,
    last_touches.touch_type,
    coalesce(last_touches.touches, 0) as touches,
    last_touches.touch_event_id as last_touch_event_id,
    round(
        coalesce(conversions.stated_revenue, types.default_value, 0) * case
            when conversions.stated_revenue is not null then value_rates.usd_rate
            else type_rates.usd_rate
        end,
        9
    ) as revenue,
    case
        when
            conversions.is_valid
            and campaigns.pricing_model = 'cpa'
            and campaigns.rate is not null
            then round(campaigns.rate * rates.usd_rate, 9)
        else 0
    end as spend
from valid_conversions as conversions
left join touches as last_touches
    on
        conversions.event_id = last_touches.conversion_event_id
        and last_touches.touch_number = last_touches.touches
left join seeds.conversion_types as types
    on conversions.conversion_type = types.conversion_type
left join campaigns
    on
        coalesce(conversions.ad_campaign_id, last_touches.campaign_id) = campaigns.campaign_id
        and (conversions.event_at >= campaigns.updated_at or campaigns.is_first)
        and (conversions.event_at < campaigns.valid_to or campaigns.valid_to is null)
left join rates on campaigns.currency = rates.currency and conversions.event_date = rates.date
left join rates as value_rates
    on
        conversions.currency = value_rates.currency
        and conversions.event_date = value_rates.date
left join rates as type_rates
    on
        coalesce(nullif(types.currency, ''), 'USD') = type_rates.currency
        and conversions.event_date = type_rates.date;

create table by_hand.attribution as
with weighted as (
    select
        touches.*,
        conversions.revenue,
        conversions.conversion_type,
        models.model,
        case models.model
            when 'last_touch' then case when touch_number = touches.touches then 1 else 0 end
            when 'first_touch' then case when touch_number = 1 then 1 else 0 end
            when 'linear' then 1
            when 'time_decay' then power(2.0, -seconds_to_convert / 604800.0)
            else case
                when touches.touches <= 2 then 1
                when touch_number in (1, touches.touches) then 2 * (touches.touches - 2)
                else 1
            end
        end as weight
    from touches
    inner join by_hand.conversions as conversions
        on touches.conversion_event_id = conversions.event_id
    cross join (
        values ('last_touch'), ('first_touch'), ('linear'), ('time_decay'), ('position_based')
    ) as models (model)
    where conversions.is_valid
),

credited as (
    select
        *,
        cast(floor(
            weight * 1e12 / sum(weight) over (partition by conversion_event_id, model)
        ) as bigint) as units
    from weighted
),

completed as (
    select
        *,
        case
            when touch_number = touches then units + 1000000000000
                - sum(units) over (partition by conversion_event_id, model)
            else units
        end * 0.000000000001 as credit
    from credited
)

select
    *,
    round(cast(credit as numeric(13, 12)) * revenue, 9) as credited_revenue
from completed
where credit > 0;

create temporary view events as
select
    'bid_requests' as stream, campaign_id, creative_id, website, event_at, event_date, user_id,
    is_valid, has_bid as is_linked, null as touch_type, 0 as spend, 0 as revenue
from by_hand.bid_requests
union all
select
    'impressions', campaign_id, creative_id, website, event_at, event_date, user_id,
    is_valid, has_bid_request, null, spend, 0
from by_hand.impressions
union all
select
    'clicks', campaign_id, creative_id, website, event_at, event_date, user_id,
    is_valid, false, null, spend, 0
from by_hand.clicks
union all
select
    'conversions', campaign_id, creative_id, website, event_at, event_date, user_id,
    is_valid, false, touch_type, spend, revenue
from by_hand.conversions;

create table by_hand.campaign_hourly as
select
    campaign_id,
    date_trunc('hour', event_at) as hour,
    count(*) filter (where stream = 'bid_requests' and is_valid) as bid_requests,
    count(*) filter (where stream = 'bid_requests' and is_valid and is_linked) as bids,
    count(*) filter (where stream = 'impressions' and is_valid) as impressions,
    count(*) filter (where stream = 'clicks' and is_valid) as clicks,
    count(*) filter (where stream = 'conversions' and is_valid) as conversions,
    count(*) filter (where stream = 'bid_requests' and not is_valid) as invalid_bid_requests,
    count(*) filter (where stream = 'impressions' and not is_valid) as invalid_impressions,
    count(*) filter (where stream = 'clicks' and not is_valid) as invalid_clicks,
    count(*) filter (where stream = 'conversions' and not is_valid) as invalid_conversions,
    count(*) filter (where is_valid and touch_type = 'click') as click_through_conversions,
    count(*) filter (where is_valid and touch_type = 'view') as view_through_conversions,
    count(*) filter (
        where stream = 'conversions' and is_valid and touch_type is null
    ) as unattributed_conversions,
    count(*) filter (where stream = 'impressions' and is_valid and is_linked) as won_impressions,
    coalesce(sum(spend), 0) as spend,
    coalesce(sum(revenue) filter (where is_valid), 0) as revenue
from events
group by campaign_id, date_trunc('hour', event_at);

create table by_hand.campaign_daily as
with summed as (
    select
        campaign_id as member,
        event_date as date,
            count(*) filter (where stream = 'bid_requests' and is_valid) as bid_requests,
        count(*) filter (where stream = 'bid_requests' and is_valid and is_linked) as bids,
        count(*) filter (where stream = 'impressions' and is_valid) as impressions,
        count(*) filter (where stream = 'clicks' and is_valid) as clicks,
        count(*) filter (where stream = 'conversions' and is_valid) as conversions,
        count(*) filter (where stream = 'bid_requests' and not is_valid) as invalid_bid_requests,
        count(*) filter (where stream = 'impressions' and not is_valid) as invalid_impressions,
        count(*) filter (where stream = 'clicks' and not is_valid) as invalid_clicks,
        count(*) filter (where stream = 'conversions' and not is_valid) as invalid_conversions,
        count(*) filter (where is_valid and touch_type = 'click') as click_through_conversions,
        count(*) filter (where is_valid and touch_type = 'view') as view_through_conversions,
        count(*) filter (
            where stream = 'conversions' and is_valid and touch_type is null
        ) as unattributed_conversions,
        count(*) filter (where stream = 'impressions' and is_valid and is_linked) as won_impressions,
        coalesce(sum(spend), 0) as spend,
        coalesce(sum(revenue) filter (where is_valid), 0) as revenue
    from events
    group by campaign_id, event_date
),

reached as (
    select member, date, count(*) as reach
    from (
        select campaign_id as member, event_date as date, user_id
        from by_hand.impressions
        where is_valid
        group by campaign_id, event_date, user_id
    ) as users
    group by member, date
)

select
    summed.*,
    round(campaigns.daily_budget * rates.usd_rate, 9) as daily_budget_usd,
    coalesce(reached.reach, 0) as reach,
    cast(clicks as double precision) / nullif(impressions, 0) as ctr,
    cast(conversions as double precision) / nullif(clicks, 0) as cvr,
    cast(impressions as double precision) / nullif(reached.reach, 0) as frequency,
    cast(bids as double precision) / nullif(bid_requests, 0) as bid_rate,
    cast(won_impressions as double precision) / nullif(bids, 0) as win_rate,
    1000 * cast(spend as double precision) / nullif(impressions, 0) as cpm,
    cast(spend as double precision) / nullif(clicks, 0) as cpc,
    cast(spend as double precision) / nullif(conversions, 0) as cpa,
    cast(revenue as double precision) / nullif(cast(spend as double precision), 0) as roas
from summed
left join reached on summed.member = reached.member and summed.date = reached.date
left join campaigns
    on
        summed.member = campaigns.campaign_id
        and (summed.date + interval '1 day' > campaigns.updated_at or campaigns.is_first)
        and (summed.date + interval '1 day' <= campaigns.valid_to or campaigns.valid_to is null)
left join rates on campaigns.currency = rates.currency and summed.date = rates.date;

create table by_hand.creative_daily as
with summed as (
    select
        coalesce(creative_id, 'unknown') as member,
        event_date as date,
            count(*) filter (where stream = 'bid_requests' and is_valid) as bid_requests,
        count(*) filter (where stream = 'bid_requests' and is_valid and is_linked) as bids,
        count(*) filter (where stream = 'impressions' and is_valid) as impressions,
        count(*) filter (where stream = 'clicks' and is_valid) as clicks,
        count(*) filter (where stream = 'conversions' and is_valid) as conversions,
        count(*) filter (where stream = 'bid_requests' and not is_valid) as invalid_bid_requests,
        count(*) filter (where stream = 'impressions' and not is_valid) as invalid_impressions,
        count(*) filter (where stream = 'clicks' and not is_valid) as invalid_clicks,
        count(*) filter (where stream = 'conversions' and not is_valid) as invalid_conversions,
        count(*) filter (where is_valid and touch_type = 'click') as click_through_conversions,
        count(*) filter (where is_valid and touch_type = 'view') as view_through_conversions,
        count(*) filter (
            where stream = 'conversions' and is_valid and touch_type is null
        ) as unattributed_conversions,
        count(*) filter (where stream = 'impressions' and is_valid and is_linked) as won_impressions,
        coalesce(sum(spend), 0) as spend,
        coalesce(sum(revenue) filter (where is_valid), 0) as revenue
    from events
    group by coalesce(creative_id, 'unknown'), event_date
),

reached as (
    select member, date, count(*) as reach
    from (
        select coalesce(creative_id, 'unknown') as member, event_date as date, user_id
        from by_hand.impressions
        where is_valid
        group by coalesce(creative_id, 'unknown'), event_date, user_id
    ) as users
    group by member, date
)

select
    summed.*,
    coalesce(reached.reach, 0) as reach,
    cast(clicks as double precision) / nullif(impressions, 0) as ctr,
    cast(conversions as double precision) / nullif(clicks, 0) as cvr,
    cast(impressions as double precision) / nullif(reached.reach, 0) as frequency,
    cast(bids as double precision) / nullif(bid_requests, 0) as bid_rate,
    cast(won_impressions as double precision) / nullif(bids, 0) as win_rate,
    1000 * cast(spend as double precision) / nullif(impressions, 0) as cpm,
    cast(spend as double precision) / nullif(clicks, 0) as cpc,
    cast(spend as double precision) / nullif(conversions, 0) as cpa,
    cast(revenue as double precision) / nullif(cast(spend as double precision), 0) as roas
from summed
left join reached on summed.member = reached.member and summed.date = reached.date;

create table by_hand.website_daily as
with summed as (
    select
        coalesce(website, 'unknown') as member,
        event_date as date,
            count(*) filter (where stream = 'bid_requests' and is_valid) as bid_requests,
        count(*) filter (where stream = 'bid_requests' and is_valid and is_linked) as bids,
        count(*) filter (where stream = 'impressions' and is_valid) as impressions,
        count(*) filter (where stream = 'clicks' and is_valid) as clicks,
        count(*) filter (where stream = 'conversions' and is_valid) as conversions,
        count(*) filter (where stream = 'bid_requests' and not is_valid) as invalid_bid_requests,
        count(*) filter (where stream = 'impressions' and not is_valid) as invalid_impressions,
        count(*) filter (where stream = 'clicks' and not is_valid) as invalid_clicks,
        count(*) filter (where stream = 'conversions' and not is_valid) as invalid_conversions,
        count(*) filter (where is_valid and touch_type = 'click') as click_through_conversions,
        count(*) filter (where is_valid and touch_type = 'view') as view_through_conversions,
        count(*) filter (
            where stream = 'conversions' and is_valid and touch_type is null
        ) as unattributed_conversions,
        count(*) filter (where stream = 'impressions' and is_valid and is_linked) as won_impressions,
        coalesce(sum(spend), 0) as spend,
        coalesce(sum(revenue) filter (where is_valid), 0) as revenue
    from events
    group by coalesce(website, 'unknown'), event_date
),

reached as (
    select member, date, count(*) as reach
    from (
        select coalesce(website, 'unknown') as member, event_date as date, user_id
        from by_hand.impressions
        where is_valid
        group by coalesce(website, 'unknown'), event_date, user_id
    ) as users
    group by member, date
)

select
    summed.*,
    coalesce(reached.reach, 0) as reach,
    cast(clicks as double precision) / nullif(impressions, 0) as ctr,
    cast(conversions as double precision) / nullif(clicks, 0) as cvr,
    cast(impressions as double precision) / nullif(reached.reach, 0) as frequency,
    cast(bids as double precision) / nullif(bid_requests, 0) as bid_rate,
    cast(won_impressions as double precision) / nullif(bids, 0) as win_rate,
    1000 * cast(spend as double precision) / nullif(impressions, 0) as cpm,
    cast(spend as double precision) / nullif(clicks, 0) as cpc,
    cast(spend as double precision) / nullif(conversions, 0) as cpa,
    cast(revenue as double precision) / nullif(cast(spend as double precision), 0) as roas
from summed
left join reached on summed.member = reached.member and summed.date = reached.date;

create table by_hand.cohort_daily as
select
    campaign_id,
    cast(touch_at as date) as date,
    model,
    sum(credit) as credited_conversions,
    sum(credited_revenue) as credited_revenue,
    percentile_cont(0.5) within group (
        order by cast(seconds_to_convert as double precision)
    ) as median_seconds_to_convert,
    percentile_cont(0.9) within group (
        order by cast(seconds_to_convert as double precision)
    ) as p90_seconds_to_convert
from by_hand.attribution
group by campaign_id, cast(touch_at as date), model;

create table by_hand.anomalies as
with daily as (
    select member as campaign_id, date, metrics.metric,
        case metrics.metric
            when 'impressions' then cast(impressions as double precision)
            when 'clicks' then clicks
            when 'conversions' then conversions
            when 'spend' then cast(spend as double precision)
            when 'ctr' then ctr
            else cvr
        end as value
    from by_hand.campaign_daily
    cross join (
        values ('impressions'), ('clicks'), ('conversions'), ('spend'), ('ctr'), ('cvr')
    ) as metrics (metric)
),

firsts as (
    select campaign_id, min(date) as first_date, max(max(date)) over () as latest_date
    from daily
    group by campaign_id
),

windows as (
    select
        daily.campaign_id,
        cast(daily.date + offsets.days * interval '1 day' as date) as date,
        daily.metric,
        offsets.days,
        daily.value
    from daily
    cross join (
        values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14)
    ) as offsets (days)
),

described as (
    select
        windows.campaign_id,
        windows.date,
        windows.metric,
        case
            when windows.metric in ('ctr', 'cvr') then max(case when days = 0 then value end)
            else coalesce(max(case when days = 0 then value end), 0)
        end as value,
        case
            when windows.metric in ('ctr', 'cvr') then count(value) filter (where days > 0)
            else least(14, windows.date - min(firsts.first_date))
        end as days_in_window,
        coalesce(sum(value) filter (where days > 0), 0) as total,
        coalesce(sum(value * value) filter (where days > 0), 0) as squares
    from windows
    inner join firsts
        on windows.campaign_id = firsts.campaign_id and windows.date <= firsts.latest_date
    group by windows.campaign_id, windows.date, windows.metric
)

select
    *,
    case when days_in_window >= 7 then total / days_in_window end as mean,
    case
        when days_in_window >= 7
            then sqrt(greatest(0, squares - total * total / days_in_window) / (days_in_window - 1))
    end as standard_deviation
from described;

create table by_hand.data_quality_daily as
with events as (
    select
        'impressions' as stream, copies, event_at, _loaded_at, 0 as unmatched, 0 as unattributed
    from by_hand.impressions
    union all
    select
        'clicks', copies, event_at, _loaded_at,
        case when is_valid and match_method is null then 1 else 0 end, 0
    from by_hand.clicks
    union all
    select
        'conversions', copies, event_at, _loaded_at, 0,
        case when is_valid and touch_type is null then 1 else 0 end
    from by_hand.conversions
    union all
    select 'bid_requests', copies, event_at, _loaded_at, 0, 0 from by_hand.bid_requests
)

select
    stream,
    cast(_loaded_at as date) as date,
    sum(copies) as accepted,
    sum(copies - 1) as extra_copies,
    count(*) filter (where event_at < _loaded_at - interval '1 day') as late_events,
    sum(unmatched) as unmatched_clicks,
    sum(unattributed) as unattributed_conversions
from events
group by stream, cast(_loaded_at as date);
