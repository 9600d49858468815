"""Choose the budget, the sampler and the width of a study: `nox -s bench -- learning-curve`.

Diffusion models are trained with one seed, which no comparison uses, and their samples are compared with the validation
split of a corpus, never with its test split. Each budget is a training run of its own, because the learning rate falls
to 0 at its end. Three things are chosen, by rules that were written before the numbers were there, and that weigh all
arms alike:

Budget: the smallest at which every arm has begun to learn harmony, that is, at which the harmony family of the
endpoint, with the published sampler, is at most half of that of music whose pitches are permuted, each of them still
right by itself.

Sampler: at the largest budget, the one with the smallest geometric mean over arms of the distance, among those whose
samples are as varied as real music: every arm with a mean recall of at least half of that of held-out music.

Width: the one with the smaller geometric mean over arms of the distance when both are given as many floating-point
operations.

The autoregressive model overfits long before these budgets end. It is trained with each of them, and with a half of
the smallest, and its weights with the lowest validation loss are kept. The loss shows whether stopping early in the
largest budget costs it anything, since its learning rate is still high there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from benchmarks.endpoints import known_music
from benchmarks.table import markdown_table, publish
from eval.distances.endpoint import ENDPOINT, FAMILIES, family_ratios
from eval.results.sampler_study import sampler_of
from eval.scoring.set_distances import set_distances
from replication.corpora.corpus import CORPORA
from replication.training.scales import SCALES

if TYPE_CHECKING:
    import pandas as pd

    from eval.scoring.sample_set import ScoredWindows
    from replication.training.scales import Scale

SEED = 200  # of training and sampling; no comparison uses it
ARMS = ("e2e", "gaussian", "pretrained")
EARLY = "autoregressive-best"  # experiment with early stopping
BUDGETS = (2500, 5000, 10_000)
WIDE = 128  # width at which a step has about four times the operations of one at 64
PUBLISHED, SECOND = ("ancestral", 50), ("renoised-unrounded", 50)
SAMPLERS = (
    *(PUBLISHED, ("ancestral", 200), ("ancestral-unrounded", 50)),
    *(("renoised", 50), SECOND, ("ddim", 50)),
)
YARDSTICKS = ("held out, 1", "pitches permuted", "5-gram")
MEASURES = (ENDPOINT, *FAMILIES, "recall")
SHARE = 0.5  # of permuted pitches' harmony, and of held-out music's recall


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A training run and the samplers that its weights are tried with.

    Attributes:
        arm: Name of the experiment.
        width: Width of the backbone.
        steps: Training steps.
        samplers: Names and numbers of evaluations; see `eval.results.sampler_study.SAMPLERS`.
    """

    arm: str
    width: int
    steps: int
    samplers: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """The run, for people and for folders."""
        return f"{self.arm}-{self.width}-{self.steps}"

    def scale(self) -> Scale:
        """Return the scale of the study with the width and the budget of the run."""
        study = SCALES["study"]
        backbone = replace(study.backbone, width=self.width, feedforward=4 * self.width)
        return replace(study, backbone=backbone, budget=replace(study.budget, steps=self.steps, milestones=()))


def curves(budgets: tuple[int, ...]) -> list[Curve]:
    """Return the runs: each arm at each budget, a wide model at a quarter of the largest, and early stopping."""
    most, width = max(budgets), SCALES["study"].backbone.width
    found = [
        Curve(arm=arm, width=width, steps=steps, samplers=SAMPLERS if steps == most else (PUBLISHED, SECOND))
        for steps in sorted(budgets, reverse=True)
        for arm in ARMS
    ]
    found += [Curve(arm=arm, width=WIDE, steps=most // 4, samplers=(PUBLISHED, SECOND)) for arm in ARMS]
    return found + [Curve(arm=EARLY, width=width, steps=steps, samplers=()) for steps in (min(budgets) // 2, *budgets)]


def measure(curve: Curve, windows: Path, folder: Path, threads: int) -> list[dict[str, Any]]:
    """Train a model, or resume its training, and return one row per sampler; they are kept in the folder.

    Without samplers there is one row with the negative log-likelihood of the validation split, in nats per token.
    """
    import torch

    from benchmarks.models import device
    from etude.trial.stages import FIT
    from etude.trial.trial import Trial
    from etude.trial.workbench import Workbench
    from eval.scoring.experiments import EXPERIMENTS
    from eval.scoring.reference import reference_windows
    from eval.scoring.sample_set import read
    from replication.training.model import token_counts
    from replication.util.files import read_json, write_json
    from replication.windows.prepared import open_windows

    path = folder / curve.name / "rows.json"
    if path.exists():
        kept: list[dict[str, Any]] = read_json(path)["rows"]
        return kept
    torch.set_num_threads(threads)
    scale = curve.scale()
    bench = Workbench(
        trial=Trial(
            experiment=EXPERIMENTS[curve.arm], scale=scale, corpus=scale.corpus, seed=SEED, comparison=path.parent
        ),
        dataset=open_windows(windows),
        grid=CORPORA[scale.corpus].reading.grid,
        device=device(),
    )
    bench.folder.mkdir(parents=True, exist_ok=True)
    FIT.run(bench)
    setting: dict[str, Any] = {"arm": curve.arm, "width": curve.width, "steps": curve.steps}
    if curve.samplers:
        real = reference_windows(bench.dataset, bench.encoding, split="validation").scored
        rows = []
        for sampler, evaluations in curve.samplers:
            model = bench.with_scale(replace(scale, sampler=sampler_of(sampler, evaluations)))
            drawn = model.sample(range(len(real.windows)), seed=SEED)
            sample = read(drawn.numpy().astype(np.uint16), bench.encoding)
            found = measures_of(sample.scored, real) | {"valid": float(sample.valid.mean())}
            rows.append(setting | {"sampler": _label((sampler, evaluations))} | found)
    else:
        held_out = bench.tokens("validation").long().to(bench.device)
        nats = bench.trained().nll(held_out, seed=SEED).total.sum().item()
        rows = [setting | {"nll": nats / int(token_counts(held_out).sum())}]
    write_json(path, {"rows": rows})
    return rows


def measures_of(sample: ScoredWindows, real: ScoredWindows) -> dict[str, float]:
    """Return the distance, the ratio of each family and the recall of a set."""
    found = set_distances(sample, real, seed=SEED, most=len(real.windows)).set_index("measure")
    families = family_ratios({str(name): float(ratio) for name, ratio in found["ratio"].items()})
    return {ENDPOINT: float(found.loc[ENDPOINT, "value"]), **families, "recall": float(found.loc["recall", "value"])}


def main(
    budgets: Annotated[tuple[int, ...], tyro.conf.arg(metavar="STEPS ...", help="budgets in steps")] = BUDGETS,
    output: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help="folder for curve.csv and README.md")] = None,
    root: Annotated[Path, tyro.conf.arg(metavar="PATH", help="folder of runs/")] = Path(),
) -> None:
    """Print and write the learning curves and what follows from them; training resumes where it was interrupted."""
    import pandas as pd

    from etude.runner.executors import PRELOADED, default_workers, threads_per_worker
    from replication.corpora.corpus import located
    from replication.tokens.encodings import encoding_on
    from replication.util.processes import process_pool
    from replication.windows.prepared import prepare

    scale, cache, workers = SCALES["study"], root / "runs" / "cache", default_workers()
    dataset = prepare(
        located(CORPORA[scale.corpus]),
        encoding_on("paper", CORPORA[scale.corpus].reading.grid),
        scale.cutting,
        cache=cache,
    )
    folder, tasks = root / "runs" / "learning-curve" / scale.corpus, curves(budgets)
    rows: list[dict[str, Any]] = []
    with process_pool(workers, preload=PRELOADED) as pool:
        threads = threads_per_worker(workers)
        futures = [pool.schedule(measure, args=[curve, dataset.folder, folder, threads]) for curve in tasks]
        for number, (curve, future) in enumerate(zip(tasks, futures, strict=True), 1):
            rows += future.result()
            print(f"[{number}/{len(tasks)}] {curve.name}", flush=True)
    found = pd.DataFrame(rows)
    known = known_music(scale.corpus, cache, length=scale.length, split="validation")
    yardsticks = pd.DataFrame(
        [{"set": name} | measures_of(known.sets[name], known.real) for name in YARDSTICKS]
    ).set_index("set")
    text = _markdown(found, yardsticks)
    print(text)
    if output is not None:
        publish(output, text, curve=found)


def enough(found: pd.DataFrame, yardsticks: pd.DataFrame) -> int | None:
    """Return the smallest budget at which every arm has begun to learn harmony; None if there is none."""
    limit = SHARE * yardsticks.loc["pitches permuted", "harmony"]
    published = found[(found["sampler"] == _label(PUBLISHED)) & (found["width"] == SCALES["study"].backbone.width)]
    worst = published.groupby("steps")["harmony"].max()
    return min((int(str(steps)) for steps, harmony in worst.items() if harmony <= limit), default=None)


def over_arms(found: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the geometric mean of the distance and the smallest recall over arms, by other columns."""
    logs = found.assign(distance=np.log(found[ENDPOINT])).groupby(by, sort=False)
    return logs.agg(distance=("distance", "mean"), recall=("recall", "min")).assign(
        distance=lambda frame: np.exp(frame["distance"])
    )


def _label(sampler: tuple[str, int]) -> str:
    return f"{sampler[0]}, {sampler[1]}"


def _markdown(found: pd.DataFrame, yardsticks: pd.DataFrame) -> str:
    width, most = SCALES["study"].backbone.width, found["steps"].max()
    narrow, published = found["width"] == width, found["sampler"] == _label(PUBLISHED)
    samplers = over_arms(found[narrow & (found["steps"] == most)], ["sampler"])
    varied = samplers[samplers["recall"] >= SHARE * yardsticks.loc["held out, 1", "recall"]]
    pair = found[published & ((found["steps"] == most) & narrow | (found["width"] == WIDE))]
    steps = enough(found, yardsticks)
    columns, early = [*MEASURES, "valid"], found[found["arm"] == EARLY]
    blocks = [
        "# Budget, sampler and width of the study, chosen on validation",
        (__doc__ or "").partition("\n\n")[2].strip(),
        f"Corpus {SCALES['study'].corpus}, seed {SEED}. Distances and families are in noise floors.",
        "## Known music",
        markdown_table(yardsticks),
        "## Budgets, with the published sampler",
        markdown_table(found[published & narrow].set_index(["arm"])[["steps", *columns]].sort_values(["arm", "steps"])),
        f"Chosen: {f'{steps:,} steps' if steps else 'no budget is enough'}.",
        "## Samplers, at the largest budget",
        markdown_table(found[narrow & (found["steps"] == most)].set_index("arm")[["sampler", *columns]]),
        markdown_table(samplers),
        f"Chosen: {varied['distance'].idxmin() if len(varied) else 'none is varied enough'}.",
        "## Widths, at equal operations",
        markdown_table(found[found["width"] == WIDE].set_index("arm")[["width", "steps", "sampler", *columns]]),
        markdown_table(over_arms(pair, ["width"])),
        "## Early stopping of the autoregressive model, nats per token",
        markdown_table(early.set_index("steps")[["nll"]]),
    ]
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    tyro.cli(main)
