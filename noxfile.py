"""The sessions of Etude. They share one environment, .venv, which is rebuilt when its inputs change."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import urllib.request
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "none"  # the sessions share an environment; see `_python`
nox.options.sessions = ["overview"]  # a bare `nox` starts no hours of work

ROOT = Path(__file__).parent
ENVIRONMENT = ROOT / ".venv"
INPUTS = ("pyproject.toml", "constraints.txt")
VULNERABILITIES = "https://api.osv.dev/v1/vulns/PYSEC-2018-28"  # any that is there
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _python(session: nox.Session, *extra: str) -> str:
    """Install the shared environment if its inputs have changed, and return its interpreter.

    Dependency groups that only some sessions need are added when such a session runs.
    """
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = ENVIRONMENT / "stamp"
    content = b"".join((ROOT / name).read_bytes() for name in INPUTS)
    wanted = hashlib.sha256(content + f"{sys.version} {ROOT}".encode()).hexdigest()
    pip = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT), external=True)
        session.log("installing into .venv, once; this takes a few minutes")
        session.run(*pip, "--upgrade", "pip", external=True)
        session.run(*pip, "--editable", f"{ROOT}[suite]", external=True)
        stamp.write_text(wanted, encoding="utf-8")
    for group in extra:
        added = ENVIRONMENT / f"stamp-{group}"  # goes with the environment
        if not added.exists():
            session.log(f"installing the {group} dependencies into .venv, once")
            session.run(*pip, "--group", f"{ROOT / 'pyproject.toml'}:{group}", external=True)
            added.touch()
    return str(python)


def _run(session: nox.Session, *words: str, **settings: str) -> None:
    """Run a module with the shared interpreter and these environment variables, from the project's folder."""
    session.chdir(ROOT)
    session.run(_python(session), "-m", *words, env=QUIET | settings, external=True)


def _run_for_caller(session: nox.Session, *words: str) -> None:
    """Run a module from the folder that nox was called in, where relative paths in the arguments begin."""
    session.chdir(session.invoked_from)
    session.run(_python(session), "-P", "-m", *words, env=QUIET, external=True)


def _etude(session: nox.Session, command: str) -> None:
    """Run a command of `etude` on the runs in the project's folder, unless the arguments name another --root."""
    _run_for_caller(session, "etude", command, "--root", str(ROOT), *session.posargs)


@nox.session
def overview(session: nox.Session) -> None:
    """List the experiments, scales and corpora, and how to start."""
    _run(session, "etude", "list")
    session.log("start with `nox -s replicate`; `nox -l` lists the sessions")


@nox.session
def replicate(session: nox.Session) -> None:
    """Train, sample, score and report every experiment: `nox -s replicate -- --scale gpu --seeds 5`."""
    _etude(session, "run")


@nox.session
def report(session: nox.Session) -> None:
    """Write the tables and figures again from the results of the trials."""
    _etude(session, "report")


@nox.session
def ui(session: nox.Session) -> None:
    """Open MLflow on the trials."""
    _etude(session, "ui")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on all cores: `nox -s tests -- -k tokens`."""
    _python(session, "test", "bench")  # bench: a test compares our training step with the published one
    words = ("--numprocesses", "auto", "--dist", "loadfile", "--durations", "10", *session.posargs)
    # Passive: threads that spin while they wait would slow down the other processes.
    _run(session, "pytest", *words, OMP_WAIT_POLICY="passive")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and types."""
    _python(session, "test", "lint")
    _run(session, "ruff", "check")
    _run(session, "ruff", "format", "--check")
    _run(session, "mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the speed of this machine: `nox -s bench`, or `-- data`, `-- scores`, `-- scaling`, `-- compare A B`.

    `-- endpoints` and `-- learning-curve` choose the endpoint of the claims and the settings of the study.
    """
    _python(session, "bench")
    match session.posargs:
        case [("data" | "scores" | "scaling" | "compare" | "endpoints" | "learning-curve") as part, *words]:
            _run_for_caller(session, f"benchmarks.{part.replace('-', '_')}", *words)
        case words:
            _run_for_caller(session, "benchmarks", *words)


# The modules that `faults` runs, with the arguments of their long versions.
FAULTS = {
    "kills": ("tests.faults.kills", "60"),
    "disk": ("tests.faults.full_disk",),
    "tracking": ("pytest", "-q", "--durations=5", "tests/faults/cut_lines.py"),
    "fuzz": ("tests.security.fuzz",),
    "long": ("tests.faults.long_run",),
}


@nox.session
def faults(session: nox.Session) -> None:
    """Kill, fill disks, cut connections and fuzz for an hour: `nox -s faults`, or `nox -s faults -- kills disk`."""
    python = _python(session, "test", "fuzz")
    session.chdir(ROOT)
    for part in session.posargs or ("kills", "disk", "tracking", "fuzz"):
        if part not in FAULTS:
            session.error(f"{part}: choose from {', '.join(FAULTS)}")
        session.run(python, "-m", *FAULTS[part], env={**QUIET, "PYTHONPATH": str(ROOT)}, external=True)


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt from the versions in the environment, public versions only."""
    python = _python(session, "test", "lint", "bench", "fuzz", "audit")
    frozen = session.run(python, "-m", "pip", "freeze", "--exclude-editable", external=True, silent=True)
    header, footer = "# Tested together. Written by `nox -s lock`.\n", "\n"
    # "2.13.0+cpu" is one machine's build of 2.13.0, and a path is one machine's file.
    names = [line.replace(" @ ", "==").split("+")[0] for line in str(frozen).splitlines() if " @ " not in line]
    (ROOT / "constraints.txt").write_text(header + "\n".join(names) + footer, encoding="utf-8")


@nox.session
def audit(session: nox.Session) -> None:
    """Check constraints.txt for known vulnerabilities, if their database can be reached."""
    try:
        urllib.request.urlopen(VULNERABILITIES, timeout=10).close()
    except OSError as error:
        session.skip(f"{VULNERABILITIES} cannot be reached ({error}): nothing was checked")
    words = [
        "--requirement",
        str(ROOT / "constraints.txt"),
        "--no-deps",
        "--disable-pip",
        "--vulnerability-service",
        "osv",
    ]
    session.run(_python(session, "audit"), "-m", "pip_audit", *words, *session.posargs, env=QUIET, external=True)
