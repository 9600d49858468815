"""The likelihood of held-out windows under a trained model: a stage that needs torch, numpy and safetensors only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.compare import ratio_error
from eval.windows import evenly
from replication.files import write_json
from replication.model import token_counts
from replication.piece import Beats, Seconds

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from eval.stages import Workbench
    from replication.model import Model
    from replication.piece import Grid

LIKELIHOOD_WINDOWS = 256  # of the held-out split at most, evenly spread
FULL_WINDOWS = 2  # of which the first seed's bound is taken at every timestep too


def measure(bench: Workbench) -> None:
    """Measure the likelihood of test windows: likelihood.json, in nats per token, per note, and per beat or second.

    Its terms are per token. Tokens of different encodings say different amounts; notes and time can be compared.
    """
    since = time.perf_counter()
    split = bench.dataset.splits[bench.trial.scale.held_out]
    chosen = evenly(len(split.tokens), LIKELIHOOD_WINDOWS)
    windows = bench.tokens(bench.trial.scale.held_out)[chosen].long()
    model = bench.trained()
    result = model.nll(windows.to(bench.device), seed=bench.trial.seed)
    check = bench.trial.seed == 0 and bench.trial.kind == "trial"  # of the first seed is enough: it takes long
    full = _full_bound(model, windows[:FULL_WINDOWS].to(bench.device)) if check else None
    bench.time("likelihood", time.perf_counter() - since)
    nats, counts = result.total.cpu(), token_counts(windows)
    tokens = int(counts.sum())
    amounts = {"token": tokens, **_music([bench.encoding.decode(row).notes for row in windows.tolist()], bench.grid)}
    write_json(
        bench.folder / "likelihood.json",
        {
            "exact": result.exact,
            "terms": {name: term.cpu().sum().item() / tokens for name, term in result.terms.items()},
            "windows": len(windows),
            **{f"{unit}s": amount for unit, amount in amounts.items()},
            **{
                f"nats_per_{unit}": None if amount is None else nats.sum().item() / amount
                for unit, amount in amounts.items()
            },
            "error_of_estimate": None if result.error is None else result.error.norm().item() / tokens,
            "error_over_songs": _song_error(nats.numpy(), counts.numpy(), split.groups[chosen]),
            "every_timestep": full,
            "parameters": model.parameters_count(),
        },
    )


def _full_bound(model: Model, windows: torch.Tensor) -> dict[str, float] | None:
    """Return the bound (nats per token) of a few windows with every timestep, and with those drawn, as a check.

    None for a model whose likelihood is exact.
    """
    from replication.diffusion import DiffusionLM

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
    """Return the standard error of nats per token over songs; None where infinite."""
    return ratio_error(nats, tokens, songs) if np.isfinite(nats).all() else None


def _music(windows: list[NDArray[Any]], grid: Grid) -> dict[str, float | None]:
    """Return how much there is in windows: notes, and beats or seconds from each one's first onset to its last end."""
    steps = sum(int((notes["onset"] + notes["duration"]).max() - notes["onset"].min()) for notes in windows)
    return {
        "note": sum(len(notes) for notes in windows),
        "beat": steps / grid.steps_per_beat if isinstance(grid, Beats) else None,
        "second": steps / grid.steps_per_second if isinstance(grid, Seconds) else None,
    }
