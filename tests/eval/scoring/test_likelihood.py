"""The likelihood of held-out windows: the estimator of a bound is chosen on validation windows only."""

from __future__ import annotations

import copy
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from baselines.autoregressive import Autoregressive
from eval.scoring.likelihood import FAMILY, choose, measure
from replication.midi.piece import sorted_notes
from replication.models.bound import Interpolated, Plain
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.tokens.encodings import Paper
from replication.training.model import Likelihood, token_counts
from replication.util.files import describe
from replication.util.generators import seeded
from tests.support.small_scales import small_scale

if TYPE_CHECKING:
    from replication.training.model import Model

SCALE = small_scale(timesteps=50, strata=4)
VOCABULARY = len(Paper().vocabulary)


@pytest.fixture(scope="module")
def model() -> DiffusionLM:
    with seeded("test", 0):
        model = DiffusionLM(Learned(), vocabulary=VOCABULARY, scale=SCALE).eval()
        for parameter in model.transformer.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def measured(model: Model, windows: torch.Tensor, validation: torch.Tensor) -> dict[str, Any]:
    return measure(
        model,
        windows,
        validation.short(),
        np.arange(len(windows)),
        Paper(),
        seed=0,
        device=torch.device("cpu"),
        every_timestep=False,
    )


def windows_of(seed: int, n: int = 12) -> torch.Tensor:
    """Return (n, L) windows of random notes in the range of the encoding."""
    random, parts = np.random.default_rng(seed), []
    for _ in range(n):
        notes = [(onset, 4, int(random.integers(50, 80)), 64) for onset in range(0, 400, 4)]
        parts.append(Paper().windows(sorted_notes(notes), SCALE.length)[0][:1])
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def test_the_estimator_is_the_best_on_validation_windows_whatever_the_test_windows(model: DiffusionLM) -> None:
    certain = copy.deepcopy(model)  # predicts one word everywhere, so it is right about some windows only
    with torch.no_grad():
        last = certain.get_submodule("down.2")
        assert isinstance(last, torch.nn.Linear)
        last.weight.zero_()
        last.bias.copy_(certain.embedding.weight[5])
    chosen = set()
    for word in (5, 7):
        validation = torch.full((4, SCALE.length), word)
        best = choose(certain.bounds(validation, FAMILY, seed=0))
        chosen.add(best)
        for seed in (2, 3):
            assert measured(certain, windows_of(seed, 3), validation)["estimator"] == describe(best)
    assert len(chosen) == 2


def test_a_bound_has_the_plain_one_beside_it_with_the_same_units(model: DiffusionLM) -> None:
    windows, validation = windows_of(2), windows_of(1)
    found = measured(model, windows, validation)
    estimator = Interpolated(**{key: value for key, value in found["estimator"].items() if key != "type"})
    bounds = model.bounds(windows, (estimator, Plain()), seed=0)
    tokens = int(token_counts(windows).sum())
    for part, one in ((found, estimator), (found["plain"], Plain())):
        assert part["nats_per_token"] == pytest.approx(bounds[one].total.sum().item() / tokens)
        assert sum(part["terms"].values()) == pytest.approx(part["nats_per_token"])
        assert part["nats_per_note"] * found["notes"] == pytest.approx(part["nats_per_token"] * tokens)
        assert part["error_of_estimate"] > 0
        assert part["error_over_songs"] > 0


def test_an_exact_likelihood_has_no_estimator() -> None:
    found = measured(Autoregressive(vocabulary=VOCABULARY, scale=SCALE).eval(), windows_of(2), windows_of(1))
    assert (found["exact"], found["estimator"], found["plain"], found["error_of_estimate"]) == (True, None, None, None)


def test_the_smallest_bound_is_chosen_the_first_of_equal_ones_and_never_one_that_is_not_a_number() -> None:
    def bounds(*totals: float) -> Any:  # noqa: ANN401 - as choose takes them
        return {
            estimator: Likelihood(terms={"diffusion": torch.tensor([total, 1.0])}, exact=False)
            for estimator, total in zip(FAMILY, totals, strict=False)
        }

    assert choose(bounds(3.0, 2.0, 2.0, 5.0)) == FAMILY[1]
    assert choose(bounds(math.nan, 2.0)) == FAMILY[1]
    assert choose(bounds(math.nan, math.nan)) == FAMILY[0]
    assert choose(bounds(math.inf, 1e9)) == FAMILY[1]


def test_the_family_is_a_grid_of_powers_and_variances() -> None:
    powers, variances = ({getattr(one, name) for one in FAMILY} for name in ("power", "variance"))
    assert list(itertools.product(sorted(powers), sorted(variances))) == [(one.power, one.variance) for one in FAMILY]
