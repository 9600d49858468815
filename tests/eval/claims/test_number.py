"""The verdict on "bits per word", for made-up pools of models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import pytest

from eval.claims.number import COUNTERFACTUAL, MARGIN, Decision, judge_number
from eval.scoring.experiments import EXPERIMENTS, is_audited

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["good", "clock", "noise", "persistent"]
ARMS = ("e2e", "gaussian", "pretrained")
AGES = (500, 1000, 2500)


def pool(
    kind: Kind, *, seeds: int, rng: np.random.Generator, arms: tuple[str, ...] = ARMS, control: float = 1.0
) -> pd.DataFrame:
    """Return a pool of models that get better with age, whose bound and teacher's gap are good numbers.

    Args:
        kind: What the number is: good, a function of the quality; a clock, a function of the age and next to no noise;
            noise, new at every age; or persistent, noise that a trial keeps.
        seeds: Seeds of each arm.
        rng: Generator.
        arms: Names of the arms.
        control: How much of the quality the positive controls follow.
    """
    trials = len(arms) * seeds
    quality = np.repeat(rng.normal(size=len(arms)), seeds) + 0.7 * rng.normal(size=trials)
    own = rng.normal(size=trials)
    frames = []
    for age in AGES:

        def noise(size: float) -> NDArray[np.float64]:
            return size * rng.normal(size=trials)

        number = {
            "good": quality + noise(0.3),
            "clock": noise(1e-9),
            "noise": noise(1.0),
            "persistent": own + noise(0.3),
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


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("kind", ["good", "clock", "noise", "persistent"])
def test_a_good_number_is_reproduced_and_clocks_and_noise_are_not(kind: Kind, seeds: int) -> None:
    # Of 200 draws with 3 x 3, 3 x 5 and 3 x 10 trials: good numbers 98.5, 100 and 100 % reproduced; clocks 1.5, 1.5 and
    # 4.5 %, noise 1.5, 2 and 2.5 %, persistent noise 1, 1.5 and 3.5 %, where an exact test has 2.5 %.
    rng = np.random.default_rng(seeds)
    found = [judge_number(pool(kind, seeds=seeds, rng=rng), permutations=199).decision for _ in range(24)]
    reproduced = sum(decision is Decision.REPRODUCED for decision in found)
    assert reproduced >= 23 if kind == "good" else reproduced <= 3  # more than 3: once in 300 at 2.5 %


def test_a_number_that_falls_as_models_get_worse_is_contradicted() -> None:
    table = pool("good", seeds=5, rng=np.random.default_rng(0))
    found = judge_number(table.assign(bits_per_word=-table["bits_per_word"]), permutations=499)
    assert found.decision is Decision.CONTRADICTED
    assert found.number.high < 0
    assert found.sentence.startswith("Contradicted: rank correlation with the distance -0.")


def test_without_a_positive_control_nothing_is_concluded() -> None:
    table = pool("good", seeds=5, rng=np.random.default_rng(0), control=0.0)
    found = judge_number(table, permutations=499)
    assert not found.has_power
    assert found.number.low > 0
    assert found.decision is Decision.INCONCLUSIVE
    assert "no positive control comes out positive, so the test has no power here (likelihood bound " in found.sentence
    alone = judge_number(table.assign(teacher_gap=math.nan), permutations=499)
    assert list(alone.controls) == ["nll"]
    equal = judge_number(table[table["experiment"] == "e2e"].assign(teacher_gap=math.inf), permutations=499)
    assert "teacher's gap undefined)" in equal.sentence
    assert "nan" not in equal.sentence
    # One good control is enough.
    one = judge_number(table.assign(teacher_gap=table["distance"]), permutations=499)
    assert one.decision is Decision.REPRODUCED


def test_many_unrelated_trials_show_that_there_is_no_meaningful_correlation() -> None:
    arms = tuple("abcdef")
    found = judge_number(pool("noise", seeds=20, rng=np.random.default_rng(0), arms=arms), permutations=499)
    assert found.decision is Decision.NO_DIFFERENCE
    assert abs(found.number.rho) < found.number.margin < MARGIN


def test_the_counterfactual_is_no_part_of_the_pool() -> None:
    assert is_audited(EXPERIMENTS[COUNTERFACTUAL])
    table = pool("good", seeds=3, rng=np.random.default_rng(0))
    outside = table.iloc[:1].assign(experiment=COUNTERFACTUAL, bits_per_word=0.0, distance=1e6)
    assert judge_number(pd.concat([table, outside]), permutations=99) == judge_number(table, permutations=99)


def test_arms_in_order_by_chance_are_seen() -> None:
    rng = np.random.default_rng(0)
    table = pool("noise", seeds=5, rng=rng)
    rank = table["experiment"].map({name: place for place, name in enumerate(ARMS)})
    # Only the first arm differs: without it, the order is reversed.
    distance = rank.map({0: 0.0, 1: 5.0, 2: 4.0}) + rng.normal(size=len(table)) * 3 / 4
    number = rank.map({0: 0.0, 1: 5.0, 2: 6.0}) + rng.normal(size=len(table)) * 3 / 4
    found = judge_number(table.assign(distance=distance, bits_per_word=number, nll=distance), permutations=499)
    assert found.decision is Decision.REPRODUCED
    assert found.arms.trials == 3
    assert found.arms.p >= 1 / 3
    assert found.without["e2e"] < 0
    assert found.sentence.endswith("; the sign changes without e2e.")


@pytest.mark.parametrize("column", ["bits_per_word", "distance"])
def test_a_pool_without_an_order_is_not_tested(column: str) -> None:
    table = pool("good", seeds=3, rng=np.random.default_rng(0))
    for broken in (table.assign(**{column: 1.0}), table.assign(**{column: math.nan}), table[table["seed"] > 1][:2]):
        found = judge_number(broken, permutations=99)
        assert found.decision is Decision.NOT_TESTED
        assert "nan" not in found.sentence
    assert judge_number(table.iloc[:0].astype(object)).sentence == "Not tested: no model was audited."
