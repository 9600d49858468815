"""What MLflow shows of a trial folder: its tags, parameters, points and files, and what it has of them already."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from eval.results.anomalies import events
from eval.results.trial_folder import Point, TrialFolder, numbers
from eval.tracking.notes import run_note
from eval.tracking.summary import summary
from replication.util.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ARTIFACTS = (
    "trial.json",
    "metrics.jsonl",
    "scores.json",
    "likelihood.json",
    "timing.json",
    "*.sha256",
    "samples.txt",
    "samples.html",
    "*.png",
    "*.parquet",
    "audit/*.json",
    "midi/*.mid",
    "samplers/*.json",
)


SYNCED, SENDING = "synced_", "sending_"  # prefixes of tags that say what is in, and what may be there in part


@dataclass(frozen=True, kw_only=True)
class Record(TrialFolder):
    """A trial folder as MLflow shows it, or something else that is shown like a trial.

    Attributes:
        patterns: Patterns of the files that are shown, which are all that a report is made of; weights are left out.
        shown: Final numbers by name where they are not those of a scored trial.
    """

    patterns: tuple[str, ...] = ARTIFACTS
    shown: Mapping[str, float] = field(default_factory=dict)

    @functools.cached_property
    def seal(self) -> str:
        """A name for everything that a final sync shows: files that come later, or change their size, are seen."""
        files = [f"{file.relative_to(self.path)} {file.stat().st_size}".encode() for file in self.artifacts()]
        wrong = [f"{name} {text}".encode() for name, text in self.events.items()]
        return sha256(self.about["status"].encode(), str(len(self.lines)).encode(), self.scores, *files, *wrong)

    def abandoned(self) -> Self:
        """Return the folder as it is to be shown when nobody is at it: a trial that is RUNNING was KILLED.

        It ended with its last line: nothing else of it may say when.
        """
        if self.about["status"] != "RUNNING":
            return self
        times = [point.time / 1000 for point in self.history(max(len(self.lines) - 1, 0))]
        ended = max(times, default=self.about["started"])
        return replace(self, about=self.about | {"status": "KILLED", "ended": ended})

    def marks(self) -> dict[str, str]:
        """Return the tags by which a later sync knows which lines are in."""
        return {f"{SYNCED}lines": str(len(self.lines)), f"{SYNCED}digest": sha256(*self.lines)}

    def continues(self, tags: dict[str, str]) -> bool:
        """Whether the folder still begins with what was synced; a trial made anew or scored anew does not."""
        return all(self._begins(tags, sign) for sign in (SYNCED, SENDING))

    def _begins(self, tags: dict[str, str], sign: str) -> bool:
        known = int(tags.get(f"{sign}lines", 0))
        return (
            known <= len(self.lines)
            and tags.get(f"{sign}digest", sha256()) == sha256(*self.lines[:known])
            and tags.get(f"{sign}scores", sha256(self.scores)) == sha256(self.scores)
        )

    def final(self) -> list[Point]:
        """Return the scores as points at step 0, where MLflow draws bars, and what was audited at its own steps."""
        time = int((self.about["ended"] or self.about["started"]) * 1000)
        scores = json.loads(self.scores or b"{}")
        shown = self.shown or (summary(self.path, scores) if scores else {})
        audit = self.path / "audit" / f"{scores.get('scoring', '').partition('-')[0]}.json"
        audited = read_json(audit) if audit.exists() else {}
        return [Point(key, value, time, 0) for key, value in shown.items()] + [
            Point(f"audit/{key}", value, time, int(step))
            for step, found in audited.items()
            for key, value in numbers(found)
        ]

    def artifacts(self) -> list[Path]:
        """Return the files to be shown, in order."""
        return [file for pattern in self.patterns for file in sorted(self.path.glob(pattern))]

    @property
    def name(self) -> str:
        """The run's name: variant and seed."""
        name, seed = self.about["experiment"], self.about["seed"]
        return name if seed is None else f"{name}-s{seed}"

    def tags(self) -> dict[str, str]:
        """Return the tags by which MLflow finds, groups and colours the run."""
        about = self.about
        environment = about["environment"]
        return {
            "trial_id": about["id"],
            "label": about["label"],
            "mlflow.runColor": about["colour"],
            "mlflow.note.content": run_note(about, self.path) if environment else about["note"],
            **({"mlflow.source.git.commit": environment["commit"]} if environment else {}),
            **{key: str(value) for key, value in self._coordinates().items()},
        }

    @functools.cached_property
    def events(self) -> dict[str, str]:
        """What went wrong with the numbers of the trial, as tags: the value, and where training had it last."""
        return {
            f"event.{found.event}": f"{found.value:.3g}"
            + ("" if math.isnan(found.last) else f" at step {found.last:.0f}")
            for found in events(self.path, self.history())
        }

    def params(self) -> dict[str, str]:
        """Return the flattened configuration and the trial's coordinates, at most 500 characters each."""
        config = {key: value for key, value in self.about["config"].items() if key != "code"}  # hashes tell nobody much
        flat = dict(_flatten(config)) | self._coordinates()
        return {key: str(value)[:500] for key, value in flat.items()}

    def _coordinates(self) -> dict[str, Any]:
        about = self.about
        found = {"variant": about["experiment"], **{key: about[key] for key in ("seed", "kind", "scale", "corpus")}}
        return {key: value for key, value in found.items() if value is not None}


def sha256(*parts: bytes) -> str:
    """Return the hex digest of the parts, each as a line."""
    return hashlib.sha256(b"".join(part + b"\n" for part in parts)).hexdigest()


def _flatten(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
