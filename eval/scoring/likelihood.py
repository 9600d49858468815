"""The likelihood of held-out windows under a trained model; needs torch, numpy and safetensors only.

A diffusion model has upper bounds, one per estimator of the clean embeddings (`replication.models.bound`), and the
order of models depends on the estimator. So all models share one family and one rule: each trial takes the member of
`FAMILY` with the smallest bound on validation windows, the first if several are equal, and the held-out windows are
measured with that one only. The bound of the network's plain prediction stands beside it. Tuning trials hold out the
validation split, so they choose on what they measure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.metrics.windows import evenly
from eval.statistics.intervals import ratio_error
from replication.midi.piece import Beats, Seconds
from replication.models.bound import Interpolated, Plain
from replication.models.diffusion_lm import DiffusionLM
from replication.training.model import token_counts
from replication.util.files import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from replication.midi.piece import TimeGrid
    from replication.models.bound import Estimator
    from replication.tokens.protocol import Encoding
    from replication.training.model import Likelihood, Model

LIKELIHOOD_WINDOWS = 256  # maximum number of held-out windows, evenly spread
CHOICE_WINDOWS = 64  # maximum number of validation windows on which the estimator is chosen, evenly spread
FULL_WINDOWS = 2  # windows on which the first seed's bound is also computed at every timestep
FAMILY = tuple(
    Interpolated(power=power, variance=variance)
    for power in (0.0, 1.0, 2.0, 4.0, 8.0)
    for variance in (1 / 16, 1 / 4, 1.0, 4.0)
)


def measure(
    model: Model,
    windows: torch.Tensor,
    validation: torch.Tensor,
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
        windows: (n, L) int64 token ids of the held-out split.
        validation: (m, L) token ids of the validation split, of which up to `CHOICE_WINDOWS` choose the estimator.
        songs: (n,) song of each held-out window.
        encoding: Encoding of the tokens.
        seed: Seed of the draws of a bound.
        device: Device to compute on.
        every_timestep: Whether to compute the bound of `FULL_WINDOWS` windows at every timestep too, as a slow check.

    Returns:
        Plain JSON data: exact, estimator (of a bound, as `describe` has it), terms, windows, the amounts and nats per
        unit, error_of_estimate (the standard error from all that a bound draws), error_over_songs, plain (terms, nats
        per unit and errors of the bound of the plain prediction), every_timestep, parameters. What only a bound has is
        None for an exact likelihood.
    """
    counts = token_counts(windows)
    notes = [encoding.decode(row).notes for row in windows.tolist()]
    amounts = {"token": int(counts.sum()), **_music(notes, encoding.grid)}
    estimator, full, bounds = None, None, {}
    if isinstance(model, DiffusionLM):
        some = validation[evenly(len(validation), CHOICE_WINDOWS)].long().to(device)
        estimator = choose(model.bounds(some, FAMILY, seed=seed))
        bounds = model.bounds(windows.to(device), (estimator, Plain()), seed=seed)
        result = bounds[estimator]
        if every_timestep:
            full = _full_bound(model, windows[:FULL_WINDOWS].to(device), estimator)
    else:
        result = model.nll(windows.to(device), seed=seed)
    return {
        "exact": result.exact,
        "estimator": describe(estimator),
        "windows": len(windows),
        **{f"{unit}s": amount for unit, amount in amounts.items()},
        **_per_unit(result, amounts, counts, songs),
        "plain": _per_unit(bounds[Plain()], amounts, counts, songs) if bounds else None,
        "every_timestep": full,
        "parameters": model.parameters_count(),
    }


def choose(bounds: Mapping[Estimator, Likelihood]) -> Estimator:
    """Return the estimator with the smallest sum of bounds, the first if several are equal; NaN counts as the largest.

    Args:
        bounds: Bounds of the same windows by estimator.
    """
    totals = {estimator: bound.total.sum().item() for estimator, bound in bounds.items()}
    return min(totals, key=lambda estimator: math.inf if math.isnan(totals[estimator]) else totals[estimator])


def _per_unit(
    result: Likelihood, amounts: Mapping[str, float | None], counts: torch.Tensor, songs: NDArray[Any]
) -> dict[str, Any]:
    """Return the terms and the errors in nats per token, and nats per unit."""
    nats, tokens = result.total.cpu(), int(counts.sum())
    return {
        "terms": {name: term.cpu().sum().item() / tokens for name, term in result.terms.items()},
        **{
            f"nats_per_{unit}": None if amount is None else nats.sum().item() / amount
            for unit, amount in amounts.items()
        },
        "error_of_estimate": None if result.error is None else result.error.norm().item() / tokens,
        "error_over_songs": _song_error(nats.numpy(), counts.numpy(), songs),
    }


def _full_bound(model: DiffusionLM, windows: torch.Tensor, estimator: Estimator) -> dict[str, float]:
    """Return the bound (nats per token) of a few windows at every timestep and at the drawn ones, as a check."""
    tokens = int(token_counts(windows).sum())
    every = model.bounds(windows, (estimator,), seed=0, every_timestep=True)[estimator]
    drawn = model.bounds(windows, (estimator,), seed=0)[estimator]
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
