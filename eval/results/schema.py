"""Files of run folders, which others may have written: what is not of the shape that Etude writes is a sentence."""

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


# Part of every trial's identity: raise it when the same configuration comes to mean another computation.
EDITION = 4
AUDITS = "audit"  # the folder of what was found of checkpoints, by the version of the scores
# What must be in trial.json.
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
    "started": (int, float),
    "ended": (int, float, type(None)),
}
MOST = 1_000  # times the dimension or the scale, at a tuning point
COLOUR = re.compile("#[0-9A-Fa-f]{6}")  # it becomes part of pages
# Columns of results that hold words; all others hold numbers.
WORDS = {"experiment", "label", "colour", "note", "encoding", "name", "digest", "metric", "measure", "key", "side"}
WORDS |= {"word", "arm", "sampler", "event", "weights", "samples", "places"}
# What reading raises for content of another shape; pyarrow's errors are of these too.
MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, NotImplementedError, RecursionError)
_ABSENT = {None, ENOENT, EISDIR, ENOTDIR}  # numbers of the system for a file that is not there, or is no file


@contextmanager
def as_written(place: Path) -> Iterator[None]:
    """Have whatever a block trips over in what it reads in a folder be a sentence that names the folder.

    Raises:
        UserError: in place of what is raised where content has another shape than Etude writes; says where that was.
    """
    try:
        yield
    except (*MISFITS, MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _ABSENT:  # of the disk, not of what is on it
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"{place} is not as Etude writes it ({type(error).__name__} {str(error)[:100]!r} in"
            f" {Path(last.filename).name}, line {last.lineno}): restore it, or move it away to make it again"
        ) from error


def read_about(path: Path) -> dict[str, Any]:
    """Return a trial.json.

    Raises:
        UserError: if it is damaged or is none.
    """
    about: dict[str, Any] = read_json(path)
    with as_written(path):
        check_about(about)
    return about


def read_trial(folder: Path) -> dict[str, Any]:
    """Return trial.json of the folder of a trial, `EXPERIMENT/SEED`.

    Raises:
        UserError: if it is damaged, is none, or is of another trial.
    """
    about = read_about(folder / "trial.json")
    if (about["experiment"], str(about["seed"])) != (folder.parent.name, folder.name):
        name = f"{about['experiment'][:100]!r} seed {about['seed']}"
        raise UserError(f"{folder} holds another trial, {name}: move it back to where it was, or away")
    return about


def check_about(about: Mapping[str, Any]) -> None:
    """Raise a KeyError, TypeError or ValueError unless a trial.json has what it must."""
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
        ValueError: if a field is not positive, or larger than `MOST`.
    """
    if not (0 < int(dimension) <= MOST and 0 < float(scale) <= MOST):
        raise ValueError(f"a tuning point of dimension {dimension} and scale {scale}")
    return TuningPoint(dimension=int(dimension), scale=float(scale))
