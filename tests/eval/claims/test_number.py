"""The verdict on "bits per word", for made-up pools of models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import pytest

from eval.claims.number import COUNTERFACTUAL, MARGIN, analyse_number, number_evidence
from eval.claims.verdicts import Ruling, Verdict, judge
from eval.scoring.experiments import EXPERIMENTS, is_audited

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["good", "clock", "noise", "persistent", "arms"]
ARMS = ("e2e", "gaussian", "pretrained")
AGES = (500, 1000, 2500)


def pool(
    kind: Kind, *, seeds: int, rng: np.random.Generator, arms: tuple[str, ...] = ARMS, control: float = 1.0
) -> pd.DataFrame:
    """Return a pool of models that get better with age, whose bound and teacher's gap are good numbers.

    Args:
        kind: What the number is: good, a function of the quality; a clock, a function of the age and next to no noise;
            noise, new at every age; persistent, noise that a trial keeps; arms, noise that the seeds of an arm share.
        seeds: Seeds of each arm.
        rng: Generator.
        arms: Names of the arms.
        control: How much of the quality the positive controls follow.
    """
    trials = len(arms) * seeds
    quality = np.repeat(rng.normal(size=len(arms)), seeds) + 0.7 * rng.normal(size=trials)
    own, shared = rng.normal(size=trials), np.repeat(rng.normal(size=len(arms)), seeds)
    frames = []
    for age in AGES:

        def noise(size: float) -> NDArray[np.float64]:
            return size * rng.normal(size=trials)

        number = {
            "good": quality + noise(0.3),
            "clock": noise(1e-9),
            "noise": noise(1.0),
            "persistent": own + noise(0.3),
            "arms": shared + 0.3 * own + noise(0.2),
        }[kind]
        frames.append(
            pd.DataFrame(
                {
                    "experiment": np.repeat(arms, seeds),
                    "seed": np.tile(np.arange(seeds), len(arms)),
                    "age": age,
                    "bits_per_word": number - math.log(age),
                    "nll": control * quality + noise(0.3) - math.log(age),
                    "teacher_gap": control * quality + noise(0.5),
                    "distance": quality + noise(0.3) + 20 - 2 * math.log(age),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def verdict(audits: pd.DataFrame, *, permutations: int = 499) -> Verdict:
    (found,) = judge([("C3", "It measures quality.", number_evidence(audits, permutations=permutations))])
    return found


@pytest.mark.parametrize("arms", [ARMS, tuple("abcdefg")])
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("kind", ["good", "clock", "noise", "persistent", "arms"])
def test_a_good_number_is_reproduced_and_clocks_and_noise_are_not(
    kind: Kind, seeds: int, arms: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(seeds + 50)
    found = [verdict(pool(kind, seeds=seeds, rng=rng, arms=arms), permutations=199).verdict for _ in range(20)]
    reproduced = found.count(Ruling.REPRODUCED)
    # Three arms have only six orders: of 300 good pools of 3 x 3 models 89 % are reproduced, of 100 of 7 x 3 all.
    # With 89 %, fewer than 14 of 20 happen once in 250 times.
    least = 19 if len(arms) * seeds > 9 else 14
    assert reproduced >= least if kind == "good" else reproduced <= 2


def test_a_number_that_falls_as_models_get_worse_is_contradicted() -> None:
    table = pool("good", seeds=5, rng=np.random.default_rng(0))
    found = verdict(table.assign(bits_per_word=-table["bits_per_word"]))
    assert found.verdict is Ruling.CONTRADICTED
    assert found.evidence is not None
    assert found.evidence.contrast.high < 0
    assert found.sentence.startswith("Contradicted: -0.")
    assert found.sentence.endswith(" 15 models.")
    assert found.notes[0].startswith("positive control: likelihood bound +0.")


def test_without_a_positive_control_nothing_is_concluded() -> None:
    table = pool("good", seeds=5, rng=np.random.default_rng(0), control=0.0)
    analysis = analyse_number(table, permutations=499)
    assert not analysis.has_power
    assert analysis.number.low > 0
    found = verdict(table)
    assert found.verdict is Ruling.INCONCLUSIVE
    assert "no positive control comes out positive, so the test has no power here (+0." in found.sentence
    alone = analyse_number(table.assign(teacher_gap=math.nan), permutations=499)
    assert list(alone.controls) == ["nll"]
    # One good control is enough.
    assert verdict(table.assign(teacher_gap=table["distance"])).verdict is Ruling.REPRODUCED


def test_many_unrelated_trials_show_that_there_is_no_meaningful_correlation() -> None:
    arms = tuple("abcdef")
    table = pool("noise", seeds=20, rng=np.random.default_rng(0), arms=arms)
    assert verdict(table).verdict is Ruling.EQUIVALENT
    assert abs(analyse_number(table, permutations=499).number.rho) < MARGIN


def test_the_counterfactual_is_no_part_of_the_pool() -> None:
    assert is_audited(EXPERIMENTS[COUNTERFACTUAL])
    table = pool("good", seeds=3, rng=np.random.default_rng(0))
    outside = table.iloc[:1].assign(experiment=COUNTERFACTUAL, bits_per_word=0.0, distance=1e6)
    assert analyse_number(pd.concat([table, outside]), permutations=99) == analyse_number(table, permutations=99)


@pytest.mark.parametrize("column", ["bits_per_word", "distance"])
def test_a_pool_without_an_order_is_not_tested(column: str) -> None:
    table = pool("good", seeds=3, rng=np.random.default_rng(0))
    for broken in (table.assign(**{column: 1.0}), table.assign(**{column: math.nan}), table[table["seed"] > 1][:2]):
        found = verdict(broken, permutations=99)
        assert found.verdict is Ruling.NOT_TESTED
        assert "nan" not in found.sentence
    assert verdict(table.iloc[:0].astype(object)).sentence == "Not tested: no model was audited."
