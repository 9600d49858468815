"""What goes wrong with the numbers of a trial, by name: read off what the trial has logged and left behind.

Nothing of it is stored in the folder: a kill cannot lose an event nor a resumed run double it, and trials of before a
row of `EVENTS` was there have it all the same.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass
from statistics import fmean as mean
from typing import TYPE_CHECKING, NamedTuple

from replication.tokens.protocol import MARKS
from replication.util.errors import UserError
from replication.util.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from eval.results.trial_folder import Point

FINITE = sys.float_info.max
MOST_SAMPLES = 0.5  # a mean over samples most of which are degenerate is not about the others
FLOOR = 0.1  # of validity: tokens drawn evenly come to 0.07 on Bach in the paper's encoding, and unigrams to 0.02


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that goes wrong.

    Attributes:
        name: of the event.
        meaning: in one sentence, with the reason for the limits.
        keys: of the numbers by which it is seen; none for what the status of a trial says.
        least: a smaller number is wrong.
        most: a larger number is wrong, and so is NaN if this is finite: it comes of what has grown too large.
    """

    name: str
    meaning: str
    keys: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf

    def is_wrong(self, value: float) -> bool:
        """Return whether a number is beyond the limits."""
        return value < self.least or value > self.most or (math.isnan(value) and self.most < math.inf)


class Found(NamedTuple):
    """An event of a trial.

    Attributes:
        event: its name.
        first: the training step at which it was first so; NaN of what is measured after training.
        last: the last step at which it was so.
        value: the number at the last step.
    """

    event: str
    first: float
    last: float
    value: float


FAILED = Event(name="failed", meaning="The trial ended with an error, which its trial.json tells; it is in no mean.")
UNFINISHED = Event(name="unfinished", meaning="The trial was not done when the report was made; it is in no mean.")
LOST = (FAILED.name, UNFINISHED.name)  # what keeps a trial out of the results

EVENTS: tuple[Event, ...] = (
    FAILED,
    UNFINISHED,
    Event(
        name="loss-not-finite",
        meaning="A loss or the norm of its gradient is infinite or no number, at which training stops.",
        keys=("train/loss", "train/gradient_norm", "val/loss"),
        least=-FINITE,
        most=FINITE,
    ),
    Event(
        name="embeddings-exploded",
        meaning="The longest embedding has an RMS per dimension of more than 10, where arms start at 1 or less: in the "
        "schedule of Diffusion-LM, noise would outweigh it in the last 2 % of the timesteps only, instead of 75 %, and "
        "there is hardly anything to denoise.",
        keys=("embedding/rms",),
        most=10.0,
    ),
    Event(
        name="embeddings-collapsed",
        meaning="Two embeddings are nearer to each other than the deviation of the noise at the first timestep "
        "(sigma_0): rounding takes one word for the other in 31 % of the cases before any diffusion.",
        keys=("embedding/gap",),
        least=1.0,
    ),
    Event(
        name="likelihood-not-finite",
        meaning="The likelihood is no number, or a bound on it is infinite; an exact one may be, as that of a copy is.",
        keys=("likelihood",),
        least=-FINITE,
        most=FINITE,
    ),
    Event(
        name="samples-repeated",
        meaning="Most samples come more than once, token by token.",
        keys=("samples/repeated",),
        most=MOST_SAMPLES,
    ),
    Event(
        name="samples-monotonous",
        meaning="The tokens of most samples, but for the marks, have an entropy of less than ln 2: less varied than "
        "the tosses of a coin, as of one token over and over.",
        keys=("samples/monotonous",),
        most=MOST_SAMPLES,
    ),
    Event(
        name="samples-empty",
        meaning="Most samples have no note.",
        keys=("samples/empty",),
        most=MOST_SAMPLES,
    ),
    Event(
        name="samples-invalid",
        meaning="Fewer than one sample in ten can be read without repair, hardly more than of tokens drawn evenly.",
        keys=("samples/valid",),
        least=FLOOR,
    ),
)


def events(folder: Path, logged: Iterable[Point]) -> list[Found]:
    """Return what went wrong with the numbers of a trial, in the order of `EVENTS`.

    Args:
        folder: of the trial.
        logged: the history of its training, in order.

    Raises:
        UserError: if a file of the folder is damaged.
    """
    numbers = [*((point.key, float(point.step), point.value) for point in logged)]
    if not any(key == "embedding/gap" for key, _, _ in numbers):  # trained before this was logged
        numbers += [(key, math.nan, value) for key, value in _embedding(folder).items()]
    numbers += [(key, math.nan, value) for key, value in (_likelihood(folder) | _samples(folder)).items()]
    result = []
    for event in EVENTS:
        wrong = [(step, value) for key, step, value in numbers if key in event.keys and event.is_wrong(value)]
        if wrong:
            result.append(Found(event.name, wrong[0][0], *wrong[-1]))
    return result


def _embedding(folder: Path) -> dict[str, float]:
    """Return of the last embeddings what training logs of them now, if they are there."""
    import pandas as pd
    import torch

    from replication.models.diffusion_lm import spread
    from replication.training.scales import SCALES, Recipe

    if not (path := folder / "embedding.parquet").exists():
        return {}
    about = read_json(folder / "trial.json")
    diffusion = Recipe() if about["config"]["model"]["recipe"] else SCALES.get(about["scale"])
    if diffusion is None:  # that of a tuning, which is brief
        return {}
    try:
        table = torch.tensor(pd.read_parquet(path).to_numpy())
    except (OSError, ValueError) as error:  # pyarrow's errors are of these
        raise UserError(f"{path} is damaged ({error}); delete scores.json beside it to make it again") from None
    return spread(table, math.sqrt(1 - diffusion.schedule.alpha_bar(diffusion.timesteps)[0]))


def _likelihood(folder: Path) -> dict[str, float]:
    path = folder / "likelihood.json"
    nll = read_json(path) if path.exists() else {"exact": True, "nats_per_token": math.inf}
    return {} if nll["exact"] and nll["nats_per_token"] == math.inf else {"likelihood": nll["nats_per_token"]}


def _samples(folder: Path) -> dict[str, float]:
    """Return which shares of the samples are repeated and monotonous and, once scored, empty and valid."""
    import pandas as pd

    path = folder / "samples.txt"  # which a tracking store carries too
    if not path.exists():  # not yet, or made of real windows
        return {}
    samples = path.read_text(encoding="utf-8").splitlines()
    copies = Counter(samples)
    shares = {
        "repeated": mean(copies[sample] > 1 for sample in samples),
        "monotonous": mean(_entropy(sample) < math.log(2) for sample in samples),
    }
    if (path := folder / "scores.json").exists():
        scores = read_json(path)
        # A piece without notes, and no other, has no mean pitch; of no such piece nothing is said.
        shares |= {"valid": scores["validity"]}
    if (path := folder / "distances.parquet").exists():
        distances = pd.read_parquet(path).set_index("metric")
        shares |= {"empty": distances.loc["mean_pitch", "nan_rate"]}
    return {f"samples/{name}": float(share) for name, share in shares.items()}


def _entropy(sample: str) -> float:
    """Return the entropy in nats of the words that are no marks; 0 where there are none."""
    counts = Counter(word for word in sample.split() if word not in MARKS)
    return sum(-count / counts.total() * math.log(count / counts.total()) for count in counts.values())
