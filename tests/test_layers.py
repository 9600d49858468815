"""The chain replication <- baselines <- eval <- reports, and what else no module may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHAIN = ("replication", "baselines", "eval", "reports")
MODULES = [path for package in CHAIN for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.append(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_imports_only_from_its_left(path: Path) -> None:
    right = CHAIN[CHAIN.index(path.relative_to(ROOT).parts[0]) + 1 :]
    wrong = [name for name in imports(path) if name.split(".")[0] in right]
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_one_module_imports_mlflow() -> None:
    users = {str(path.relative_to(ROOT)) for path in MODULES if any(n.split(".")[0] == "mlflow" for n in imports(path))}
    assert users == {"eval/tracking.py"}


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tests").glob("*.py"))], ids=lambda path: path.name)
def test_no_module_rebinds_the_builtin_eval(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "eval" and alias.asname is None for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_loads_pickles_or_grows_without_end(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "torch.load" not in text
    assert "import pickle" not in text
    assert "allow_pickle=True" not in text
    assert len(text.splitlines()) <= 310


def test_training_needs_nothing_but_torch_numpy_and_safetensors() -> None:
    absent = ["mlflow", "muspy", "symusic", "miditok", "pebble", "pooch", "requests"]
    absent += ["pandas", "scipy", "matplotlib", "tqdm", "tyro"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import baselines.autoregressive, baselines.ngram,"
        " baselines.replay, replication.diffusion, eval.bare, eval.stages, eval.suite"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_tables_of_experiments_are_read_without_torch() -> None:
    code = "import sys, eval.__main__; assert not {'torch','mlflow','muspy','pandas','matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
