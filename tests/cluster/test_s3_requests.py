"""The requests of one session do not grow with history; counted at the server."""

from __future__ import annotations

import re
import sys
from collections import Counter

import pytest

from tests.cluster.s3_state import server  # noqa: F401 - a fixture

pytestmark = pytest.mark.cluster
SESSIONS = (150, 600)
BEYOND = 15  # requests of an asset beyond one for each partition that it reads


def test_the_budget_of_one_session(server, tmp_path, capsys):  # noqa: F811
    """For one session of every asset, nothing fetched before: the same for four times the past."""
    from benchmarks.s3_requests import CountingServer, built, requests_by_asset

    tables, seen = {}, {}
    counts = CountingServer.counts

    for sessions in SESSIONS:
        local = built(sessions, 6, tmp_path / f"local{sessions}" / "counted")
        asked = seen[sessions] = []

        def noted(self, asked=asked):
            asked.append(list(self.asked))
            return counts(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CountingServer, "counts", noted)
            root = tmp_path / f"remote{sessions}" / "counted"
            tables[sessions] = requests_by_asset(server, local, f"s{sessions}", root)
    short, long = tables.values()
    assert len(short) == 9
    with capsys.disabled():
        sys.stdout.write(f"\n{long.to_string()}\n")
    assert short.equals(long), f"{short}\n{long}"
    for asset, requests in zip(long.index, seen[SESSIONS[-1]], strict=True):
        paths = Counter(
            path for method, path, query in requests
            if method == "GET" and "list-type" not in query
        )  # fmt: skip
        partitions = [path for path in paths if re.search(r"/date=[\d-]+/", path)]
        assert max(paths[path] for path in partitions) == 1, asset
        assert long["all"][asset] <= len(partitions) + BEYOND, f"{asset}\n{long}"
        listings = Counter(q for _, _, q in requests if "list-type" in q and "delimiter=&" in q)
        assert max(listings.values(), default=1) == 1, f"{asset}: {listings}"
