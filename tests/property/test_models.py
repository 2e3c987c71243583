"""The protocols' models: each wording that holds is clean, each that fails still fails."""

import subprocess
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "docs" / "protocols"


@pytest.mark.parametrize("model", ["a_bells", "b_grants", "c_gate", "d_adopt", "e_vector", "f_exit", "g_revoke", "h_once"])
def test_the_model_says_what_is_written(model: str) -> None:
    """Every row ends as expected: `ok`, clean or with the counterexample that the rule exists for."""
    done = subprocess.run(
        [sys.executable, str(MODELS / f"{model}.py")], capture_output=True, text=True, timeout=110, check=True
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "?? "))]
    assert len(rows) >= 4
    assert not [row for row in rows if row.startswith("??")]
    assert {"clean", "HOLE"} <= {word.strip(",") for row in rows for word in row.split()}
