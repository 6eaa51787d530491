{#- Whether a text holds a match of a regular expression, which is a constant: `regex_matches(column,
    expression)`. Expressions are those that RE2, PostgreSQL and Python read alike, with `(?i)` only at
    the very start; `.` matches no line break and `$` only the end of the text, on each engine. -#}
{% macro regex_matches(text, expression) -%}
    {{ return(adapter.dispatch('regex_matches', 'advertisex')(text, expression)) }}
{%- endmacro %}

{% macro duckdb__regex_matches(text, expression) -%}
    regexp_matches({{ text }}, '{{ expression | replace("'", "''") }}')
{%- endmacro %}

{#- PostgreSQL spells some escapes in its own way, and its dot matches a line break. The collation
    makes \w, \d and \s mean ASCII as in RE2. -#}
{% macro postgres__regex_matches(text, expression) -%}
    {%- set spelling = {'.': '[^\\n]', '\\b': '\\y', '\\B': '\\Y', '\\z': '\\Z'} -%}
    {%- set tokens = modules.re.findall(
        '(\\\\x[0-9A-Fa-f]{2}|\\\\.|\\[\\^?\\]?(?:\\\\.|\\[:[a-z]+:\\]|[^\\]\\\\])*\\]|.)',
        expression, modules.re.DOTALL
    ) -%}
    {%- set spelled = [] -%}
    {%- for token in tokens -%}
        {%- if token.startswith('\\x') -%}
            {%- do spelled.append('\\u00' ~ token[2:]) -%}
        {%- else -%}
            {%- do spelled.append(spelling.get(token, token)) -%}
        {%- endif -%}
    {%- endfor -%}
    ({{ text }} collate "C" ~ '{{ spelled | join | replace("'", "''") }}')
{%- endmacro %}
