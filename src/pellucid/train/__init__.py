"""Training: the loop, its checkpoints and run folders, and what is measured."""

from pellucid.train.finder import find_learning_rate
from pellucid.train.grid import run_grid
from pellucid.train.grid_plan import Axis, Plan, plan_of
from pellucid.train.grid_record import Grid, read_grid
from pellucid.train.listeners import Epoch, History, Listener, Quiet, Start, Step
from pellucid.train.log import read_log
from pellucid.train.measure import Measured, measure
from pellucid.train.model import Model
from pellucid.train.predictions import Prediction, Predictions
from pellucid.train.record import RunRecord, read_run
from pellucid.train.runs import compare, list_runs
from pellucid.train.settings import Settings
from pellucid.train.start import Finished, resume, start

__all__ = [
    "Axis",
    "Epoch",
    "Finished",
    "Grid",
    "History",
    "Listener",
    "Measured",
    "Model",
    "Plan",
    "Prediction",
    "Predictions",
    "Quiet",
    "RunRecord",
    "Settings",
    "Start",
    "Step",
    "compare",
    "find_learning_rate",
    "list_runs",
    "measure",
    "plan_of",
    "read_grid",
    "read_log",
    "read_run",
    "resume",
    "run_grid",
    "start",
]
