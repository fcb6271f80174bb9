"""The parts of a task, for whoever writes one."""

from study.tasks.task import ACCURACY, RMSE, Data, MakeLoader, Metric, SearchData, Split, Task

__all__ = ["ACCURACY", "RMSE", "Data", "MakeLoader", "Metric", "SearchData", "Split", "Task"]
