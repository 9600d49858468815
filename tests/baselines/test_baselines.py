from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from baselines import BASELINES, TEACHER, AutoregressiveConfig, NGramConfig
from baselines.autoregressive import Autoregressive
from baselines.ngram import NGram
from baselines.replay import Replay
from baselines.untrained import Untrained
from replication.models.embeddings import Learned
from replication.tokens.protocol import CLS, PAD, SEP
from replication.training.model import token_counts
from replication.training.scales import SCALES, BestValidation, Last
from replication.util.generators import seeded
from tests.support.small_scales import job, random_windows, small_scale

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replication.models.ablations import Experiment
    from replication.training.model import Model

TOY = small_scale(length=4, steps=10, log_every=5, validate_every=10, checkpoint_every=10)
VOCABULARY = 5  # the special tokens and two words


def network(*, masked: bool) -> Autoregressive:
    with seeded("test", 0):
        model = Autoregressive(vocabulary=VOCABULARY, scale=TOY, masked=masked)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def grams(order: int, *, masked: bool) -> NGram:
    return NGram(order=order, vocabulary=VOCABULARY, length=4, masked=masked)


MODELS: dict[str, Callable[[], Model]] = {
    "network, unmasked": partial(network, masked=False),
    "network, masked": partial(network, masked=True),
    **{f"{order}-gram, unmasked": partial(grams, order, masked=False) for order in (0, 1, 2, 4)},
    **{f"{order}-gram, masked": partial(grams, order, masked=True) for order in (0, 2)},
}


@pytest.mark.parametrize("name", [*MODELS, "replay"])
@pytest.mark.parametrize("fitted", [False, True])
def test_the_probabilities_of_all_windows_sum_to_one(name: str, fitted: bool, tmp_path: Path) -> None:
    model = MODELS[name]() if name in MODELS else Replay(length=4)
    if fitted or isinstance(model, Replay):
        model.fit(job(tmp_path, TOY, vocabulary=VOCABULARY))
    everything = torch.tensor([[CLS, *rest] for rest in itertools.product(range(VOCABULARY), repeat=3)])
    likelihood = model.nll(everything, seed=0)
    assert likelihood.exact
    assert torch.exp(-likelihood.total).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_frequencies_of_samples_match_the_likelihood(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    if isinstance(model, NGram):
        model.fit(job(tmp_path, TOY, vocabulary=VOCABULARY))
    samples = model.sample(range(4000), seed=0)
    counts: dict[tuple[int, ...], int] = {}
    for row in samples.tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    windows = torch.tensor(list(counts))
    chances = torch.exp(-model.nll(windows, seed=0).total)
    for window, chance in zip(counts, chances.tolist(), strict=True):
        error = math.sqrt(4000 * chance * (1 - chance)) + 1
        assert abs(counts[window] - 4000 * chance) < 4.5 * error, window


@pytest.mark.parametrize("name", [*MODELS, "replay"])
def test_equal_seeds_give_equal_samples_regardless_of_other_draws(name: str, tmp_path: Path) -> None:
    model = MODELS[name]() if name in MODELS else Replay(length=4)
    model.fit(job(tmp_path, TOY, vocabulary=VOCABULARY))
    first = model.sample(range(70), seed=1)
    assert first.shape == (70, 4)
    torch.manual_seed(5)
    assert torch.equal(model.sample(range(70), seed=1), first)
    assert torch.equal(model.sample(range(50, 66), seed=1), first[50:66])
    assert not torch.equal(model.sample(range(70), seed=2), first)


def follows_grammar(row: list[int]) -> bool:
    end = row.index(SEP) if SEP in row else len(row)
    return row[0] == CLS and CLS not in row[1:] and not any(row[end + 1 :]) and PAD not in row[:end]


@pytest.mark.parametrize("name", MODELS)
def test_only_masked_models_are_given_the_grammar_of_the_special_tokens(name: str) -> None:
    model = MODELS[name]()
    everything = [[CLS, *rest] for rest in itertools.product(range(VOCABULARY), repeat=3)]
    broken = [row for row in everything if not follows_grammar(row)]
    assert len(broken) == 110  # of 125
    if name.endswith("unmasked"):
        assert model.nll(torch.tensor(broken), seed=0).total.isfinite().all()
        assert not all(follows_grammar(row) for row in model.sample(range(64), seed=0).tolist())
    else:
        assert model.nll(torch.tensor(broken), seed=0).total.isinf().all()
        assert all(follows_grammar(row) for row in model.sample(range(64), seed=0).tolist())


def test_padding_costs_an_unmasked_model_its_own_nats() -> None:
    model, window = network(masked=False), torch.tensor([[CLS, 3, SEP, PAD]])
    chances = model(window[:, :-1]).exp()[0]
    expected = -(chances[0, 3] * chances[1, SEP] * chances[2, PAD]).log()
    assert model.nll(window, seed=0).total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.terms(window)["nll"].item() == pytest.approx(expected.item() / 2, rel=1e-5)  # 3 and [SEP] are counted


def test_witten_bell_by_hand() -> None:
    model = grams(2, masked=True)
    model._count(torch.tensor([[CLS, 3, 3, SEP], [CLS, 3, 4, SEP]]))
    # Order 1: counts 3:3, 4:1, SEP:2 of 6 with 3 kinds, uniform over {SEP, 3, 4} below: (c + 3 * 1/3) / 9.
    first = {SEP: 3 / 9, 3: 4 / 9, 4: 2 / 9}
    # After 3: 3:1, 4:1, SEP:1 of 3 with 3 kinds: (1 + 3 p1) / 6.
    for word, chance in first.items():
        assert model.distribution((CLS, 3))[word].item() == pytest.approx((1 + 3 * chance) / 6)
    assert model.distribution((3, SEP))[PAD].item() == 1


def test_witten_bell_without_a_mask_counts_padding() -> None:
    model = grams(2, masked=False)
    model._count(torch.tensor([[CLS, 3, SEP, PAD], [CLS, SEP, PAD, PAD]]))
    # Order 1: counts PAD:3, SEP:2, 3:1 of 6 with 3 kinds, 1/5 each below: (c + 3 / 5) / 9.
    first = {PAD: 3.6 / 9, SEP: 2.6 / 9, 3: 1.6 / 9, CLS: 0.6 / 9, 4: 0.6 / 9}
    # After [SEP]: PAD:2 of 2 with 1 kind: (c + p1) / 3.
    for word, chance in first.items():
        assert model.distribution((CLS, SEP))[word].item() == pytest.approx(((word == PAD) * 2 + chance) / 3)


@pytest.mark.parametrize("masked", [False, True])
def test_the_nll_of_a_uniform_model_is_the_log_of_its_choices(masked: bool, tmp_path: Path) -> None:
    model = NGram(order=0, vocabulary=12, length=34, masked=masked)
    model.fit(job(tmp_path, small_scale(), vocabulary=12))
    windows = random_windows(20, 34, 12)
    # Masked, all words but [PAD] and [CLS] at every token; else all words at 33 positions.
    expected = token_counts(windows) * math.log(10) if masked else torch.full((20,), 33 * math.log(12))
    torch.testing.assert_close(model.nll(windows, seed=0).total, expected.double())
    assert model.parameters_count() == 0


def test_an_untrained_model_has_the_weights_from_which_training_starts(tmp_path: Path) -> None:
    task = job(tmp_path, small_scale(), vocabulary=12)
    with seeded("test", 0):
        model = Untrained(vocabulary=12, scale=small_scale())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.fit(task)
    table = before.pop("embedding.weight")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert not torch.equal(model.embedding.weight, table)
    assert torch.equal(model.embedding.weight, Learned().table(task, vocabulary=12, dimension=small_scale().dimension))


@pytest.mark.parametrize("masked", [False, True])
def test_ngrams_are_counted_as_by_a_plain_loop(masked: bool) -> None:
    windows = random_windows(40, 12, VOCABULARY)
    model = NGram(order=3, vocabulary=VOCABULARY, length=12, masked=masked)
    model._count(windows.short())
    for size, (numbers, times) in enumerate(model._seen):
        counts: Counter[int] = Counter()
        for window in windows.tolist():
            words = [token for token in window if token != PAD or not masked]
            for position in range(max(size, 1), len(words)):
                gram = words[position - size : position + 1]
                counts[sum(word * VOCABULARY**place for place, word in enumerate(reversed(gram)))] += 1
        assert dict(zip(numbers.tolist(), times.tolist(), strict=True)) == counts


def test_replay_gives_probability_only_to_training_windows(tmp_path: Path) -> None:
    model = Replay(length=34)
    task = job(tmp_path, small_scale(), n=10)
    model.fit(task)
    assert model.nll(task.train, seed=0).total.max().item() == pytest.approx(math.log(10))
    assert model.nll(task.validation, seed=0).total.isinf().all()
    drawn = {tuple(row) for row in model.sample(range(10), seed=0).tolist()}
    assert drawn == {tuple(row) for row in task.train.tolist()}


@pytest.mark.parametrize("row", BASELINES, ids=lambda row: row.name)
def test_saving_and_loading_keeps_the_model(row: Experiment, tmp_path: Path) -> None:
    config = row.model
    task = job(tmp_path, small_scale(), n=20)
    model = config.build(vocabulary=12, scale=small_scale())
    model.fit(task)
    model.save(tmp_path / "model.safetensors")
    again = config.build(vocabulary=12, scale=small_scale())
    again.load(tmp_path / "model.safetensors")
    windows = random_windows(6, 34, 12)
    torch.testing.assert_close(again.nll(windows, seed=0).total, model.nll(windows, seed=0).total)
    assert torch.equal(again.sample(range(3), seed=0), model.sample(range(3), seed=0))
    assert again.parameters_count() == model.parameters_count()
    assert (model.parameters_count() > 0) is (row.name != "uniform")


def test_the_teacher_is_not_a_row_and_has_a_seed_of_its_own() -> None:
    assert TEACHER not in BASELINES
    assert TEACHER.kind == "teacher"
    assert TEACHER.seeds is not None
    assert min(TEACHER.seeds) > max(scale.countable_seeds[-1] for scale in SCALES.values())


def test_rows_without_a_mask_differ_from_the_masked_ones_in_that_alone() -> None:
    rows = {row.name: row.model for row in BASELINES}
    free, best = rows["autoregressive"], rows["autoregressive-best"]
    assert isinstance(free, AutoregressiveConfig)
    assert isinstance(rows["ngram"], NGramConfig)
    assert (free.masked, free.keep, rows["ngram"].masked) == (False, Last(), False)
    assert rows["autoregressive-masked"] == replace(free, masked=True) == TEACHER.model
    assert rows["ngram-masked"] == replace(rows["ngram"], masked=True)
    assert best == replace(free, keep=BestValidation())
    assert rows["autoregressive-triples"] == rows["autoregressive-remi"] == free
    assert best.build(vocabulary=12, scale=TOY).scale.budget.keep == BestValidation()
