{#- The dates that this build touches, as spans from `first` to `last`; none in a build of everything.
    `which` is one of
    - `arrived_<stream>`: dates of events of which a copy has arrived, as they were and as they are;
    - `users_of_<stream>`: dates on which a user's events of it may have changed (`int_users_touched`);
    - a stream: dates of it on which this can change anything (`int_dates_touched`);
    - `events`: those of all streams;
    - `cohorts`: dates of touches of conversions on touched dates;
    - `anomalies`: dates whose windows hold one of `int_anomaly_dates_touched`. -#}
{% macro touched_dates(which, days_before=0, days_after=0) -%}
    {%- if which.startswith('arrived_') -%}
        {%- set query = 'select event_date from ' ~ arrived_of(which[8:]) -%}
    {%- elif which.startswith('users_of_') -%}
        {%- set query = 'select event_date from ' ~ ref('int_users_touched')
            ~ " where stream = '" ~ which[9:] ~ "'" -%}
    {%- elif which == 'anomalies' -%}
        {%- set query = 'select event_date from ' ~ ref('int_anomaly_dates_touched') -%}
        {%- set days_after = var('anomaly_window_days') -%}
    {%- else -%}
        {%- set query = 'select event_date from ' ~ ref('int_dates_touched') -%}
        {%- if which == 'cohorts' -%}
            {%- set query = query ~ " where stream = 'conversions'" -%}
        {%- elif which != 'events' -%}
            {%- set query = query ~ " where stream = '" ~ which ~ "'" -%}
        {%- endif -%}
    {%- endif -%}
    {%- if which == 'cohorts' -%}
        {%- set days_before = [var('click_through_days'), var('view_through_days')] | max -%}
    {%- endif -%}
    {%- set day = modules.datetime.timedelta(days=1) -%}
    {%- set spans = [] -%}
    {%- if execute and continues_last_build() -%}
        {%- for row in ask_once(query ~ ' group by event_date order by event_date') -%}
            {%- set first = row[0] - days_before * day -%}
            {%- set last = row[0] + days_after * day -%}
            {%- if spans and first <= spans[-1].last + day -%}
                {%- do spans[-1].update({'last': last}) -%}
            {%- else -%}
                {%- do spans.append({'first': first, 'last': last}) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(spans) }}
{%- endmacro %}

{#- Whether the date in a column is one of these, for a where; true when everything is built anew. -#}
{% macro touched(column, which, days_before=0) -%}
    {%- if which == 'everything' or (execute and not is_incremental()) -%}
        true
    {%- else -%}
        {{ is_within(column, touched_dates(which, days_before)) }}
    {%- endif -%}
{%- endmacro %}

{#- Whether the date in a column is in one of these spans. They stand in the SQL as constants, so that
    engines read only the days in question: DuckDB by the bounds of its row groups, which a list of dates
    would not do, PostgreSQL by an index. -#}
{% macro is_within(column, spans) -%}
    {%- if not spans -%}
        false
    {%- else -%}
        (
            {%- for span in spans %}
            {{ column }} between cast('{{ span.first }}' as date) and cast('{{ span.last }}' as date)
            {{- ' or' if not loop.last }}
            {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}
