"""The device, its reason, and settings put back."""

from __future__ import annotations

import pytest
import torch

from rnn_core.training import resolve_device
from rnn_core.training.device import repeatable


def test_without_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, reason = resolve_device("auto")
    assert (device.type, reason) == ("cpu", "cpu, no CUDA device is visible")
    with pytest.raises(ValueError, match="'cuda:1' was asked for and 0 CUDA devices are visible"):
        resolve_device("cuda:1")


def test_with_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    assert resolve_device("auto") == (torch.device("cuda:0"), "cuda:0, the first of 2: H100")
    assert resolve_device("cuda").device == torch.device("cuda:0")
    assert resolve_device("cuda:1") == (torch.device("cuda:1"), "cuda:1, as configured: H100")
    assert resolve_device("cpu").reason == "cpu, as configured"


@pytest.mark.parametrize("word", ["gpu", "cuda:", "cuda:x", "cpu:0"])
def test_another_word(word: str) -> None:
    with pytest.raises(ValueError, match=f"device is '{word}', expected"):
        resolve_device(word)


def test_repeatable_puts_back_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32)
    with pytest.raises(KeyError), repeatable(torch.device("cuda:0"), True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert before == (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.allow_tf32,
    )


def test_repeatable_needs_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    block = repeatable(torch.device("cuda:0"), True)
    with pytest.raises(ValueError, match="set it, or set deterministic: false"), block:
        pass
