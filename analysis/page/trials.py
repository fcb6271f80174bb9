"""All trials for the page: rows of its table, and for its script their curves and their code."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.findings.findings import Findings
from analysis.findings.shapes import RATE_DECADES
from analysis.page.pictures import HEIGHT, log_heights_axis, top_rate
from analysis.statistics.conventions import Array
from study.export import trial_code
from study.results.parameters import PREFIX
from study.results.study_record import StudyRecord
from study.system.errors import InputError


def trial_rows(found: Findings) -> list[dict[str, Any]]:
    """Trials for the table: the completed ones first, best first, each with its own parameters."""
    trials, scale = found.results.trials, found.results.scale
    completed = trials["status"] == "completed"
    costs = scale.cost(trials[scale.column]).where(completed)
    trials = trials.assign(cost=costs, error=trials["error"].fillna(""))
    ordered = trials.sort_values(["cost", "trial"], na_position="last")
    parameters = [name for name in map(str, trials.columns) if name.startswith(PREFIX)]
    return [
        {
            **{str(key): value for key, value in row.items()},
            "value": scale.written(row[scale.column]) if pd.notna(row["cost"]) else "",
            "parameters": {
                column.removeprefix(PREFIX): row[column]
                for column in parameters
                if pd.notna(row[column])
            },
        }
        for row in ordered.to_dict("records")
    ]


class Code(NamedTuple):
    """A trial's lines of code, or why there are none."""

    text: str
    error: str = ""


def trial_codes(found: Findings, record: StudyRecord) -> dict[int, Code]:
    """The code of each trial, as ``study.export`` prints it."""
    trials = found.results.trials
    rows = trials.astype(object).where(trials.notna(), None).to_dict("records")
    return {row["trial"]: _code({str(key): row[key] for key in row}, record) for row in rows}


def _code(row: dict[str, Any], record: StudyRecord) -> Code:
    try:
        return Code(trial_code(row, record, record.total_steps))
    except InputError as error:  # of a family of one's own, that is not here or has changed
        return Code("", str(error))


def linked_data(found: Findings, codes: Mapping[int, Code]) -> str:
    """JSON for the page's script, deflated, in base64.

    ``curves``: of each trial the logarithm of its rate at 64 fractions of the run, in thousandths
    between ``low`` and ``high``; ``zero``: the highest of them that counts as a rate of zero;
    ``top``: the rate at which a linear panel ends; ``best``: the trial that is recommended;
    ``codes``: the lines of each trial's code, or why there are none.
    """
    data: dict[str, Any] = {
        "best": None if found.best is None else int(found.best["trial"]),
        "codes": {trial: code.text or f"# {code.error}\n" for trial, code in codes.items()},
        "curves": {},
    }
    rates = found.rates
    if len(rates):
        axis = log_heights_axis(found)
        low, high = np.log10(axis.begin), np.log10(axis.end)
        heights = np.round(HEIGHT * (rates.to_numpy() - low) / (high - low))
        floor = rates.max().max() - RATE_DECADES
        data |= {
            "low": low,
            "high": high,
            "zero": float(np.round(HEIGHT * (floor - low) / (high - low))),
            "top": top_rate(found),
            "curves": dict(zip(map(int, rates.index), map(_integers, heights), strict=True)),
        }
    packed = zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 9)
    return base64.b64encode(packed).decode()


def _integers(heights: Array) -> list[int]:
    return [int(one) for one in heights[np.isfinite(heights)]]
