"""The parts of a task, for whoever writes one."""

from study.tasks.data import Data, MakeLoader, SearchData, Split
from study.tasks.metric import ACCURACY, RMSE, Metric
from study.tasks.task import Task

__all__ = ["ACCURACY", "RMSE", "Data", "MakeLoader", "Metric", "SearchData", "Split", "Task"]
