"""`LSTM`, `GRU` and `KRNN`: qlib's estimators, `fit(dataset)` and `predict(dataset)`.

    model = LSTM(d_feat=20, n_epochs=50, early_stop=10, batch_size=800, seed=0)
    scores = model.fit(dataset).predict(dataset, "test")

A family is a class over the one trainer that adds only its arguments. Arguments, their defaults
and the attributes are those of qlib's classes (`qlib_model`), and both kinds of dataset are taken
by all three: windows of a `TSDatasetH`, flat rows of a `DatasetH`. The result of `dataset.prepare`
decides.
A subclass may override `loss_fn` and `metric_fn`, as in qlib.

Differences from qlib (quirk numbers of its register): `fit` reads the segments "train" and, if
there is one, "valid", and never "test"; nothing is shared between calls (Q30). Predictions are
sorted and of any segment (Q22). A feature that is not finite is an error that names its column
(Q20). A seed decides weights, order and dropout, so the same seed gives the same bits (Q18). The
KRNN reads flat rows as they lie unless `legacy_layout` or a handler of qlib semantics asks for
qlib's way (Q16). The differences of the trainer are listed in `rnn_core.training.trainer`.

Rules matched: qlib contrib/model/pytorch_lstm_ts.py, pytorch_gru_ts.py, pytorch_lstm.py,
pytorch_gru.py, pytorch_krnn.py.

Shapes: `S` samples, `T` sessions of a window, `F` features of a session.
"""

from __future__ import annotations

from rnn_core.estimators.estimator_arguments import KRNNArguments, RecurrentArguments
from rnn_core.estimators.estimator_base import Estimator
from rnn_core.estimators.qlib_model import QlibModel

__all__ = ["GRU", "KRNN", "LSTM", "Estimator"]


class LSTM(Estimator):
    """Stacked LSTM, linear head on the newest session.

    Args:
        d_feat: F.
        hidden_size: units of each layer.
        num_layers: stacked layers.
        dropout: between the layers, in [0, 1).
        **arguments: see `Estimator`.

    Examples:
        >>> model = LSTM(d_feat=3, hidden_size=4, num_layers=1, seed=0, **small)
        >>> scores = model.fit(dataset).predict(dataset, "test")
        >>> list(scores.index.names), bool(scores.notna().all())
        (['datetime', 'instrument'], True)
    """

    family = "lstm"
    Arguments = RecurrentArguments

    d_feat: int
    hidden_size: int
    num_layers: int
    dropout: float
    lstm_model = LSTM_model = QlibModel.network


class GRU(Estimator):
    """Stacked GRU, linear head on the newest session.

    Args:
        d_feat: F.
        hidden_size: units of each layer.
        num_layers: stacked layers.
        dropout: between the layers, in [0, 1).
        **arguments: see `Estimator`.

    Examples:
        >>> model = GRU(d_feat=3, hidden_size=4, num_layers=1, **small).fit(dataset)
        >>> list(model.predict(dataset, "test").index.names)
        ['datetime', 'instrument']
    """

    family = "gru"
    Arguments = RecurrentArguments

    d_feat: int
    hidden_size: int
    num_layers: int
    dropout: float
    gru_model = GRU_model = QlibModel.network


class KRNN(Estimator):
    """A convolution over time, then the mean of parallel GRUs, linear head on the newest session.

    Args:
        fea_dim: F.
        cnn_dim: channels of the convolution.
        cnn_kernel_size: sessions under the kernel, odd.
        rnn_dim: units of each GRU layer.
        rnn_dups: parallel GRUs.
        rnn_layers: stacked layers of each.
        dropout: between the layers, in [0, 1).
        legacy_layout: cut flat rows as qlib does, which misreads Alpha360; only to reproduce
            numbers made that way. None: a handler of qlib semantics has its rows cut so, with a
            warning.
        **arguments: see `Estimator`.

    Examples:
        >>> model = KRNN(fea_dim=3, cnn_dim=4, rnn_dim=4, rnn_dups=2, rnn_layers=1, **small)
        >>> bool(model.fit(dataset).predict(dataset).notna().all())
        True
    """

    family = "krnn"
    Arguments = KRNNArguments

    fea_dim: int
    cnn_dim: int
    cnn_kernel_size: int
    rnn_dim: int
    rnn_dups: int
    rnn_layers: int
    dropout: float
    legacy_layout: bool | None
    krnn_model = QlibModel.network
