"""The way out, by what a tracking store says when it refuses."""

from __future__ import annotations

import logging
import os
import re

SAFE = "the results are safe in the run folders, and `etude sync` will bring MLflow level"
_ANEW = "move that file away, and it is made anew from the run folders"
_REMEDIES = {
    "out-of-date database schema": "another version of MLflow has made it: install that one, or take a copy of it and"
    " run `mlflow db upgrade {uri}`",
    "not a database": _ANEW,
    "malformed": _ANEW,
    "readonly database": "give permission to write there",
    "unable to open": "give permission to write there",
    "database is locked": "end the program that keeps it locked",
}


def sentence(uri: str, error: BaseException, advice: str) -> str:
    """Return what a user is told of a store that does not answer: why, and what to do; without passwords."""
    while error.__cause__ is not None:  # which says the same in fewer words
        error = error.__cause__
    said = " ".join(str(error).split()) or type(error).__name__
    remedies = [f"{text.format(uri=uri)}; " for sign, text in _REMEDIES.items() if sign in said]
    return without_password(f"MLflow at {uri} does not answer ({said[:200]}); {''.join(remedies)}{advice}")


def without_password(text: str) -> str:
    """Return a text with the names and passwords taken out of its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def hush() -> None:
    """Have MLflow, which is imported after this, tell nobody, print nothing and give up soon."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # two lines for every run of a server
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # migrations; tracebacks of what is raised anyway
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 by default: four minutes, while somebody waits
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
