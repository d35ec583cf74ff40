"""The keys `state` and `storage_options` of the YAML: where a market's state lies.

Options are given to the client of the URL (fsspec's file system). A secret has no place in a file
that is shared and versioned, so an option that looks like one is refused with the name of the
environment variable that the client reads instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

_SECRET = re.compile(
    r"(^|_)(key|secret|token|password|passwd|pwd|credentials?|sas)(_|$)|access_?key|secret|"
    r"customer_?key|connection_string"
)
_VARIABLES = (
    ("secret", "AWS_SECRET_ACCESS_KEY"),
    ("session", "AWS_SESSION_TOKEN"),
    ("key", "AWS_ACCESS_KEY_ID"),
    ("token", "AWS_SESSION_TOKEN, or GOOGLE_APPLICATION_CREDENTIALS for Google's"),
    ("credential", "GOOGLE_APPLICATION_CREDENTIALS"),
)
_BROKEN = re.compile(r"^[a-z][a-z0-9+]+:(?!//[^/])")  # s3:/bucket, s3:bucket, s3://
_USER = re.compile(r"^[a-z0-9+]+://[^/]*@")


def _checked_options(options: dict[str, Any]) -> dict[str, Any]:
    for path in _paths(options):
        name = path[-1].lower()
        if not _SECRET.search(name):
            continue
        variable = next((v for word, v in _VARIABLES if word in name), "its client's variable")
        raise ValueError(
            f"{'.'.join(path)} looks like a secret, which has no place in the YAML; remove it and "
            f"set {variable} in the environment"
        )
    return options


def _paths(options: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys."""
    for key, value in options.items():
        yield (*above, str(key))
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, str(key)))


def without_user(url: str) -> str:
    """The URL, which must name no user: the part before an @ may be a password.

    Raises:
        ValueError: it does; the message does not quote it.
    """
    if _USER.match(url):
        raise ValueError(
            "the URL names a user before the @, maybe with a password; write it without, and set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what its client reads, in the "
            "environment"
        )
    return url


def _whole(url: str) -> str:
    """The URL, which must have both slashes and a name behind them; a folder is taken as it is.

    Raises:
        ValueError: it would be taken for a folder of that name, or names no bucket.
    """
    if _BROKEN.match(url):
        scheme = url.split(":")[0]
        raise ValueError(f"no URL and no folder; write {scheme}://BUCKET/PREFIX")
    return url


# Neither is dumped: the place decides no byte, so no fingerprint and no page may hold it.
StateUrl = Annotated[
    str | None,
    AfterValidator(lambda url: None if url is None else _whole(without_user(url))),
    Field(exclude=True),
]
StorageOptions = Annotated[
    dict[str, Any], AfterValidator(_checked_options), Field(exclude=True, repr=False)
]
