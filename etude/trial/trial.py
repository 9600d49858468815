"""A trial: one experiment at one scale on one corpus with one seed, and the folder that holds its files."""

from __future__ import annotations

import functools
import json
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from baselines import TEACHER
from etude.trial.source import source_hash
from eval.results.declared import declaration_hash
from eval.results.environment import environment
from eval.results.schema import EDITION, as_written, read_about
from eval.scoring.measures import scoring_version
from replication.tokens.encodings import ENCODINGS
from replication.util.checksums import absent_files, check_all
from replication.util.errors import UserError
from replication.util.files import describe, digest, read_json, sha256, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from replication.models.ablations import Experiment, Kind
    from replication.training.scales import Budget, Scale
    from replication.windows.prepared import Dataset

SHOWN = 3  # missing files that are named


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One experiment with one seed.

    Attributes:
        experiment: the model or control, at its tuning point if it has one.
        scale: the scale of the comparison, or the tuning scale that belongs to it.
        corpus: the name of the corpus.
        seed: the seed of everything random.
        comparison: the folder of all trials of this scale and corpus.
    """

    experiment: Experiment
    scale: Scale
    corpus: str
    seed: int
    comparison: Path

    @property
    def name(self) -> str:
        """The experiment and the seed, for people."""
        return f"{self.experiment.name} seed {self.seed}"

    @property
    def kind(self) -> Kind:
        """The purpose of the trial, by which the tracking store groups it."""
        return self.experiment.kind

    @property
    def budget(self) -> Budget:
        """The training budget."""
        return self.scale.budget

    @property
    def folder(self) -> Path:
        """The folder of the trial."""
        return self.comparison / self.experiment.name / str(self.seed)

    @property
    def weights(self) -> Path:
        """The weights file of the trained model."""
        return self._weights_of(self.experiment.name, self.seed)

    @property
    def missing(self) -> list[str]:
        """The experiments whose weights with the same seed the trial needs and which do not exist yet."""
        return [name for name in self.experiment.model.needs if not self.sibling(name).exists()]

    def sibling(self, experiment: str) -> Path:
        """Return the weights of another experiment's trial with the same seed."""
        return self._weights_of(experiment, self.seed)

    def _weights_of(self, experiment: str, seed: int) -> Path:
        return self.comparison / experiment / str(seed) / "checkpoint" / "model.safetensors"

    @property
    def teacher(self) -> Path | None:
        """The weights of the teacher; None for another encoding than the teacher's, and for the teacher itself."""
        if self.kind == "teacher" or self.experiment.encoding != TEACHER.encoding:
            return None
        (seed,) = TEACHER.seeds or (0,)
        path = self._weights_of(TEACHER.name, seed)
        return path if path.exists() else None

    @property
    def scoring(self) -> str:
        """A name for everything that the scores depend on besides the samples.

        It holds the version of the scores, and fingerprints of the teacher and of the weights that a control is made
        from.
        """
        needed = self.experiment.model.needs if self.kind == "control" else ()
        weights = [self.teacher, *map(self.sibling, needed)]
        return "-".join([scoring_version(), *(_fingerprint(path) for path in weights if path and path.exists())])

    def config(self, dataset: Dataset) -> dict[str, Any]:
        """Return the resolved configuration: everything that decides the result, and nothing else."""
        scale = deciding(self.scale)
        return {
            "edition": EDITION,
            "source": source_hash(self.experiment.model, ENCODINGS[self.experiment.encoding], *scale.values()),
            "model": describe(self.experiment.model),
            "encoding": self.experiment.encoding,
            "scale": describe(scale),
            "data": dataset.digest,
            "seed": self.seed,
        }

    def check(self, dataset: Dataset) -> bool:
        """Return whether the trial, whose folder exists, is done and all its files exist.

        Raises:
            UserError: if it was made with another configuration, or a file has changed since it was written.
        """
        self.check_configuration(dataset)
        if not self.is_done():  # the worker that resumes it finds what is damaged, and marks it as failed
            return False
        check_all(self.folder)
        return True

    def check_configuration(self, dataset: Dataset) -> None:
        """Raise a `UserError` if the trial, whose folder exists, was made with another configuration."""
        about = self.about()
        if difference := self.difference(about["config"], dataset):
            raise UserError(
                f"{self.folder} was made with another configuration or code ({difference}); move or delete it, or use"
                f" the code that it was made with, commit {about['environment']['commit']}"
            )

    def difference(self, there: object, dataset: Dataset) -> str | None:
        """Return the first difference of a configuration in JSON from that of this trial, in words; None if equal."""
        here = json.loads(json.dumps(self.config(dataset)))
        return None if there == here else _difference(there, here)

    def open(self, dataset: Dataset) -> bool:
        """Make the folder, or open it again; return whether the trial is done.

        Raises:
            UserError: if the folder was made with another configuration, or a file has changed since it was written.
        """
        if self.exists():
            if self.check(dataset):
                return True
            self._note(status="RUNNING", error=None, ended=None, moves=self._moves())
            return False
        fresh: dict[str, Any] = {
            "declaration": declaration_hash(self.comparison),
            "environment": environment(),
            "moves": [],
            "status": "RUNNING",
            "error": None,
            "started": time.time(),
            "ended": None,
        }
        write_json(self.folder / "trial.json", self.identity(dataset) | fresh)
        return False

    def identity(self, dataset: Dataset) -> dict[str, Any]:
        """Return the part of trial.json that does not depend on when and where the trial runs."""
        config, experiment = self.config(dataset), self.experiment
        return {
            "id": digest(config, experiment.name, self.scale.name, self.corpus),
            "experiment": experiment.name,
            "label": experiment.label,
            "note": experiment.note_at(self.scale),
            "colour": experiment.colour,
            "seed": self.seed,
            "kind": experiment.kind,
            "arm": experiment.arm,
            "point": None if experiment.point is None else asdict(experiment.point),
            "embeddings": experiment.embeddings,
            "scale": self.scale.name,
            "tunes": self.scale.tunes,
            "corpus": self.corpus,
            "config": config,
            "dataset": {
                "name": self.corpus,
                "digest": dataset.digest,
                "windows": {name: len(windows.tokens) for name, windows in dataset.splits.items()},
            },
        }

    def about(self) -> dict[str, Any]:
        """Return trial.json."""
        return read_about(self.folder / "trial.json")

    def commits(self) -> set[str]:
        """Return the commits that the trial was made at: more than one if it was resumed elsewhere."""
        about = self.about()
        return {place["environment"]["commit"] for place in (about, *about["moves"])}

    def close(self, *, error: str | None = None) -> None:
        """Record that the trial has ended, and why if it failed."""
        self._note(status="FAILED" if error else "FINISHED", error=error, ended=time.time())

    def exists(self) -> bool:
        """Return whether the folder has been made."""
        return (self.folder / "trial.json").exists()

    def is_done(self) -> bool:
        """Return whether the trial is finished, with all its files, and its scores are of the present version."""
        scores = self.folder / "scores.json"
        if not (self.exists() and scores.exists() and self.about()["status"] == "FINISHED"):
            return False
        if absent_files(self.folder):
            return False
        with as_written(scores):
            return bool(read_json(scores)["scoring"] == self.scoring)

    def _moves(self) -> list[dict[str, Any]]:
        """Return the moves of the trial to other environments, with the present one if that is new.

        Up to the time of a move, the trial ran in the environment before it.
        """
        about, here = self.about(), environment()
        moves: list[dict[str, Any]] = about.get("moves", [])
        last = moves[-1] if moves else about
        return moves if last["environment"] == here else [*moves, {"time": time.time(), "environment": here}]

    def _note(self, **changes: object) -> None:
        about = self.about()
        if any(about.get(key) != value for key, value in changes.items()):
            write_json(self.folder / "trial.json", about | changes)


def deciding(scale: Scale) -> dict[str, Any]:
    """Return the fields of a scale that decide the results of a trial."""
    others = {
        *("name", "about", "corpus", "seeds", "experiments", "demonstration"),
        *("tuning_grid", "tuning_share", "tunes"),
    }
    return {field.name: getattr(scale, field.name) for field in fields(scale) if field.name not in others}


def note_lost_files(folder: Path) -> None:
    """Print which files of a trial are missing although it is finished."""
    finished = (folder / "trial.json").exists() and read_about(folder / "trial.json")["status"] == "FINISHED"
    if finished and (names := absent_files(folder)):
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        verb, pronoun = ("is", "it") if len(names) == 1 else ("are", "them")
        files = f"{', '.join(names[:SHOWN])}{more} {verb} missing"
        print(f"note: {folder}: {files}; a run with the same options creates {pronoun} again", flush=True)


def _fingerprint(path: Path) -> str:
    """Return the start of a file's hash; the hash is computed again only when the file changes."""
    status = path.stat()
    return _hashed(path, status.st_mtime_ns, status.st_size)[:16]


@functools.lru_cache
def _hashed(path: Path, _changed: int, _size: int) -> str:
    return sha256(path)


def _difference(there: object, here: object, name: str = "") -> str:
    """Return the first difference of two configurations, in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            if there.get(key) != here.get(key):
                return _difference(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    return f"{name} is {there} there and {here} now"
