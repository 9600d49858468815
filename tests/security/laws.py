"""Laws of hostile input, one for each part that reads it. test_laws.py tries some inputs of each, fuzz.py many more.

A law takes one input and raises an exception if it is broken. A reader may refuse its input with a `UserError` and with
no other exception.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import zipfile
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from etude.cli.main import main
from etude.remote import bundle
from etude.remote.archive import unpack
from etude.runner.comparison import at_chosen, choose_points, tuning
from etude.runner.plan import make_plan, prepare
from eval.results import trial_rows
from eval.results.frames import gather
from eval.results.schema import as_written
from eval.results.training_log import TrainingLog
from eval.tracking.references import real_music
from eval.tracking.runs import RunContent
from eval.tracking.store import Store, StoreError
from replication.corpora.archives import LARGEST, MOST_MEMBERS
from replication.corpora.archives import midi_files as members_of
from replication.midi.piece import NOTE
from replication.midi.smf import Reason
from replication.tokens.encodings import ENCODINGS
from replication.tokens.protocol import from_text, to_text
from replication.util.errors import UserError
from replication.util.files import describe
from replication.util.program import MISTAKE
from tests.security.malicious_server import malicious_server
from tests.security.midi_files import READINGS, midi_files, outcome
from tests.security.strategies import NAMES, SUFFIXES, archives, damaged, mangled
from tests.support.event_lists import EVENT_LISTS, check_notes
from tests.support.tracking_stores import finish_trial
from tests.support.trial_folders import make_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from etude.runner.plan import Plan

CONTROLS = ("\x1b", "\x9b", "\u202e", "\r")  # characters that control a terminal
TEXT = st.text(max_size=20) | st.sampled_from(NAMES)
# Beginnings and ends of where a tracking server may say that files are.
SCHEMES = ("", "file:", "file://", "FILE:///", "file://localhost", "./", "mlflow-artifacts:/", "http://127.0.0.1:9/")
PLACES = ("{root}/beside", "{root}/beside/runs/../x", "{root}/inside/runs", "%2e%2e/x", "~/x", "C:\\x", "x#y?z")


@dataclass(frozen=True, kw_only=True)
class Law:
    """A law and its inputs.

    Attributes:
        inputs: Strategy that draws inputs.
        holds: Function of one input that raises if the law is broken.
        least: Number of inputs that fuzz.py tries at least.
    """

    inputs: st.SearchStrategy[Any]
    holds: Callable[[Any], None]
    least: int = 0


def midi(content: bytes) -> None:
    """Every file gives a sound piece or a reason why it gives none; see `midi_files.outcome`."""
    for reading in READINGS.values():
        outcome(content, reading)


def tokens(case: tuple[str, str, list[int]]) -> None:
    """Text parses to tokens or is refused, and any integers decode to sorted notes within bounds."""
    name, text, indices = case
    encoding = ENCODINGS[name]
    with suppress(UserError):
        indices = from_text(encoding, text)
        assert to_text(encoding, indices).split() == [word for word in text.split() if word != "[PAD]"]
    decoded = encoding.decode(indices)
    assert decoded.notes.dtype == NOTE
    assert 0 <= decoded.repairs <= len(indices) + 2
    assert not len(decoded.notes) or decoded.notes["duration"].min() > 0
    assert sorted(decoded.notes["onset"].tolist()) == decoded.notes["onset"].tolist()


@dataclass(frozen=True)
class Sandbox:
    """A working folder next to other files, which must not change.

    Attributes:
        path: Folder that holds the working folder and files that must stay untouched.
        plan: Plan of a finished comparison in the working folder.
    """

    path: Path
    plan: Plan

    @classmethod
    def of(cls, finished: Plan, path: Path) -> Sandbox:
        """Copy a finished comparison without its checksums, because an attacker would compute the right ones."""
        (path / "beside" / "runs").mkdir(parents=True)
        (path / "beside" / "runs" / "trial.json").write_text("{}", encoding="utf-8")
        ignored = shutil.ignore_patterns("*.sha256", "mlflow.db*", "mlartifacts", ".lock")
        shutil.copytree(finished.root, path / "inside", ignore=ignored)
        return cls(path, replace(finished, root=path / "inside"))

    @property
    def inside(self) -> Path:
        """The working folder, which may change."""
        return self.path / "inside"

    def outside(self) -> list[tuple[str, int, int]]:
        """Return name, size and time of every file outside the working folder."""
        found = [path for path in self.path.rglob("*") if not path.is_relative_to(self.inside)]
        return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in found)

    @cached_property
    def documents(self) -> dict[str, bytes]:
        """Content of the JSON files of the comparison and of its tuning grid, by path."""
        folders = (self.plan.comparison, self.inside / "runs" / f"{self.plan.scale.name}-tuning")
        return {str(file): file.read_bytes() for folder in folders for file in sorted(folder.rglob("*.json"))}

    @cached_property
    def tables(self) -> dict[str, bytes]:
        """Content of the Parquet files of the comparison, by path."""
        return {str(file): file.read_bytes() for file in sorted(self.plan.comparison.rglob("*.parquet"))}

    @cached_property
    def logs(self) -> dict[str, bytes]:
        """Content of the training logs, by path."""
        return {str(file): file.read_bytes() for file in sorted(self.plan.comparison.rglob("metrics.jsonl"))}

    def replaced(self, case: tuple[str, bytes]) -> None:
        """With any content of one file, reading, tracking and planning the comparison succeeds or is refused."""
        name, content = case
        file = Path(name)
        before, around = file.read_bytes(), self.outside()
        file.write_bytes(content)
        try:
            for look in (gather, _track, lambda _: _plan_again(self.plan), lambda _: _read_log(file)):
                with suppress(UserError):
                    look(self.plan.comparison)
        finally:
            for path, whole in (self.documents | {name: before}).items():
                if Path(path).read_bytes() != whole:
                    Path(path).write_bytes(whole)
        assert self.outside() == around

    def bundled(self, case: tuple[bytes, dict[str, bytes]]) -> None:
        """A bundle with any plan and files is imported or refused, at home and on the borrowed machine."""
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
        """Return the law of an archive format: ids are unique relative paths, sizes are bounded, no file appears."""

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

    def tracked(self, case: tuple[str, str]) -> None:
        """Wherever a tracking server claims that files are, a sync is refused or uploads, and changes no local file."""
        place, run_id = case
        folder = self.inside / "runs" / "smoke" / "bach" / "tracked" / "0"
        if not folder.exists():
            finish_trial(make_trial(folder))
        with malicious_server() as server, pytest.MonkeyPatch.context() as patch, chdir(self.inside):
            patch.setenv("MLFLOW_TRACKING_URI", server.uri)
            server.artifact_uri, server.run_id = place.format(root=self.path), run_id
            Store(self.inside).connect()
            before = self.outside(), sorted(self.inside.rglob("*"))
            with suppress(StoreError):
                Store(self.inside).sync(folder, final=True)
            assert (self.outside(), sorted(self.inside.rglob("*"))) == before


def _check_members(path: Path) -> None:
    ids = set()
    for id_, content in members_of(path):
        assert id_ not in ids
        ids.add(id_)
        assert not PurePosixPath(id_).is_absolute()
        assert ".." not in PurePosixPath(id_).parts
        assert isinstance(content, Reason) or len(content) <= LARGEST
    assert len(ids) <= MOST_MEMBERS


def _track(comparison: Path) -> None:
    """Compute everything that a sync sends to a tracking store."""
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


def _plan_again(plan: Plan) -> None:
    """Read what `etude run` reads before it starts a trial."""
    datasets = prepare(plan)
    for trial in at_chosen(plan):
        if trial.exists():
            trial.check(datasets[trial.experiment.encoding])
    choose_points(plan, tuning(plan).trials)


def _read_log(file: Path) -> None:
    """Read a training log as resumed training does, and as the report does."""
    if file.name == "metrics.jsonl":
        before = file.read_bytes()
        with suppress(UserError):
            TrainingLog(file)
        file.write_bytes(before)
        with as_written(file):
            trial_rows.curve_rows(file.parent)


def command(words: list[str]) -> None:
    """With any arguments, the program exits with code 0, or with code 2 and a message."""
    errors, before = io.StringIO(), sys.argv
    sys.argv = ["etude", *words]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(errors), pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    assert end.value.code in {None, 0} or (end.value.code == MISTAKE and errors.getvalue().strip())
    assert "Traceback" not in errors.getvalue()
    assert not any(sign in errors.getvalue() for sign in CONTROLS)


def odd_paths(folder: Path) -> list[str]:
    """Make pipes, loops and other files that are not what a user means; return their paths, and odd names."""
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


def command_lines(paths: list[str]) -> st.SearchStrategy[list[str]]:
    """Draw command lines that have nothing to do, because their corpora and stores are not any."""
    path = st.sampled_from([path for path in paths if path and "\0" not in path])
    number = st.sampled_from(["-1", "0", "1e999", "nan", "99999999999999999999", "0x10", "", "\N{DIGIT ONE}", "1_0"])
    word = path | number | st.text(st.characters(exclude_characters="\0"), max_size=20) | st.just("x" * 100_000)
    options = ["--scale", "--seeds", "--only", "--workers", "--engine", "--address", "--minutes", "--accept-licence"]
    option = st.sampled_from([*options, "--dry-run", "--port", "--output", "-h", "--", "-"])
    free = st.lists(st.one_of(option, word), max_size=5)
    return st.one_of(
        st.lists(word, max_size=3),
        st.builds(
            lambda words, name, at: [name, *words, "--corpus", at],
            free,
            st.sampled_from(("run", "samplers", "fit", "export")),
            path,
        ),
        st.builds(lambda words, at: ["score", at, *words, "--corpus", at], free, path),
        st.builds(lambda words, at, root: ["import", at, *words, "--root", root], free, path, path),
        st.builds(lambda words, at: ["wav", at, *words], st.lists(path, max_size=3), path),
        st.builds(lambda at, port: ["ui", "--root", at, "--port", port], path, number),
        st.builds(lambda name, at: ["corpus", name, at], st.sampled_from(["describe", "verify", "list", ""]), path),
    )


def laws(sandbox: Sandbox) -> dict[str, Law]:
    """Return all laws by name."""
    about, left = valid_bundle(sandbox)
    (place, log) = left
    names = st.sampled_from([log, log.replace("metrics.jsonl", "samples.txt"), *NAMES]) | TEXT
    plans = mangled(json.dumps(about).encode()) | st.just(json.dumps(about).encode())
    trials = mangled(left[place]).map(lambda content: {place: content})
    files = st.dictionaries(names, st.binary(max_size=9), max_size=3)
    vocabulary = st.sampled_from([word for encoding in ENCODINGS.values() for word in encoding.vocabulary])
    text = st.lists(vocabulary | TEXT, max_size=40).map(" ".join) | st.text()
    indices = st.lists(st.integers(-(2**70), 2**70) | st.integers(0, 300), max_size=60)
    paths = odd_paths(sandbox.inside / "odd")
    places = st.tuples(st.sampled_from(SCHEMES), st.sampled_from(PLACES) | TEXT).map("".join)
    return {
        "midi": Law(inputs=midi_files(), holds=midi),
        "events": Law(inputs=EVENT_LISTS, holds=check_notes, least=20_000),
        "tokens": Law(inputs=st.tuples(st.sampled_from(list(ENCODINGS)), text, indices), holds=tokens),
        **{suffix[1:]: Law(inputs=archives(suffix), holds=sandbox.archived(suffix)) for suffix in SUFFIXES},
        "bundle": Law(
            inputs=st.tuples(plans, st.builds(lambda *parts: left | parts[0] | parts[1], files, trials | files)),
            holds=sandbox.bundled,
        ),
        "json": Law(inputs=_one_of(sandbox.documents, mangled), holds=sandbox.replaced),
        "log": Law(inputs=_one_of(sandbox.logs, _with_a_mangled_line), holds=sandbox.replaced),
        "parquet": Law(inputs=_one_of(sandbox.tables, damaged), holds=sandbox.replaced),
        "store": Law(inputs=st.tuples(places, st.uuids().map(lambda uuid: uuid.hex)), holds=sandbox.tracked),
        "command": Law(inputs=command_lines(paths), holds=command),
    }


def _one_of(
    files: Mapping[str, bytes], change: Callable[[bytes], st.SearchStrategy[bytes]]
) -> st.SearchStrategy[tuple[str, bytes]]:
    """Draw the path of one of the files and a changed content."""
    return st.one_of([st.tuples(st.just(name), change(content)) for name, content in files.items()])


@st.composite
def _with_a_mangled_line(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw a damaged training log, or one with a mangled line."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged(original))
    rows = original.splitlines()
    at = draw(st.integers(0, len(rows) - 1))
    rows[at] = draw(mangled(rows[at]))
    return b"\n".join(rows) + b"\n"


def valid_bundle(sandbox: Sandbox) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return plan.json and the files of a valid bundle with a trial that the comparison lacks."""
    plan = make_plan(scale="smoke", only=("gaussian",), seeds=1, root=sandbox.inside)
    (trial,) = plan.trials
    dataset = prepare(plan)[trial.experiment.encoding]
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
