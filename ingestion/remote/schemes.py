"""How a URL's scheme is read: by which library, with which options, and whose credentials.

Credentials are found as each library and its cloud's own tools find them; these are the options
that they leave open: bounded waiting, no stale listings, proxies, known hosts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ingestion.remote.errors import StorageError
from ingestion.remote.names import userinfo

CONNECT_SECONDS, _ANSWER_SECONDS = 10, 60


@dataclass(frozen=True)
class Scheme:
    """How a URL's scheme is read: by which package, with which options, and whose credentials."""

    protocol: str
    package: str
    credentials: str
    options: Callable[[str], dict[str, Any]]
    endpoint: str | None = None  # the variable that names another server than the cloud's own
    address: Callable[[Any], str] | None = None  # of the server, where a library waits too long


_FRESH = {"use_listings_cache": False}


def _s3(authority: str) -> dict[str, Any]:
    retries = {"mode": "standard", "max_attempts": 3}
    timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": _ANSWER_SECONDS}
    return {"config_kwargs": {"retries": retries, **timeouts}, **_FRESH}


def _gs(authority: str) -> dict[str, Any]:
    session = {"session_kwargs": {"trust_env": True}}
    return {**session, "requests_timeout": 2 * _ANSWER_SECONDS, **_FRESH}


def _az(authority: str) -> dict[str, Any]:
    # adlfs has variables of its own; these two are those of Azure's command line.
    named = {"account_name": "AZURE_STORAGE_ACCOUNT", "account_key": "AZURE_STORAGE_KEY"}
    options: dict[str, Any] = {
        option: os.environ[variable]
        for option, variable in named.items()
        if variable in os.environ and f"AZURE_STORAGE_{option.upper()}" not in os.environ
    }
    host = authority.rpartition("@")[2]
    if "." in host:
        options["account_name"] = host.partition(".")[0]
    timeouts = {"connection_timeout": CONNECT_SECONDS, "read_timeout": _ANSWER_SECONDS}
    return {**options, **timeouts, **_FRESH}


def _http(authority: str) -> dict[str, Any]:
    import aiohttp

    client: dict[str, Any] = {
        "timeout": aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=_ANSWER_SECONDS
        ),
        "trust_env": True,  # proxies, ~/.netrc
        "auto_decompress": False,  # what is hashed is what is stored
    }
    user, password = userinfo(authority)
    if user:
        client["auth"] = aiohttp.BasicAuth(unquote(user), unquote(password))
    return {
        "client_kwargs": client,
        "headers": {"Accept-Encoding": "identity"},
        "encoded": True,
        **_FRESH,
    }


def _sftp(authority: str) -> dict[str, Any]:
    user, password = userinfo(authority)
    server = urlsplit(f"//{authority}")
    options: dict[str, Any] = {"host": server.hostname or ""}
    try:
        options.update({"port": server.port} if server.port else {})
    except ValueError:
        raise StorageError("its port is no number; mend the URL") from None
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    return {
        **options,
        # The library's default is to trust every host; () is asyncssh's, ~/.ssh/known_hosts.
        "known_hosts": (),
        "connect_timeout": CONNECT_SECONDS,
        "login_timeout": _ANSWER_SECONDS,
        "keepalive_interval": _ANSWER_SECONDS // 4,
    }


_S3 = Scheme(
    "s3",
    "s3fs",
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (a public bucket:"
    " FSSPEC_S3_ANON=true); AWS_ENDPOINT_URL if the server is not Amazon's",
    _s3,
    "AWS_ENDPOINT_URL",
)
_GS = Scheme(
    "gs",
    "gcsfs",
    "GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    _gs,
    "STORAGE_EMULATOR_HOST",
    lambda fs: os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com",
)
_AZ = Scheme(
    "abfs",
    "adlfs",
    "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with"
    " AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or run `az login`",
    _az,
    address=lambda fs: str(fs.service_client.url),
)
HTTP = Scheme("http", "aiohttp", "the user and password in the URL or in ~/.netrc", _http)
SFTP = Scheme(
    "sftp", "sshfs", "the user in the URL and your keys (ssh-agent, ~/.ssh, ~/.ssh/config)", _sftp
)
SCHEMES = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GS,
    "gcs": _GS,
    "az": _AZ,
    "abfs": _AZ,
    "abfss": _AZ,
    "http": HTTP,
    "https": HTTP,
    "sftp": SFTP,
    "ssh": SFTP,
}
