"""A trial with its data and its device, which all its stages share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from replication.tokens.encodings import encoding_on
from replication.util.files import read_json, write_json
from replication.util.generators import seeded

if TYPE_CHECKING:
    from pathlib import Path

    from etude.trial.trial import Trial
    from replication.midi.piece import TimeGrid
    from replication.tokens.protocol import Encoding
    from replication.training.model import Model
    from replication.training.scales import Scale
    from replication.windows.prepared import Dataset


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """A trial with its data and its device.

    Attributes:
        trial: the trial.
        dataset: the windows of the corpus in the encoding of the trial.
        grid: the time grid of the corpus.
        device: the device to compute on.
    """

    trial: Trial
    dataset: Dataset
    grid: TimeGrid
    device: torch.device

    @property
    def encoding(self) -> Encoding:
        """The encoding of the trial."""
        return encoding_on(self.trial.experiment.encoding, self.grid)

    @property
    def folder(self) -> Path:
        """The folder of the trial."""
        return self.trial.folder

    def tokens(self, split: str) -> torch.Tensor:
        """Return the tokens of a split: (n, L) int16, memory-mapped, so that only the rows in use are read."""
        return torch.from_numpy(self.dataset.splits[split].tokens.view(np.int16))  # no vocabulary has 32,768 words

    def untrained(self) -> Model:
        """Return the model before training, initialised from the seed."""
        with seeded("model", self.trial.seed):
            return self.trial.experiment.model.build(vocabulary=len(self.encoding.vocabulary), scale=self.trial.scale)

    def trained(self) -> Model:
        """Return the trained model on the device."""
        model = self.untrained()
        model.load(self.trial.weights)
        if isinstance(model, torch.nn.Module):
            model.to(self.device)
        return model

    def with_scale(self, scale: Scale) -> Model:
        """Return the trained model as another scale builds it, which may differ in its sampler and its strata."""
        return replace(self, trial=replace(self.trial, scale=scale)).trained()

    def time(self, stage: str, seconds: float) -> None:
        """Record how long a stage took."""
        write_json(self.folder / "timing.json", {**self.times(), stage: round(seconds, 3)})

    def times(self) -> dict[str, float]:
        """Return how many seconds each stage took, so far."""
        path = self.folder / "timing.json"
        return dict(read_json(path)) if path.exists() else {}
