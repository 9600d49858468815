from __future__ import annotations

import numpy as np
import pytest

from replication.diffusion.samplers import respaced_timesteps
from replication.diffusion.schedule import Cosine, Linear, Schedule, Sqrt, SqrtAsWritten
from replication.util.errors import UserError

# Computed from the published code's formula, T = 2000.
PUBLISHED = {
    0: 0.98535869,
    1: 0.97659975,
    9: 0.93796537,
    49: 0.85007091,
    500: 0.50444481,
    1000: 0.29542332,
    1500: 0.13497804,
    1998: 2.0204041e-4,
    1999: 2.0204041e-7,
}


@pytest.mark.parametrize(("index", "expected"), PUBLISHED.items())
def test_sqrt_equals_the_published_code(index: int, expected: float) -> None:
    assert Sqrt().alpha_bar(2000)[index] == pytest.approx(expected, rel=1e-7)


def test_betas_and_posterior_variance_are_the_published_ones() -> None:
    abar = Sqrt().alpha_bar(2000)
    beta = 1 - abar / np.concatenate(([1.0], abar[:-1]))
    expected = {
        0: 0.0146413,
        1: 0.00888909,
        9: 0.00385226,
        49: 0.00188094,
        1000: 0.00120698,
        1998: 0.555611,
        1999: 0.999,
    }
    for index, value in expected.items():
        assert beta[index] == pytest.approx(value, rel=1e-5)
    posterior = beta[1:] * (1 - abar[:-1]) / (1 - abar[1:])
    assert posterior[0] == pytest.approx(0.00556182, rel=1e-6)
    assert posterior[1] == pytest.approx(0.0054581, rel=1e-5)


def test_fewer_timesteps_equal_the_respaced_indices() -> None:
    few, many = Sqrt().alpha_bar(200), Sqrt().alpha_bar(2000)
    indices = respaced_timesteps(2000, 200)[::-1]
    assert indices[0] == 9
    assert indices[-1] == 1999
    np.testing.assert_allclose(few[:-1], many[indices[:-1]], rtol=1e-9)


def test_the_schedule_of_the_paper_differs_from_that_of_its_code() -> None:
    assert SqrtAsWritten().alpha_bar(2000)[0] == pytest.approx(0.99)
    assert Sqrt().alpha_bar(2000)[0] < 0.986


@pytest.mark.parametrize("schedule", [Sqrt(), SqrtAsWritten(), Cosine(), Linear()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("timesteps", [50, 1000, 2000])
def test_alpha_bar_decreases(schedule: Schedule, timesteps: int) -> None:
    abar = schedule.alpha_bar(timesteps)
    assert abar.shape == (timesteps,)
    assert abar.dtype == np.float64
    assert (np.diff(abar) < 0).all()
    assert abar[0] > 0.9 if timesteps >= 1000 else abar[0] > 0.8
    assert 0 < abar[-1] < 0.03


@pytest.mark.parametrize(("timesteps", "steps"), [(2000, 2000), (2000, 200), (100, 7), (10, 1)])
def test_respacing_starts_from_pure_noise(timesteps: int, steps: int) -> None:
    indices = respaced_timesteps(timesteps, steps)
    assert len(set(indices)) == steps
    assert indices == sorted(indices, reverse=True)
    assert indices[0] == timesteps - 1
    assert indices[-1] >= 0


@pytest.mark.parametrize("steps", [0, 11])
def test_impossible_respacing_is_an_error(steps: int) -> None:
    with pytest.raises(UserError, match=f"{steps} sampler steps"):
        respaced_timesteps(10, steps)
