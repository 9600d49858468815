"""Export and import: what bundles hold, and that import takes nothing else."""

from __future__ import annotations

import fcntl
import json
import shutil
import stat
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.remote import archive, bundle, train
from etude.runner.comparison import tuning
from etude.runner.executors import ProcessExecutor
from etude.runner.plan import make_plan, prepare
from etude.runner.worker import is_trained
from etude.trial import trial as trials
from eval.results.schema import EDITION
from eval.tracking.logger import Tracker
from replication.corpora.sources import Synthetic
from replication.models.ablations import Diffusion
from replication.training.scales import SCALES, TuningPoint
from replication.util.errors import UserError
from replication.util.files import write_json
from tests.support.program import assert_user_error, etude
from tests.support.small_scales import SMOKE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from etude.runner.plan import Plan

EXECUTOR = ProcessExecutor(workers=1)


def planned(root: Path, *names: str) -> Plan:
    return make_plan(scale="smoke", only=names, seeds=1, root=root)


def export(plan: Plan, path: Path) -> list[str]:
    exported = bundle.export(plan, prepare(plan), Tracker(plan.root), path, executor=EXECUTOR)
    return [trial.experiment.name for trial in exported]


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the root of a plan with one small trial, and the bundle that came back."""
    root = tmp_path_factory.mktemp("home")
    assert export(planned(root, "ngram"), root / "there.zip") == ["ngram"]
    assert train.run(root / "there.zip", root / "back.zip", workers=1) == 0
    return root, root / "back.zip"


def copied(there_and_back: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    root, back = there_and_back
    shutil.copytree(root, folder / "home", ignore=shutil.ignore_patterns("*.work"))
    return folder / "home", folder / "home" / back.name


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Rewrite a bundle with changed members."""
    with zipfile.ZipFile(path) as before:
        members = {name: before.read(name) for name in before.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as after:
        for name, content in members.items():
            after.writestr(name, content)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


def test_imported_trials_are_ready_to_be_scored(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    (trial,) = planned(home, "ngram").trials
    assert not trial.exists()
    assert bundle.import_trials(back, home) == {"taken": 1, "kept": 0}
    assert is_trained(trial)
    assert not trial.is_done()
    assert trial.about()["status"] == "RUNNING"
    assert bundle.import_trials(back, home) == {"taken": 0, "kept": 1}
    with pytest.raises(
        UserError, match=r"is left to run elsewhere: run `.*etude run --root .*` to score the trained ones"
    ):
        export(planned(home, "ngram"), tmp_path / "again.zip")


def test_the_identity_of_a_trial_comes_from_here_and_its_progress_from_the_bundle(
    there_and_back: tuple[Path, Path], tmp_path: Path
) -> None:
    home, back = copied(there_and_back, tmp_path)

    def lie(members: dict[str, bytes]) -> None:
        (name,) = (name for name in members if name.endswith("/trial.json"))
        foreign = {"id": "x", "experiment": "e2e", "kind": "control", "label": "best", "seed": 9, "more": 1}
        members[name] = json.dumps(json.loads(members[name]) | foreign | {"started": 7.0}).encode()

    rewritten(back, lie)
    bundle.import_trials(back, home)
    (trial,) = planned(home, "ngram").trials
    about = trial.about()
    identity = trial.identity(prepare(planned(home, "ngram"))["paper"])
    assert about == json.loads(json.dumps(identity)) | {name: about[name] for name in bundle.PROGRESS}
    assert about["started"] == 7


def test_a_failed_trial_is_more_advanced_than_the_same_without_failure(
    there_and_back: tuple[Path, Path], tmp_path: Path
) -> None:
    home, back = copied(there_and_back, tmp_path)
    bundle.import_trials(back, home)

    def fail(members: dict[str, bytes]) -> None:
        (name,) = (name for name in members if name.endswith("/trial.json"))
        members[name] = json.dumps(json.loads(members[name]) | {"status": "FAILED", "error": "so"}).encode()

    rewritten(back, fail)
    assert bundle.import_trials(back, home) == {"taken": 1, "kept": 0}
    assert planned(home, "ngram").trials[0].about()["error"] == "so"


def test_a_less_advanced_trial_does_not_replace_one(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    bundle.import_trials(back, home)
    before = {name: (home / name).read_bytes() for name in files(home)}

    def lose(members: dict[str, bytes]) -> None:
        for name in [name for name in members if name.endswith(("likelihood.sha256", "samples.npz", "sample.sha256"))]:
            members[name.replace("samples.npz", "metrics.jsonl")] = b"{}\n" * 1000
            del members[name]

    rewritten(back, lose)
    before[back.relative_to(home).as_posix()] = back.read_bytes()
    assert bundle.import_trials(back, home) == {"taken": 0, "kept": 1}
    assert {name: (home / name).read_bytes() for name in files(home)} == before


def test_a_running_trial_is_not_replaced(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    (trial,) = planned(home, "ngram").trials
    trial.folder.mkdir(parents=True)
    with (trial.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="ngram seed 0 is running here"):
            bundle.import_trials(back, home)


def evil_names(members: dict[str, bytes]) -> None:
    (folder,) = {name.rpartition("/")[0] for name in members if name.endswith("/trial.json")}
    for name in ("../../../../../evil", "checkpoint/../../evil", "/evil", "checkpoint/step-1/evil", "midi/evil"):
        members[f"{folder}/{name}"] = b"evil"
    members |= dict.fromkeys(("../evil", "/evil", "runs/evil", "runs/cache/evil"), b"evil")


def test_only_files_of_exported_trials_are_taken(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    rewritten(back, evil_names)
    before = files(tmp_path)
    assert bundle.import_trials(back, home) == {"taken": 1, "kept": 0}
    new = {path.removeprefix("home/runs/smoke/synthetic/ngram/0/") for path in files(tmp_path) - before}
    assert new == {
        "trial.json",
        "timing.json",
        "fit.sha256",
        "sample.sha256",
        "likelihood.sha256",
        "samples.txt",
        "samples.npz",
        "likelihood.json",
        "checkpoint/model.safetensors",
    }


def test_a_link_in_a_bundle_is_unpacked_as_text(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, _ = copied(there_and_back, tmp_path)
    link = zipfile.ZipInfo("runs/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(home / "there.zip", "a") as file:
        file.writestr(link, str(home))
        file.writestr("../../outside", "outside")
    archive.unpack(home / "there.zip", tmp_path / "away")
    assert not (tmp_path / "away" / "runs" / "link").is_symlink()
    assert not [path for path in tmp_path.rglob("outside") if tmp_path / "away" not in path.parents]


def other_data(members: dict[str, bytes]) -> None:
    (name,) = (name for name in members if name.endswith("/trial.json"))
    about = json.loads(members[name])
    about["config"]["data"] = "0" * 64
    members[name] = json.dumps(about).encode()


def other_plan(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["plan.json"] = json.dumps(json.loads(members["plan.json"]) | changes).encode()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_data, r"ngram seed 0 was made with another configuration \(data is 0000"),
        (other_plan(corpus="elsewhere"), "and .* has none of that corpus: give another --root"),
        (other_plan(corpus="../../.."), "is not a bundle of trials"),
        (other_plan(scale="huge"), "and .* has none of that corpus|unknown scale"),
        (other_plan(experiments=["gan"]), "unknown experiment 'gan'"),
        (other_plan(trials={"runs/smoke/synthetic/ngram/9": {}}), "does not know the trial"),
        (other_plan(windows={"paper": "../../x"}), "is not a bundle of trials"),
        (other_plan(windows={"paper": f"windows-{'0' * 32}"}), "the bundle's windows are not in"),
        (lambda members: members.pop("plan.json"), "is not a bundle of trials"),
    ],
)
def test_foreign_bundles_are_refused_before_anything_changes(
    there_and_back: tuple[Path, Path],
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], None],
    message: str,
) -> None:
    home, back = copied(there_and_back, tmp_path)
    rewritten(back, change)
    before = files(tmp_path)
    with pytest.raises(UserError, match=message):
        bundle.import_trials(back, home)
    assert files(tmp_path) == before


def test_a_damaged_file_is_refused_before_anything_changes(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    whole, before = back.read_bytes(), files(tmp_path)
    flipped = bytearray(whole)
    flipped[whole.index(b"samples.npz") + 200] ^= 1
    for content in (whole[: len(whole) // 2], bytes(flipped), b"no archive", b""):
        back.write_bytes(content)
        with pytest.raises(UserError, match="copy it again"):
            bundle.import_trials(back, home)
        assert files(tmp_path) == before
    back.unlink()
    assert_user_error(etude("import", str(back), folder=home), "cannot be opened (No such file or directory): give")
    assert_user_error(etude("import", ".", folder=home), "cannot be opened (Is a directory): give")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((other_plan(corpus=name), "is not a bundle of trials") for name in ("../../../evil", "a/b", "", ".", "..")),
        (other_plan(windows={"paper": "../../x"}), "is not a bundle of trials"),
        (other_plan(windows={}), "no windows in encoding paper"),
        (other_plan(grid={"type": "Beats"}), "is not a bundle of trials"),
        (other_plan(experiments=[["ngram"]]), "is not a bundle of trials"),
        (lambda members: members.update({"plan.json": b"{}"}), "is not a bundle of trials"),
    ],
)
def test_a_bundle_that_no_export_wrote_is_not_run(
    there_and_back: tuple[Path, Path], tmp_path: Path, change: Callable[[dict[str, bytes]], None], message: str
) -> None:
    home, _ = copied(there_and_back, tmp_path)
    rewritten(home / "there.zip", change)
    with pytest.raises(UserError, match=message):
        train.run(home / "there.zip", tmp_path / "back.zip", workers=1)
    assert not [path for path in tmp_path.rglob("*evil*") if ".work" not in str(path)]


def test_another_export_does_not_mix_with_an_unpacked_one(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, _ = copied(there_and_back, tmp_path)
    archive.unpack(home / "there.zip", tmp_path / "away")
    archive.unpack(home / "there.zip", tmp_path / "away")
    rewritten(home / "there.zip", other_plan(exported=0))
    with pytest.raises(UserError, match="holds the trials of another export"):
        archive.unpack(home / "there.zip", tmp_path / "away")


def test_another_version_of_the_code_is_refused(
    there_and_back: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = copied(there_and_back, tmp_path)
    monkeypatch.setattr(trials, "EDITION", EDITION + 1)
    with pytest.raises(UserError, match=r"ngram seed 0 was made with another configuration \(edition is"):
        train.run(home / "there.zip", tmp_path / "back.zip", workers=1)


def test_the_tuning_grid_is_exported_first_with_trials_that_do_not_depend_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCALES, "smoke", replace(SMOKE, tuning_grid=(TuningPoint(), TuningPoint(scale=0.5))))
    plan = planned(tmp_path, "gaussian", "e2e-small", "ngram", "teacher")
    plan = replace(plan, corpus=replace(plan.corpus, source=Synthetic(count=260, seed=0)))
    grid = ["gaussian-d8-s1", "gaussian-d8-s0.5", "e2e-d8-s1", "e2e-d8-s0.5"]
    assert sorted(export(plan, tmp_path / "first.zip")) == sorted([*grid, "ngram", "teacher"])
    datasets = prepare(plan)
    for trial in tuning(plan).trials:
        trial.open(datasets["paper"])
        trial.close(error="the loss is nan")
    assert sorted(export(plan, tmp_path / "second.zip")) == ["e2e-small", "gaussian", "ngram", "teacher"]
    # The tuning point chosen at home holds on the other machine too.
    write_json(plan.comparison / "tuning.json", {"0": {"gaussian": {"dimension": 1, "scale": 0.5}}})
    export(plan, tmp_path / "third.zip")
    about = archive.unpack(tmp_path / "third.zip", tmp_path / "away")
    (found,) = (t for t in bundle.trials_of(about, tmp_path / "away") if t.experiment.name == "gaussian")
    assert isinstance(found.experiment.model, Diffusion)
    assert found.experiment.model.embedding.scale == 0.5
    bundle.check(found, about["trials"]["runs/smoke/synthetic/gaussian/0"], datasets["paper"], tmp_path)
