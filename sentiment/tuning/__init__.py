"""The search of tune.py over a script's constants.

values:   the values on the command line: choices and ranges
training: trains a script in this process, again and again
queue:    which trials are left, also for several workers, and for those that have died
report:   the best trials as a table, the pictures, and the command that trains the winner
"""
