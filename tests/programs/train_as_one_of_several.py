"""Run a training script as one of several processes; arguments: start timeout, script, options."""

from sentiment import distribution

import runpy
import sys

import numpy as np

from sentiment.runs.recorder import RunRecorder

_, timeout, *sys.argv = sys.argv
distribution.START_TIMEOUT = int(timeout)
finish = RunRecorder.finish


def save_and_finish(self, test):
    np.savez(f"weights_{distribution.process_index()}.npz", *self.model.get_weights())
    return finish(self, test)


RunRecorder.finish = save_and_finish
runpy.run_path(sys.argv[0], run_name="__main__")
