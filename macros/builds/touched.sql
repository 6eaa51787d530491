{#- The dates that this build touches, as SQL texts. `which` is one of
    - `arrived_<stream>`: dates of events of which a copy has arrived, as they were and as they are;
    - a stream: dates of it on which this can change anything (`int_dates_touched`);
    - `events`: those of all streams;
    - `cohorts`: dates of touches of conversions on touched dates;
    - `anomalies`: dates whose windows hold a touched date (`int_anomaly_dates_touched`). -#}
{% macro touched_dates(which, days_before=0, days_after=0) -%}
    {%- set arrived = {
        'arrived_impressions': 'stg_adserver__impressions_arrived',
        'arrived_clicks': 'stg_tracker__clicks_arrived',
        'arrived_conversions': 'stg_tracker__conversions_arrived',
        'arrived_bid_requests': 'stg_exchange__bid_requests_arrived',
    } -%}
    {%- if which in arrived -%}
        {%- set query = 'select event_date from ' ~ ref(arrived[which]) -%}
    {%- elif which == 'anomalies' -%}
        {%- set query = 'select event_date from ' ~ ref('int_anomaly_dates_touched') -%}
    {%- else -%}
        {%- set query = 'select event_date from ' ~ ref('int_dates_touched') -%}
        {%- if which == 'cohorts' -%}
            {%- set query = query ~ " where stream = 'conversions'" -%}
        {%- elif which != 'events' -%}
            {%- set query = query ~ " where stream = '" ~ which ~ "'" -%}
        {%- endif -%}
    {%- endif -%}
    {%- set dates = {} -%}
    {%- if which == 'cohorts' -%}
        {%- set days_before = [var('click_through_days'), var('view_through_days')] | max -%}
    {%- endif -%}
    {%- if execute -%}
        {%- for row in run_query(query ~ ' group by event_date').rows -%}
            {%- for days in range(-days_before, days_after + 1) -%}
                {%- do dates.update({
                    (row[0] + modules.datetime.timedelta(days=days)).isoformat(): true
                }) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(dates | sort) }}
{%- endmacro %}

{#- Whether the date in a column is one of these, for a where; true when everything is built anew. The
    dates stand in the SQL as constants, so that engines read only the days in question. -#}
{% macro touched(column, which, days_before=0, days_after=0) -%}
    {%- set dates = [] -%}
    {%- if which != 'everything' and (is_incremental() or not execute) -%}
        {%- set dates = touched_dates(which, days_before, days_after) -%}
    {%- endif -%}
    {%- if which == 'everything' or not is_incremental() -%}
        true
    {%- elif not dates -%}
        false
    {%- else -%}
        {{ column }} in (
            {%- for date in dates -%}
                cast('{{ date }}' as date){{ ', ' if not loop.last }}
            {%- endfor -%}
        )
    {%- endif -%}
{%- endmacro %}
