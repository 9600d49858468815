"""The audit of "bits per word": that number, a likelihood and a distance of the same weights.

The report on Diffusion-LM for music compares models by "bits per word" of about 0.0001. Such numbers are the rounding
term of the training loss: the certainty with which a token is recovered from its own embedding under the noise of the
first timestep. The network does not enter. Here it is measured at the milestones of the report's recipe, with the
bound of the likelihood and the distance of samples from real music.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from eval.metrics.windows import evenly
from replication.models.diffusion_lm import standard_normal
from replication.training.model import token_counts
from replication.training.neural_model import CHUNK
from replication.util.checkpoint import milestone
from replication.util.files import read_json, write_json
from replication.util.generators import generator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from replication.models.diffusion_lm import DiffusionLM

WINDOWS = 64  # windows whose bound is measured, evenly spread over the test split
SAMPLES = 128  # samples that are compared with real music
COLUMNS = ("step", "bits_per_word", "nll", "nll_error", "prior", "diffusion", "rounding", "distance")


def audit(
    model: DiffusionLM,
    folder: Path,
    test: torch.Tensor,
    distance: Callable[[torch.Tensor], float],
    *,
    path: Path,
    seed: int,
) -> pd.DataFrame:
    """Measure the weights that a training run kept at the milestones of its budget.

    Each result is written to `path` (JSON) when it is ready; milestones that are already there are skipped.

    Args:
        model: Model of the run, on the device to compute on; its weights are replaced.
        folder: Folder of the milestones of the training run.
        test: (n, L) token ids of the test split.
        distance: Function from (SAMPLES, L) token ids to their distance from real music.
        path: File of the results.
        seed: Seed of the samples and of all noise.

    Returns:
        A row per milestone, in order: `step`, number of updates; `bits_per_word`, see there; `nll`, the upper bound of
        the negative log-likelihood in nats per token, with its terms `prior`, `diffusion` and `rounding` and its
        standard error `nll_error` from the timesteps drawn; `distance`.

    Raises:
        UserError: If the weights of a milestone are damaged or belong to another model.
    """
    import pandas as pd

    done: dict[str, dict[str, float]] = read_json(path) if path.exists() else {}
    for step in model.scale.budget.milestones:
        if str(step) not in done:
            model.load(milestone(folder, step))
            done[str(step)] = _measure(model, test, distance, seed=seed)
            write_json(path, done)
    return pd.DataFrame([{"step": step, **done[str(step)]} for step in model.scale.budget.milestones], columns=COLUMNS)


def _measure(
    model: DiffusionLM, test: torch.Tensor, distance: Callable[[torch.Tensor], float], *, seed: int
) -> dict[str, Any]:
    some = test[evenly(len(test), WINDOWS)].long()
    tokens = int(token_counts(some).sum())
    bound = model.nll(some.to(model.alpha_bar.device), seed=seed)
    assert bound.error is not None
    return {
        "bits_per_word": bits_per_word(model, test, seed=seed),
        "nll": bound.total.sum().item() / tokens,
        "nll_error": bound.error.norm().item() / tokens,
        **{name: term.sum().item() / tokens for name, term in bound.terms.items()},
        "distance": distance(model.sample(range(SAMPLES), seed=seed)),
    }


@torch.no_grad()
def bits_per_word(model: DiffusionLM, tokens: torch.Tensor, *, seed: int) -> float:
    """Return the rounding term of the training loss in bits, which is not a likelihood or a measure of samples.

    mean over all positions, padding included, of -log2 softmax(E (e + sigma_0 noise) + b)[w]: close to 0 for embeddings
    that are far apart compared with the noise, as random ones in 128 dimensions are; log2 V for equal ones.

    Args:
        model: Model with table E and bias b of the rounding head; its network is not used.
        tokens: (n, L) ids w.
        seed: Seed of the noise.
    """
    table, abar = model.embedding.weight.double(), model.alpha_bar
    total = 0.0
    for number, part in enumerate(torch.split(tokens, CHUNK)):
        words = part.to(table.device).long()
        clean = table[words]
        noise = standard_normal(clean, generator("bits-per-word", seed, number, device=table.device))
        logits = model.rounding_logits(clean + (1 - abar[0]).sqrt() * noise)
        own = words[..., None]
        # ln(1 + odds of the others): the cross-entropy itself is 0 below 1e-14, where random embeddings begin.
        others = (logits - logits.gather(-1, own)).scatter(-1, own, -torch.inf).logsumexp(-1)
        total += F.softplus(others).sum().item()
    return total / tokens.numel() / math.log(2)
