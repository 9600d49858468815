"""Measure what tracking costs training: `python -m tests.faults.tracking_cost 5`, five rounds, about fifteen minutes.

Each round trains the same trial with a tracking store in every state. Printed are the seconds of training and the
median over rounds of the ratio to training without a store in the same round.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etude.runner import scheduler
from etude.runner.executors import ProcessExecutor
from etude.runner.plan import make_plan, prepare
from eval.tracking.logger import Tracker
from replication.diffusion.samplers import Ancestral
from replication.util.files import read_json
from tests.support.tcp_proxy import Proxy, proxy_to
from tests.support.tracking_stores import mlflow_server

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 200


def level(proxy: Proxy) -> None:
    """Leave the server healthy."""
    proxy.reset()


def down(proxy: Proxy) -> None:
    """Refuse new connections."""
    proxy.down = True


def slow(proxy: Proxy) -> None:
    """Delay every call."""
    proxy.delay = 5.0


def cut(proxy: Proxy) -> None:
    """Cut the connection in the middle of the first sync."""
    proxy.limit = 50_000


STATES: dict[str, Callable[[Proxy], None] | None] = {
    "none": None,
    "file": None,
    "server": level,
    "down": down,
    "slow": slow,
    "cut": cut,
}


def fit(state: str, proxy: Proxy) -> float:
    """Train a trial with a store in a state; return the seconds of its fit."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plan = make_plan(scale="cpu", corpus="synthetic", only=["e2e"], seeds=1, root=root)
        budget = replace(plan.scale.budget, steps=STEPS)
        scale = replace(plan.scale, samples=16, sampler=Ancestral(steps=5), timesteps=50, budget=budget)
        plan = replace(plan, scale=scale)
        datasets = prepare(plan)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if change := STATES[state]:
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{proxy.port}"
            proxy.reset()
            change(proxy)
        tracker = Tracker(root)
        with nullcontext() if state == "none" else tracker:
            trials = plan.trials[:1]
            assert (
                scheduler.run(trials, datasets, plan.corpus.reading.grid, tracker, executor=ProcessExecutor(workers=1))
                == []
            )
            proxy.reset()
        return float(read_json(trials[0].folder / "timing.json")["fit"])


def main() -> None:
    """Measure and print the results."""
    rounds = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mlflow_server(f"sqlite:///{folder / 'mlflow.db'}", folder) as port, proxy_to(port) as proxy:
            fit("none", proxy)  # warm-up
            seconds: dict[str, list[float]] = {state: [] for state in STATES}
            for turn in range(rounds):
                order = list(STATES) if turn % 2 == 0 else list(STATES)[::-1]
                for state in order:
                    seconds[state].append(fit(state, proxy))
                    print(state, seconds[state][-1], os.getloadavg()[0], flush=True)
    for state, found in seconds.items():
        ratios = [one / none for one, none in zip(found, seconds["none"], strict=True)]
        print(f"{state:8} {statistics.median(found):7.2f} s, {statistics.median(ratios):.3f} of none, {sorted(ratios)}")


if __name__ == "__main__":
    main()
