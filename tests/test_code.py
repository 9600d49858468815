"""What a result says of the code that it was made with."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from baselines import BASELINES, NGramConfig
from eval import code
from eval.code import code_name, code_of
from eval.suite import EXPERIMENTS
from replication.ablations import Diffusion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = "def f(x):\n    return x + 0\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of two modules in place of this one."""
    (tmp_path / "replication").mkdir()
    (tmp_path / "replication" / "a.py").write_text("from replication import b\n", encoding="utf-8")
    monkeypatch.setattr(code, "ROOT", tmp_path)
    yield tmp_path / "replication" / "b.py"
    forget()


def forget() -> None:
    for cached in (code._tree, code._ours, code.code_name):
        cached.cache_clear()


def names(path: Path, *sources: str) -> list[str]:
    found = []
    for source in sources:
        path.write_text(source, encoding="utf-8")
        forget()
        found.append(code_name("replication.a"))
    return found


def test_comments_docstrings_and_layout_change_nothing(project: Path) -> None:
    same = ("# Why.\n" + SOURCE, '"""A module."""\n' + SOURCE, "def f(\n    x,\n):\n    '''F.'''\n    return (x + 0)\n")
    assert len(set(names(project, SOURCE, *same))) == 1


def test_anything_that_is_computed_changes_the_name_of_what_imports_it(project: Path) -> None:
    others = ("def f(x):\n    return x + 1\n", "def f(x):\n    return x\n", "def f(x):\n    return x + ''\n", "")
    assert len(set(names(project, SOURCE, *others))) == 5


def test_a_model_is_known_by_its_own_code_and_not_by_that_of_others() -> None:
    ngram, diffusion = code_of(NGramConfig), code_of(Diffusion)
    assert {"baselines.NGramConfig", "baselines.ngram", "replication.tokens"} <= ngram.keys()
    assert {"replication.ablations.Diffusion", "replication.diffusion", "replication.samplers"} <= diffusion.keys()
    assert not {"baselines.autoregressive", "replication.train", "replication.files"} & ngram.keys()
    assert not {"replication.ablations", "baselines", "replication.scales"} & diffusion.keys()


def test_every_experiment_has_code() -> None:
    assert all(code_of(type(row.model)) for row in EXPERIMENTS.values())
    assert len({tuple(code_of(type(row.model)).items()) for row in BASELINES}) == len(
        {type(row.model) for row in BASELINES}
    )


def test_what_only_one_version_of_python_notes_does_not_count() -> None:
    newer, older = ast.parse(SOURCE), ast.parse(SOURCE)
    newer.body[0].type_params = []  # type: ignore[attr-defined]  # as Python 3.12 has it
    assert code._fingerprint(newer) == code._fingerprint(older)


def test_a_class_of_a_script_has_none() -> None:
    assert code_of(type("Local", (), {})) == {}
