"""Describe the environment of a trial: code, versions, hardware, threads and settings."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("etude", "torch", "triton", "numpy", "safetensors", "scipy", "scikit-learn", "muspy", "mlflow")
# Environment variables of the numerical libraries on which results may depend.
SETTINGS = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CXX",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
)


def environment() -> dict[str, Any]:
    """Return everything besides its configuration on which a result may depend."""
    import torch

    from replication.training.distributed import process_group
    from replication.training.precision import has_bfloat16

    gpu = torch.cuda.is_available()
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "libraries": _libraries(),
        "compiler": _compiler(),
        "platform": platform.platform(),
        "processor": _processor(),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": process_group().size,  # number of processes that train one model together
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "bfloat16": has_bfloat16(torch.device("cuda" if gpu else "cpu")),
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpu else None,  # type: ignore[no-untyped-call]  # torch has none
    }


def _processor() -> str:
    """Return the model name of the processor, or what the system reports instead."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    named = next((line.partition(": ")[2].strip() for line in lines if line.startswith("model name")), None)
    return named or platform.processor() or platform.machine()


def _instructions() -> list[str]:
    """Return the instruction set of torch's kernels and the matrix instructions that oneDNN may use."""
    import torch

    # torch 2.11 does not report the latter; see `has_bfloat16`.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    matrix = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")
    return [torch.backends.cpu.get_cpu_capability(), *(name for name in matrix if capabilities.get(name))]


def _libraries() -> list[str]:
    """Return the versions of the matrix libraries that torch was built with."""
    import torch

    lines = [line.strip(" -") for line in torch.__config__.show().splitlines()]
    return [line for line in lines if "Math Kernel Library" in line or "MKL-DNN" in line]


@functools.cache
def _compiler() -> str | None:
    """Return the first line of the version of torch.compile's compiler, None if there is no compiler."""
    try:
        output = subprocess.run(  # noqa: S603 - the compiler that torch.compile runs
            [os.environ.get("CXX", "g++"), "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return output.partition("\n")[0]


def commit() -> str:
    """Return the commit of the code, with "+changes" if the work tree differs from it; "unknown" outside git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - git from the user's PATH
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def version_of(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
