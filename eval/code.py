"""Which code a result depends on: a fingerprint of each module, that no comment changes."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from replication.files import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
# Of these only what is asked for counts: a trial's configuration says what their rows are made of.
TABLES = {"replication.ablations", "replication.scales", "replication.corpora", "baselines", "eval.controls"}
# These move bytes, speak to people or find out what a machine can do, and decide no number.
SILENT = {
    *("replication.errors", "replication.files", "replication.checksums", "replication.checkpoint"),
    *("eval.memory", "eval.history"),
}


def code_of(kind: type) -> dict[str, str]:
    """Return the fingerprints of a class and of all modules of this project that it needs, by name; none for others'.

    They are the same for code that differs in comments, docstrings and layout, and on every version of Python.
    """
    if not _path(kind.__module__):  # of a script or a notebook
        return {}
    if kind.__module__ not in TABLES:
        return _modules({kind.__module__})
    tree = _tree(kind.__module__)
    own = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    used = {node.id for node in ast.walk(own) if isinstance(node, ast.Name)}
    needed = set(_imported(own)) | {module for name, modules in _names(tree) if name in used for module in modules}
    return {f"{kind.__module__}.{kind.__name__}": _fingerprint(own)} | _modules(needed)


@functools.cache
def code_name(module: str) -> str:
    """Return a name for the code of a module of this project and of those that it needs."""
    return digest(_modules({module}))[:16]


def _modules(names: set[str]) -> dict[str, str]:
    """Return the fingerprints of modules and of those that they import, at any depth, by name."""
    found: dict[str, str] = {}
    waiting = names - SILENT
    while waiting:
        name = waiting.pop()
        tree = _tree(name)
        found[name] = "" if name in TABLES else _fingerprint(tree)
        waiting |= set(_imported(tree)) - SILENT - found.keys()
    return {name: fingerprint for name, fingerprint in sorted(found.items()) if fingerprint}


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None
    return ast.parse(path.read_bytes())


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _fingerprint(tree: ast.AST) -> str:
    return hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    """Return a syntax tree as nested tuples without places, docstrings and what only some versions of Python note."""
    if isinstance(value, list):
        return tuple(_plain(item) for item in value if not _is_text(item))
    if not isinstance(value, ast.AST):
        return value
    return type(value).__name__, *(
        (name, _plain(item)) for name, item in ast.iter_fields(value) if item is not None and item != []
    )


def _is_text(node: object) -> bool:
    """Return whether a statement is a docstring, or another text that does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of this project that are imported anywhere in a tree but for type checkers."""
    for _, modules in _names(tree):
        yield from modules


def _names(tree: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """Yield each name that is imported in a tree, and the modules of this project that it may stand for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], _ours(alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, _ours(f"{node.module}", f"{node.module}.{alias.name}")
        else:
            yield from _names(node)


@functools.cache
def _ours(*names: str) -> list[str]:
    return [name for name in names if _path(name)]
