"""Collect what MLflow shows of a trial folder: tags, parameters, points and files; and tell what it has already."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self
from uuid import NAMESPACE_OID, uuid5

from eval.claims.declaration import trial_standing
from eval.results.anomalies import find_anomalies
from eval.results.schema import TRAINING
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
    TRAINING,
    "*.sha256",
    "samples.txt",
    "samples.html",
    "*.png",
    "*.parquet",
    "audit/*.json",
    "midi/*.mid",
    "samplers/*.json",
)
ROLL = "samples/roll"  # image of every trial
SYNCED, SENDING = "synced_", "sending_"  # prefixes of tags: what MLflow has in full, and what it may have in part


@dataclass(frozen=True, kw_only=True)
class RunContent(TrialFolder):
    """The content of a run in MLflow: a trial folder, or something else that is shown like a trial.

    Attributes:
        patterns: Patterns of the files to show. They cover everything a report is made of, but not the weights.
        values: Final numbers by name, if they are not those of a scored trial.
    """

    patterns: tuple[str, ...] = ARTIFACTS
    values: Mapping[str, float] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """Digest of everything that a final sync shows; a file that is added or changes its size changes it."""
        files = [f"{file.relative_to(self.path)} {file.stat().st_size}".encode() for file in self.artifacts()]
        wrong = [f"{name} {text}".encode() for name, text in self.anomalies.items()]
        about = (self.about["status"].encode(), self.standing.encode(), str(len(self.lines)).encode())
        return sha256(*about, self.scores, *files, *wrong)

    @functools.cached_property
    def standing(self) -> str:
        """What verdicts on the claims are worth, as far as this trial shows it; empty for what is no trial."""
        return str(trial_standing(self.about, self.path.parents[1])) if self.about["environment"] else ""

    def without_worker(self) -> Self:
        """Return the content to show if no worker runs the trial: a status of RUNNING then means KILLED.

        The end time is that of the last line of the log, the only trace of when it was killed.
        """
        if self.about["status"] != "RUNNING":
            return self
        times = [point.time / 1000 for point in self.history(max(len(self.lines) - 1, 0))]
        ended = max(times, default=self.about["started"])
        return replace(self, about=self.about | {"status": "KILLED", "ended": ended})

    def progress_tags(self) -> dict[str, str]:
        """Return the tags from which a later sync knows which lines MLflow has."""
        return {f"{SYNCED}lines": str(len(self.lines)), f"{SYNCED}digest": sha256(*self.lines)}

    def extends(self, tags: dict[str, str]) -> bool:
        """Return whether the folder begins with what the tags say was synced; a trial made or scored again does not."""
        return all(self._begins_with(tags, prefix) for prefix in (SYNCED, SENDING))

    def _begins_with(self, tags: dict[str, str], prefix: str) -> bool:
        known = int(tags.get(f"{prefix}lines", 0))
        return (
            known <= len(self.lines)
            and tags.get(f"{prefix}digest", sha256()) == sha256(*self.lines[:known])
            and tags.get(f"{prefix}scores", sha256(self.scores)) == sha256(self.scores)
        )

    def final_points(self) -> list[Point]:
        """Return the scores as points at step 0, where MLflow draws bars, and the audit as points at its own steps."""
        time = int((self.about["ended"] or self.about["started"]) * 1000)
        scores = json.loads(self.scores or b"{}")
        shown = self.values or (summary(self.path, scores) if scores else {})
        audit = self.path / "audit" / f"{scores.get('scoring', '')}.json"
        audited = read_json(audit) if audit.exists() else {}
        return [Point(key, value, time, 0) for key, value in shown.items()] + [
            Point(f"audit/{key}", value, time, int(step))
            for step, found in audited.items()
            for key, value in numbers(found)
        ]

    def artifacts(self) -> list[Path]:
        """Return the files to show, in order."""
        return [file for pattern in self.patterns for file in sorted(self.path.glob(pattern))]

    @property
    def name(self) -> str:
        """Name of the run: variant and seed."""
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
            **({"mlflow.source.git.commit": environment["commit"], "claims": self.standing} if environment else {}),
            **{key: str(value) for key, value in self._coordinates().items()},
        }

    @functools.cached_property
    def anomalies(self) -> dict[str, str]:
        """Anomalies of the trial as tags: the last value and its training step."""
        return {
            f"anomaly.{found.anomaly}": f"{found.value:.3g}"
            + ("" if math.isnan(found.last) else f" at step {found.last:.0f}")
            for found in find_anomalies(self.path, self.history())
        }

    def params(self) -> dict[str, str]:
        """Return the flattened configuration and the coordinates of the trial, at most 500 characters each."""
        config = {key: value for key, value in self.about["config"].items() if key != "source"}  # a hash tells nothing
        flat = dict(_flatten(config)) | self._coordinates()
        return {key: str(value)[:500] for key, value in flat.items()}

    def _coordinates(self) -> dict[str, Any]:
        about = self.about
        found = {"variant": about["experiment"], **{key: about[key] for key in ("seed", "kind", "scale", "corpus")}}
        return {key: value for key, value in found.items() if value is not None}


def image_name(about: Mapping[str, Any]) -> str:
    """Return the file name, without ending, by which MLflow's page finds the image of a trial at step 0.

    It depends on nothing but the trial, so that logging the image twice leaves one.
    """
    started, number = int(about["started"] * 1000), uuid5(NAMESPACE_OID, about["id"])
    return f"{ROLL.replace('/', '~')}+step+0+timestamp+{started}+{number}"


def sha256(*parts: bytes) -> str:
    """Return the hex digest of the parts, each followed by a newline."""
    return hashlib.sha256(b"".join(part + b"\n" for part in parts)).hexdigest()


def _flatten(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
