"""`python -m etude`: the command line."""

from __future__ import annotations

from etude.cli.main import main

if __name__ == "__main__":
    main()
