"""The run folder: what is written in a training, and how it is read afterwards.

recorder.py       RunRecorder, the callback of fit that writes the folder
state.py          what a training is while it runs;  results.py  its record and its summary
record.py         RunRecord, a run as it is read;  comparison.py  groups of them
schema.py         what the files must hold, and how they are read
saved_model.py    a network loaded safely;  allowed_layers.py  what it may consist of
folder.py         names and locks;  atomic.py  files that are never half-written
checkpoint.py     all that the next epoch depends on
interrupt.py      Ctrl-C;  ema.py  moving averages of the weights
network.py        what a network must be, and how it is recorded
sanity_checks.py  warnings: a loss that diverges, swapped labels, an unused GPU
tensorboard.py    event files for TensorBoard
reproduction.py   whether a repeated training reproduced an earlier run
"""
