"""Controls: music that is wrong in one known way, or right by construction, made from the windows of the test split.

The values of a measure on the controls show what it can detect. They appear in the tables of the models, so that every
number can be compared with that of known music. Controls that are models are rows of `BASELINES`.

Windows of tokens begin with a note anywhere in a bar, so bars are counted from a window's first onset: a bar is four
beats, or two seconds in music without beats. A window in which nothing can be changed stays as it is;
`changed_windows` returns which windows differ.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from eval.distances.noise_floor import SampleOrigin
from eval.metrics.windows import STEPS_PER_BAR
from replication.models.ablations import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from eval.metrics.windows import Windows
    from replication.tokens.protocol import Encoding
    from replication.training.scales import Scale

SECONDS_PER_BAR, BEATS_PER_BAR = 2, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlInputs:
    """The inputs from which controls are made.

    Attributes:
        real: n windows of the test split.
        encoding: Encoding of the trials.
        scale: Scale of the trials.
        sibling: Function from an experiment's name to the weights file of its trial with the same seed.
        rng: Generator of all random draws.
    """

    real: Windows
    encoding: Encoding
    scale: Scale
    sibling: Callable[[str], Path]
    rng: np.random.Generator

    @property
    def bar(self) -> int:
        """Grid steps of a bar."""
        return round(self.real.steps * (BEATS_PER_BAR if self.real.beats else SECONDS_PER_BAR))


@dataclass(frozen=True, kw_only=True)
class FromTest(ABC):
    """A way to make a control from windows of the test split; takes the place of a model config in an experiment.

    Attributes:
        origin: Relation of the control's windows to the songs of the test split.
    """

    origin: ClassVar[SampleOrigin] = SampleOrigin.OTHER_HALF

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of experiments whose trial with the same seed has to be run first."""
        return ()

    def build(self, *, vocabulary: int, scale: Scale) -> NoReturn:  # noqa: ARG002 - as in ModelConfig
        """Raise TypeError, because a control has no model."""
        raise TypeError(f"{self} is made from test windows by `make` and has no model to build")

    @abstractmethod
    def make(self, inputs: ControlInputs) -> tuple[Windows, NDArray[np.intp]]:
        """Return the control's n windows, and (n,) the index of the test window that each was made from."""


class _Changed(FromTest):
    """A control that changes each window independently."""

    def make(self, inputs: ControlInputs) -> tuple[Windows, NDArray[np.intp]]:
        real = inputs.real
        return real.map(lambda notes: self.change(notes, inputs) if len(notes) else notes), np.arange(len(real))

    @abstractmethod
    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:
        """Return the changed (m,) notes, m > 0; of several notes with one onset and pitch, the longest is kept."""


class Copy(_Changed):
    """The test windows themselves, compared with their own songs: the score of perfect memory of the reference."""

    origin = SampleOrigin.SAME_HALF

    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:  # noqa: ARG002, D102 - see _Changed
        return notes


class RoundTrip(_Changed):
    """Encoded and decoded again: the loss of the encoding.

    There is no loss for windows that were decoded from tokens, as test windows are, since decoding inverts encoding.
    """

    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:  # noqa: D102 - see _Changed
        return _decode(_encode(notes, inputs.encoding).tolist(), notes, inputs.encoding)


@dataclass(frozen=True, kw_only=True)
class NoiseAndRound(FromTest):
    """Every token's embedding with the noise of x_0 added, rounded to the nearest embedding, and decoded.

    This is the loss of a perfect denoiser by rounding: x_0 = E[w] + sigma_0 noise, sigma_0^2 = 1 - abar_0, is where the
    diffusion starts and where sampling leads (Li et al. 2022, section 4.2).

    Attributes:
        experiment: Experiment whose embeddings E are used.
    """

    experiment: str = "e2e"

    @property
    def needs(self) -> tuple[str, ...]:  # noqa: D102 - see FromTest
        return (self.experiment,)

    def make(self, inputs: ControlInputs) -> tuple[Windows, NDArray[np.intp]]:  # noqa: D102 - see FromTest
        import torch

        from replication.diffusion.rounding import nearest
        from replication.util.checkpoint import read_tensors

        table = read_tensors(inputs.sibling(self.experiment))[0]["embedding.weight"].double()
        sigma = math.sqrt(1 - inputs.scale.schedule.alpha_bar(inputs.scale.timesteps)[0])

        def change(notes: NDArray[Any]) -> NDArray[Any]:
            if not len(notes):
                return notes
            clean = table[torch.from_numpy(_encode(notes, inputs.encoding).astype(np.int64))]
            noise = torch.from_numpy(inputs.rng.standard_normal(clean.shape))
            return _decode(nearest(table, clean + sigma * noise).tolist(), notes, inputs.encoding)

        return inputs.real.map(change), np.arange(len(inputs.real))


@dataclass(frozen=True, kw_only=True)
class Collapse(FromTest):
    """A few windows repeated: each of them is right, but there is almost no variety.

    Attributes:
        pieces: Number of different windows; about half come from the songs in one half of the test split.
    """

    pieces: int = 20

    def make(self, inputs: ControlInputs) -> tuple[Windows, NDArray[np.intp]]:  # noqa: D102 - see FromTest
        chosen = np.resize(inputs.rng.permutation(len(inputs.real))[: self.pieces], len(inputs.real))
        return inputs.real.take(chosen), chosen


@dataclass(frozen=True, kw_only=True)
class Jitter(_Changed):
    """Wrong notes: each note is moved up or down by some semitones with a given probability, within 0..127.

    Attributes:
        share: Probability that a note is moved.
        semitones: Distance that it is moved.
    """

    share: float = 0.2
    semitones: int = 1

    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:  # noqa: D102 - see _Changed
        moved = (inputs.rng.random(len(notes)) < self.share) * self.semitones
        pitch = notes["pitch"] + moved * inputs.rng.choice((-1, 1), len(notes))
        return _with(notes, pitch=np.clip(pitch, 0, 127))


class PitchesPermuted(_Changed):
    """Harmony and melody destroyed: the pitches of a window permuted among its notes; rhythm and loudness stay."""

    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:  # noqa: D102 - see _Changed
        return _with(notes, pitch=inputs.rng.permutation(notes["pitch"]))


class OnsetsShuffled(_Changed):
    """Rhythm destroyed: every onset redrawn from the sixteenths between the first and the last of the window.

    In music without beats, onsets are drawn from eighths of a second. Pitches, durations and loudness stay.
    """

    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:  # noqa: D102 - see _Changed
        slot = inputs.bar / STEPS_PER_BAR
        first, last = notes["onset"].min(), notes["onset"].max()
        slots = inputs.rng.integers(0, math.floor((last - first) / slot), len(notes), endpoint=True)
        return _with(notes, onset=first + np.rint(slots * slot))


class BarsShuffled(_Changed):
    """Form destroyed: the complete bars of a window in a random order that differs from the original one.

    An incomplete last bar stays in place. The first bar must begin with a note, since bars are counted from it.
    """

    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:  # noqa: D102 - see _Changed
        index, whole, _ = _bars(notes, inputs.bar)
        within = _with(notes, onset=notes["onset"] - notes["onset"].min() - index * inputs.bar)
        bars = [within[index == number].tobytes() for number in range(whole)]
        leading = np.unique(index[(within["onset"] == 0) & (index < whole)])
        if len(set(bars[1:])) < 2 and all(bars[number] == bars[0] for number in leading):  # noqa: PLR2004 - all alike
            return notes
        order = np.arange(whole)
        while [bars[number] for number in order] == bars:
            first = inputs.rng.choice(leading)
            order = np.append(first, inputs.rng.permutation(np.delete(np.arange(whole), first)))
        place = np.append(np.argsort(order), whole)  # an incomplete last bar stays
        return _with(notes, onset=notes["onset"] + (place[index] - index) * inputs.bar)


class OneBarRepeated(_Changed):
    """Form without change: one complete bar of a window, with notes, repeated for the window's length."""

    def change(self, notes: NDArray[Any], inputs: ControlInputs) -> NDArray[Any]:  # noqa: D102 - see _Changed
        index, whole, length = _bars(notes, inputs.bar)
        if not whole:
            return notes
        chosen = inputs.rng.choice(np.unique(index[index < whole]))
        times = np.arange(-(-length // inputs.bar))
        repeated = np.tile(notes[index == chosen], len(times))
        shift = np.repeat((times - chosen) * inputs.bar, np.count_nonzero(index == chosen))
        repeated["onset"] += shift.astype(repeated["onset"].dtype)
        kept: NDArray[Any] = repeated[repeated["onset"] < notes["onset"].min() + length]
        return kept


def changed_windows(real: Windows, made: Windows, sources: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return (n,) whether each window of a control differs in any note from the test window it was made from."""
    pairs = zip(made.pieces(), real.take(sources).pieces(), strict=True)
    return np.array([not np.array_equal(one.notes, other.notes) for one, other in pairs], dtype=bool)


def _bars(notes: NDArray[Any], bar: int) -> tuple[NDArray[np.int64], int, int]:
    """Return (m,) the bar of each note, the number of complete bars, and the length in grid steps."""
    onset = notes["onset"].astype(np.int64)
    length = int((onset + notes["duration"]).max() - onset.min())
    return (onset - onset.min()) // bar, length // bar, length


def _with(notes: NDArray[Any], **columns: NDArray[Any]) -> NDArray[Any]:
    result = notes.copy()
    for name, values in columns.items():
        result[name] = values
    return result


def _encode(notes: NDArray[Any], encoding: Encoding) -> NDArray[np.uint16]:
    """Encode notes as one window of any length; no encoding has more than 8 tokens per note."""
    span = int(notes["onset"].max() - notes["onset"].min())  # an upper bound of the waits or bars in it
    (tokens,), _ = encoding.windows(notes, 8 * len(notes) + span + 4)
    found: NDArray[np.uint16] = tokens
    return found


def _decode(tokens: list[int], notes: NDArray[Any], encoding: Encoding) -> NDArray[Any]:
    """Decode tokens to notes that begin at the first onset of the notes they encode."""
    found = encoding.decode(tokens).notes
    return _with(found, onset=found["onset"] + notes["onset"].min())


def _control(name: str, label: str, model: FromTest, colour: str, note: str) -> Experiment:
    return Experiment(
        name=name,
        label=f"{label} (control)",
        model=model,
        colour=colour,
        note=f"Control: {note}",
        kind="control",
        network=bool(model.needs),
        seeds=None if model.needs else (0,),
        first_seed_only=bool(model.needs),
    )


CONTROLS: tuple[Experiment, ...] = (
    _control("test-copy", "Test copy", Copy(), "#333333", "the test windows themselves; distances of 0 are copies."),
    _control("round-trip", "Round trip", RoundTrip(), "#5C6B73", "encoded and decoded."),
    _control(
        "noise-and-round",
        "Noise and round",
        NoiseAndRound(),
        "#3E5C76",
        "embedded, with noise of x_0, rounded, decoded.",
    ),
    _control("mode-collapse", "Mode collapse", Collapse(), "#A07A8C", "20 test windows repeated."),
    _control("jitter", "Jitter", Jitter(), "#9A5B4F", "a fifth of the notes moved by a semitone."),
    _control("pitches-permuted", "Pitches permuted", PitchesPermuted(), "#5B7065", "pitches permuted within a window."),
    _control("onsets-shuffled", "Onsets shuffled", OnsetsShuffled(), "#8A6F4D", "onsets redrawn within a window."),
    _control("bars-shuffled", "Bars shuffled", BarsShuffled(), "#7A7A52", "the bars of a window in another order."),
    _control("one-bar", "One bar repeated", OneBarRepeated(), "#6F5B7A", "one bar of a window repeated."),
)
