"""Samples do not depend on which others are drawn, nor likelihoods on later windows, to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baselines.autoregressive import Autoregressive
from baselines.ngram import NGram
from baselines.replay import Replay
from replication.models.diffusion_lm import DiffusionLM
from replication.models.embeddings import Learned
from replication.training.neural_model import CHUNK, NeuralModel
from replication.util.generators import seeded
from tests.support.small_scales import job, random_windows, small_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replication.training.model import Model

SCALE, WORDS = small_scale(length=12), 12
MODELS: dict[str, Callable[[], Model]] = {
    "diffusion": lambda: DiffusionLM(Learned(), vocabulary=WORDS, scale=SCALE),
    "diffusion in bfloat16": lambda: DiffusionLM(
        Learned(), vocabulary=WORDS, scale=small_scale(length=12, bfloat16=True)
    ),
    "autoregressive": lambda: Autoregressive(vocabulary=WORDS, scale=SCALE),
    "n-gram": lambda: NGram(order=3, vocabulary=WORDS, length=12),
    "replay": lambda: Replay(length=12),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small do not profit from more
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=MODELS)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, torch.Tensor]:
    """Return a model without zero weights, and its first samples."""
    with seeded("test", 0):
        model = MODELS[request.param]()
        if isinstance(model, NeuralModel):
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
            model.eval()
        else:
            model.fit(job(tmp_path_factory.mktemp("job"), SCALE, vocabulary=WORDS))
    return model, model.sample(range(3 * CHUNK), seed=3)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(indices=st.lists(st.integers(0, 3 * CHUNK - 1), min_size=1, max_size=4))
def test_a_sample_does_not_depend_on_other_samples(drawn: tuple[Model, torch.Tensor], indices: list[int]) -> None:
    model, first = drawn
    assert torch.equal(model.sample(indices, seed=3), first[indices])


def test_ranges_with_steps_select_samples(drawn: tuple[Model, torch.Tensor]) -> None:
    model, first = drawn
    for indices in (range(5, 150, 7), range(70, 60, -1), range(CHUNK - 1, CHUNK + 1)):
        assert torch.equal(model.sample(indices, seed=3), first[list(indices)])


@pytest.mark.parametrize("chunks", [1, 2])
def test_the_likelihood_of_whole_chunks_does_not_depend_on_later_windows(
    drawn: tuple[Model, torch.Tensor], chunks: int
) -> None:
    model, _ = drawn
    tokens = random_windows(3 * CHUNK - 7, 12, WORDS)
    whole, part = (model.nll(some, seed=5).terms for some in (tokens, tokens[: chunks * CHUNK]))
    assert all(torch.equal(term, whole[name][: chunks * CHUNK]) for name, term in part.items())
