"""Numerical anomalies of trials: their names, their limits, and how to find them in a trial folder.

Anomalies are computed from the training log and the files of a trial and stored nowhere. So a kill cannot lose one, a
resumed run cannot count one twice, and a row added to `ANOMALIES` applies to older trials too.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass
from statistics import fmean as mean
from typing import TYPE_CHECKING, NamedTuple

from replication.tokens.protocol import SPECIAL_TOKENS
from replication.util.errors import UserError, error_text
from replication.util.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from eval.results.trial_folder import Point

FINITE = sys.float_info.max
MOST_SAMPLES = 0.5  # if more samples than this are degenerate, a mean over all says nothing about the others
MIN_VALIDITY = 0.1  # uniformly drawn tokens reach 0.07 on Bach in the paper's encoding, unigrams 0.02


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """A row of `ANOMALIES`.

    Attributes:
        name: Name of the anomaly.
        meaning: One sentence that defines it and gives the reason for its limits.
        keys: Keys of the numbers that show it; empty for what the status of a trial shows.
        least: Lower limit; a smaller number is an anomaly.
        most: Upper limit; a larger number is an anomaly. If this is finite, NaN is one too, since NaN results from
            numbers that grew too large.
    """

    name: str
    meaning: str
    keys: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf

    def is_wrong(self, value: float) -> bool:
        """Return whether a number is outside the limits."""
        return value < self.least or value > self.most or (math.isnan(value) and self.most < math.inf)


class Occurrence(NamedTuple):
    """An anomaly of one trial.

    Attributes:
        anomaly: Name of the anomaly.
        first: First training step that shows it; NaN if it is measured after training.
        last: Last training step that shows it; NaN if it is measured after training.
        value: Number at the last step.
    """

    anomaly: str
    first: float
    last: float
    value: float


FAILED = Anomaly(
    name="failed", meaning="The trial ended with an error, which is in its trial.json; no mean includes it."
)
UNFINISHED = Anomaly(
    name="unfinished", meaning="The trial was not finished when the report was made; no mean includes it."
)
EXCLUDED = (FAILED.name, UNFINISHED.name)  # anomalies that keep a trial out of all other frames

ANOMALIES: tuple[Anomaly, ...] = (
    FAILED,
    UNFINISHED,
    Anomaly(
        name="loss-not-finite",
        meaning="A loss or the norm of its gradient is infinite or NaN; training stops there.",
        keys=("train/loss", "train/gradient_norm", "val/loss"),
        least=-FINITE,
        most=FINITE,
    ),
    Anomaly(
        name="embeddings-exploded",
        meaning="The longest embedding has an RMS per dimension of more than 10; every arm starts at 1 or less. In the "
        "schedule of Diffusion-LM, noise would then outweigh it in the last 2 % of the timesteps instead of the last "
        "75 %, so there is hardly anything to denoise.",
        keys=("embedding/rms",),
        most=10.0,
    ),
    Anomaly(
        name="embeddings-collapsed",
        meaning="Two embeddings are closer than the standard deviation of the noise at the first timestep (sigma_0). "
        "Rounding then confuses the two words in 31 % of the cases even without diffusion.",
        keys=("embedding/gap",),
        least=1.0,
    ),
    Anomaly(
        name="likelihood-not-finite",
        meaning="The likelihood is NaN, or a bound on it is infinite. An exact one may be infinite, as for copies.",
        keys=("likelihood",),
        least=-FINITE,
        most=FINITE,
    ),
    Anomaly(
        name="samples-repeated",
        meaning="Most samples occur more than once, token by token.",
        keys=("samples/repeated",),
        most=MOST_SAMPLES,
    ),
    Anomaly(
        name="samples-monotonous",
        meaning="In most samples the tokens other than marks have an entropy below ln 2, that of coin tosses. "
        "One token repeated over and over is an example.",
        keys=("samples/monotonous",),
        most=MOST_SAMPLES,
    ),
    Anomaly(
        name="samples-empty",
        meaning="Most samples have no notes.",
        keys=("samples/empty",),
        most=MOST_SAMPLES,
    ),
    Anomaly(
        name="samples-invalid",
        meaning="Fewer than one sample in ten is valid without repair, hardly more than for uniformly drawn tokens.",
        keys=("samples/valid",),
        least=MIN_VALIDITY,
    ),
)


def find_anomalies(folder: Path, logged: Iterable[Point]) -> list[Occurrence]:
    """Return the anomalies of a trial in the order of `ANOMALIES`.

    Args:
        folder: Folder of the trial.
        logged: Points of its training log, in order.

    Raises:
        UserError: if a file of the folder is damaged.
    """
    numbers = [*((point.key, float(point.step), point.value) for point in logged)]
    if not any(key == "embedding/gap" for key, _, _ in numbers):  # a trial from before training logged this
        numbers += [(key, math.nan, value) for key, value in _embedding(folder).items()]
    numbers += [(key, math.nan, value) for key, value in (_likelihood(folder) | _samples(folder)).items()]
    result = []
    for anomaly in ANOMALIES:
        wrong = [(step, value) for key, step, value in numbers if key in anomaly.keys and anomaly.is_wrong(value)]
        if wrong:
            result.append(Occurrence(anomaly.name, wrong[0][0], *wrong[-1]))
    return result


def _embedding(folder: Path) -> dict[str, float]:
    """Return the numbers that training logs about embeddings, computed from the saved ones; none if not saved."""
    import pandas as pd
    import torch

    from replication.models.diffusion_lm import embedding_spread
    from replication.training.scales import SCALES

    if not (path := folder / "embedding.parquet").exists():
        return {}
    about = read_json(folder / "trial.json")
    scale = SCALES.get(about["scale"])
    if scale is None:  # the brief scale of a tuning trial
        return {}
    try:
        table = torch.tensor(pd.read_parquet(path).to_numpy())
    except (OSError, ValueError) as error:  # pyarrow's errors are subclasses
        raise UserError(
            f"{path} is damaged ({error_text(error)}); delete scores.json in the same folder to compute it again"
        ) from None
    return embedding_spread(table, math.sqrt(1 - scale.schedule.alpha_bar(scale.timesteps)[0]))


def _likelihood(folder: Path) -> dict[str, float]:
    path = folder / "likelihood.json"
    nll = read_json(path) if path.exists() else {"exact": True, "nats_per_token": math.inf}
    return {} if nll["exact"] and nll["nats_per_token"] == math.inf else {"likelihood": nll["nats_per_token"]}


def _samples(folder: Path) -> dict[str, float]:
    """Return the shares of samples that are repeated and monotonous and, once scored, empty and valid."""
    import pandas as pd

    path = folder / "samples.txt"  # also in a tracking store, unlike samples.npz
    if not path.exists():  # not sampled yet, or a control made of real windows
        return {}
    samples = path.read_text(encoding="utf-8").splitlines()
    copies = Counter(samples)
    shares = {
        "repeated": mean(copies[sample] > 1 for sample in samples),
        "monotonous": mean(_entropy(sample) < math.log(2) for sample in samples),
    }
    if (path := folder / "scores.json").exists():
        shares |= {"valid": read_json(path)["validity"]}
    if (path := folder / "distances.parquet").exists():
        distances = pd.read_parquet(path).set_index("metric")
        shares |= {"empty": distances.loc["mean_pitch", "nan_rate"]}  # only a piece without notes has no mean pitch
    return {f"samples/{name}": float(share) for name, share in shares.items()}


def _entropy(sample: str) -> float:
    """Return the entropy in nats of the words of a sample without its marks; 0 if there are none."""
    counts = Counter(word for word in sample.split() if word not in SPECIAL_TOKENS)
    return sum(-count / counts.total() * math.log(count / counts.total()) for count in counts.values())
