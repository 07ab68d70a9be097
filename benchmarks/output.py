"""How benchmarks tell their result. Imports no torch: some settings must be made before it is loaded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tell(result: Mapping[str, Any], output: Path | None) -> None:
    """Print a result as JSON and, where a file is asked for, write it there."""
    text = json.dumps(result, indent=2)
    print(text)
    if output:
        output.write_text(text + "\n")
