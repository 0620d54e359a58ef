"""Write a task's result files."""

import json
from pathlib import Path

from gateway.researcher.outcome import Outcome, summary
from gateway.researcher.report import render_report


def write_results(outcome: Outcome, folder: Path) -> tuple[Path, Path]:
    """Write report.html and summary.json into `folder` and return their paths. Takes seconds: the report asks a second accountant."""
    folder.mkdir(parents=True, exist_ok=True)
    report, summary_file = folder / "report.html", folder / "summary.json"
    report.write_text(render_report(outcome), encoding="utf-8")
    summary_file.write_text(json.dumps(summary(outcome), indent=2) + "\n", encoding="utf-8")
    return report, summary_file
