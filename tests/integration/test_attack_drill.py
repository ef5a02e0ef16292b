"""The drill of attacks on local runs, cut short: the whole one stands in benchmarks/attack_drill.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DRILL = Path(__file__).parents[2] / "benchmarks" / "attack_drill.py"


def test_a_short_drill_finds_nothing_lost_wrong_or_falsely_successful(tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    command = [sys.executable, DRILL, "--events", "40", "--minutes", "1", "--seed", "7", "--json", counts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    events = json.loads(counts.read_text(encoding="utf-8"))
    assert sum(event["number"] for event in events.values()) >= 10
