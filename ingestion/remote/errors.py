"""What libraries raise, in words: what is wrong with a file behind a URL, and what to do."""

from __future__ import annotations

import re


class StorageError(OSError):
    """What is wrong with a file behind a URL, in words that end with what to do."""


class Unreachable(StorageError):
    """Nobody answers at a server's address."""


_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "DefaultCredentialsError",
    "CredentialUnavailableError",
    "RefreshError",
}
_DENIED = {
    "PermissionError",
    "ClientAuthenticationError",
    "PermissionDenied",
    "SFTPPermissionDenied",
}
_UNTRUSTED = {"SSLCertVerificationError", "ClientConnectorCertificateError"}
_UNREACHABLE = {
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ClientConnectorError",
    "ConnectionTimeoutError",
    "ConnectionRefusedError",
    "gaierror",
    "ServiceRequestError",
}
_LOST = {
    "ClientPayloadError",
    "ClientConnectionError",
    "ConnectionError",
    "ConnectionLost",
    "DisconnectError",
    "SFTPConnectionLost",
    "SFTPNoConnection",
    "IncompleteRead",
    "IncompleteReadError",
    "ResponseStreamingError",
    "ReadTimeoutError",
    "ServiceResponseError",
    "TimeoutError",
    "EOFError",
}
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|(specified|such) (bucket|container)")


def explain(error: BaseException, credentials: str, place: str) -> StorageError:
    """A library's error in words: what is wrong and what to do, without secrets.

    `place` is the bucket or server, `credentials` where it looks for them.
    """
    if isinstance(error, StorageError):
        return error
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) and deeper not in chain:
        chain.append(deeper)
    kinds = {kind.__name__ for one in chain for kind in type(one).__mro__}
    text = " ".join(str(one) for one in chain)
    status = next((found for one in chain if (found := _status(one))), 0)
    if kinds & _NO_CREDENTIALS or "Must provide either a connection_string" in text:
        return StorageError(f"no credentials for {place}; set {credentials}")
    if "HostKeyNotVerifiable" in kinds:
        return StorageError(
            f"the host key of {place} is not in ~/.ssh/known_hosts;"
            " connect to it once with ssh, and check the key"
        )
    if kinds & _UNTRUSTED:
        return StorageError(
            f"the certificate of {place} is not trusted;"
            " name its authority's certificate in SSL_CERT_FILE"
        )
    if kinds & _DENIED or status in (401, 403) or text.startswith("Forbidden"):
        return StorageError(
            f"access denied by {place}; check the credentials and their rights: {credentials}"
        )
    if "FileNotFoundError" in kinds or status == 404:
        what = "bucket" if _NO_BUCKET.search(text) else "file or folder"
        return StorageError(f"no such {what}; check the URL")
    if kinds & _UNREACHABLE:
        return Unreachable(f"cannot reach {place}; check the address and the network")
    if kinds & _LOST:
        return StorageError(f"the connection to {place} was lost, or it took too long to answer")
    if status:
        return StorageError(f"{place} answered with status {status}")
    words = (str(error).strip().splitlines() or [""])[0]
    return StorageError(f"{type(error).__name__}: {_without_queries(words)}")


def _without_queries(text: str) -> str:
    return re.sub(r"\?[^\s'\"<>]*", "?…", text)


def _status(error: BaseException) -> int:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    for name in ("status", "status_code", "code"):
        found = getattr(error, name, None)
        if isinstance(found, int) and 100 <= found <= 599:
            return found
    return 0
