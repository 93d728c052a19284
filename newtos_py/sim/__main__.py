"""Run scenarios by hand: `python -m newtos_py.sim --scenario tcp-streams/lossy/tcp --seed 7`."""

import argparse
import signal
import sys
from pathlib import Path

from newtos_py.sim.scenario import ScenarioFailed, names, names_in_lanes, run
from newtos_py.sim.simulation import TraceLevel


def main() -> int:
    """Run one seed, or several; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m newtos_py.sim", description=__doc__)
    parser.add_argument("--scenario", action="append", help="may be repeated; default: all")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--trace", metavar="FILE", help="write what happens; - is standard output")
    parser.add_argument("--steps", action="store_true", help="trace every step of every server")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(names() + names_in_lanes()))
        return 0
    level = TraceLevel.OFF
    if asked.trace:
        level = TraceLevel.STEPS if asked.steps else TraceLevel.EVENTS
    failures = 0
    for scenario in asked.scenario or names():
        for seed in range(asked.seed, asked.seed + asked.seeds):
            failures += not _run_one(scenario, seed, level, asked.trace)
    return failures != 0


def _run_one(scenario: str, seed: int, level: TraceLevel, to: str | None) -> bool:
    try:
        result = run(scenario, seed, level)
    except ScenarioFailed as failed:
        _write(failed.trace, to)
        print(f"FAILED {failed}", file=sys.stderr)
        return False
    _write(result.trace, to)
    print(
        f"{scenario} seed {seed}: {result.past_s:.3f} s, {result.steps} steps,"
        f" {result.deaths} deaths"
    )
    return True


def _write(trace: str, to: str | None) -> None:
    if to == "-":
        sys.stdout.write(trace)
    elif to is not None:
        Path(to).write_text(trace)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--list | head` ends quietly
    sys.exit(main())
