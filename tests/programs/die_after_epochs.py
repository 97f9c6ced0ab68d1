"""Run a training script as if the process were killed after a number of epochs."""

import os
import runpy
import sys

from sentiment.runs.recorder import RunRecorder

on_epoch_end = RunRecorder.on_epoch_end
_, epochs, *sys.argv = sys.argv
left = list(range(int(epochs)))


def end_epoch(*arguments):
    on_epoch_end(*arguments)
    left.pop()
    if not left:
        os._exit(0)


RunRecorder.on_epoch_end = end_epoch
runpy.run_path(sys.argv[0], run_name="__main__")
