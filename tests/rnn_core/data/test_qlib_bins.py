"""The provider folder. Oracle: the bars that were dumped, and numpy's bytes of the format."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pandas as pd
import pytest

from rnn_core.data.bin_files import ProviderError
from rnn_core.data.qlib_bins import FIELDS, QlibProvider
from rnn_core.features import alpha158
from tests.fixtures.workflow.dump_provider import adjusted_market, dump_provider, write_bin

SESSIONS = pd.bdate_range("2020-01-01", periods=100)


@pytest.fixture(scope="module")
def bars():
    return adjusted_market(6, SESSIONS, 7, suspension_rate=0.1, late_listing_share=0.5)


@pytest.fixture
def root(tmp_path, bars):
    return dump_provider(tmp_path / "data", bars, sessions=SESSIONS)


def names_of(bars):
    return sorted(bars["instrument"].unique())


def test_bars_are_those_that_were_dumped(root, bars):
    """Oracle: the dumped frame, bit by bit."""
    provider = QlibProvider(root)
    assert provider.calendar.equals(SESSIONS)
    assert provider.markets == ["all", "csi300"]
    got = provider.bars(provider.instruments("ALL"))
    want = bars.sort_values(["date", "instrument"]).reset_index(drop=True)
    assert got.columns.tolist() == ["date", "instrument", *FIELDS]
    np.testing.assert_array_equal(got["date"].to_numpy(), want["date"].to_numpy())
    assert got["instrument"].tolist() == want["instrument"].tolist()
    np.testing.assert_array_equal(got[list(FIELDS)], want[list(FIELDS)])


def test_features_from_the_folder_are_those_of_the_same_bars(root, bars):
    """Oracle: `alpha158` of the dumped frame."""
    provider = QlibProvider(root)
    want = alpha158(bars)
    assert bars["date"].nunique() == len(SESSIONS)
    pd.testing.assert_frame_equal(alpha158(provider.bars(names_of(bars))), want)
    late = provider.bars(names_of(bars), SESSIONS[20], SESSIONS[89])  # 60 sessions of history
    pd.testing.assert_frame_equal(
        alpha158(late).loc[SESSIONS[80] : SESSIONS[89]], want.loc[SESSIONS[80] : SESSIONS[89]]
    )


def test_suspended_sessions_are_rows_only_where_asked(root, bars):
    """Oracle: every session between an instrument's first and last bar, as dump_bin writes it."""
    panel = QlibProvider(root).panel(names_of(bars), keep_suspended=True)
    days = {code: own["date"] for code, own in bars.groupby("instrument")}
    for row, code in enumerate(panel.instruments):
        first, last = days[code].min(), days[code].max()
        inside = [first <= day <= last for day in SESSIONS]
        np.testing.assert_array_equal(panel.present[row], inside)
        traded = ~np.isnan(panel.fields["close"][row])
        np.testing.assert_array_equal(traded, SESSIONS.isin(days[code]))
    assert panel.present.sum() > len(bars)
    without = QlibProvider(root).panel(names_of(bars))
    assert without.present.sum() == len(bars)


def test_only_the_sessions_and_fields_asked_for_are_read(root, bars):
    provider = QlibProvider(root)
    for path in (root / "features").glob("*/high.day.bin"):
        path.write_bytes(b"no")
    got = provider.bars(names_of(bars)[1:3], "2020-02-03", "2020-02-14", ["volume", "close"])
    want = bars[
        bars["instrument"].isin(names_of(bars)[1:3])
        & bars["date"].between("2020-02-03", "2020-02-14")
    ].sort_values(["date", "instrument"])
    assert got.columns.tolist() == ["date", "instrument", "volume", "close"]
    np.testing.assert_array_equal(got[["volume", "close"]], want[["volume", "close"]])


def test_names_in_any_case(root, bars):
    provider = QlibProvider(root)
    want = provider.bars(None, fields=["close"])
    code = names_of(bars)[0]
    folder = root / "features" / code.lower()
    (folder / "close.day.bin").rename(folder / "CLOSE.day.bin")
    folder.rename(folder.with_name(code))
    (root / "instruments" / "csi300.txt").rename(root / "instruments" / "CSI300.txt")
    again = QlibProvider(root)
    pd.testing.assert_frame_equal(again.bars(None, fields=["close"]), want)
    assert again.instruments("csi300").instruments == names_of(bars)
    shutil.copytree(folder.with_name(code), folder)
    with pytest.raises(ProviderError, match="which are one code: remove the older one"):
        QlibProvider(root).bars(None)


def test_a_device_name_of_windows_is_escaped(root, bars):
    folder = root / "features" / names_of(bars)[0].lower()
    folder.rename(folder.with_name("_qlib_con"))
    provider = QlibProvider(root)
    assert len(provider.series("CON")) > 0
    assert "CON" in provider.panel(None, fields=["close"]).instruments


def test_one_field_of_one_instrument(root, bars):
    got = QlibProvider(root).series(names_of(bars)[2].lower(), "open").dropna()
    want = bars[bars["instrument"] == names_of(bars)[2]]
    np.testing.assert_array_equal(got.index.to_numpy(), want["date"].to_numpy())
    np.testing.assert_array_equal(got, want["open"])
    assert got.dtype == np.float32
    with pytest.raises(ProviderError, match=r"no folder of SH000301, it holds 7.*'sh000300'"):
        QlibProvider(root).series("SH000301")
    with pytest.raises(ProviderError, match=r"no file open.day.bin for 1 of 1.*\(SH000300\)"):
        QlibProvider(root).series("SH000300", "open")


def test_vwap_that_is_not_there_is_told_and_made_up_only_when_asked(root, bars):
    """Q8: qlib hands out NaN. Oracle: (h + l + c) / 3 of the dumped bars."""
    for path in (root / "features").glob("*/vwap.day.bin"):
        path.unlink()
    provider, codes = QlibProvider(root), names_of(bars)
    with pytest.raises(ProviderError, match=r"no file vwap.day.bin for 6 of 6") as caught:
        provider.bars(codes)
    assert 'vwap="typical"' in str(caught.value)
    got = provider.bars(codes, vwap="typical")
    want = bars.sort_values(["date", "instrument"])
    typical = want[["high", "low", "close"]].astype("float64").mean(axis=1).astype("float32")
    np.testing.assert_array_equal(got["vwap"], typical)
    only = provider.bars(codes, fields=["vwap"], vwap="typical")
    np.testing.assert_array_equal(only["vwap"], typical)
    (root / "features" / codes[0].lower() / "low.day.bin").unlink()
    with pytest.raises(ProviderError, match=r"no file low.day.bin for 1 of 1"):
        provider.bars(codes, fields=["vwap"], vwap="typical")


def test_a_field_of_some_instruments_only(root, bars):
    codes = names_of(bars)
    (root / "features" / codes[3].lower() / "volume.day.bin").unlink()
    message = rf"no file volume.day.bin for 1 of 6 instruments \({codes[3]}\). Dump the field"
    with pytest.raises(ProviderError, match=message):
        QlibProvider(root).bars(codes)


def test_instruments_without_a_folder_are_logged(root, bars, caplog):
    codes = names_of(bars)
    with caplog.at_level(logging.WARNING):
        panel = QlibProvider(root).panel([*codes, "SH999999"])
    assert panel.instruments.tolist() == codes
    assert "1 of 7 instruments have no folder" in caplog.text
    with pytest.raises(ProviderError, match=r"no folder of A, B, it holds 7: sh000300"):
        QlibProvider(root).panel(["B", "A"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it was cut off, dump it again"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
        (lambda path: path.write_bytes(b"\0\0\0\0"), "has 4 bytes"),
        (lambda path: write_bin(path, 95, np.ones(9)), "holds the sessions 95 to 103 of a calend"),
        (lambda path: write_bin(path, 0.5, np.ones(9)), "begins with 0.5"),
        (lambda path: write_bin(path, np.nan, np.ones(9)), "begins with nan"),
        (lambda path: write_bin(path, -1, np.ones(9)), "begins with -1.0"),
        (lambda path: write_bin(path, 3, np.ones(5)), "hold different sessions: dump the"),
    ],
)
def test_a_damaged_file_is_named(damage, message, root, bars):
    path = root / "features" / names_of(bars)[1].lower() / "low.day.bin"
    damage(path)
    with pytest.raises(ProviderError, match=message) as caught:
        QlibProvider(root).bars(names_of(bars))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty, expected one session a line"),
        ("2020-01-01\n\nsoon\n", "line 3: 'soon' is no date"),
        ("2020-01-02\n2020-01-01\n", "line 2: 2020-01-01 does not come after"),
        ("2020-01-02\n2020-01-02\n", "line 2: 2020-01-02 does not come after"),
    ],
)
def test_a_calendar_that_cannot_be_right(text, message, root):
    (root / "calendars" / "day.txt").write_text(text)
    with pytest.raises(ProviderError, match=message):
        QlibProvider(root)


def test_what_is_missing_is_told_with_what_is_there(root, tmp_path, monkeypatch):
    with pytest.raises(ProviderError, match=r"no universe 'csi500'.*there are: all, csi300; did"):
        QlibProvider(root).instruments("csi500")
    (root / "calendars" / "day.txt").rename(root / "calendars" / "1min.txt")
    with pytest.raises(ProviderError, match=r"no calendar .*holds: 1min.txt. Only daily data"):
        QlibProvider(root)
    shutil.rmtree(root / "calendars")
    with pytest.raises(ProviderError, match=r"holds: features, instruments"):
        QlibProvider(root)
    with pytest.raises(ProviderError, match=r"no provider folder .*nowhere: give the folder that"):
        QlibProvider(tmp_path / "nowhere")


def test_the_path_may_hold_variables_and_a_tilde(root, monkeypatch):
    monkeypatch.setenv("PROVIDER_TEST", str(root))
    monkeypatch.setenv("HOME", str(root.parent))
    assert QlibProvider("$PROVIDER_TEST").root == root
    assert QlibProvider("~/data").root == root


def test_a_range_without_sessions(root):
    with pytest.raises(ProviderError, match="no session between 2021-01-01 and None: the calend"):
        QlibProvider(root).bars(None, "2021-01-01")
