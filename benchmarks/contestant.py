"""One contestant of a benchmark, in a process of its own, since what one sets may change another.

`speed.py` starts it with its name, the network and a file of reviews, and writes to its standard
input, line by line, what to measure; each measurement is answered by a line of JSON.

    ours            this project: its networks and batches, with the classic recipe's constants
    ours_default    the same with the constants that its scripts have
    stock           stock Keras, every review padded in front to 500 tokens, as published scripts do
    stock_batches   stock Keras with this project's batches
    jax             stock Keras on JAX, padded in front to 500 tokens
    torch_padded    PyTorch, padded in front to 500 tokens
    torch_packed    PyTorch with packed sequences
"""

import json
import sys
import time

import numpy as np

VOCABULARY_SIZE, MAXIMUM_TOKENS, BATCH_SIZE = 5_000, 500, 64  # the classic recipe
EMBEDDING_SIZE, FILTERS, KERNEL_SIZE, POOL_SIZE, LSTM_UNITS = 32, 32, 3, 2, 100
UNKNOWN = 2

# Reviews in one measurement: a whole epoch of the two that matter most, since stock Keras may have
# to wait at the end of one (see `sentiment/batches.py`), and of the others a part.
EPOCH = 17_500
TRAINED = {"ours": EPOCH, "stock": EPOCH, "torch_packed": 256}
PREDICTED = {"ours": 12_800, "stock": 12_800, "stock_batches": 5_120}
PART = 2_560

WANTED_ACCURACY = 0.87
MAXIMUM_EPOCHS = 3
LOOKS_PER_EPOCH = 2


def main(name, network, path, seed, batch_size):
    global BATCH_SIZE
    BATCH_SIZE = int(batch_size)
    contestant = (Torch if name.startswith("torch") else Keras)(name, network, int(seed))
    file = np.load(path)

    def read(part):
        ids = np.where(
            file[f"ids_{part}"] < contestant.vocabulary_size, file[f"ids_{part}"], UNKNOWN
        )
        return np.split(ids, np.cumsum(file[f"lengths_{part}"])[:-1]), file[f"labels_{part}"]

    x, y = read("train")
    generator = np.random.default_rng(int(seed))

    def measure(function, number):
        """Return the seconds that a review takes."""
        chosen = generator.choice(len(x), number, replace=False)
        arguments = contestant.prepare([x[i] for i in chosen], y[chosen])
        started = time.perf_counter()
        function(arguments)
        return (time.perf_counter() - started) / number

    def warm():
        """Measure once for nothing: the first call of everything compiles it."""
        measure(contestant.train, 2 * BATCH_SIZE)
        measure(contestant.predict, 2 * BATCH_SIZE)

    def train_epoch():
        """Return the seconds that an epoch takes."""
        return measure(contestant.train, len(x)) * len(x)

    tasks = {
        "warm": warm,
        "epoch": train_epoch,
        "train": lambda: measure(contestant.train, TRAINED.get(name, PART)),
        "train_part": lambda: measure(contestant.train, PART) - contestant.waited / PART,
        "predict": lambda: measure(contestant.predict, PREDICTED.get(name, PART)),
        "reach": lambda: contestant.reach(x, y, *read("test")),
        "multiply": multiply,
    }
    for line in sys.stdin:
        print(json.dumps(tasks[line.strip()]()), flush=True)


def multiply():
    """Return the floating-point operations that TensorFlow's matrix products do in a second."""
    import tensorflow as tf

    size, seconds = 2_048, []
    matrix = tf.random.normal((size, size))
    for _ in range(12):
        started = time.perf_counter()
        tf.matmul(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / sorted(seconds)[len(seconds) // 2]


class Keras:
    def __init__(self, name, network, seed):
        import keras

        keras.utils.set_random_seed(seed)
        self.seed = seed
        self.vocabulary_size = VOCABULARY_SIZE
        self.is_padded = name in ("stock", "jax")
        if not name.startswith("ours"):
            from benchmarks import stock

            self.model = stock.build_model(network, mask_padding=not self.is_padded)
            return
        import train_cnn_lstm
        import train_lstm

        script = {"lstm": train_lstm, "cnn_lstm": train_cnn_lstm}[network]
        if name == "ours":
            script.VOCABULARY_SIZE = VOCABULARY_SIZE
            script.DROPOUT_AFTER_EMBEDDING = script.DROPOUT_AFTER_LSTM = 0.0
        self.vocabulary_size = script.VOCABULARY_SIZE
        self.model = script.build_model()
        self.model.compile(
            keras.optimizers.Adam(script.LEARNING_RATE), "binary_crossentropy", metrics=["accuracy"]
        )

    def prepare(self, x, y):
        """Return the arguments of ``fit``, the epoch's length left out."""
        if self.is_padded:
            import keras

            x = keras.utils.pad_sequences(x, MAXIMUM_TOKENS)
            return {"x": x, "y": y, "batch_size": BATCH_SIZE}
        from sentiment.batches import Batches

        return {"x": Batches(x, y, BATCH_SIZE, self.seed), "shuffle": False}

    def train(self, arguments):
        """Train, and note how long stock Keras waited after the last step."""
        import keras

        ends = []
        note_end = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
        )
        self.model.fit(**arguments, verbose=0, callbacks=[note_end])
        self.waited = time.perf_counter() - ends[-1]

    def predict(self, arguments):
        if self.is_padded:
            return self.model.predict(arguments["x"], batch_size=BATCH_SIZE, verbose=0)
        from sentiment.batches import predict

        return predict(self.model.predict_on_batch, arguments["x"].reviews, BATCH_SIZE)

    def reach(self, x, y, x_test, y_test):
        """Train a fresh network until enough test reviews are right.

        Returns:
            The seconds of training, without those of the looks at the test reviews, and the
            accuracy at each look.
        """
        import keras

        contestant, seconds, accuracies = self, [], []
        steps = -(-len(x) // BATCH_SIZE)
        looks = [steps * (look + 1) // LOOKS_PER_EPOCH - 1 for look in range(LOOKS_PER_EPOCH)]
        test = self.prepare(x_test, y_test)

        class Look(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                self.started = time.perf_counter()

            def on_train_batch_end(self, batch, logs=None):
                if batch in looks:
                    seconds.append(time.perf_counter() - self.started)
                    is_positive = contestant.predict(test)[:, 0] > 0.5
                    accuracies.append(float(np.mean(is_positive == y_test)))
                    self.model.stop_training = accuracies[-1] >= WANTED_ACCURACY
                    self.started = time.perf_counter()

        arguments = self.prepare(x, y)
        self.model.fit(**arguments, epochs=MAXIMUM_EPOCHS, verbose=0, callbacks=[Look()])
        return {"seconds": sum(seconds), "accuracies": accuracies}


class Torch:
    vocabulary_size = VOCABULARY_SIZE

    def __init__(self, name, network, seed):
        import torch
        from torch import nn

        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding = nn.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE)
                if network == "cnn_lstm":
                    self.conv = nn.Conv1d(EMBEDDING_SIZE, FILTERS, KERNEL_SIZE, padding="same")
                self.lstm = nn.LSTM(EMBEDDING_SIZE, LSTM_UNITS, batch_first=True)
                self.dense = nn.Linear(LSTM_UNITS, 1)

            def forward(self, ids, lengths):
                x = self.embedding(ids)
                if network == "cnn_lstm":
                    x = torch.relu(self.conv(x.transpose(1, 2)))
                    x = nn.functional.max_pool1d(x, POOL_SIZE).transpose(1, 2)
                    lengths = None if lengths is None else (lengths // POOL_SIZE).clamp(min=1)
                if lengths is not None:
                    x = nn.utils.rnn.pack_padded_sequence(
                        x, lengths, batch_first=True, enforce_sorted=False
                    )
                return self.dense(self.lstm(x)[1][0][0])[:, 0]

        torch.manual_seed(seed)
        self.is_packed = name == "torch_packed"
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = Network().to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def prepare(self, x, y):
        """Return the batches: ids, lengths where the sequences are packed, and labels."""
        import torch

        ids = np.zeros((len(x), MAXIMUM_TOKENS), np.int64)
        for row, sequence in zip(ids, x, strict=True):
            row[slice(len(sequence)) if self.is_packed else slice(-len(sequence), None)] = sequence
        lengths = torch.tensor([len(sequence) for sequence in x])
        parts = (torch.from_numpy(ids), lengths, torch.from_numpy(y))
        batches = zip(*(part.split(BATCH_SIZE) for part in parts), strict=True)
        return [(ids, lengths if self.is_packed else None, y) for ids, lengths, y in batches]

    def train(self, batches):
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        for ids, lengths, labels in batches:
            self.optimizer.zero_grad()
            results = self.model(ids.to(self.device), lengths)
            binary_cross_entropy_with_logits(results, labels.to(self.device)).backward()
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
