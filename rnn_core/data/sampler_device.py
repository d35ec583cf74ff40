"""Placement of a sampler's rows for gathering batches: on the training device, or on the host.

With rows and index on the device, a batch costs two gathers there and no copy. A market that does
not fit beside the model stays in host memory: its batches are gathered there into a page-locked
buffer and copied while the device goes on computing. torch's pinned allocator reuses a buffer only
after the copy that reads it, so this module waits for no event.

`resident` decides once a device, by the needed and the free bytes. It logs the fallback as a
warning, because every batch is slower then.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rnn_core.data.sampler_index import Fill, Resident, SampleStore

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SHARE = 0.7
"""Share of the free device memory that rows and index may take; the model needs the rest."""


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that can still be allocated on a device; None if there is no limit."""
    import torch

    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + cached)


def fits(needed: int, free: int | None) -> bool:
    """True if `needed` bytes may be placed into `free` bytes; None is no limit."""
    return free is None or needed <= SHARE * free


def resident(store: SampleStore, device: torch.device) -> Resident:
    """Return the store's tensors for a device, placed there by the first call.

    On the CPU the tensors share the store's memory. If they do not fit on the device, they stay in
    host memory, with a warning.
    """
    import torch

    key = str(device)
    if key not in store.on_device:
        needed = store.matrix.nbytes + store.table.nbytes
        free = free_bytes(device)
        staged = not fits(needed, free)
        if staged:
            logger.warning(
                "the sampler's rows and index need %.2f GB, %s has %.2f GB free, of which they "
                "may take %.0f %%: they stay in host memory, batches are gathered there and "
                "copied over; fewer columns or sessions might fit",
                needed / 1e9,
                device,
                (free or 0) / 1e9,
                SHARE * 100,
            )
        place = torch.device("cpu") if staged else device
        store.on_device[key] = Resident(
            torch.from_numpy(store.matrix).to(place),
            torch.from_numpy(store.table).to(place),
            staged,
        )
    return store.on_device[key]


def gather(
    store: Resident, offsets: torch.Tensor, step_len: int, fill: Fill, device: torch.device
) -> torch.Tensor:
    """Gather the windows of the samples at `offsets`.

    Args:
        store: rows and index.
        offsets: int64 [B], on the device of `store`.
        step_len: L.
        fill: the filling of missing rows.
        device: the device of the windows.

    Returns:
        [B, L, F] on `device`. If `store` is staged, the copy may still be under way in the device's
        current stream; later work in that stream comes after it.
    """
    import torch

    matrix = store.matrix
    flat = rows_of(store, offsets, step_len, fill).reshape(-1)  # [B * L]
    if store.staged:
        buffer = torch.empty(
            (len(flat), matrix.shape[1]),
            dtype=matrix.dtype,
            pin_memory=torch.cuda.is_available(),
        )
        windows = torch.index_select(matrix, 0, flat, out=buffer).to(device, non_blocking=True)
    else:
        windows = matrix.index_select(0, flat)  # [B * L, F]
    return windows.view(len(offsets), step_len, matrix.shape[1])  # [B, L, F]


def rows_of(store: Resident, offsets: torch.Tensor, step_len: int, fill: Fill) -> torch.Tensor:
    """Find the rows of the windows of the samples at `offsets`.

    Args:
        store: rows and index.
        offsets: int64 [B], on the device of `store`.
        step_len: L.
        fill: the filling of missing rows.

    Returns:
        Their numbers, [B, L]; a step without a row has the number of the row of NaN, the last.
    """
    import torch

    newest = store.table.unfold(0, step_len + 1, 1).index_select(0, offsets)  # [B, L + 1]
    before, rows = newest[:, :1], newest[:, 1:]  # [B, 1], [B, L]
    # A sample's own row exists, so with both fills no window is without a row.
    if fill == "ffill+bfill":
        return torch.maximum(rows, before + 1)
    known = before if fill == "ffill" else newest[:, :-1]
    return torch.where(rows > known, rows, len(store.matrix) - 1)
