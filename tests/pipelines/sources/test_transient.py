"""Transient failures, and others that would come again."""

from __future__ import annotations

import errno
from urllib.error import HTTPError, URLError

import duckdb
import pytest

from pipelines.errors import SourceError, WarehouseError
from pipelines.sources.transient import is_transient


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("timed out"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ESTALE, "Stale file handle"),
        URLError(TimeoutError("timed out")),
        duckdb.IOException("could not read"),
        duckdb.HTTPException("503"),
        raised_from(WarehouseError("cannot read"), OSError(errno.ETIMEDOUT, "timed out")),
    ],
    ids=repr,
)
def test_what_passes_by_itself(error):
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "permission denied"),
        OSError(errno.ENOSPC, "no space left on device"),
        URLError("unknown url type"),
        HTTPError("http://localhost", 404, "Not Found", None, None),
        duckdb.BinderException("no such column"),
        SourceError("no bar at all"),
        raised_from(SourceError("no such file"), FileNotFoundError(errno.ENOENT, "no such file")),
        ValueError("nobody foresaw this"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_what_would_fail_the_same_way_again(error):
    assert not is_transient(error)
