"""URLs as they may be shown and stored: without secrets."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

_SECRET = re.compile(
    r"sig|token|secret|passw|pwd|credential|auth|key|session|^x-(amz|goog|ms)-|accessid", re.I
)
_OPAQUE = 32  # characters; a value as long as that may be a secret under any name


def public(url: str) -> str:
    """A URL as it may be shown and stored.

    Without a password; over HTTP also without the user and the fragment, and without its query if
    one of its values is a secret by its name or its length.
    """
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme.lower() not in ("http", "https"):
        user, at, host = authority.rpartition("@")
        return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{path}"
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    secret = any(_SECRET.search(name) or len(value) >= _OPAQUE for name, value in pairs)
    secret |= any("=" not in pair for pair in parts.query.split("&"))  # a value without a name
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "" if secret else parts.query, ""))


def userinfo(authority: str) -> tuple[str, str]:
    user, _, password = authority.rpartition("@")[0].partition(":")
    return user, password
