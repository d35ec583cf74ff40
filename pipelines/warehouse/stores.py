"""Open the store at a path or a URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.object_store import ObjectStore
from pipelines.warehouse.store import Store

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""The extra of this project that brings the client of a protocol."""
# Listings are kept by `fetched.py`, which knows when they are out of date; a file that is fetched
# in pieces may be replaced between two of them, and takes a request more.
_CLIENT: Mapping[str, Mapping[str, Any]] = {
    "s3": {"use_listings_cache": False, "max_concurrency": 1},
    "gcs": {"use_listings_cache": False},
}


def open_store(url: str | Path, options: Mapping[str, Any] | None = None) -> Store:
    """Open the store at a path or a URL.

    Args:
        url: a local path, or a URL such as `s3://bucket/prefix` that fsspec knows.
        options: options of its client; `region` is S3's.

    Raises:
        ConfigError: there is no client for the URL, or it does not take an option.
    """
    if not re.search("^~|:", str(url)):  # a plain path
        return LocalStore(str(Path(url).absolute()))
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    protocol = str(url).partition("://")[0] if "://" in str(url) else ""
    kind = EXTRAS.get(protocol, protocol)
    given = {**_CLIENT.get(kind, {}), **(options or {})} if protocol else {}
    if kind == "s3" and "region" in given:
        client = {"region_name": given.pop("region")}
        given["client_kwargs"] = {**client, **given.get("client_kwargs", {})}
    try:
        files, root = fsspec.core.url_to_fs(str(url), **given)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        remedy = f"pip install 'rnn-signal-factory[{extra}]'" if extra else str(error)
        raise ConfigError(f"{url} needs a client that is not installed: {remedy}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{url} cannot be opened with storage_options {sorted(options or {})}: {error}"
        ) from error
    except OSError as error:  # clients of some protocols connect at once
        raise ConfigError(f"{url} cannot be reached: {error}; check the host's name") from error
    if isinstance(files, LocalFileSystem):
        return LocalStore(root)
    return ObjectStore(files, root)
