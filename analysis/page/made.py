"""The making of a study: groups of names and values."""

from collections.abc import Mapping
from typing import Any

from analysis.findings.findings import Findings
from analysis.page.terminal import typed
from analysis.page.words import date


def made(found: Findings, location: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of names and values: commands, seeds, config, versions, hardware, times."""
    study, finalists = found.results.study, found.results.finalists
    groups = [
        (part, [(name, _said(value)) for name, value in named.items()])
        for part, named in (
            ("config", study["config"] | _settled(study)),
            ("versions", study["versions"]),
            ("hardware", study["hardware"]),
        )
    ]
    seeds = [("search", _said(study["config"].get("seed")))]
    if len(finalists):
        seeds.append(("finalists", _said(sorted(set(finalists["seed"].tolist())))))
    times = [(name, date(study[name] or "")) for name in ("began", "ended")]
    repeat = [
        ("as it was typed", study["command"]),
        ("the same proposals", typed("python -m study.run --replay", location)),
    ]
    return [("command", repeat), ("seeds", seeds), *groups, ("times", times)]


def _settled(study: Mapping[str, Any]) -> dict[str, Any]:
    """The values of options that the task, or a measurement, decides."""
    given, (low, high) = study["config"].get("peak_lr"), study["search_space"]["peak_lr"]
    settled = {"peak_lr": f"{given}: {low:g} to {high:g}"} if given in ("task", "auto") else {}
    if study["recipe"]["optimizer"] == "make_optimizer":
        settled["optimizer"] = "the task's own"
    return settled


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
