"""The search of tune.py over a script's constants.

values.py    the values on the command line: choices and ranges
search.py    a study: its trials, and the best ones again with other seeds
queue.py     which trials are left, also for several workers and after a worker has died
training.py  trains a script in this process, again and again
report.py    the trials as a table, and the importance of each constant
"""
