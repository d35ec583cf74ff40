"""Parts of other packages: how they are found, and which code they are."""

from __future__ import annotations

import importlib
import sys

import pandas as pd
import pytest
import torch

from rnn_core.data import DataHandlerLP, ProcessorChain
from rnn_core.data.processors import Processor
from rnn_core.data.processors.chain import own_processor
from rnn_core.models import build_network, model_family, own_family
from rnn_core.models.families import require_scores
from rnn_core.own_parts import load_part, source_digest

NETS = """
import torch
from torch import nn
from mypkg.helpers import scale
from .deep import further


class Tiny(nn.Module):
    def __init__(self, d_feat, width=3):
        super().__init__()
        self.layer = nn.Linear(d_feat, width)

    def forward(self, x):
        return scale(self.layer(x[:, -1]).sum(dim=1))


class NoFeatures(nn.Module):
    def __init__(self, width=3):
        super().__init__()


class NoDefault(nn.Module):
    def __init__(self, d_feat, width):
        super().__init__()


class TwoScores(Tiny):
    def forward(self, x):
        return self.layer(x[:, -1])


class Fails(Tiny):
    def forward(self, x):
        return x @ torch.zeros(7)


class Centred(Tiny):
    def forward(self, x):
        scores = self.layer(x[:, -1]).sum(dim=1)
        return scores - scores.mean()


class Said(Tiny):
    code_version = 4


class NoNetwork:
    pass
"""
PROCS = """
from rnn_core.data.processors import Processor


class Plus(Processor):
    def __init__(self, fields_group="feature", by=1.0):
        self.fields_group, self.by = fields_group, by

    def __call__(self, df):
        return df + self.by


class Demean(Processor):
    def __init__(self, fit_start_time=None, fit_end_time=None, semantics="strict"):
        self.fit_start_time, self.fit_end_time = fit_start_time, fit_end_time
        self.semantics, self.mean = semantics, None

    def fit(self, df):
        days = df.index.get_level_values("datetime")
        end = self.fit_end_time or days.max()
        self.mean = float(df["feature", "X"][days <= end].mean())
        return self

    def __call__(self, df):
        return df - self.mean

    def state(self):
        return {"mean": self.mean}

    def load_state(self, state):
        self.mean = state["mean"]


class NoCall(Processor):
    pass


class NoFrame(Plus):
    def __call__(self, df):
        df + self.by


class NoState(Plus):
    def fit(self, df):
        return self
"""


class Unnamed(Processor):
    """A class of the caller's own, which no configuration has named."""

    def __init__(self, by=1.0):
        self.by = by

    def __call__(self, df):
        return df + self.by


def write_package(root):
    """Write a package of somebody else's below a folder of the path, and return its own."""
    folder = root / "mypkg"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "nets": NETS,
        "procs": PROCS,
        "helpers": "def scale(x):\n    return 2 * x\n",
        "deep": "def further():\n    from mypkg import deepest\n",
        "deepest": "VALUE = 1\n",
        "beside": "VALUE = 1\n",
        "broken": "raise RuntimeError('not today')\n",
        "leaves": "raise SystemExit('no licence')\n",
    }.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package on the path; its modules are forgotten afterwards."""
    folder = write_package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]


def test_a_network_is_built_under_the_name_of_its_configuration(package):
    family = own_family("mypkg.nets:Tiny")
    assert family.resolve({"width": 5}) == {"width": 5}
    assert model_family("mypkg.nets:Tiny") is family
    network = build_network("mypkg.nets:Tiny", 4, {"width": 5})
    assert network(torch.zeros(2, 7, 4)).shape == (2,)
    require_scores(family, {})
    assert family.origin["module"] == "mypkg.nets" and family.origin["distribution"] == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.nets:Tiny", "cannot import absent.nets .*No module named 'absent'; install"),
        ("mypkg.broken:Tiny", "cannot import mypkg.broken .*RuntimeError: not today; its code was"),
        ("mypkg.leaves:Tiny", "cannot import mypkg.leaves .*SystemExit: no licence; its code was"),
        ("mypkg.nets:Tyni", "nothing under the name 'Tyni', expected a class; did you mean 'Tiny'"),
        ("mypkg.nets:torch", "module under the name 'torch', expected a class"),
        ("mypkg.nets:NoNetwork", "is no torch.nn.Module"),
        ("mypkg.nets:NoFeatures", "takes no argument d_feat"),
        ("mypkg.nets:NoDefault", "the argument width has no default"),
    ],
)
def test_a_network_that_breaks_the_contract_is_refused(package, name, message):
    with pytest.raises(ValueError, match=message):
        own_family(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TwoScores", r"maps windows \[2, 4, 3\] to \[2, 3\], expected a tensor \[2\]"),
        ("Fails", "fails on windows of 4 sessions of 3 features: RuntimeError"),
        ("Centred", "scores a window otherwise beside another one than alone"),
    ],
)
def test_a_network_is_tried_on_a_small_window(package, name, message):
    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match=message):
        require_scores(own_family(f"mypkg.nets:{name}"), {})
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_name_in_a_file_imports_nothing(package):
    with pytest.raises(ValueError, match="no configuration has named it"):
        build_network("mypkg.beside:Tiny", 4)
    stored = {"format": 1, "processors": [{"class": "mypkg.beside:P", "kwargs": {}, "state": None}]}
    with pytest.raises(KeyError, match=r"no processor is called 'mypkg\.beside:P'"):
        ProcessorChain.from_dict(stored)
    assert "mypkg.beside" not in sys.modules


@pytest.mark.parametrize(
    ("module", "counts"),
    [("nets", True), ("helpers", True), ("deep", True), ("deepest", True), ("__init__", True),
     ("beside", False), ("procs", False)],
)  # fmt: skip
def test_the_digest_covers_what_the_part_imports_of_its_own_package(package, module, counts):
    before = source_digest("mypkg.nets")
    path = package / f"{module}.py"
    path.write_text(path.read_text() + "\nMORE = 1\n")
    assert (source_digest("mypkg.nets") != before) is counts


def test_a_code_version_stands_for_the_source(package):
    assert load_part("mypkg.nets:Said", "rnn_core.models").origin == {
        "module": "mypkg.nets",
        "distribution": "",
        "code_version": "4",
    }


def test_other_packages_count_by_their_version(package, monkeypatch):
    before = source_digest("mypkg.nets")
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.0" if name == "torch" else real(name)
    )
    assert source_digest("mypkg.nets") != before


def test_a_processor_is_stored_under_the_name_of_its_configuration(package):
    part = own_processor("mypkg.procs:Plus")
    chain = ProcessorChain([part.value(by=2.0)])
    stored = chain.to_dict()
    assert stored["processors"][0]["class"] == "mypkg.procs:Plus"
    again = ProcessorChain.from_dict(stored)
    assert type(again.processors[0]) is part.value and again.processors[0].by == 2.0
    assert again.hash == chain.hash


def test_a_handler_with_a_known_processor_is_loaded(package, tmp_path):
    """Oracle: the handler that was saved; one that no configuration has named is given by name."""
    index = pd.MultiIndex.from_product(
        [pd.to_datetime(["2024-01-02"]), ["A", "B"]], names=["datetime", "instrument"]
    )
    data = pd.DataFrame({("feature", "X"): [1.0, 2.0], ("label", "Y"): [0.0, 1.0]}, index)
    known = own_processor("mypkg.procs:Plus").value
    for kind, classes in ((known, {}), (Unnamed, {"classes": {"Unnamed": Unnamed}})):
        handler = DataHandlerLP(data, infer_processors=[kind(by=2.0)])
        handler.save(tmp_path / "handler.json")
        again = DataHandlerLP.load(tmp_path / "handler.json", data, **classes)
        pd.testing.assert_frame_equal(again.fetch(), handler.fetch())
        assert type(again.infer_processors[0]) is kind


@pytest.mark.parametrize("step", ["mypkg.procs:Demean", {"class": "mypkg.procs:Demean"}])
def test_a_known_processor_learns_in_the_window_of_its_handler(package, step):
    """Without it, it would have learnt from the sessions that it is tested on."""
    own_processor("mypkg.procs:Demean")
    days = pd.to_datetime(["2024-01-02", "2024-01-03"])
    index = pd.MultiIndex.from_product([days, ["A"]], names=["datetime", "instrument"])
    data = pd.DataFrame({("feature", "X"): [1.0, 101.0], ("label", "Y"): 0.0}, index)
    window = {"fit_start_time": "2024-01-02", "fit_end_time": "2024-01-02"}
    handler = DataHandlerLP(data, infer_processors=[step], semantics="qlib", **window)
    (known,) = handler.infer_processors
    assert (known.kwargs(), known.semantics, known.mean) == (window, "qlib", 1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mypkg.procs:NoCall", "lacks __call__"),
        ("mypkg.procs:NoState", "learns in fit and lacks state and load_state"),
        ("mypkg.nets:Tiny", "is no rnn_core.data.processors.Processor"),
    ],
)
def test_a_processor_that_breaks_the_contract_is_refused(package, name, message):
    with pytest.raises(ValueError, match=message):
        own_processor(name)


def test_a_processor_that_returns_no_frame_is_named(package):
    chain = ProcessorChain([own_processor("mypkg.procs:NoFrame").value()])
    with pytest.raises(TypeError, match="NoFrame gave NoneType, expected a DataFrame"):
        chain.transform(pd.DataFrame({("feature", "A"): [1.0]}))


def test_an_entry_point_is_a_name(package, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no installed package has an entry point 'tiny_net'"):
        own_family("tiny_net")
    installed = tmp_path / "site" / "mypkg-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mypkg\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[rnn_core.models]\ntiny_net = mypkg.nets:Tiny\n")
    monkeypatch.syspath_prepend(installed.parent)
    assert own_family("tiny_net").network().__name__ == "Tiny"
