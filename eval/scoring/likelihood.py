"""The likelihood of held-out windows under a trained model; needs torch, numpy and safetensors only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from eval.statistics.intervals import ratio_error
from replication.midi.piece import Beats, Seconds
from replication.training.model import token_counts

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from replication.midi.piece import TimeGrid
    from replication.tokens.protocol import Encoding
    from replication.training.model import Model

LIKELIHOOD_WINDOWS = 256  # maximum number of held-out windows, evenly spread
FULL_WINDOWS = 2  # windows on which the first seed's bound is also computed at every timestep


def measure(
    model: Model,
    windows: torch.Tensor,
    songs: NDArray[Any],
    encoding: Encoding,
    *,
    seed: int,
    device: torch.device,
    every_timestep: bool,
) -> dict[str, Any]:
    """Measure the likelihood of held-out windows, in nats per token, per note, and per beat or second.

    The terms are per token. Tokens of different encodings carry different amounts of music; notes and time can be
    compared.

    Args:
        model: Trained model on the device.
        windows: (n, L) int64 token ids.
        songs: (n,) song of each window.
        encoding: Encoding of the tokens.
        seed: Seed of the draws of a bound.
        device: Device to compute on.
        every_timestep: Whether to compute the bound of `FULL_WINDOWS` windows at every timestep too, as a slow check.

    Returns:
        Plain JSON data: exact, terms, windows, the amounts and nats per unit, error_of_estimate, error_over_songs,
        every_timestep, parameters.
    """
    result = model.nll(windows.to(device), seed=seed)
    full = _full_bound(model, windows[:FULL_WINDOWS].to(device)) if every_timestep else None
    nats, counts = result.total.cpu(), token_counts(windows)
    tokens = int(counts.sum())
    notes = [encoding.decode(row).notes for row in windows.tolist()]
    amounts = {"token": tokens, **_music(notes, encoding.grid)}
    return {
        "exact": result.exact,
        "terms": {name: term.cpu().sum().item() / tokens for name, term in result.terms.items()},
        "windows": len(windows),
        **{f"{unit}s": amount for unit, amount in amounts.items()},
        **{
            f"nats_per_{unit}": None if amount is None else nats.sum().item() / amount
            for unit, amount in amounts.items()
        },
        "error_of_estimate": None if result.error is None else result.error.norm().item() / tokens,
        "error_over_songs": _song_error(nats.numpy(), counts.numpy(), songs),
        "every_timestep": full,
        "parameters": model.parameters_count(),
    }


def _full_bound(model: Model, windows: torch.Tensor) -> dict[str, float] | None:
    """Return the bound (nats per token) of a few windows at every timestep and at the drawn ones, as a check.

    None for a model whose likelihood is exact.
    """
    from replication.models.diffusion_lm import DiffusionLM

    if not isinstance(model, DiffusionLM):
        return None
    tokens = int(token_counts(windows).sum())
    every = model.nll(windows, seed=0, strata=model.scale.timesteps - 1)
    drawn = model.nll(windows, seed=0)
    assert drawn.error is not None
    return {
        "every": every.total.sum().item() / tokens,
        "drawn": drawn.total.sum().item() / tokens,
        "error": drawn.error.norm().item() / tokens,
    }


def _song_error(nats: NDArray[Any], tokens: NDArray[Any], songs: NDArray[Any]) -> float | None:
    """Return the standard error of nats per token over songs; None if they are infinite."""
    return ratio_error(nats, tokens, songs) if np.isfinite(nats).all() else None


def _music(windows: list[NDArray[Any]], grid: TimeGrid) -> dict[str, float | None]:
    """Return the amount of music in windows: notes, and beats or seconds from first onset to last end."""
    steps = sum(int((notes["onset"] + notes["duration"]).max() - notes["onset"].min()) for notes in windows)
    return {
        "note": sum(len(notes) for notes in windows),
        "beat": steps / grid.steps_per_beat if isinstance(grid, Beats) else None,
        "second": steps / grid.steps_per_second if isinstance(grid, Seconds) else None,
    }
