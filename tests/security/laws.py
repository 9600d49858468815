"""What must hold of hostile input, by the part that reads it; tests try some, fuzz.py as many as there is time.

A law takes one input and raises if it is broken. What reads may refuse with a `UserError`, and nothing else.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from etude.cli.main import main
from etude.remote import bundle
from etude.remote.archive import unpack
from etude.runner import plan as suite
from etude.runner.comparison import at_chosen, choose_points, tuning
from eval.results import trial_rows
from eval.results.frames import gather
from eval.results.schema import as_written
from eval.results.training_log import TrainingLog
from eval.tracking.references import real_music
from eval.tracking.runs import RunContent
from replication.corpora.archives import LARGEST, MOST_MEMBERS, midi_files
from replication.midi.piece import NOTE
from replication.midi.smf import Reason
from replication.tokens.encodings import ENCODINGS
from replication.tokens.protocol import from_text, to_text
from replication.util.errors import UserError
from replication.util.files import describe
from replication.util.program import MISTAKE
from tests.security.hostile import RARE, READINGS, hostile, outcome
from tests.security.mangled import NAMES, damaged, mangled
from tests.security.packed import SUFFIXES, archives

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from etude.runner.plan import Plan

COMMANDS = ("\x1b", "\x9b", "\u202e", "\r")  # to a terminal
TEXT = st.text(max_size=20) | st.sampled_from(NAMES)


@dataclass(frozen=True, kw_only=True)
class Law:
    """A law, and what it is tried with.

    Attributes:
        inputs: what is tried.
        holds: raises if the law is broken.
    """

    inputs: st.SearchStrategy[Any]
    holds: Callable[[Any], None]


def midi(content: bytes) -> None:
    """Bytes are a sound piece or have a reason; see `hostile.outcome`."""
    for reading in READINGS:
        outcome(content, reading)


def words(case: tuple[str, str, list[int]]) -> None:
    """Text is tokens or a mistake, and whatever integers are tokens give sorted notes within bounds."""
    name, text, numbers = case
    encoding = ENCODINGS[name]
    tokens = numbers
    with suppress(UserError):
        tokens = from_text(encoding, text)
        assert to_text(encoding, tokens).split() == [word for word in text.split() if word != "[PAD]"]
    decoded = encoding.decode(tokens)
    assert decoded.notes.dtype == NOTE
    assert 0 <= decoded.repairs <= len(tokens) + 2
    assert not len(decoded.notes) or decoded.notes["duration"].min() > 0
    assert sorted(decoded.notes["onset"].tolist()) == decoded.notes["onset"].tolist()


@dataclass(frozen=True)
class Sandbox:
    """A folder to work in, beside which nothing may change.

    Attributes:
        path: holds the folder, and what is not to be touched.
        plan: of a comparison that is there and done.
    """

    path: Path
    plan: Plan

    @classmethod
    def of(cls, shown: Plan, path: Path) -> Sandbox:
        """Copy a comparison, with what would tell that it has been changed left out: who means harm writes it anew."""
        (path / "beside" / "runs").mkdir(parents=True)
        (path / "beside" / "runs" / "trial.json").write_text("{}", encoding="utf-8")
        ignored = shutil.ignore_patterns("*.sha256", "mlflow.db*", "mlartifacts", ".lock")
        shutil.copytree(shown.root, path / "inside", ignore=ignored)
        return cls(path, replace(shown, root=path / "inside"))

    @property
    def inside(self) -> Path:
        """The folder that may change."""
        return self.path / "inside"

    def outside(self) -> list[tuple[str, int, int]]:
        """Return all that is beside the folder."""
        found = [path for path in self.path.rglob("*") if not path.is_relative_to(self.inside)]
        return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in found)

    @cached_property
    def documents(self) -> dict[str, bytes]:
        """The JSON files of the comparison by their paths, and of the grid before it."""
        folders = (self.plan.comparison, self.inside / "runs" / f"{self.plan.scale.name}-tuning")
        return {str(file): file.read_bytes() for folder in folders for file in sorted(folder.rglob("*.json"))}

    @cached_property
    def tables(self) -> dict[str, bytes]:
        """The Parquet files of the comparison by their paths."""
        return {str(file): file.read_bytes() for file in sorted(self.plan.comparison.rglob("*.parquet"))}

    @cached_property
    def logs(self) -> dict[str, bytes]:
        """The logs of the trials by their paths."""
        return {str(file): file.read_bytes() for file in sorted(self.plan.comparison.rglob("metrics.jsonl"))}

    def replaced(self, case: tuple[str, bytes]) -> None:
        """With another content of one file the comparison is gathered, shown and planned, or refused."""
        name, content = case
        file = Path(name)
        before, around = file.read_bytes(), self.outside()
        file.write_bytes(content)
        try:
            for look in (gather, _shown, lambda _: _run_again(self.plan), lambda _: _logged(file)):
                with suppress(UserError):
                    look(self.plan.comparison)
        finally:
            for path, whole in (self.documents | {name: before}).items():
                if Path(path).read_bytes() != whole:
                    Path(path).write_bytes(whole)
        assert self.outside() == around

    def bundled(self, case: tuple[bytes, dict[str, bytes]]) -> None:
        """A bundle with this plan and these files is taken or refused, there and here."""
        about, files = case
        around, path = self.outside(), self.inside / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {"plan.json": about, **files}.items():
                archive.writestr(name or "empty", content)
        with suppress(UserError):
            bundle.import_trials(path, self.inside)
        with suppress(UserError):
            root = self.inside / "a.zip.work"
            found = unpack(path, root)
            bundle.trials_of(found, root)
            bundle.windows_of(found, root)
        shutil.rmtree(self.inside / "a.zip.work", ignore_errors=True)
        shutil.rmtree(self.plan.comparison / "gaussian", ignore_errors=True)
        assert self.outside() == around

    def archived(self, suffix: str) -> Callable[[bytes], None]:
        """Return the law of archives: ids that lead nowhere, contents within bounds, and nothing is unpacked."""

        def holds(content: bytes) -> None:
            path = self.inside / f"music{suffix}"
            path.write_bytes(content)
            around = self.outside()
            there = sorted(self.inside.iterdir())
            with suppress(UserError):
                _check_members(path)
            assert sorted(self.inside.iterdir()) == there
            assert self.outside() == around

        return holds


def _check_members(path: Path) -> None:
    ids = set()
    for id_, content in midi_files(path):
        assert id_ not in ids
        ids.add(id_)
        assert not PurePosixPath(id_).is_absolute()
        assert ".." not in PurePosixPath(id_).parts
        assert isinstance(content, Reason) or len(content) <= LARGEST
    assert len(ids) <= MOST_MEMBERS


def _shown(comparison: Path) -> None:
    """Look at what a tracking store is shown."""
    for path in sorted(comparison.glob("*/*/trial.json")):
        with as_written(path.parent):
            trial = RunContent.read(path.parent)
            _ = (
                trial.digest,
                trial.name,
                trial.tags(),
                trial.params(),
                trial.history(),
                trial.final_points(),
                trial.progress_tags(),
            )
            trial.extends(trial.progress_tags())
    with as_written(comparison):
        real_music(comparison)


def _run_again(plan: Plan) -> None:
    """Look at what `etude run` looks at before it starts anything."""
    datasets = suite.prepare(plan)
    for trial in at_chosen(plan).trials:
        if trial.exists():
            trial.check(datasets[trial.experiment.encoding])
    choose_points(plan, tuning(plan).trials)


def _logged(file: Path) -> None:
    """Look at a log as training does that goes on, and as the report."""
    if file.name == "metrics.jsonl":
        before = file.read_bytes()
        with suppress(UserError):
            TrainingLog(file)
        file.write_bytes(before)
        with as_written(file):
            trial_rows.curve_rows(file.parent)


def program(words: list[str]) -> None:
    """Whatever the words, the program ends by itself with 0, or with a sentence and 2."""
    told, before = io.StringIO(), sys.argv
    sys.argv = ["etude", *words]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(told), pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    assert end.value.code in {None, 0} or (end.value.code == MISTAKE and told.getvalue().strip())
    assert "Traceback" not in told.getvalue()
    assert not any(sign in told.getvalue() for sign in COMMANDS)


def tempting(folder: Path) -> list[str]:
    """Make what is no file or folder as users mean them; return the paths."""
    folder.mkdir()
    (folder / "file").write_bytes(b"x")
    (folder / "empty").mkdir()
    (folder / "folder.zip").mkdir()
    for name in ("pipe", "pipe.zip", "pipe.mid", "pipe.tar.gz"):
        os.mkfifo(folder / name)
    for name, target in {"loop": "loop", "loop.zip": "loop.zip", "endless.zip": "/dev/zero", "lost.zip": "no"}.items():
        (folder / name).symlink_to(target)
    named = [str(path) for path in sorted(folder.iterdir())]
    return [
        *named,
        f"{folder}/file/x",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "x" * 300,
        "x/" * 3000,
        *NAMES[:7],
        "\udcff",
    ]


def lines(paths: list[str]) -> st.SearchStrategy[list[str]]:
    """Return command lines of which none has anything to do: the corpus is no corpus, and the store no store."""
    path = st.sampled_from([path for path in paths if path and "\0" not in path])
    number = st.sampled_from(["-1", "0", "1e999", "nan", "99999999999999999999", "0x10", "", "\N{DIGIT ONE}", "1_0"])
    word = path | number | st.text(st.characters(exclude_characters="\0"), max_size=20) | st.just("x" * 100_000)
    options = ["--scale", "--seeds", "--only", "--workers", "--engine", "--address", "--minutes", "--accept-licence"]
    option = st.sampled_from([*options, "--dry-run", "--port", "--output", "-h", "--", "-"])
    free = st.lists(st.one_of(option, word), max_size=5)
    return st.one_of(
        st.lists(word, max_size=3),
        st.builds(lambda words, name, at: [name, *words, "--corpus", at], free, st.sampled_from(RUNNING), path),
        st.builds(lambda words, at: ["score", at, *words, "--corpus", at], free, path),
        st.builds(lambda words, at, root: ["import", at, *words, "--root", root], free, path, path),
        st.builds(lambda words, at: ["wav", at, *words], st.lists(path, max_size=3), path),
        st.builds(lambda at, port: ["ui", "--root", at, "--port", port], path, number),
        st.builds(lambda name, at: ["corpus", name, at], st.sampled_from(["describe", "verify", "list", ""]), path),
    )


RUNNING = ("run", "samplers", "fit", "export")


def laws(sandbox: Sandbox) -> dict[str, Law]:
    """Return all laws by the part that they are of."""
    about, left = _bundle(sandbox)
    (place, log) = left
    names = st.sampled_from([log, log.replace("metrics.jsonl", "samples.txt"), *NAMES]) | TEXT
    plans = mangled(json.dumps(about).encode()) | st.just(json.dumps(about).encode())
    trials = mangled(left[place]).map(lambda content: {place: content})
    files = st.dictionaries(names, st.binary(max_size=9), max_size=3)
    vocabulary = st.sampled_from([word for encoding in ENCODINGS.values() for word in encoding.vocabulary])
    text = st.lists(vocabulary | TEXT, max_size=40).map(" ".join) | st.text()
    numbers = st.lists(st.integers(-(2**70), 2**70) | st.integers(0, 300), max_size=60)
    paths = tempting(sandbox.inside / "tempting")
    return {
        "midi": Law(inputs=st.integers(0, RARE - 2).map(hostile).flatmap(lambda made: damaged(made[1])), holds=midi),
        "tokens": Law(inputs=st.tuples(st.sampled_from(list(ENCODINGS)), text, numbers), holds=words),
        **{suffix[1:]: Law(inputs=archives(suffix), holds=sandbox.archived(suffix)) for suffix in SUFFIXES},
        "bundle": Law(
            inputs=st.tuples(plans, st.builds(lambda *parts: left | parts[0] | parts[1], files, trials | files)),
            holds=sandbox.bundled,
        ),
        "json": Law(inputs=_one_of(sandbox.documents, mangled), holds=sandbox.replaced),
        "log": Law(inputs=_one_of(sandbox.logs, _lines_mangled), holds=sandbox.replaced),
        "parquet": Law(inputs=_one_of(sandbox.tables, damaged), holds=sandbox.replaced),
        "words": Law(inputs=lines(paths), holds=program),
    }


def _one_of(
    files: Mapping[str, bytes], spoilt: Callable[[bytes], st.SearchStrategy[bytes]]
) -> st.SearchStrategy[tuple[str, bytes]]:
    return st.one_of([st.tuples(st.just(name), spoilt(content)) for name, content in files.items()])


@st.composite
def _lines_mangled(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw a log of which one line is mangled, or all of it damaged."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(original))
    rows = original.splitlines()
    at = draw(st.integers(0, len(rows) - 1))
    rows[at] = draw(mangled(rows[at]))
    return b"\n".join(rows) + b"\n"


def _bundle(sandbox: Sandbox) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return plan.json and the files of a bundle of a trial that the comparison lacks."""
    plan = suite.plan(scale="smoke", only=("gaussian",), seeds=1, root=sandbox.inside)
    (trial,) = plan.trials
    dataset = suite.prepare(plan)[trial.experiment.encoding]
    name = trial.folder.relative_to(plan.root).as_posix()
    about = {
        "scale": plan.scale.name,
        "seeds": 1,
        "corpus": plan.corpus.name,
        "grid": describe(plan.corpus.reading.grid),
        "experiments": [trial.experiment.name],
        "windows": {trial.experiment.encoding: dataset.folder.name},
        "trials": {name: trial.config(dataset)},
    }
    progress: dict[str, Any] = {"environment": {}, "moves": [], "status": "RUNNING", "error": None, "ended": None}
    there = trial.identity(dataset) | progress | {"started": 1.0}
    return about, {f"{name}/trial.json": json.dumps(there).encode(), f"{name}/metrics.jsonl": b"{}\n"}
