"""Anomalies: real faults in small trials, followed from the training loop to the report and MLflow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from etude.runner.plan import prepare
from etude.runner.worker import work
from eval.claims.claims import CLAIMS, REQUIRED
from eval.claims.judgement import verdicts_on
from eval.claims.verdicts import Ruling
from eval.results.anomalies import ANOMALIES, EXCLUDED, find_anomalies
from eval.results.files import read_results, write_results
from eval.results.frames import gather
from eval.results.trial_folder import Point
from eval.scoring.measures import DISTANCE
from eval.tracking.runs import RunContent
from eval.tracking.store import open_store
from replication.models.ablations import Diffusion
from replication.models.diffusion_lm import DiffusionLM, embedding_spread
from replication.models.embeddings import Learned
from replication.tokens.protocol import CLS, SEP
from replication.training.loop import DivergedError, train_network
from replication.training.model import Job, Likelihood
from replication.training.neural_model import NeuralModel
from replication.util.errors import UserError
from replication.util.files import write_json
from replication.util.generators import seeded
from reports.format.table import DOUBLE_DAGGER
from reports.page.html import page
from reports.page.terminal import show
from reports.sections.contents import TABLES
from tests.support.program import ROOT
from tests.support.small_scales import job, small_scale
from tests.support.small_trials import planned, task
from tests.support.synthetic_results import synthetic_results
from tests.support.tracking_stores import runs_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from etude.runner.plan import Plan
    from eval.results.frames import Results
    from replication.training.model import ModelConfig
    from replication.training.scales import Scale

STEPS = 20


@dataclass(frozen=True)
class Scaled(Learned):
    """Embeddings that are a thousand times too large with seed 0, and that overflow with seed 1."""

    def table(self, job: Job, *, vocabulary: int, dimension: int) -> Tensor:
        return super().table(job, vocabulary=vocabulary, dimension=dimension) * (1e30 if job.seed else 1e3)


@dataclass(frozen=True)
class StuckConfig:
    """A model that always samples the same window; with seed 1 one that contains only marks."""

    needs: tuple[str, ...] = ()

    def build(self, *, vocabulary: int, scale: Scale) -> Stuck:
        return Stuck(vocabulary, scale.length)


class Stuck:
    def __init__(self, vocabulary: int, length: int) -> None:
        self.vocabulary, self.window = vocabulary, torch.zeros(length, dtype=torch.long)

    def fit(self, job: Job) -> None:
        self.window = job.train[0].long()
        if job.seed:
            self.window[:] = 0
            self.window[:2] = torch.tensor([CLS, SEP])

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"window": self.window}, path)

    def load(self, path: Path) -> None:
        self.window = load_file(path)["window"]

    def parameters_count(self) -> int:
        return 0

    def nll(self, tokens: Tensor, *, seed: int) -> Likelihood:  # noqa: ARG002 - exact, so nothing is drawn
        return Likelihood(terms={"tokens": torch.full((len(tokens),), math.nan, dtype=torch.float64)}, exact=True)

    def sample(self, indices: Sequence[int], *, seed: int) -> Tensor:  # noqa: ARG002 - as every model
        return self.window.repeat(len(indices), 1)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two seeds each of a sound arm, of one with embeddings that are too large, and of a model that is stuck."""
    plan = planned(tmp_path_factory.mktemp("faulty"), "e2e", "gaussian", "ngram", seeds=2, steps=STEPS)
    models: dict[str, ModelConfig] = {"gaussian": Diffusion(embedding=Scaled()), "ngram": StuckConfig()}
    rows = tuple(replace(row, model=models.get(row.name, row.model)) for row in plan.experiments)
    plan = replace(plan, experiments=rows)
    prepare(plan)
    store = open_store(plan.root)
    for trial in plan.trials:
        work(task(trial, plan.root))
        store.sync(trial.folder, final=True)
    return plan


@pytest.fixture(scope="module")
def results(faulty: Plan) -> Results:
    return gather(faulty.comparison)


def found(results: Results) -> set[tuple[str, int, str]]:
    """Return the anomalies, without those of the samples of models that were trained for only a few steps."""
    rows = set(results.anomalies[["experiment", "seed", "anomaly"]].itertuples(index=False, name=None))
    return {row for row in rows if row[0] == "ngram" or not row[2].startswith("samples-")}


def test_every_fault_is_an_anomaly_of_its_trial_and_of_no_other(results: Results) -> None:
    assert found(results) == {
        ("gaussian", 0, "embeddings-exploded"),
        ("gaussian", 1, "failed"),
        ("gaussian", 1, "loss-not-finite"),
        *(("ngram", seed, "samples-repeated") for seed in (0, 1)),
        *(("ngram", seed, "likelihood-not-finite") for seed in (0, 1)),
        ("ngram", 1, "samples-monotonous"),
        ("ngram", 1, "samples-empty"),
        ("ngram", 1, "samples-invalid"),
    }
    rows = results.anomalies.set_index(["experiment", "seed", "anomaly"])
    assert tuple(rows.loc[("gaussian", 1, "loss-not-finite"), ["first", "last"]]) == (5, 5)
    exploded = rows.loc[("gaussian", 0, "embeddings-exploded")]
    assert (exploded["first"], exploded["last"]) == (10, STEPS)
    assert exploded["value"] > 1000


def test_the_report_names_the_anomalies_and_marks_the_means(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    table = TABLES["anomalies"](results)
    assert table.caption.startswith("Numerical anomalies. ")
    assert set(table.frame["Anomaly"]) == set(results.anomalies["anomaly"])
    row = table.frame[table.frame["Anomaly"] == "embeddings-exploded"].iloc[0]
    assert (row["Trial"], row["Steps"]) == ("Diffusion-LM, Gaussian, seed 0", "10 to 20")
    assert row["Limits"] == "at most 10.0"
    assert any(note.startswith("samples-repeated: Most samples occur more than once") for note in table.notes)
    main = TABLES["main"](results)
    seeds = main.frame.set_index("Model")["Seeds"]
    assert seeds["Diffusion-LM, Gaussian"] == f"1{DOUBLE_DAGGER}"
    assert seeds["5-gram"] == f"2{DOUBLE_DAGGER}"
    (note,) = (note for note in main.notes if note.startswith(f"{DOUBLE_DAGGER} Diffusion-LM, Gaussian: "))
    assert note.endswith("; seed 1 failed, loss-not-finite.")
    assert r"1$\ddagger$" in main.latex()
    for name in ("main", "metrics", "cost"):  # every caption that states the number of seeds
        assert "Missing: Diffusion-LM, Gaussian seed 1 (failed)." in TABLES[name](results).caption
    shown = page(results, {name: TABLES[name](results) for name in ("claims", "main", "anomalies")}, {})
    assert "loss-not-finite" in shown.partition('id="table-anomalies"')[2]
    show(results, Path("out"))
    assert "seed 1 failed, loss-not-finite." in " ".join(capsys.readouterr().out.split())


def test_a_verdict_names_the_seeds_that_failed(results: Results) -> None:
    first = CLAIMS[0].name
    heard = [{"experiment": name, "seed": 0, "measure": DISTANCE, "ratio": 9.0, "floor_p95": 1.3} for name in REQUIRED]
    results = replace(results, measures=pd.concat([results.measures, pd.DataFrame(heard)], ignore_index=True))
    compared = next(verdict for verdict in verdicts_on(results) if verdict.name == first)
    assert compared.evidence is not None
    assert compared.evidence.contrast.n == 1
    assert compared.notes[0] == "left out because the other model lacks the seed: e2e seed 1"
    assert compared.notes[1].startswith("anomalies: ")
    assert compared.notes[1].endswith(", gaussian seed 1 (failed, loss-not-finite)")
    gone = replace(
        results,
        trials=results.trials[results.trials["experiment"] != "gaussian"],
        measures=results.measures[results.measures["experiment"] != "gaussian"],
        anomalies=results.anomalies[results.anomalies["anomaly"].isin(EXCLUDED)],
    )
    untested = next(verdict for verdict in verdicts_on(gone) if verdict.name == first)
    assert untested.verdict is Ruling.NOT_TESTED
    assert untested.sentence == "Not tested: gaussian was not finished (anomalies: gaussian seed 1 (failed))."


def test_mlflow_has_every_anomaly_as_a_tag(faulty: Plan, results: Results) -> None:
    runs = runs_table(faulty.root)
    tags = {
        (run["tags.variant"], int(run["tags.seed"]), name.removeprefix("tags.anomaly."))
        for run in runs.to_dict("records")
        for name, value in run.items()
        if name.startswith("tags.anomaly.") and isinstance(value, str)
    }
    reported = set(results.anomalies[["experiment", "seed", "anomaly"]].itertuples(index=False, name=None))
    assert tags == {row for row in reported if row[2] != "failed"}
    runs = runs.set_index(["tags.variant", "tags.seed"])
    assert runs.loc[("gaussian", "1"), "status"] == "FAILED"
    assert runs.loc[("gaussian", "1"), "tags.anomaly.loss-not-finite"].endswith("at step 5")


def test_a_resumed_trial_has_its_anomalies_once(faulty: Plan) -> None:
    trial = next(trial for trial in faulty.trials if trial.name == "gaussian seed 1")
    before = RunContent.read(trial.folder)
    work(task(trial, faulty.root))
    after = RunContent.read(trial.folder)
    assert after.lines == before.lines
    assert after.anomalies == before.anomalies
    assert trial.about()["error"] == before.about["error"]


def test_results_keep_their_anomalies_and_results_without_their_file_are_refused(
    results: Results, tmp_path: Path
) -> None:
    write_results(results, tmp_path)
    pd.testing.assert_frame_equal(read_results(tmp_path).anomalies, results.anomalies)
    (tmp_path / "anomalies.parquet").unlink()
    with pytest.raises(UserError, match=r"does not hold the results of a report \(.*anomalies\.parquet"):
        read_results(tmp_path)


def test_where_nothing_went_wrong_one_line_says_so(results: Results) -> None:
    well = replace(results, anomalies=results.anomalies.iloc[:0])
    table = TABLES["anomalies"](well)
    assert table.caption.startswith("Numerical anomalies: none. ")
    assert table.frame.empty
    assert "<table>" not in table.html()
    assert DOUBLE_DAGGER not in TABLES["main"](well).markdown()
    spared = synthetic_results(seeds=1, samples=16, without=("e2e-small", "gaussian", "pretrained", "pretrained-ar"))
    lead = "Numerical anomalies, none of them in a model. "
    assert TABLES["anomalies"](spared).caption.startswith(lead)


class Unrounded(DiffusionLM):
    """Without the term that keeps embeddings apart."""

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:
        return {name: term for name, term in super().terms(tokens, *noise).items() if name != "rounding"}


@pytest.mark.parametrize(("build", "expected"), [(Unrounded, ["embeddings-collapsed"]), (DiffusionLM, [])])
def test_embeddings_collapse_without_the_rounding_term(
    build: type[DiffusionLM], expected: list[str], tmp_path: Path
) -> None:
    scale = small_scale(steps=60, log_every=10, validate_every=10, checkpoint_every=60, learning_rate=0.1)
    with seeded("model", 0):
        model = build(Learned(), vocabulary=12, scale=scale)
    logged: list[Point] = []
    log = lambda step, values: logged.extend(Point(key, value, 0, step) for key, value in values.items())  # noqa: E731
    train_network(model, replace(job(tmp_path, scale), log=log))
    assert [row.anomaly for row in find_anomalies(tmp_path, logged)] == expected


def test_spread_measures_the_nearest_pair_and_the_longest_embedding() -> None:
    table = torch.tensor([[3.0, 4.0], [3.0, 4.2], [0.0, 0.0]])
    assert embedding_spread(table, 0.1) == pytest.approx(
        {"embedding/gap": 2.0, "embedding/rms": math.sqrt((9 + 4.2**2) / 2)}
    )
    assert math.isnan(embedding_spread(table * math.nan, 0.1)["embedding/rms"])


class Unsound(NeuralModel):
    """A model whose loss is finite in training and not on the validation windows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def terms(self, tokens: Tensor, *noise: Tensor) -> dict[str, Tensor]:  # noqa: ARG002 - no noise here
        return {"term": self.weight.sum() + (0.0 if self.training else math.inf)}

    def draw_chunk(self, indices: range, *, seed: int) -> Tensor:  # noqa: ARG002 - see NeuralModel
        return torch.zeros(len(indices), 1)


def test_a_validation_loss_that_is_not_finite_stops_training_and_is_logged(tmp_path: Path) -> None:
    logged: list[Point] = []
    log = lambda step, values: logged.extend(Point(key, value, 0, step) for key, value in values.items())  # noqa: E731
    scale = small_scale(steps=30, log_every=5, validate_every=10, checkpoint_every=10)
    with pytest.raises(DivergedError, match="the loss on validation windows is inf by step 10"):
        train_network(Unsound(), replace(job(tmp_path, scale), log=log))
    (found,) = find_anomalies(tmp_path, logged)
    assert (found.anomaly, found.first, found.last, found.value) == ("loss-not-finite", 10, 10, math.inf)


@pytest.mark.parametrize(
    ("name", "fine", "wrong"),
    [
        ("loss-not-finite", [-1e300, 0.0], [math.nan, math.inf, -math.inf]),
        ("embeddings-exploded", [0.0, 10.0], [10.1, math.inf, math.nan]),
        ("embeddings-collapsed", [1.0, math.inf, math.nan], [0.99, 0.0]),
        ("likelihood-not-finite", [12.0], [math.nan, math.inf]),
        ("samples-repeated", [0.0, 0.5], [0.51, 1.0]),
        ("samples-invalid", [0.1, 1.0], [0.09, 0.0]),
    ],
)
def test_limits_are_those_of_the_table(name: str, fine: list[float], wrong: list[float]) -> None:
    (anomaly,) = (row for row in ANOMALIES if row.name == name)
    assert [value for value in (*fine, *wrong) if anomaly.is_wrong(value)] == wrong


def test_an_exact_likelihood_may_be_infinite_and_a_bound_may_not(tmp_path: Path) -> None:
    for exact, names in ((True, []), (False, ["likelihood-not-finite"])):
        write_json(tmp_path / "likelihood.json", {"exact": exact, "nats_per_token": math.inf})
        assert [row.anomaly for row in find_anomalies(tmp_path, [])] == names


def test_published_models_have_no_anomalies_and_are_far_from_the_limits() -> None:
    folder = ROOT / "reports" / "published" / "cpu-bach" / "results"
    if not folder.exists():
        pytest.skip("no results of this version on real music are published")
    results = read_results(folder)
    models = set(results.experiments[~results.experiments["control"].astype(bool)]["name"])
    assert models.isdisjoint(results.anomalies["experiment"])
    assert {"unigram", "uniform", "untrained"} <= set(
        results.anomalies["experiment"]
    )  # controls that are bad on purpose
    for _, table in results.embeddings.groupby(["experiment", "seed"]):
        columns = [name for name in table if name[0] == "d" and name[1:].isdigit()]
        near = embedding_spread(
            torch.tensor(table[columns].dropna(axis="columns").to_numpy()), results.about["sigma_0"]
        )
        assert near["embedding/gap"] > 3  # the limit is 1
        assert near["embedding/rms"] < 2
