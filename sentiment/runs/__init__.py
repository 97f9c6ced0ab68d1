"""The run folder: what is written in a training, and how it is read afterwards.

recorder.py       RunRecorder, the callback of fit that writes the folder
record.py         RunRecord, a run as it is read
folder.py         names and locks;  atomic.py  files that are never half-written
checkpoint.py     all that the next epoch depends on
interrupt.py      Ctrl-C;  ema.py  moving averages of the weights
sanity_checks.py  warnings: a loss that diverges, swapped labels, an unused GPU
reproduction.py   whether a repeated training reproduced an earlier run
"""
