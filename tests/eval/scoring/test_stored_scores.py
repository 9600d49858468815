"""Stored scores of two pieces and of a tiny pair of sample sets: a measure that changes needs a new EDITION.

`python -m tests.eval.scoring.test_stored_scores` writes the file of stored scores after EDITION was raised.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from eval.distances.copying import TrainingIndex
from eval.metrics import table
from eval.metrics.windows import Windows
from eval.scoring import measures
from eval.scoring.measures import MEASURES, SECOND_SAMPLER
from eval.scoring.reference import ReferenceSet
from eval.scoring.sample_set import encode_windows, read
from eval.scoring.teacher import TeacherScore
from replication.midi.piece import PAPER_GRID, Seconds
from replication.tokens.encodings import encoding_on
from replication.training.scales import SCALES
from replication.util.files import read_json, write_json
from tests.support.pieces import C_MAJOR, Notes, piece, random_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN = Path(__file__).parents[1] / "metrics" / "golden" / "metrics.json"
REWRITE = "run `python -m tests.eval.scoring.test_stored_scores` to write it again"
RAISE = (
    "{what} differs from the value that {path} stores for edition {edition}. If the change is intended, raise EDITION "
    "in {module} so that runs are scored again, then run `python -m tests.eval.scoring.test_stored_scores`."
)
MODULES = {"pieces": "eval/metrics/table.py", "metrics": "eval/metrics/table.py", "sets": "eval/scoring/measures.py"}


def scores() -> dict[str, dict[str, Any]]:
    """Return the metrics of two pieces, the distances and measures of a pair of sets, and the editions of both."""
    waltz: Notes = [
        (0, 1, 48), (1, 1, 60), (1, 1, 64), (2, 1, 60), (2, 1, 64), (3, 2.5, 43), (4, 0.25, 67), (5, 0.5, 71),
    ]  # fmt: skip
    pieces = {
        "alberti": piece([(step / 2, 0.5, (48, 55, 52, 55)[step % 4]) for step in range(16)] + C_MAJOR),
        "waltz": piece(waltz, grid=Seconds(steps_per_second=16.0)),
    }
    distances, found = pair()
    return {
        "editions": {"metrics": table.EDITION, "measures": measures.EDITION},
        "pieces": {name: table.score(Windows.of([one])).iloc[0].to_dict() for name, one in pieces.items()},
        "metrics": distances,
        "sets": found,
    }


def pair() -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Return the distances of all metrics and all measures of 24 samples, 4 of them copies, from 48 real windows."""
    encoding = encoding_on("paper", PAPER_GRID)
    tokens = encode_windows(random_windows(180).map(coarse), encoding, length=130)
    real, others, training = tokens[:48], tokens[48:68], tokens[68:108]
    reference = ReferenceSet(
        real=read(real, encoding, np.arange(48) // 3),
        training=TrainingIndex.of(training, encoding),
        encoding=encoding,
        scale=replace(SCALES["smoke"], samples=24),
        teacher=lambda ids: TeacherScore(nll=ids.double().mean().item(), ruled_out=0.25, sha256=""),
        seed=0,
    )
    distances, found = reference.compare(read(np.concatenate([others, training[:4]]), encoding))
    return distances.T.to_dict(), found.set_index("measure").T.to_dict()


def coarse(notes: NDArray[Any]) -> NDArray[Any]:
    """Return notes of five pitches on beats, which repeat bars and share long runs."""
    changed = notes.copy()
    steps = PAPER_GRID.steps_per_beat
    changed["onset"], changed["duration"], changed["pitch"] = notes["onset"] // steps * steps, steps, 60
    changed["pitch"] += notes["pitch"] % 5
    return np.unique(changed)


def test_scores_equal_the_stored_ones_unless_the_edition_is_raised() -> None:
    stored, found = read_json(GOLDEN), scores()
    assert found["editions"] == stored["editions"], f"{GOLDEN} has another edition; {REWRITE}"
    assert set(found["sets"]) == set(MEASURES) - {SECOND_SAMPLER}  # which needs a model
    for part, module in MODULES.items():
        assert found[part].keys() == stored[part].keys()
        for name, values in found[part].items():
            advice = RAISE.format(what=name, path=GOLDEN.name, edition=stored["editions"], module=module)
            assert values == pytest.approx(stored[part][name], rel=tolerance(part), abs=1e-12, nan_ok=True), advice


def tolerance(part: str) -> float:
    """Return the relative tolerance between machines; sets go through eigenvalues and a fitted classifier."""
    return 1e-6 if part == "sets" else 1e-12


def write() -> None:
    """Write the stored scores; refuse if the numbers of an edition would change."""
    found = scores()
    if GOLDEN.exists():
        stored = read_json(GOLDEN)
        for part, module in MODULES.items():
            edition = "measures" if part == "sets" else "metrics"
            if found["editions"][edition] == stored.get("editions", {}).get(edition):
                for name, values in stored[part].items():
                    if found[part].get(name) != pytest.approx(values, rel=tolerance(part), abs=1e-12, nan_ok=True):
                        edition_number = stored["editions"][edition]
                        raise SystemExit(RAISE.format(what=name, path=GOLDEN, edition=edition_number, module=module))
    write_json(GOLDEN, found)


if __name__ == "__main__":
    write()
