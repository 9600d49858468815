"""Choose the endpoint by what it detects: controls against candidate endpoints, `nox -s bench -- endpoints`.

No trained network is among the sets. They are held-out music, which an endpoint must call real, music that is wrong in
one known way (`eval.scoring.controls`), and n-gram models. The corpora are one of chorales, one of pop songs and one of
piano music read in seconds, as a performance is. All values are in noise floors.

A candidate's separation of a set is (value - centre) / (p95 - centre), where centre and p95 are the mean and the 95th
percentile of its values for halves of the real songs: above 1, the set is told from real music. A candidate is
admitted if it puts permuted pitches and shuffled onsets at 2 floors or more and above the 95th percentile, held-out
music within 0.7 to 1.3 floors, and wrong notes between real music and the n-gram model, which comes before uniform
noise. Of those admitted, the one with the largest smallest separation is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import tyro

from benchmarks.table import markdown_table, publish
from eval.distances.endpoint import family_ratios, of_families
from eval.distances.noise_floor import against_halves
from eval.distances.point_clouds import classifier_auc
from eval.distances.rows import Rows
from eval.distances.table import DISTANCES, distances_on
from eval.metrics.table import features_on
from eval.scoring.controls import (
    BarsShuffled,
    Collapse,
    ControlInputs,
    Jitter,
    OneBarRepeated,
    OnsetsShuffled,
    PitchesPermuted,
)
from eval.scoring.sample_set import ScoredWindows, read
from replication.midi.piece import Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from eval.distances.table import Distance
    from eval.scoring.controls import FromTest

SIZE = 256  # windows of a set
DRAWS = 40  # halvings
CORPORA = ("bach", "pop909-cl", "piano-midi-de:seconds")
CONTROLS: dict[str, FromTest] = {
    "5 % of notes off by a semitone": Jitter(share=0.05),
    "20 % of notes off by a semitone": Jitter(),
    "pitches permuted": PitchesPermuted(),
    "onsets shuffled": OnsetsShuffled(),
    "bars shuffled": BarsShuffled(),
    "one bar repeated": OneBarRepeated(),
    "20 windows repeated": Collapse(),
}
GRAMS = {"5-gram": 5, "bigram": 2, "unigram": 1, "uniform": 0}
HELD_OUT = 4  # sets of windows of the training split
MUST_DETECT = ("pitches permuted", "onsets shuffled", "20 windows repeated", "5-gram", "bigram", "unigram", "uniform")
DETECTED = 2.0
REAL = (0.7, 1.3)


class Known(NamedTuple):
    """Real music of a corpus and sets whose faults are known, by name."""

    real: ScoredWindows
    sets: dict[str, ScoredWindows]


class Values(NamedTuple):
    """A candidate's value for a set and its (draws,) values for halves of the real songs."""

    value: float
    real: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The distances of a set in single measures over halvings: (draws,) gaps and floors of each, by name."""

    gaps: Mapping[str, NDArray[np.float64]]
    floors: Mapping[str, NDArray[np.float64]]

    def candidate(self, of: Callable[[Iterable[float]], float]) -> Values:
        """Return the values of a function of the mean ratios of the families."""
        names = [name for name, row in DISTANCES.items() if row.family and name in self.gaps]

        def value(distances: Mapping[str, float]) -> float:
            return of(family_ratios({name: distances[name] / self.floors[name].mean() for name in names}).values())

        draws = zip(*(self.floors[name] for name in names), strict=True)
        real = [value(dict(zip(names, draw, strict=True))) for draw in draws]
        return Values(value({name: float(self.gaps[name].mean()) for name in names}), np.array(real))


def _geometric(facts: Facts) -> Values:
    return facts.candidate(of_families)


def _quadratic(facts: Facts) -> Values:
    return facts.candidate(lambda ratios: float(np.sqrt(np.maximum(1.0, list(ratios)).mean())))


def _single(name: str, *, chance: float = 0.0) -> Callable[[Facts], Values]:
    """Return the candidate that is one measure as a multiple of its mean for real music, counted from chance."""

    def of(facts: Facts) -> Values:
        unit = float(np.abs(facts.floors[name] - chance).mean())
        return Values(
            float(np.abs(facts.gaps[name].mean() - chance)) / unit, np.abs(facts.floors[name] - chance) / unit
        )

    return of


CANDIDATES: dict[str, Callable[[Facts], Values]] = {
    "mean Wasserstein distance of 14 metrics": _single("wasserstein"),
    "Fréchet distance of the metrics": _single("frechet"),
    "classifier on the metrics, AUC - 1/2": _single("classifier", chance=0.5),
    "classifier on events, AUC - 1/2": _single("events", chance=0.5),
    "root mean square over families": _quadratic,
    "geometric mean over families": _geometric,
}


def known_music(name: str, cache: Path, *, length: int = 66, split: str = "test") -> Known:
    """Return the windows of a split of a corpus, and sets made from them, drawn from n-grams, or held out of it.

    Args:
        name: A corpus, followed by ":seconds" to read it in seconds.
        cache: Folder for prepared data.
        length: Tokens of a window.
        split: Name of the split.
    """
    import torch

    from baselines.ngram import NGram
    from eval.scoring.reference import reference_windows
    from replication.corpora.corpus import CORPORA as ALL
    from replication.corpora.corpus import located
    from replication.tokens.encodings import encoding_on
    from replication.training.scales import SCALES
    from replication.windows.cutting import Cutting
    from replication.windows.prepared import prepare

    corpus = located(ALL[name.partition(":")[0]])
    if name.endswith(":seconds"):
        corpus = replace(corpus, reading=replace(corpus.reading, grid=Seconds(steps_per_second=16)))
    encoding = encoding_on("paper", corpus.reading.grid)
    dataset = prepare(corpus, encoding, Cutting(length=length), cache=cache)
    real, train = reference_windows(dataset, encoding, split=split).scored, dataset.splits["train"].tokens
    inputs = ControlInputs(
        real=real.windows, encoding=encoding, scale=SCALES["cpu"], sibling=Path, rng=np.random.default_rng(2)
    )
    sets = {}
    for number in range(HELD_OUT):
        rows = np.random.default_rng(number).permutation(len(train))[:SIZE]
        sets[f"held out, {number + 1}"] = read(np.asarray(train[np.sort(rows)]), encoding).scored
    for label, control in CONTROLS.items():
        made, sources = control.make(inputs)
        sets[label] = ScoredWindows.of(made, songs=real.songs[sources], origin=control.origin)
    for label, order in GRAMS.items():
        model = NGram(order=order, vocabulary=len(encoding.vocabulary), length=length)
        model._count(torch.from_numpy(np.asarray(train).astype(np.int16)))  # noqa: SLF001 - counting needs no training job
        sets[label] = read(model.sample(range(SIZE), seed=0).numpy().astype(np.uint16), encoding).scored
    return Known(real, sets)


def facts_of(sample: ScoredWindows, real: ScoredWindows) -> Facts:
    """Measure a set in every measure that a candidate uses, on the same halvings."""
    from eval.distances.noise_floor import SampleOrigin
    from eval.distances.univariate import spread, wasserstein
    from eval.scoring.set_distances import song_identities

    features = list(features_on(real.windows.grid))
    scales = [spread(real.scores[name]) for name in features]

    def mean_wasserstein(one: Rows, other: Rows, _: np.random.Generator) -> float:
        pairs = zip(one.values.T, other.values.T, scales, strict=True)  # noqa: PD011 - of `Rows`
        return float(np.nanmean([wasserstein(a, b, scale=scale) for a, b, scale in pairs]))

    events = distances_on(beats=real.windows.beats, heard=True)

    def metrics(part: ScoredWindows) -> NDArray[np.float64]:
        values: NDArray[np.float64] = part.scores[features].to_numpy(dtype=np.float64)
        return values

    def shares(part: ScoredWindows) -> NDArray[np.float64]:
        """Return the square roots of the shares of all events, whose differences are alike in size."""
        counts = [row.facts(part.windows, part.scores) for row in events.values()]
        return np.hstack([np.sqrt(count / np.maximum(1, count.sum(axis=1, keepdims=True))) for count in counts])

    def counts_of(row: Distance) -> Callable[[ScoredWindows], NDArray[Any]]:
        return lambda part: row.facts(part.windows, part.scores)

    measures: dict[str, tuple[Callable[[Rows, Rows, np.random.Generator], float], Callable[[ScoredWindows], Any]]] = {
        "wasserstein": (mean_wasserstein, metrics),
        "frechet": (DISTANCES["frechet"].function, metrics),
        "classifier": (classifier_auc, metrics),
        "events": (classifier_auc, shares),
        **{name: (row.function, counts_of(row)) for name, row in events.items()},
    }
    found = {
        name: against_halves(
            function,
            Rows(facts(sample), song_identities(sample, real)),
            Rows(facts(real), real.songs),
            rng=np.random.default_rng(1),
            draws=DRAWS,
            origin=sample.origin,
            songs=None if sample.origin is SampleOrigin.INDEPENDENT else sample.songs,
            most=SIZE,
        )
        for name, (function, facts) in measures.items()
    }
    return Facts(
        gaps={name: one.gaps for name, one in found.items()}, floors={name: one.floors for name, one in found.items()}
    )


def matrix(name: str, known: Known) -> pd.DataFrame:
    """Return one row per set and candidate: corpus, set, candidate, value, centre, p95, separation."""
    import pandas as pd

    rows = []
    for label, sample in known.sets.items():
        facts = facts_of(sample, known.real)
        for candidate, of in CANDIDATES.items():
            value, real = of(facts)
            centre, p95 = float(real.mean()), float(np.quantile(real, 0.95))
            rows.append((name, label, candidate, value, centre, p95, (value - centre) / (p95 - centre)))
    return pd.DataFrame(rows, columns=["corpus", "set", "candidate", "value", "centre", "p95", "separation"])


def verdicts(found: pd.DataFrame) -> pd.DataFrame:
    """Return one row per candidate: admitted, why (the first condition it fails), separation (smallest of all)."""
    import pandas as pd

    rows = []
    for candidate, own in found.groupby("candidate", sort=False):
        why = [f"{corpus}: {fault}" for corpus, part in own.groupby("corpus", sort=False) if (fault := _fault(part))]
        least = own[own["set"].isin(MUST_DETECT)]["separation"].min()
        rows.append((candidate, not why, "; ".join(why), least))
    return pd.DataFrame(rows, columns=["candidate", "admitted", "why", "separation"])


def _fault(part: pd.DataFrame) -> str:
    """Return the first condition that a candidate fails on a corpus, or nothing."""
    value = dict(zip(part["set"], part["value"], strict=True))
    p95 = float(part["p95"].iloc[0])
    for label in ("pitches permuted", "onsets shuffled"):
        if value[label] < DETECTED or value[label] <= p95:
            return f"{label} {value[label]:.2f}"
    held_out = [ratio for label, ratio in value.items() if label.startswith("held out")]
    if not (REAL[0] <= min(held_out) and max(held_out) <= REAL[1]):
        return f"held-out music {min(held_out):.2f} to {max(held_out):.2f}"
    order = [max(held_out), value["20 % of notes off by a semitone"], value["5-gram"], value["uniform"]]
    return "" if order == sorted(order) else "the order of real, wrong notes, 5-gram, uniform"


def main(
    corpora: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[:seconds] ...", help="corpora")] = CORPORA,
    output: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help="folder for matrix.csv and README.md")] = None,
    root: Annotated[Path, tyro.conf.arg(metavar="PATH", help="folder of runs/")] = Path(),
) -> None:
    """Print and write the matrix of known music against candidate endpoints."""
    import pandas as pd

    found = pd.concat([matrix(name, known_music(name, root / "runs" / "cache")) for name in corpora])
    text = _markdown(found)
    print(text)
    if output is not None:
        publish(output, text, matrix=found)


def _markdown(found: pd.DataFrame) -> str:
    blocks = ["# What candidate endpoints detect", __doc__.partition("\n\n")[2].strip()]
    for corpus, part in found.groupby("corpus", sort=False):
        table = part.pivot_table(index="set", columns="candidate", values="value", sort=False)[list(CANDIDATES)]
        limits = part.drop_duplicates("candidate").set_index("candidate")
        table.loc["real music: mean"], table.loc["real music: 95th percentile"] = limits["centre"], limits["p95"]
        blocks += [f"## {corpus}", "In noise floors.", markdown_table(table)]
    chosen = verdicts(found).set_index("candidate")
    return "\n\n".join([*blocks, "## Choice", markdown_table(chosen)]) + "\n"


if __name__ == "__main__":
    tyro.cli(main)
