"""The structure of the project: the chain of packages, the order of the rooms, no import circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each package imports from itself and from those above it only, and so does each room within its package.
STRUCTURE: dict[str, tuple[str, ...]] = {
    "replication": ("util", "midi", "corpora", "tokens", "windows", "diffusion", "training", "models"),
    "baselines": (),
    "eval": ("metrics", "statistics", "distances", "listening", "scoring", "results", "claims", "tracking"),
    "reports": ("format", "sections", "page"),
    "etude": ("trial", "runner", "remote", "cli"),
    "benchmarks": (),
}
PACKAGES = tuple(STRUCTURE)
PATHS = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
MOST_FILES = 16  # of a room: more is a drawer


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the names of what a file imports, whether for type checkers or at run time, at any depth in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def modules(name: str) -> set[str]:
    """Return the modules of the project that a module imports."""
    found = {there if there in PATHS else there.rpartition(".")[0] for there in imports(PATHS[name])}
    return {there for there in found if there in PATHS} - {name}


def place(name: str) -> tuple[int, int]:
    """Return the rank of a module's package, and of its room within that; -1 for a module that is in no room."""
    package, _, rest = name.partition(".")
    room = rest.partition(".")[0]
    rooms = STRUCTURE[package]
    return PACKAGES.index(package), rooms.index(room) if room in rooms else -1


@pytest.mark.parametrize("name", PATHS)
def test_modules_import_only_from_packages_and_rooms_before_theirs(name: str) -> None:
    package, room = place(name)
    for there in modules(name):
        its_package, its_room = place(there)
        assert its_package <= package, f"{name} imports {there}"
        assert its_package < package or its_room <= room or room == -1, f"{name} imports {there}"


def test_every_module_stands_in_a_room() -> None:
    outside = {name for name in PATHS if STRUCTURE[name.partition(".")[0]] and place(name)[1] == -1}
    assert outside == {"replication", "eval", "reports", "etude", "reports.__main__", "etude.__main__"}


def test_no_modules_import_one_another_in_a_circle() -> None:
    direct = {name: modules(name) for name in PATHS}
    reached = {name: set(there) for name, there in direct.items()}
    while True:
        longer = {name: there.union(*(direct[other] for other in there)) for name, there in reached.items()}
        if longer == reached:
            break
        reached = longer
    assert [name for name, there in reached.items() if name in there] == []


@pytest.mark.parametrize("room", sorted({path.parent for path in PATHS.values()}), ids=lambda path: str(path.name))
def test_no_room_is_a_drawer(room: Path) -> None:
    assert len(list(room.glob("*.py"))) <= MOST_FILES


def test_one_module_imports_mlflow() -> None:
    users = {name for name in PATHS if any(there.partition(".")[0] == "mlflow" for there in imports(PATHS[name]))}
    assert users == {"eval.tracking.store"}


@pytest.mark.parametrize("path", [*PATHS.values(), *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda path: path.name)
def test_no_module_rebinds_the_builtin_eval(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "eval" and alias.asname is None for alias in node.names)


@pytest.mark.parametrize("name", PATHS)
def test_no_module_loads_pickles(name: str) -> None:
    text = PATHS[name].read_text(encoding="utf-8")
    assert "torch.load" not in text
    assert "import pickle" not in text
    assert "allow_pickle=True" not in text


def test_training_needs_nothing_but_torch_numpy_and_safetensors() -> None:
    absent = ["mlflow", "muspy", "symusic", "miditok", "pebble", "pooch", "requests"]
    absent += ["pandas", "scipy", "matplotlib", "tqdm", "tyro", "filelock", "statsmodels"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import baselines.autoregressive, baselines.ngram,"
        " baselines.replay, replication.models.diffusion_lm, etude.remote.train, etude.trial.stages, etude.runner.plan"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_line_starts_without_heavy_libraries() -> None:
    heavy = {"torch", "mlflow", "muspy", "pandas", "matplotlib", "scipy", "sklearn"}
    code = f"import sys, etude.cli.main; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
