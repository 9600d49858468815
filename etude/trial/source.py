"""A hash of the source that computes weights and samples, as part of a trial's identity."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path
from typing import Any

from replication.util.files import describe

PROJECT = Path(__file__).parents[2]
# From tokens to weights to samples. File helpers, and everything that only looks at results, stand elsewhere.
COMPUTES = (
    "replication/util/generators.py",
    "replication/tokens/*.py",
    "replication/diffusion/*.py",
    "replication/training/*.py",
    "replication/models/*.py",
    "baselines/*.py",
)


def source_hash(*choices: object, project: Path = PROJECT) -> str:
    """Return a hash of the definitions that some choices use, at any depth.

    Definitions are found by name, so the names and places of modules do not count. Neither do docstrings, comments,
    annotations, imports and messages.

    Args:
        choices: frozen dataclasses such as the configuration of a model, which may hold others.
        project: the folder of the packages.
    """
    known, found = _definitions(project), set[str]()
    waiting = _types([describe(choice) for choice in choices]) & known.keys()
    while waiting:
        name = waiting.pop()
        found.add(name)
        parts = [part for node in known[name] for part in ast.walk(node)]
        used: set[Any] = {getattr(part, "id", getattr(part, "attr", None)) for part in parts}
        waiting |= used & known.keys() - found
    texts = sorted(repr(_plain(node)) for name in found for node in known[name])
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


@functools.cache
def _definitions(project: Path) -> dict[str | None, list[ast.stmt]]:
    """Return the functions, classes and constants at the top level of modules, by name."""
    found: dict[str | None, list[ast.stmt]] = {}
    for path in (path for pattern in COMPUTES for path in project.glob(pattern)):
        for node in _Computation().visit(ast.parse(path.read_bytes())).body:
            for target in getattr(node, "targets", [getattr(node, "target", node)]):
                if name := getattr(target, "name", getattr(target, "id", None)):
                    found.setdefault(name, []).append(node)
    return found


class _Computation(ast.NodeTransformer):
    """Removes from a syntax tree what does not compute."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_print = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", None) == "print"
        return None if isinstance(node.value, ast.Constant) or is_print else self.generic_visit(node)

    def visit_ImportFrom(self, _: ast.ImportFrom) -> None:
        return None

    def visit_Raise(self, _: ast.Raise) -> ast.AST:
        return ast.Raise()

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


def _types(description: Any) -> set[str]:  # noqa: ANN401 - plain JSON data
    """Return the names of the types in what `describe` returned."""
    values = description.values() if isinstance(description, dict) else description
    own = {description["type"]} if isinstance(description, dict) and "type" in description else set()
    return own.union(*(_types(value) for value in values if isinstance(value, dict | list)))


def _plain(node: object) -> object:
    """Return a syntax tree as nested tuples, without positions and without what only some versions of Python have."""
    if isinstance(node, list):
        return tuple(map(_plain, node))
    if not isinstance(node, ast.AST):
        return node
    return type(node).__name__, *(
        (name, _plain(value)) for name, value in ast.iter_fields(node) if value is not None and value != []
    )
