"""The programs that tests run beside the ones they test. Stands alone."""

import os
from pathlib import Path


def built(program, variable):
    """The path that the environment's `variable` gives, or that of the release build of this tree.
    FileNotFoundError where there is none."""
    release = Path(__file__).resolve().parents[1] / "build" / "release" / "bin" / program
    path = Path(os.environ.get(variable) or release)
    if not path.exists():
        raise FileNotFoundError(f"{path}: build the target {program} first")
    return str(path)
