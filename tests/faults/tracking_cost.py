"""What tracking costs training: `python tests/faults/tracking_cost.py 5` measures five rounds, some fifteen minutes.

In each round the same trial is trained beside every state of a tracking store, in turn. Printed are the seconds of its
fit and, by the median of the rounds, how much longer it took than in the same round without a store.
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

from etude.runner import plan as suite
from etude.runner import scheduler as engine
from etude.runner.executors import Process
from eval.tracking.logger import Tracker
from replication.diffusion.samplers import Ancestral
from replication.util.files import read_json
from tests.support.tcp_proxy import Proxy, proxy_to
from tests.support.tracking_stores import mlflow_server

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 200


def level(line: Proxy) -> None:
    """Leave it as it is."""
    line.reset()


def down(line: Proxy) -> None:
    """Have it refuse."""
    line.down = True


def slow(line: Proxy) -> None:
    """Have every call wait."""
    line.delay = 5.0


def cut(line: Proxy) -> None:
    """Have it die at the first sync, in the middle."""
    line.limit = 50_000


STATES: dict[str, Callable[[Proxy], None] | None] = {
    "none": None,
    "file": None,
    "server": level,
    "down": down,
    "slow": slow,
    "cut": cut,
}


def fit(state: str, line: Proxy) -> float:
    """Train a trial beside a store in this state; return the seconds of its fit."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plan = suite.plan(scale="cpu", corpus="synthetic", only=["e2e"], seeds=1, root=root)
        budget = replace(plan.scale.budget, steps=STEPS)
        scale = replace(plan.scale, samples=16, sampler=Ancestral(steps=5), timesteps=50, budget=budget)
        plan = replace(plan, scale=scale)
        datasets = suite.prepare(plan)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if change := STATES[state]:
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{line.port}"
            line.reset()
            change(line)
        tracker = Tracker(root)
        with nullcontext() if state == "none" else tracker:
            trials = plan.trials[:1]
            assert engine.run(trials, datasets, plan.corpus.reading.grid, tracker, engine=Process(workers=1)) == []
            line.reset()
        return float(read_json(trials[0].folder / "timing.json")["fit"])


def main() -> None:
    """Measure, and print what came out."""
    rounds = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mlflow_server(f"sqlite:///{folder / 'mlflow.db'}", folder) as port, proxy_to(port) as line:
            fit("none", line)  # which warms up
            seconds: dict[str, list[float]] = {state: [] for state in STATES}
            for turn in range(rounds):
                order = list(STATES) if turn % 2 == 0 else list(STATES)[::-1]
                for state in order:
                    seconds[state].append(fit(state, line))
                    print(state, seconds[state][-1], os.getloadavg()[0], flush=True)
    for state, found in seconds.items():
        ratios = [one / none for one, none in zip(found, seconds["none"], strict=True)]
        print(f"{state:8} {statistics.median(found):7.2f} s, {statistics.median(ratios):.3f} of none, {sorted(ratios)}")


if __name__ == "__main__":
    main()
