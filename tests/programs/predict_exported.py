"""Print what an exported network predicts for reviews in JSON; arguments: format, path."""

import json
import sys

import numpy as np

form, path = sys.argv[1:]
reviews = json.load(sys.stdin)
if form == "savedmodel":
    import tensorflow as tf

    network = tf.saved_model.load(path)
    probabilities = network.serve(tf.constant(reviews)).numpy()[:, 0]
elif form == "onnx":
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    probabilities = [
        session.run(None, {"word_ids": np.array([ids], np.int32)})[0][0, 0] for ids in reviews
    ]
else:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path).get_signature_runner()
    outputs = [runner(word_ids=np.array([ids], np.int32)) for ids in reviews]
    probabilities = [next(iter(output.values()))[0, 0] for output in outputs]
print(json.dumps([float(probability) for probability in probabilities]))
