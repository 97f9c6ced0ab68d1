"""The implementations that the benchmarks compare: this project's, stock Keras and PyTorch.

    this_project          this project's network and batches, with the classic recipe's constants
    training_script       the same with the constants and the initial weights of the training script
    stock_keras           stock Keras, pre-padded to 500 tokens, as in published scripts
    stock_keras_batches   stock Keras with this project's batches
    pytorch_padded        PyTorch, pre-padded to 500 tokens
    pytorch_packed        PyTorch with packed sequences
    pytorch_batches       PyTorch with this project's batches

The first and the third also run on the other backends: this_project_jax, stock_keras_torch, ….

Each runs in a process of its own, since one may influence another. `speed.py` starts the process,
which reads tasks from its standard input, one a line, and answers each with a line of JSON.
"""

import contextlib
import importlib
import json
import sys
import time

import numpy as np

from benchmarks import classic_recipe as recipe

OOV_ID = 2
EPOCH_REVIEWS = 17_500
# Reviews in one measurement, from which the time of an epoch is extrapolated.
REVIEWS, WIDE_REVIEWS = 1_920, 640
WIDE = 128  # hidden units of a wide network, at least
SLOW = {"pytorch_packed": 256, "stock_keras_torch": 64}
TARGET_ACCURACY = 0.87
MAXIMUM_EPOCHS = 3
EVALUATIONS_PER_EPOCH = 2


def main(name, network, path, *numbers):
    seed, batch_size, features, units = map(int, numbers)
    recipe.EMBEDDING_SIZE, recipe.LSTM_UNITS = features, units
    if name.startswith("pytorch"):
        implementation = PyTorch(network, batch_size, seed, name.removeprefix("pytorch_"))
    elif name.startswith("stock_keras"):
        implementation = StockKeras(network, batch_size, seed, name == "stock_keras_batches")
    else:
        implementation = ThisProject(network, batch_size, seed, name != "training_script")
    file = np.load(path)
    generator = np.random.default_rng(seed)

    def read(split):
        ids = file[f"ids_{split}"]
        ids = np.where(ids < implementation.vocabulary_size, ids, OOV_ID)
        return np.split(ids, np.cumsum(file[f"lengths_{split}"])[:-1]), file[f"labels_{split}"]

    x, y = read("train")
    measured = SLOW.get(name, WIDE_REVIEWS if units >= WIDE else REVIEWS)

    def measure(function, reviews=measured):
        """Return the seconds per review, without the wait after the last step of an epoch."""
        chosen = generator.choice(len(x), reviews, replace=False)
        batches = implementation.prepare([x[i] for i in chosen], y[chosen])
        implementation.waited = 0.0
        started = time.perf_counter()
        function(batches)
        return (time.perf_counter() - started - implementation.waited) / reviews

    def warm_up():
        """Call everything once, since the first call compiles it, on JAX for each length."""
        reviews = measured if name in ("this_project_jax", *SLOW) else 2 * batch_size
        measure(implementation.train, reviews)
        measure(implementation.predict, reviews)

    tasks = {
        "warm_up": warm_up,
        "epoch": lambda: measure(implementation.train, len(x)) * len(x),
        "train": lambda: measure(implementation.train),
        "predict": lambda: measure(implementation.predict),
        "time_to_accuracy": lambda: implementation.time_to_accuracy(x, y, *read("test")),
        "matrix_products": count_matrix_products,
    }
    for line in sys.stdin:
        print(json.dumps(tasks[line.strip()]()), flush=True)


def count_matrix_products():
    """Return the floating-point operations per second of TensorFlow's matrix products."""
    import tensorflow as tf

    size, seconds = 2_048, []
    matrix = tf.random.normal((size, size))
    for _ in range(12):
        started = time.perf_counter()
        tf.matmul(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / sorted(seconds)[len(seconds) // 2]


class KerasImplementation:
    """What the implementations in Keras have in common."""

    vocabulary_size = recipe.VOCABULARY_SIZE

    def __init__(self, batch_size, seed, is_pre_padded):
        import keras

        keras.utils.set_random_seed(seed)
        self.batch_size, self.seed, self.is_pre_padded = batch_size, seed, is_pre_padded

    def initialize_weights(self, x):
        """Set the weights that depend on the training reviews, if there are any."""

    def prepare(self, x, y):
        """Return the arguments of ``fit`` for an epoch."""
        if self.is_pre_padded:
            import keras

            x = keras.utils.pad_sequences(x, recipe.MAXIMUM_TOKENS)
            return {"x": x, "y": y, "batch_size": self.batch_size}
        from sentiment.data import Batches

        return {"x": Batches(x, y, self.batch_size, self.seed), "shuffle": False}

    def train(self, arguments):
        """Train, and note how long TensorFlow waited for tf.data (see `Batches`) after the end."""
        import keras

        ends = []
        note_end = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
        )
        self.model.fit(**arguments, verbose=0, callbacks=[note_end])
        if keras.backend.backend() == "tensorflow":
            self.waited = time.perf_counter() - ends[-1]

    def predict(self, arguments):
        if self.is_pre_padded:
            return self.model.predict(arguments["x"], batch_size=self.batch_size, verbose=0)
        from sentiment.data import predict_in_batches

        sequences = arguments["x"].sequences
        return predict_in_batches(self.model.predict_on_batch, sequences, self.batch_size)

    def time_to_accuracy(self, x, y, x_test, y_test):
        """Train until the test accuracy reaches its target.

        Returns:
            The seconds of training, without those of the evaluations, and the accuracy at each
            evaluation.
        """
        import keras

        steps = -(-len(x) // self.batch_size)
        evaluated = [steps * (i + 1) // EVALUATIONS_PER_EPOCH for i in range(EVALUATIONS_PER_EPOCH)]
        test, arguments = self.prepare(x_test, y_test), self.prepare(x, y)
        accuracies = []
        started = time.perf_counter()
        self.initialize_weights(x)
        seconds = time.perf_counter() - started

        def restart(*_):
            nonlocal started
            started = time.perf_counter()

        def evaluate(batch, logs):
            nonlocal seconds
            if batch + 1 in evaluated:
                seconds += time.perf_counter() - started
                is_positive = self.predict(test)[:, 0] > 0.5
                accuracies.append(float(np.mean(is_positive == y_test)))
                self.model.stop_training = accuracies[-1] >= TARGET_ACCURACY
                restart()

        callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=restart, on_train_batch_end=evaluate
        )
        self.model.fit(**arguments, epochs=MAXIMUM_EPOCHS, verbose=0, callbacks=[callback])
        return {"seconds": seconds, "accuracies": accuracies}


class StockKeras(KerasImplementation):
    def __init__(self, network, batch_size, seed, has_batches_of_project):
        from benchmarks import stock_keras

        super().__init__(batch_size, seed, is_pre_padded=not has_batches_of_project)
        self.model = stock_keras.build_model(network, mask_padding=has_batches_of_project)


class ThisProject(KerasImplementation):
    def __init__(self, network, batch_size, seed, is_classic):
        self.script = importlib.import_module(f"train_{network}")
        import keras

        super().__init__(batch_size, seed, is_pre_padded=False)
        self.script.PADDING = "post"
        if is_classic:
            constants = {name: value for name, value in vars(recipe).items() if name.isupper()}
            vars(self.script).update(constants)
        self.vocabulary_size = self.script.VOCABULARY_SIZE
        self.model = self.script.build_model()
        optimizer = keras.optimizers.Adam(self.script.LEARNING_RATE)
        self.model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])

    def initialize_weights(self, x):
        from sentiment.layers.initializers import ppmi_word_vectors, set_chrono_bias

        if self.script.WORD_VECTORS == "ppmi":
            embedding = self.model.get_layer("embedding")
            vectors = ppmi_word_vectors(x, embedding.input_dim, embedding.output_dim)
            embedding.set_weights([vectors])
        # What is printed goes to the process that reads the results.
        with contextlib.redirect_stdout(sys.stderr):
            set_chrono_bias(self.model, self.script.CHRONO_TIMESTEPS)


class PyTorch:
    vocabulary_size = recipe.VOCABULARY_SIZE

    def __init__(self, network, batch_size, seed, layout):
        import torch
        from torch import nn

        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                features, units = recipe.EMBEDDING_SIZE, recipe.LSTM_UNITS
                self.embedding = nn.Embedding(recipe.VOCABULARY_SIZE, features)
                if network == "cnn_lstm":
                    self.conv = nn.Conv1d(
                        features, recipe.FILTERS, recipe.KERNEL_SIZE, padding="same"
                    )
                    features = recipe.FILTERS
                self.lstm = nn.LSTM(features, units, batch_first=True)
                self.dense = nn.Linear(units, 1)

            def forward(self, ids, lengths):
                x = self.embedding(ids)
                if network == "cnn_lstm":
                    x = torch.relu(self.conv(x.transpose(1, 2)))
                    x = nn.functional.max_pool1d(x, recipe.POOL_SIZE).transpose(1, 2)
                    lengths = (lengths // recipe.POOL_SIZE).clamp(min=1)
                if layout == "packed":
                    x = nn.utils.rnn.pack_padded_sequence(
                        x, lengths, batch_first=True, enforce_sorted=False
                    )
                outputs, (last, _) = self.lstm(x)
                if layout == "batches":  # these are post-padded
                    last = outputs[torch.arange(len(outputs)), lengths - 1][None]
                return self.dense(last[0])[:, 0]

        # As in TensorFlow. Otherwise, PyTorch takes several times as long with subnormal numbers.
        torch.set_flush_denormal(True)
        torch.manual_seed(seed)
        self.batch_size, self.seed, self.layout = batch_size, seed, layout
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = Network().to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def prepare(self, x, y):
        """Return the batches: ids, lengths and labels."""
        import torch

        if self.layout == "batches":
            from sentiment.data import Batches

            batches = Batches(x, y, self.batch_size, self.seed)
            lengths = [batches.lengths[chosen] for chosen in batches.batches]
            arrays = [(ids, n, y) for (ids, y), n in zip(batches, lengths, strict=True)]
            return [tuple(map(torch.from_numpy, batch)) for batch in arrays]
        ids = np.zeros((len(x), recipe.MAXIMUM_TOKENS), np.int64)
        for row, sequence in zip(ids, x, strict=True):
            is_post_padded = self.layout == "packed"
            row[slice(len(sequence)) if is_post_padded else slice(-len(sequence), None)] = sequence
        lengths = torch.tensor([len(sequence) for sequence in x])
        arrays = (torch.from_numpy(ids), lengths, torch.from_numpy(y))
        return list(zip(*(array.split(self.batch_size) for array in arrays), strict=True))

    def train(self, batches):
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        for ids, lengths, labels in batches:
            self.optimizer.zero_grad()
            logits = self.model(ids.to(self.device), lengths)
            binary_cross_entropy_with_logits(logits, labels.to(self.device)).backward()
            self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def predict(self, batches):
        import torch

        with torch.inference_mode():
            return [
                torch.sigmoid(self.model(ids.to(self.device), lengths)).cpu()
                for ids, lengths, _ in batches
            ]


if __name__ == "__main__":
    main(*sys.argv[1:])
