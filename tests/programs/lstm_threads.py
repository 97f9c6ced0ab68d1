"""Compare the fused LSTM with the stock layer under thread settings: INTER_OP INTRA_OP."""

import sys

import tensorflow as tf

inter_op, intra_op = map(int, sys.argv[1:])
tf.config.threading.set_inter_op_parallelism_threads(inter_op)
tf.config.threading.set_intra_op_parallelism_threads(intra_op)

from tests import test_lstm  # noqa: E402, after the threads are set

for batch in (1, 17, 64, 130):
    test_lstm.check_traced_pair(test_lstm.UNITS, batch, 12, "mixed", (True, False, False, True))
test_lstm.test_equal_bits_from_run_to_run()
assert tf.config.threading.get_inter_op_parallelism_threads() == inter_op
assert tf.config.threading.get_intra_op_parallelism_threads() == intra_op
