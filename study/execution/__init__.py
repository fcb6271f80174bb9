"""The only folder that imports Ray, which runs the trials; its environment is set before that."""

import os

from study.execution.environment import ENVIRONMENT
from study.system.user_folders import settle_home

for variable, setting in ENVIRONMENT.items():
    os.environ.setdefault(variable, setting)
settle_home()
