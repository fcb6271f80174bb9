"""Who runs the trials: the only folder that imports Ray, whose environment is set before that."""

import os

from study.execution.environment import ENVIRONMENT
from study.system.user_folders import settle_home

for variable, setting in ENVIRONMENT.items():
    os.environ.setdefault(variable, setting)
settle_home()
