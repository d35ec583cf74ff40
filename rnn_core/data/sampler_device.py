"""Where a sampler's rows live while batches are gathered: on the training device, or on the host.

Rows and index on the device make a batch two gathers there and no copy. A market that does not fit
beside the model stays in host memory: its batches are gathered there into a page-locked buffer and
copied while the device goes on computing. torch's pinned allocator gives a buffer out again only
after the copy that reads it, so no event has to be waited for here.

The decision is taken once a device, from the bytes that are needed and those that are free, and
the fallback is logged as a warning, because it makes every batch slower.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rnn_core.data.sampler_index import Fill, Resident, SampleStore

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SHARE = 0.7
"""Of the free device memory, what rows and index may take; the rest is the model's."""


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where that is not limited here."""
    import torch

    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + cached)


def fits(needed: int, free: int | None) -> bool:
    """Whether `needed` bytes may be placed where `free` bytes are left; None is no limit."""
    return free is None or needed <= SHARE * free


def resident(store: SampleStore, device: torch.device) -> Resident:
    """The store's tensors for a device, placed at the first call.

    On the CPU they share the store's memory. Where they do not fit, a warning says so and the
    host's are returned.
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
    held: Resident, offsets: torch.Tensor, step_len: int, fill: Fill, device: torch.device
) -> torch.Tensor:
    """Windows of the samples at `offsets`.

    Args:
        held: rows and index.
        offsets: int64 [B], where `held` is.
        step_len: L.
        fill: how missing rows are filled.
        device: where the windows go.

    Returns:
        [B, L, F] on `device`; where `held` is staged, the copy may still be under way in the
        device's current stream, where whatever uses it comes after it.
    """
    import torch

    matrix, table = held.matrix, held.table
    seen = table.unfold(0, step_len + 1, 1).index_select(0, offsets)  # [B, L + 1]
    before, rows = seen[:, :1], seen[:, 1:]  # [B, 1], [B, L]
    # A sample's own row exists, so with both fills no window is without a row.
    if fill == "ffill+bfill":
        rows = torch.maximum(rows, before + 1)
    else:
        known = before if fill == "ffill" else seen[:, :-1]
        rows = torch.where(rows > known, rows, len(matrix) - 1)
    flat = rows.reshape(-1)  # [B * L]
    if held.staged:
        buffer = torch.empty(
            (len(flat), matrix.shape[1]),
            dtype=matrix.dtype,
            pin_memory=torch.cuda.is_available(),
        )
        windows = torch.index_select(matrix, 0, flat, out=buffer).to(device, non_blocking=True)
    else:
        windows = matrix.index_select(0, flat)  # [B * L, F]
    return windows.view(len(offsets), step_len, matrix.shape[1])  # [B, L, F]
