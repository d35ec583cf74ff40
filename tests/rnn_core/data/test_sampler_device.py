"""Where a sampler's rows live: on the device if they fit beside the model, else on the host.
Oracle: the same batch gathered the plain way; the device's free memory is a fake on the CPU."""

from __future__ import annotations

import logging
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from rnn_core.data import TSDataSampler, sampler_device

FILLS = ["none", "ffill", "ffill+bfill"]


def test_what_fits():
    assert sampler_device.fits(70, 100)
    assert not sampler_device.fits(71, 100)
    assert not sampler_device.fits(1, 0)
    assert sampler_device.fits(10**15, None)  # the CPU: the rows are there already
    assert sampler_device.free_bytes(torch.device("cpu")) is None


def test_a_market_that_does_not_fit_stays_on_the_host_and_says_so(frame, monkeypatch, caplog):
    plain = TSDataSampler(frame, None, None, 6)
    asked = []
    monkeypatch.setattr(sampler_device, "free_bytes", lambda device: asked.append(device) or 9_000)
    sampler = TSDataSampler(frame, None, None, 6)
    with caplog.at_level(logging.WARNING):
        for fill in FILLS:
            plain.config(fillna_type=fill)
            sampler.config(fillna_type=fill)
            got = sampler.batch(np.arange(len(sampler)))
            np.testing.assert_array_equal(got.numpy(), plain[:])
            got.fill_(-1)  # never the store's memory
        np.testing.assert_array_equal(sampler[:], plain[:])
    assert len(asked) == 1  # decided once a device
    assert sampler._store.on_device["cpu"].staged
    assert len(caplog.records) == 1
    assert "they stay in host memory, batches are gathered there and copied" in caplog.text
    later = sampler.between("2020-03-01", None)
    np.testing.assert_array_equal(later.batch([0, 3]).numpy(), later[[0, 3]])
    assert not pickle.loads(pickle.dumps(sampler))._store.on_device  # noqa: S301


def test_a_market_that_fits_says_nothing(frame, monkeypatch, caplog):
    monkeypatch.setattr(sampler_device, "free_bytes", lambda device: 10**9)
    sampler = TSDataSampler(frame, None, None, 6)
    sampler.batch([0])
    assert not sampler._store.on_device["cpu"].staged
    assert not caplog.records


@pytest.mark.gpu
@pytest.mark.parametrize("free", [0, None])
def test_on_a_gpu(frame, monkeypatch, free):
    """With no memory to spare and with plenty: the same windows, on the device."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if free is not None:
        monkeypatch.setattr(sampler_device, "free_bytes", lambda device: free)
    sampler = TSDataSampler(frame, None, None, 6, fillna_type="ffill+bfill")
    order = np.random.default_rng(0).permutation(len(sampler))
    for k in range(30):  # buffers are given out again; none while its copy is under way
        order = np.roll(order, 7)
        sampler.config(fillna_type=FILLS[k % 3])
        got = sampler.batch(order, device="cuda")
        assert got.device.type == "cuda"
        np.testing.assert_array_equal(got.cpu().numpy(), sampler[order])
    on = sampler.batch(torch.arange(5, device="cuda"))
    np.testing.assert_array_equal(on.cpu().numpy(), sampler[:5])
    held = next(iter(sampler._store.on_device.values()))
    assert held.staged == (free is not None)
    assert held.matrix.device.type == ("cpu" if held.staged else "cuda")


@pytest.mark.gpu
def test_free_memory_counts_what_torch_has_cached():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    before = sampler_device.free_bytes(device)
    held = torch.empty(2**28, dtype=torch.uint8, device=device)
    during = sampler_device.free_bytes(device)
    del held  # torch keeps the block for itself
    assert before - during > 2**27
    assert sampler_device.free_bytes(device) - during > 2**27


def test_a_window_never_aliases_the_store():
    """One instrument without holes: its rows lie side by side, and qlib returns a view (Q10)."""
    dates = pd.bdate_range("2024-01-01", periods=30)
    index = pd.MultiIndex.from_product([dates, ["A"]], names=["datetime", "instrument"])
    frame = pd.DataFrame({"x": np.arange(30, dtype=np.float32)}, index=index)
    sampler = TSDataSampler(frame, None, None, 5)
    matrix = sampler._store.matrix
    taken = [sampler[9], sampler[[9]], sampler[9:10], sampler["2024-01-12", "A"]]
    taken += [sampler.batch([9]).numpy(), sampler.batch(slice(None)).numpy()]
    assert not any(np.shares_memory(window, matrix) for window in taken)
    assert not np.shares_memory(frame.to_numpy(), matrix)
