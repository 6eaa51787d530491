{#- The events of a relation with their `campaign_id`: their own, else that of the creative's version
    at their time, else `unknown` (semantics section 4); and `is_crawler` by their user agent
    (section 5). -#}
{% macro resolve_campaigns(events) -%}
    select
        {{ events }}.*,
        coalesce(
            {{ events }}.ad_campaign_id, creative_versions.campaign_id, 'unknown'
        ) as campaign_id,
        coalesce(user_agents.is_crawler, false) as is_crawler

    from {{ events }}
    left join {{ ref('int_creatives_versioned') }} as creative_versions
        on
            {{ events }}.creative_id = creative_versions.creative_id
            and {{ events }}.event_at >= creative_versions.holds_from
            and {{ events }}.event_at < creative_versions.holds_until
    left join {{ ref('int_user_agents_classified') }} as user_agents
        on {{ events }}.user_agent = user_agents.user_agent
{%- endmacro %}
