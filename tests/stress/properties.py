"""Properties: random objects out and back, many of each.

::

    python -m tests.stress.properties [examples of each property, 200]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main(examples: int) -> int:
    """Run the properties in a process of their own, since how many are tried is read when they are loaded."""
    folder = Path(__file__).parents[1] / "properties"
    command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-show-statistics", str(folder)]
    return subprocess.run(command, env={**os.environ, "PROPERTY_EXAMPLES": str(examples)}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
