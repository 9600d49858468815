"""The file that goes to another machine and the one that comes back: what is in them, and that nothing else gets in."""

from __future__ import annotations

import fcntl
import json
import shutil
import stat
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from etude.remote import archive as bundle_file
from etude.remote import bundle
from etude.remote import train as bare
from etude.runner import executors as engines
from etude.runner import plan as suite
from etude.runner.comparison import tuning
from etude.trial import trial as trials
from eval.results.schema import EDITION
from eval.tracking.logger import Tracker
from replication.corpora.sources import Synthetic
from replication.models.ablations import Diffusion
from replication.training.scales import SCALES, Point
from replication.util.errors import UserError
from replication.util.files import write_json
from tests.support.program import assert_user_error, etude
from tests.support.small_scales import SMOKE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from etude.runner.plan import Plan

ENGINE = engines.Process(workers=1)


def planned(root: Path, *names: str) -> Plan:
    return suite.plan(scale="smoke", only=names, seeds=1, root=root)


def export(plan: Plan, path: Path) -> list[str]:
    exported = bundle.export(plan, suite.prepare(plan), Tracker(plan.root), path, engine=ENGINE)
    return [trial.experiment.name for trial in exported]


@pytest.fixture(scope="module")
def there_and_back(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the root of a plan of one small trial, and the file in which it came back."""
    root = tmp_path_factory.mktemp("home")
    assert export(planned(root, "ngram"), root / "there.zip") == ["ngram"]
    assert bare.run(root / "there.zip", root / "back.zip", workers=1) == 0
    return root, root / "back.zip"


def copied(there_and_back: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    root, back = there_and_back
    shutil.copytree(root, folder / "home", ignore=shutil.ignore_patterns("*.work"))
    return folder / "home", folder / "home" / back.name


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Write a bundle again with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


def test_what_comes_back_is_scored_where_it_left(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    (trial,) = planned(home, "ngram").trials
    assert not trial.exists()
    assert bundle.take(back, home) == {"taken": 1, "kept": 0}
    assert bundle.is_ready(trial)
    assert not trial.is_done()
    assert trial.about()["status"] == "RUNNING"
    assert bundle.take(back, home) == {"taken": 0, "kept": 1}
    with pytest.raises(UserError, match="is left to be run elsewhere: `etude run` scores what is there"):
        export(planned(home, "ngram"), tmp_path / "again.zip")


def test_who_a_trial_is_comes_from_here_and_how_it_went_from_there(
    there_and_back: tuple[Path, Path], tmp_path: Path
) -> None:
    home, back = copied(there_and_back, tmp_path)

    def lie(members: dict[str, bytes]) -> None:
        (name,) = (name for name in members if name.endswith("/trial.json"))
        foreign = {"id": "x", "experiment": "e2e", "kind": "control", "label": "best", "seed": 9, "more": 1}
        members[name] = json.dumps(json.loads(members[name]) | foreign | {"started": 7.0}).encode()

    rewritten(back, lie)
    bundle.take(back, home)
    (trial,) = planned(home, "ngram").trials
    about = trial.about()
    identity = trial.identity(suite.prepare(planned(home, "ngram"))["paper"])
    assert about == json.loads(json.dumps(identity)) | {name: about[name] for name in bundle.PROGRESS}
    assert about["started"] == 7


def test_a_failure_is_further_than_the_same_trial_without(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    bundle.take(back, home)

    def fail(members: dict[str, bytes]) -> None:
        (name,) = (name for name in members if name.endswith("/trial.json"))
        members[name] = json.dumps(json.loads(members[name]) | {"status": "FAILED", "error": "so"}).encode()

    rewritten(back, fail)
    assert bundle.take(back, home) == {"taken": 1, "kept": 0}
    assert planned(home, "ngram").trials[0].about()["error"] == "so"


def test_a_trial_that_is_less_far_does_not_replace_one(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    bundle.take(back, home)
    before = {name: (home / name).read_bytes() for name in files(home)}

    def lose(members: dict[str, bytes]) -> None:
        for name in [name for name in members if name.endswith(("likelihood.sha256", "samples.npz", "sample.sha256"))]:
            members[name.replace("samples.npz", "metrics.jsonl")] = b"{}\n" * 1000
            del members[name]

    rewritten(back, lose)
    before[back.relative_to(home).as_posix()] = back.read_bytes()
    assert bundle.take(back, home) == {"taken": 0, "kept": 1}
    assert {name: (home / name).read_bytes() for name in files(home)} == before


def test_a_trial_that_is_being_run_is_not_replaced(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, back = copied(there_and_back, tmp_path)
    (trial,) = planned(home, "ngram").trials
    trial.folder.mkdir(parents=True)
    with (trial.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="ngram seed 0 is being run here"):
            bundle.take(back, home)


def evil_names(members: dict[str, bytes]) -> None:
    (folder,) = {name.rpartition("/")[0] for name in members if name.endswith("/trial.json")}
    for name in ("../../../../../evil", "checkpoint/../../evil", "/evil", "checkpoint/step-1/evil", "midi/evil"):
        members[f"{folder}/{name}"] = b"evil"
    members |= dict.fromkeys(("../evil", "/evil", "runs/evil", "runs/cache/evil"), b"evil")


def test_only_files_of_the_trials_that_were_exported_are_taken(
    there_and_back: tuple[Path, Path], tmp_path: Path
) -> None:
    home, back = copied(there_and_back, tmp_path)
    rewritten(back, evil_names)
    before = files(tmp_path)
    assert bundle.take(back, home) == {"taken": 1, "kept": 0}
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


def test_a_link_in_a_bundle_is_unpacked_as_the_text_that_it_is(
    there_and_back: tuple[Path, Path], tmp_path: Path
) -> None:
    home, _ = copied(there_and_back, tmp_path)
    link = zipfile.ZipInfo("runs/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(home / "there.zip", "a") as archive:
        archive.writestr(link, str(home))
        archive.writestr("../../outside", "outside")
    bundle_file.unpack(home / "there.zip", tmp_path / "away")
    assert not (tmp_path / "away" / "runs" / "link").is_symlink()
    assert not [path for path in tmp_path.parent.rglob("outside") if tmp_path / "away" not in path.parents]


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
        (other_plan(corpus="elsewhere"), "which .* has none of: give another --root"),
        (other_plan(corpus="../../.."), "is no bundle of trials"),
        (other_plan(scale="huge"), "which .* has none of|unknown scale"),
        (other_plan(experiments=["gan"]), "unknown experiment 'gan'"),
        (other_plan(trials={"runs/smoke/synthetic/ngram/9": {}}), "does not know the trial"),
        (other_plan(windows={"paper": "../../x"}), "is no bundle of trials"),
        (other_plan(windows={"paper": f"windows-{'0' * 32}"}), "the windows of the bundle are not in"),
        (lambda members: members.pop("plan.json"), "is no bundle of trials"),
    ],
)
def test_what_does_not_belong_here_is_refused_before_anything_changes(
    there_and_back: tuple[Path, Path],
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], None],
    message: str,
) -> None:
    home, back = copied(there_and_back, tmp_path)
    rewritten(back, change)
    before = files(tmp_path)
    with pytest.raises(UserError, match=message):
        bundle.take(back, home)
    assert files(tmp_path) == before


def test_a_file_that_is_damaged_is_refused_before_anything_changes(
    there_and_back: tuple[Path, Path], tmp_path: Path
) -> None:
    home, back = copied(there_and_back, tmp_path)
    whole, before = back.read_bytes(), files(tmp_path)
    flipped = bytearray(whole)
    flipped[whole.index(b"samples.npz") + 200] ^= 1
    for content in (whole[: len(whole) // 2], bytes(flipped), b"no archive", b""):
        back.write_bytes(content)
        with pytest.raises(UserError, match="copy it again"):
            bundle.take(back, home)
        assert files(tmp_path) == before
    back.unlink()
    assert_user_error(etude("import", str(back), folder=home), "cannot be opened (No such file or directory): give")
    assert_user_error(etude("import", ".", folder=home), "cannot be opened (Is a directory): give")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((other_plan(corpus=name), "is no bundle of trials") for name in ("../../../evil", "a/b", "", ".", "..")),
        (other_plan(windows={"paper": "../../x"}), "is no bundle of trials"),
        (other_plan(windows={}), "no windows in encoding paper"),
        (other_plan(grid={"type": "Beats"}), "is no bundle of trials"),
        (other_plan(experiments=[["ngram"]]), "is no bundle of trials"),
        (lambda members: members.update({"plan.json": b"{}"}), "is no bundle of trials"),
    ],
)
def test_what_no_export_wrote_is_not_run(
    there_and_back: tuple[Path, Path], tmp_path: Path, change: Callable[[dict[str, bytes]], None], message: str
) -> None:
    home, _ = copied(there_and_back, tmp_path)
    rewritten(home / "there.zip", change)
    with pytest.raises(UserError, match=message):
        bare.run(home / "there.zip", tmp_path / "back.zip", workers=1)
    assert not [path for path in tmp_path.rglob("*evil*") if ".work" not in str(path)]


def test_another_export_does_not_mix_with_what_lies_unpacked(there_and_back: tuple[Path, Path], tmp_path: Path) -> None:
    home, _ = copied(there_and_back, tmp_path)
    bundle_file.unpack(home / "there.zip", tmp_path / "away")
    bundle_file.unpack(home / "there.zip", tmp_path / "away")
    rewritten(home / "there.zip", other_plan(exported=0))
    with pytest.raises(UserError, match="holds the trials of another export"):
        bundle_file.unpack(home / "there.zip", tmp_path / "away")


def test_code_that_computes_something_else_there_is_refused(
    there_and_back: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _ = copied(there_and_back, tmp_path)
    monkeypatch.setattr(trials, "EDITION", EDITION + 1)
    with pytest.raises(UserError, match=r"ngram seed 0 was made with another configuration \(edition is"):
        bare.run(home / "there.zip", tmp_path / "back.zip", workers=1)


def test_the_grid_goes_first_with_what_does_not_depend_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCALES, "smoke", replace(SMOKE, grid=(Point(), Point(scale=0.5))))
    plan = planned(tmp_path, "gaussian", "e2e-small", "ngram", "teacher")
    plan = replace(plan, corpus=replace(plan.corpus, source=Synthetic(count=260, seed=0)))
    grid = ["gaussian-d8-s1", "gaussian-d8-s0.5", "e2e-d8-s1", "e2e-d8-s0.5"]
    assert sorted(export(plan, tmp_path / "first.zip")) == sorted([*grid, "ngram", "teacher"])
    datasets = suite.prepare(plan)
    for trial in tuning(plan).trials:
        trial.open(datasets["paper"])
        trial.close(error="the loss is nan")
    assert sorted(export(plan, tmp_path / "second.zip")) == ["e2e-small", "gaussian", "ngram", "teacher"]
    # Settled at home, an arm is at its point on the other machine too.
    write_json(plan.comparison / "tuning.json", {"gaussian": {"dimension": 1, "scale": 0.5}})
    export(plan, tmp_path / "third.zip")
    about = bundle_file.unpack(tmp_path / "third.zip", tmp_path / "away")
    (found,) = (t for t in bundle.trials_of(about, tmp_path / "away") if t.experiment.name == "gaussian")
    assert isinstance(found.experiment.model, Diffusion)
    assert found.experiment.model.embedding.scale == 0.5
    bundle.check(found, about["trials"]["runs/smoke/synthetic/gaussian/0"], datasets["paper"], tmp_path)
