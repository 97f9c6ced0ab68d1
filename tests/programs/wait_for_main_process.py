"""Join the other processes of a training, and have them wait for the main process."""

from sentiment import distribution

import time

from sentiment.cli import run


def main():
    if distribution.is_main_process():
        print("joined", flush=True)
        time.sleep(600)
    distribution.barrier()


run(lambda: distribution.join_processes(main))
