"""Data never run code: no module unpickles or evaluates the content of a file."""

from __future__ import annotations

import ast
import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from etude.remote import bundle
from etude.runner.plan import prepare
from eval.distances.copying import TrainingIndex
from eval.results.files import read_results, write_results
from eval.results.frames import gather
from replication.midi.piece import PAPER_GRID
from replication.midi.smf import DEFAULT_READING, MidiError, read_midi
from replication.util.checkpoint import read_tensors
from replication.util.errors import UserError
from tests.security.laws import Sandbox
from tests.support.program import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etude.runner.plan import Plan

PACKAGES = ("replication", "baselines", "eval", "reports", "etude")
# Modules that run code in a file. `multiprocessing` pickles too, but only between our own processes.
RUNNING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "runpy"}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.hub.load", "yaml.load"}
CALLS |= {"pd.read_pickle", "pd.eval"}


def faults(tree: ast.AST) -> Iterator[str]:
    """Yield the imports and calls in a module that could run code in a file."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (f"import of {name}" for name in names if name.partition(".")[0] in RUNNING)
        if not isinstance(node, ast.Call):
            continue
        name, keywords = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in CALLS or keywords.get("allow_pickle", "False") != "False" or keywords.get("shell") == "True":
            yield ast.unparse(node)
        if name == "np.load" and "allow_pickle" not in keywords:
            yield f"{ast.unparse(node)} without allow_pickle=False"


def test_no_module_can_run_code_in_a_file() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {fault}"
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for fault in faults(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "torch.load(path)", "np.load(path)", "np.load(p, allow_pickle=True)"],
)
def test_code_that_could_is_found(code: str) -> None:
    assert list(faults(ast.parse(code)))


class Bomb:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (str(self.path),)


class Bombs:
    """A bomb in every format that Python's libraries may unpickle."""

    def __init__(self, folder: Path) -> None:
        self.canary = folder / "canary"
        self.raw = pickle.dumps(Bomb(self.canary))
        self.objects = np.array([Bomb(self.canary)], dtype=object)
        self._folder = folder

    def forms(self, arrays: tuple[str, ...]) -> Iterator[bytes]:
        """Yield the content of each format. NumPy archives hold a bomb under each name in `arrays`."""
        path = self._folder / "form"
        np.save(self._folder / "form.npy", self.objects, allow_pickle=True)
        np.savez(self._folder / "form.npz", **dict.fromkeys(arrays, self.objects))  # type: ignore[arg-type]
        torch.save(Bomb(self.canary), path)
        for name in ("form.npy", "form.npz", "form"):
            yield (self._folder / name).read_bytes()
        yield self.raw

    def table(self, like: pd.DataFrame) -> pa.Table:
        """Return a table with metadata that old readers unpickle, in addition to that of pandas."""
        table = pa.Table.from_pandas(like)
        metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": self.raw}
        fields = [table.schema.field(0).with_metadata(metadata), *list(table.schema)[1:]]
        return table.cast(pa.schema(fields, metadata={**table.schema.metadata, b"pickle": self.raw}))


@pytest.fixture
def bombs(tmp_path: Path) -> Iterator[Bombs]:
    made = Bombs(tmp_path)
    pickle.loads(made.raw)  # noqa: S301 - shows that the bomb works
    made.canary.rmdir()
    yield made
    assert not made.canary.exists()


@pytest.fixture
def sandbox(finished_comparison: Plan, tmp_path: Path) -> Sandbox:
    return Sandbox.of(finished_comparison, tmp_path)


def test_a_cache_with_pickles_in_it_is_rebuilt(
    sandbox: Sandbox, bombs: Bombs, capfd: pytest.CaptureFixture[str]
) -> None:
    forms = list(bombs.forms(("unique", "family", "tokens", "notes", "about")))
    cache = sandbox.inside / "runs" / "cache"
    arrays = [file for file in cache.rglob("*") if file.suffix in {".npy", ".npz"} or file.name == "notes"]
    assert {file.suffix for file in arrays} == {".npy", ".npz", ""}
    for form in forms:
        for file in arrays:
            file.write_bytes(form)
        prepare(sandbox.plan)
        assert "is damaged" in capfd.readouterr().err


@pytest.mark.parametrize(
    "pattern", ["*/0/*.parquet", "reference/*.parquet", "*/0/*.json", "*/0/metrics.jsonl", "*.json"]
)
def test_a_comparison_with_a_pickle_in_it_is_refused(sandbox: Sandbox, bombs: Bombs, pattern: str) -> None:
    file = next(iter(sorted(sandbox.plan.comparison.glob(pattern))))
    for form in bombs.forms(("a",)):
        file.write_bytes(form)
        with pytest.raises(UserError, match=r"is damaged|is malformed"):
            gather(sandbox.plan.comparison)


def test_tables_whose_metadata_hold_a_pickle_run_nothing(sandbox: Sandbox, bombs: Bombs) -> None:
    for file in sorted(sandbox.plan.comparison.rglob("*.parquet")):
        pq.write_table(bombs.table(pd.read_parquet(file)), file)
    write_results(results := gather(sandbox.plan.comparison), sandbox.inside / "results")
    for file in sorted((sandbox.inside / "results").glob("*.parquet")):
        if len(table := pd.read_parquet(file)):
            pq.write_table(bombs.table(table), file)
    assert len(read_results(sandbox.inside / "results").trials) == len(results.trials)


def test_weights_an_index_and_midi_that_are_pickles_are_refused(bombs: Bombs, tmp_path: Path) -> None:
    for form in bombs.forms(("notes", "sizes", "share")):
        for name in ("model.safetensors", "model.pt", "index.npz"):
            (tmp_path / name).write_bytes(form)
            path = tmp_path / name
            with pytest.raises(UserError, match="is damaged"):
                TrainingIndex.load(path, PAPER_GRID) if name == "index.npz" else read_tensors(path)
        with pytest.raises(MidiError):
            read_midi(form, id="a", group="a", reading=DEFAULT_READING)


def test_pickles_in_a_bundle_are_not_even_unpacked(sandbox: Sandbox, bombs: Bombs) -> None:
    file = sandbox.inside / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("plan.json", bombs.raw)
    with pytest.raises(UserError, match="is not a bundle of trials"):
        bundle.import_trials(file, sandbox.inside)
