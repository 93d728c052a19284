"""The Spin models of the kernel's protocols hold, and fail when a step is left out."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.apps("spin", "cc")

# Each model, and the steps that it can leave out.
MODELS = {
    "doorbell": [
        "WAKER_WITHOUT_FENCE",
        "SLEEPER_WITHOUT_FENCE",
        "NO_SECOND_LOOK",
        "NO_RING_AFTER_RESTART",
    ],
    "freeze": [
        "PLAIN_CURSOR",
        "FREEZE_TWICE",
        "COPY_BEFORE_FREEZE",
        "LOOK_BEFORE_OPTION",
        "OPTION_WITHOUT_FENCE",
    ],
    "listener": [
        "COPY_AFTER_CLAIM",
        "WORD_WITHOUT_INDEX",
        "FILL_WHAT_WAITS",
        "HINT_PASSES_OPEN",
        "HEAD_PASSES_CLAIMS",
        "HEED_WHO_HAS_LEFT",
        "REOPEN_IN_PLACE",
        "FORGET_THE_DEAD",
    ],
}


def errors(model: Path, folder: Path, *defines: str) -> int:
    """Search all states of a model; how many errors Spin found (it stops at the first)."""

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True, timeout=100
        )
        return done.stdout

    run("spin", *(f"-D{name}" for name in defines), "-a", str(model))
    # NOREDUCE: the invariants look at the memory of both sides, which partial-order reduction
    # takes for nobody's business.
    run("cc", "-O2", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c")
    # -E: processes that wait for ever are what the models are about, and asserted on there.
    report = run("./pan", "-m100000", "-E")
    assert "error: max search depth too small" not in report
    found = [line for line in report.splitlines() if "errors:" in line]
    assert len(found) == 1, report
    return int(found[0].rpartition(":")[2])


@pytest.fixture
def kernel(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath / "newtos_py" / "kernel"


@pytest.mark.parametrize("model", MODELS)
def test_the_protocol_holds(kernel: Path, tmp_path: Path, model: str) -> None:
    assert errors(kernel / f"{model}.pml", tmp_path) == 0


@pytest.mark.parametrize(
    ("model", "left_out"), [(model, step) for model, steps in MODELS.items() for step in steps]
)
def test_no_step_can_be_left_out(kernel: Path, tmp_path: Path, model: str, left_out: str) -> None:
    assert errors(kernel / f"{model}.pml", tmp_path, left_out) == 1
