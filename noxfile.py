"""The sessions of Etude. They share one environment, .venv, which is made once and remade when its inputs change."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "none"  # the sessions share an environment; see `_python`
nox.options.sessions = ["overview"]  # a bare `nox` starts no hours of work

ROOT = Path(__file__).parent
ENVIRONMENT = ROOT / ".venv"
INPUTS = ("pyproject.toml", "constraints.txt")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _python(session: nox.Session) -> str:
    """Return the shared environment's interpreter, after installing everything if anything about it has changed."""
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = ENVIRONMENT / "stamp"
    content = b"".join((ROOT / name).read_bytes() for name in INPUTS)
    wanted = hashlib.sha256(content + f"{sys.version} {ROOT}".encode()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT), external=True)
        session.log("installing into .venv, once; this takes a few minutes")
        groups = [word for group in ("test", "lint") for word in ("--group", f"{ROOT / 'pyproject.toml'}:{group}")]
        pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
        session.run(*pip, "--upgrade", "pip", external=True)
        session.run(*pip, *groups, "--editable", f"{ROOT}[suite]", external=True)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def _run(session: nox.Session, *words: str) -> None:
    """Run a module with the shared interpreter, from the project's folder."""
    session.chdir(ROOT)
    session.run(_python(session), "-m", *words, env=QUIET, external=True)


@nox.session
def overview(session: nox.Session) -> None:
    """Show the experiments, scales and corpora, and how to start."""
    _run(session, "eval", "list")
    session.log("start with `nox -s replicate`; `nox -l` lists the sessions")


@nox.session
def replicate(session: nox.Session) -> None:
    """Train, sample, score and report every experiment: `nox -s replicate -- --scale gpu --seeds 5`."""
    _run(session, "eval", "run", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the tables and figures again from what the trials have left."""
    _run(session, "eval", "report", *session.posargs)


@nox.session
def ui(session: nox.Session) -> None:
    """Open MLflow on the trials."""
    _run(session, "eval", "ui", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests: `nox -s tests -- -k tokens`."""
    _run(session, "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and types."""
    _run(session, "ruff", "check")
    _run(session, "ruff", "format", "--check")
    _run(session, "mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure this machine: `nox -s bench`, `nox -s bench -- data --corpus adl` and `nox -s bench -- scores`."""
    match session.posargs:
        case ["data", *words]:
            _run(session, "eval.bench_data", *words)
        case ["scores", *words]:
            _run(session, "eval.bench_scores", *words)
        case words:
            _run(session, "eval.bench", *words)


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt anew from what the environment holds, public versions only."""
    frozen = session.run(_python(session), "-m", "pip", "freeze", "--exclude-editable", external=True, silent=True)
    header, footer = "# Tested together. Written by `nox -s lock`.\n", "\n"
    # "2.13.0+cpu" is one machine's build of 2.13.0, and a path is one machine's file.
    names = [line.replace(" @ ", "==").split("+")[0] for line in str(frozen).splitlines() if " @ " not in line]
    (ROOT / "constraints.txt").write_text(header + "\n".join(names) + footer, encoding="utf-8")
