"""The hash of the source that computes: what changes it, and what must not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from etude.trial import source
from etude.trial.source import source_hash
from eval.scoring.experiments import EXPERIMENTS
from replication.tokens.encodings import ENCODINGS
from replication.training.scales import SCALES

if TYPE_CHECKING:
    from pathlib import Path

CPU = SCALES["cpu"]
FILES = {
    "loop": "replication/training/loop.py",
    "model": "replication/models/diffusion_lm.py",
    "transformer": "replication/models/transformer.py",
    "samplers": "replication/diffusion/samplers.py",
    "encodings": "replication/tokens/encodings.py",
    "generators": "replication/util/generators.py",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy the source that computes."""
    for path in (path for pattern in source.COMPUTES for path in source.PROJECT.glob(pattern)):
        copy = tmp_path / path.relative_to(source.PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


def identity(project: Path, name: str = "e2e") -> str:
    row = EXPERIMENTS[name]
    return source_hash(row.model, ENCODINGS[row.encoding], CPU.backbone, CPU.sampler, CPU.schedule, project=project)


def changed(project: Path, file: str, before: str, after: str, name: str = "e2e") -> bool:
    """Return whether the identity of a trial changes with a text in a file."""
    old, path = identity(project, name), project / FILES[file]
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    source._definitions.cache_clear()
    return identity(project, name) != old


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("loop", "the loss is {loss} and", "the loss was {loss} and"),  # a message
        ("loop", '"""Train `model` and return', '"""Return, after training `model`,'),
        ("loop", "# before the check, so that a loss that is not finite is logged too", "# whatever it is"),
        ("loop", "def validate(model: Network, job: Job)", "def validate(model: Network,\n    job: Job)"),
        ("loop", "from replication.training.model import", "from replication.training.renamed import"),
        ("samplers", "steps: int\n", "steps: float\n"),  # an annotation
    ],
)
def test_words_and_layout_are_no_part_of_the_identity(project: Path, file: str, before: str, after: str) -> None:
    assert not changed(project, file, before, after)


def test_renaming_and_moving_a_module_leave_the_identity(project: Path) -> None:
    before = identity(project)
    (project / FILES["samplers"]).rename(project / "replication" / "models" / "walks.py")
    (project / FILES["loop"]).rename(project / "replication" / "training" / "optimisation.py")
    source._definitions.cache_clear()
    assert identity(project) == before


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("model", "F.cross_entropy", "F.nll_loss"),  # the loss
        ("samplers", "math.sqrt(beta * noise_after / noise)", "math.sqrt(beta)"),
        ("transformer", "math.sqrt(", "abs("),
        ("encodings", "longest: int = 56", "longest: int = 57"),
        ("loop", "torch.optim.AdamW", "torch.optim.Adam"),
        ("loop", "(1 + step) / (10 + step)", "(1 + step) / (11 + step)"),
        ("generators", "sha256", "sha224"),
    ],
)
def test_what_computes_is_part_of_the_identity(project: Path, file: str, before: str, after: str) -> None:
    assert changed(project, file, before, after)


def test_a_model_does_not_depend_on_the_code_of_others(project: Path) -> None:
    assert not changed(project, "model", "F.cross_entropy", "F.nll_loss", name="ngram")
    added = "\n\nclass Another:\n    pass\n"
    path = project / FILES["model"]
    before = identity(project)
    path.write_text(path.read_text(encoding="utf-8") + added, encoding="utf-8")
    source._definitions.cache_clear()
    assert identity(project) == before


def test_experiments_that_train_have_code_of_their_own() -> None:
    hashes = {name: identity(source.PROJECT, name) for name in ("e2e", "gaussian", "autoregressive", "ngram")}
    assert len(set(hashes.values())) == len(hashes)
