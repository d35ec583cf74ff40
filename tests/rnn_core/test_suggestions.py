"""Suggestions for misspelt names. Oracle: the names themselves."""

from __future__ import annotations

import pytest

from rnn_core.suggestions import near_matches


@pytest.mark.parametrize(
    ("name", "known", "clause"),
    [
        ("xnys", ["XNYS", "BVMF"], "; did you mean 'XNYS'?"),
        ("Epoch_MS", ["epoch_ms", "%Y"], "; did you mean 'epoch_ms'?"),
        ("ref", ["Ref", "REF"], "; did you mean 'Ref' or 'REF'?"),
        (7, ["close"], ""),
    ],
)
def test_near_names_are_found_whatever_their_case(name, known, clause):
    assert near_matches(name, known) == clause
