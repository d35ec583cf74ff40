"""KRNN: a convolution over time, K parallel GRUs whose states are averaged, a linear head.

    [B, L, F] -> Conv1d over L -> [B, L, C] -> mean of K GRUs -> [B, L, H] -> last -> [B]

The convolution is centred: it sees one session ahead inside the window and is padded with zeros
at the newest one. Nothing leaks, since a window ends at its own session, but the newest step is
seen through a shorter kernel. Kernel sizes are odd so that L is kept.

qlib feeds this network flat rows and cuts them into steps itself, in time-major order, which
misreads Alpha360 (its columns are field-major; quirk Q16). Here the caller gives true windows
[B, L, F] and the shape is checked. Parameter names and their order are qlib's.

Rule matched: qlib contrib/model/pytorch_krnn.py.

Shapes: `B` batch, `L` window length, `F` features, `C` channels, `K` parallel RNNs, `H` hidden.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from rnn_core.models.fused import States, can_fuse, run
from rnn_core.models.input_checks import (
    MOST_LAYERS,
    require_dropout,
    require_sizes,
    require_windows,
)


class CNNEncoderBase(nn.Module):
    """One centred convolution over the session axis, length kept.

    Args:
        input_dim: F.
        output_dim: C.
        kernel_size: sessions under the kernel, odd.

    Raises:
        ValueError: a size below 1 or an even kernel.

    Examples:
        >>> CNNEncoderBase(input_dim=6, output_dim=4, kernel_size=3)(windows).shape  # [B, L, C]
        torch.Size([8, 20, 4])
    """

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int) -> None:
        super().__init__()
        require_sizes(input_dim=input_dim, output_dim=output_dim, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size is {kernel_size}, expected an odd number: an even kernel has no "
                f"centre and would shorten the window; take {kernel_size - 1} or {kernel_size + 1}"
            )
        self.input_dim = input_dim
        self.conv = nn.Conv1d(input_dim, output_dim, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: [B, L, F].

        Returns:
            [B, L, C].

        Raises:
            ValueError: another shape.
        """
        require_windows(x, self.input_dim)
        channels: Tensor = self.conv(x.transpose(1, 2))  # [B, C, L]
        return channels.transpose(1, 2)  # [B, L, C]


class KRNNEncoderBase(nn.Module):
    """K independent GRUs over the same input; the mean of their states at every step.

    Args:
        input_dim: C.
        output_dim: H.
        dup_num: K.
        rnn_layers: stacked layers of each GRU.
        dropout: between the layers, in [0, 1).

    Raises:
        ValueError: a size below 1 or a dropout outside [0, 1).

    Examples:
        >>> encoder = KRNNEncoderBase(input_dim=6, output_dim=5, dup_num=2, rnn_layers=1, dropout=0)
        >>> encoder(windows).shape  # [B, L, H]
        torch.Size([8, 20, 5])
    """

    def __init__(
        self, input_dim: int, output_dim: int, dup_num: int, rnn_layers: int, dropout: float
    ) -> None:
        super().__init__()
        require_sizes(input_dim=input_dim, output_dim=output_dim)
        require_sizes(MOST_LAYERS, dup_num=dup_num, rnn_layers=rnn_layers)
        require_dropout(dropout)
        self.rnn_modules = nn.ModuleList(
            nn.GRU(input_dim, output_dim, num_layers=rnn_layers, dropout=dropout)
            for _ in range(dup_num)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Run the K GRUs and average.

        Args:
            x: [B, L, C].

        Returns:
            [B, L, H].
        """
        if self._compiles(x):
            outputs = [states.all for states in self._compiled(x)]  # K times [L, H, B]
            return torch.stack(outputs).mean(dim=0).permute(2, 0, 1)
        steps = x.transpose(0, 1)  # [L, B, C]
        states = torch.stack([rnn(steps)[0] for rnn in self.rnn_modules], dim=-2)
        return states.mean(dim=-2).transpose(0, 1)  # [B, L, H]

    def newest(self, x: Tensor) -> Tensor:
        """Average the K GRUs' states at the newest step alone.

        Args:
            x: [B, L, C].

        Returns:
            [B, H].
        """
        if self._compiles(x):
            newest = [states.newest for states in self._compiled(x)]  # K times [H, B]
            return torch.stack(newest).mean(dim=0).t()
        encoded: Tensor = self(x)
        return encoded[:, -1]

    def _compiles(self, x: Tensor) -> bool:
        return can_fuse(cast(nn.GRU, self.rnn_modules[0]), x)

    def _compiled(self, x: Tensor) -> list[States]:
        steps = x.permute(1, 2, 0).contiguous()  # [L, C, B]
        return [run(cast(nn.GRU, rnn), steps) for rnn in self.rnn_modules]


class CNNKRNNEncoder(nn.Module):
    """The convolution, then the K GRUs.

    Args:
        cnn_input_dim: F.
        cnn_output_dim: C.
        cnn_kernel_size: sessions under the kernel, odd.
        rnn_output_dim: H.
        rnn_dup_num: K.
        rnn_layers: stacked layers of each GRU.
        dropout: between the layers, in [0, 1).

    Raises:
        ValueError: a size below 1, an even kernel, or a dropout outside [0, 1).

    Examples:
        >>> encoder = CNNKRNNEncoder(6, 4, 3, 5, rnn_dup_num=2, rnn_layers=1, dropout=0)
        >>> encoder(windows).shape  # [B, L, H]
        torch.Size([8, 20, 5])
    """

    def __init__(
        self,
        cnn_input_dim: int,
        cnn_output_dim: int,
        cnn_kernel_size: int,
        rnn_output_dim: int,
        rnn_dup_num: int,
        rnn_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.cnn_encoder = CNNEncoderBase(cnn_input_dim, cnn_output_dim, cnn_kernel_size)
        self.krnn_encoder = KRNNEncoderBase(
            cnn_output_dim, rnn_output_dim, rnn_dup_num, rnn_layers, dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode.

        Args:
            x: [B, L, F].

        Returns:
            [B, L, H].

        Raises:
            ValueError: another shape.
        """
        encoded: Tensor = self.krnn_encoder(self.cnn_encoder(x))  # [B, L, H]
        return encoded

    def newest(self, x: Tensor) -> Tensor:
        """Encode the newest step alone.

        Args:
            x: [B, L, F].

        Returns:
            [B, H].
        """
        return self.krnn_encoder.newest(self.cnn_encoder(x))


class KRNNModel(nn.Module):
    """KRNN, [B, L, F] -> [B].

    Args:
        fea_dim: F, features of one session.
        cnn_dim: C, channels of the convolution.
        cnn_kernel_size: sessions under the kernel, odd.
        rnn_dim: H, units of each GRU layer.
        rnn_dups: K, parallel GRUs.
        rnn_layers: stacked layers of each GRU.
        dropout: between the layers, in [0, 1).

    Raises:
        ValueError: a size below 1, an even kernel, or a dropout outside [0, 1).

    Examples:
        >>> KRNNModel(fea_dim=6, cnn_dim=4, rnn_dim=4, rnn_dups=2)(windows).shape
        torch.Size([8])
    """

    shard_rows: ClassVar[int] = 512  # of one call on the CPU; see rnn_core/training/workers.py

    def __init__(
        self,
        fea_dim: int = 6,
        cnn_dim: int = 64,
        cnn_kernel_size: int = 3,
        rnn_dim: int = 64,
        rnn_dups: int = 3,
        rnn_layers: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fea_dim = fea_dim
        self.encoder = CNNKRNNEncoder(
            fea_dim, cnn_dim, cnn_kernel_size, rnn_dim, rnn_dups, rnn_layers, dropout
        )
        self.out_fc = nn.Linear(rnn_dim, 1)

    @property
    def n_features(self) -> int:
        """F, the width of the windows that this network reads."""
        return self.fea_dim

    def forward(self, x: Tensor) -> Tensor:
        """Compute the scores of a batch of windows.

        Args:
            x: [B, L, F], oldest session first.

        Returns:
            [B], also for B = 1.

        Raises:
            ValueError: another shape.
        """
        scores: Tensor = self.out_fc(self.encoder.newest(x))  # [B, 1]
        return scores.squeeze(-1)  # [B]
