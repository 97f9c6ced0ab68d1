"""Measurements of speed and accuracy, and their logs. Each module is run with ``python -m``.

speed.py            speed beside stock Keras, JAX and PyTorch; gpu.py on a GPU
scale.py            training on millions of reviews
accuracy.py         comparison of recipes on the training reviews alone
baseline.py         linear models on the same splits, with scikit-learn
networks.py         the networks of docs/networks.md
implementations.py  what speed.py and gpu.py compare; scripts.py, stock_keras.py, classic_recipe.py
check_docs.py       figures in README, docs and docstrings against the records; check_results.py
"""
