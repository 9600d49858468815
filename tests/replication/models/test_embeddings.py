from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
import torch

from baselines.autoregressive import Autoregressive
from replication.models.ablations import ABLATIONS, Diffusion
from replication.models.embeddings import FromAutoregressive, Gaussian, Learned, Pretrained, SkipGram
from replication.tokens.protocol import CLS
from replication.util.generators import seeded
from tests.support.small_scales import job, small_scale

if TYPE_CHECKING:
    from pathlib import Path

    from replication.training.model import Job

ARMS = [Learned(), Gaussian(), Pretrained(SkipGram(steps=50)), Pretrained(FromAutoregressive())]


@pytest.fixture
def task(tmp_path: Path) -> Job:
    scale = small_scale()
    Autoregressive(vocabulary=12, scale=scale).save(tmp_path / "autoregressive" / "model.safetensors")
    return job(tmp_path / "trial", scale)


@pytest.mark.parametrize("arm", ARMS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_every_arm_starts_at_its_scale_per_dimension(arm: Learned, scale: float, task: Job) -> None:
    table = replace(arm, scale=scale).table(task, vocabulary=12, dimension=8)
    assert table.shape == (12, 8)
    torch.testing.assert_close(table.pow(2).mean(0).sqrt(), torch.full((8,), scale))


def test_learned_and_gaussian_start_from_the_same_table(task: Job) -> None:
    tables = [arm.table(task, vocabulary=12, dimension=8) for arm in (Learned(), Gaussian())]
    assert torch.equal(*tables)
    other = Gaussian().table(replace(task, seed=1), vocabulary=12, dimension=8)
    assert not torch.equal(tables[0], other)


def test_skip_gram_gives_similar_vectors_to_words_in_similar_contexts(task: Job) -> None:
    # Words 4 and 5 stand between 6s, words 7 and 8 between 9s.
    rows = [[CLS, *([6, a, 6, b] * 8), 2] for a, b in ((4, 5), (5, 4), (4, 4), (5, 5))]
    rows += [[CLS, *([9, a, 9, b] * 8), 2] for a, b in ((7, 8), (8, 7), (7, 7), (8, 8))]
    vectors = SkipGram(window=1).vectors(replace(task, train=torch.tensor(rows)), vocabulary=12, dimension=4)
    unit = torch.nn.functional.normalize(vectors, dim=1)
    cosine = unit @ unit.T
    assert cosine[4, 5] > 0.8
    assert cosine[7, 8] > 0.8
    assert cosine[4, 7] < cosine[4, 5] - 0.3


def test_pretrained_vectors_keep_their_geometry(task: Job) -> None:
    used = task.train.clamp(max=8)  # the last three words do not occur
    some = replace(task, train=used)
    for source in (SkipGram(steps=50), FromAutoregressive()):
        vectors = source.vectors(some, vocabulary=12, dimension=8)[:9]
        table = Pretrained(source).table(some, vocabulary=12, dimension=8)[:9]
        centred = vectors - vectors.mean(0)
        cosines = torch.nn.functional.normalize(centred) @ torch.nn.functional.normalize(centred).T
        torch.testing.assert_close(table @ table.T / 8, cosines, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(table.pow(2).mean(0), torch.ones(8), atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="dimension 6 is not a power of 2"):
        Pretrained(SkipGram(steps=1)).table(some, vocabulary=12, dimension=6)


def test_the_autoregressive_model_learns_its_table(task: Job) -> None:
    scale = small_scale(steps=200)
    with seeded("model", 0):
        model = Autoregressive(vocabulary=12, scale=scale)
    before = model.embedding.weight.detach().clone()
    scales = torch.arange(31) + torch.arange(32)[:, None]  # windows in which each word determines the next
    windows = torch.cat((torch.ones(32, 1), 3 + scales % 9, torch.full((32, 2), 2)), dim=1).long()
    windows[:, -1] = 0
    model.fit(replace(task, scale=scale, train=windows))
    cosine = torch.nn.functional.cosine_similarity(before[3:], model.embedding.weight[3:])
    assert cosine.mean() < 0.95  # from N(0, 1) it would stay above 0.99


def test_a_table_of_another_vocabulary_is_an_error(task: Job) -> None:
    with pytest.raises(ValueError, match=r"shape \(12, 32\) cannot give 13 vectors"):
        FromAutoregressive().vectors(task, vocabulary=13, dimension=8)


def test_a_table_of_fewer_dimensions_keeps_its_distances(task: Job) -> None:
    narrow, wide = (FromAutoregressive().vectors(task, vocabulary=12, dimension=d) for d in (32, 64))
    torch.testing.assert_close(torch.cdist(narrow, narrow), torch.cdist(wide, wide))
    table = Pretrained(FromAutoregressive()).table(task, vocabulary=12, dimension=64)
    torch.testing.assert_close(table.norm(dim=1), torch.full((12,), 8.0))


def test_every_ablation_differs_from_the_papers_row_in_one_choice() -> None:
    first, *others = ABLATIONS
    arms = {row.name: row for row in ABLATIONS}
    assert first.name == "e2e"
    for row in others:
        assert isinstance(row.model, Diffusion)
        arm = arms[str(row.arm)] if row.model.clean_start else first  # the official loss is that of frozen embeddings
        changed = [
            field.name
            for field in fields(row.model)
            if getattr(row.model, field.name) != getattr(arm.model, field.name)
        ]
        changed += ["encoding"] * (row.encoding != first.encoding)
        assert len(changed) == 1, row.name
    assert len({(row.model, row.encoding) for row in ABLATIONS}) == len(ABLATIONS)
    assert ABLATIONS[3].model.needs == ("autoregressive",)
