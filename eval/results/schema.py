"""Validate the files of run folders, which others may have written, and raise UserError when one is malformed."""

from __future__ import annotations

import re
import traceback
from contextlib import contextmanager
from errno import EISDIR, ENOENT, ENOTDIR
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from replication.models.ablations import Kind
from replication.training.scales import TuningPoint
from replication.util.errors import UserError
from replication.util.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


# Part of every trial's identity. Raise it when the same configuration means another computation.
EDITION = 4
TRAINING = "training.json"  # steps, tokens and floating-point operations of a training run
AUDITS = "audit"  # folder of the results on checkpoints, one file per version of the scores
# Required keys of trial.json.
KINDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "experiment": str,
    "label": str,
    "note": str,
    "colour": str,
    "seed": int,
    "kind": str,
    "arm": (str, type(None)),
    "point": (dict, type(None)),
    "embeddings": bool,
    "tunes": (str, type(None)),
    "scale": str,
    "corpus": str,
    "config": dict,
    "dataset": dict,
    "environment": dict,
    "status": str,
    "declaration": (str, type(None)),
    "started": (int, float),
    "ended": (int, float, type(None)),
}
MAX_POINT = 1_000  # largest multiple of the dimension or the scale at a tuning point
COLOUR = re.compile("#[0-9A-Fa-f]{6}")  # it is inserted into HTML pages
# Columns of results that hold text; all others hold numbers.
TEXT_COLUMNS = {
    *("experiment", "label", "colour", "note", "encoding", "name", "digest", "metric", "measure", "key", "side"),
    *("word", "arm", "sampler", "anomaly", "estimator", "weights", "samples", "places"),
}
# Exceptions that reading malformed content raises; pyarrow's errors are subclasses of these.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, NotImplementedError, RecursionError)
_ABSENT = {None, ENOENT, EISDIR, ENOTDIR}  # errno of a missing file, or of a path that is not a file


@contextmanager
def as_written(place: Path) -> Iterator[None]:
    """Turn errors of a block that reads malformed files into a UserError.

    Args:
        place: File or folder that the block reads; the message names it.

    Raises:
        UserError: in place of the error of the block; names the line of code that raised it.
    """
    try:
        yield
    except (*MALFORMED, MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _ABSENT:  # an error of the disk, not of its content
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"{place} is malformed ({type(error).__name__} {str(error)[:100]!r} in"
            f" {Path(last.filename).name}, line {last.lineno}); restore it, or move it away to make it again"
        ) from error


def read_about(path: Path) -> dict[str, Any]:
    """Read and validate a trial.json.

    Raises:
        UserError: if it is damaged or not a trial.json.
    """
    about: dict[str, Any] = read_json(path)
    with as_written(path):
        check_about(about)
    return about


def read_trial(folder: Path) -> dict[str, Any]:
    """Read and validate trial.json of a trial folder, `EXPERIMENT/SEED`.

    Raises:
        UserError: if it is damaged, not a trial.json, or belongs to another trial.
    """
    about = read_about(folder / "trial.json")
    if (about["experiment"], str(about["seed"])) != (folder.parent.name, folder.name):
        name = f"{about['experiment'][:100]!r} seed {about['seed']}"
        raise UserError(f"{folder} holds another trial, {name}; move the folder back to its place, or away")
    return about


def check_about(about: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError unless a trial.json has all required keys with values of their types."""
    for key, kind in KINDS.items():
        if not isinstance(about[key], kind):
            raise TypeError(f"{key} is {str(about[key])[:50]!r}")
    if about["kind"] not in get_args(Kind):
        raise ValueError(f"kind is {about['kind'][:50]!r}")
    if about["point"] is not None:
        read_point(**about["point"])
    if not COLOUR.fullmatch(about["colour"]):
        raise ValueError(f"colour is {about['colour'][:50]!r}")


def read_point(*, dimension: int, scale: float) -> TuningPoint:
    """Return a tuning point from its fields in a file.

    Raises:
        ValueError: if a field is not positive, or larger than `MAX_POINT`.
    """
    if not (0 < int(dimension) <= MAX_POINT and 0 < float(scale) <= MAX_POINT):
        raise ValueError(f"a tuning point of dimension {dimension} and scale {scale}")
    return TuningPoint(dimension=int(dimension), scale=float(scale))
