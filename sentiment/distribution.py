"""The devices that a training runs on: their names, and how several of them share each batch.

Several devices, in one process or in several, need the JAX backend: `keras.distribution` then gives
each its share of every batch, and all of them the same weights.
"""

import contextlib
import ctypes
import os
import pickle
import platform
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import keras
import numpy as np

from sentiment.console import error_line, open_null, quiet_libraries, redirect_to_null
from sentiment.errors import SentimentError

if keras.backend.backend() == "jax":
    import jax
    from jax.experimental import multihost_utils

Result = TypeVar("Result")

VARIABLES = tuple(
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)
START_TIMEOUT = 45  # seconds to wait for all processes to start
HEARTBEAT_TIMEOUT = 30  # seconds after which a silent process counts as lost
LOST_PROCESS = (
    "another process of this training has ended; start all of them again with --resume to continue "
    "after the last finished epoch"
)


def join_processes(function: Callable[[], Result]) -> Result:
    """Call a function, and return its result; as one of several processes if there are several.

    Several processes, on one machine or on several, train one network if Keras' own environment
    variables say so: ``KERAS_DISTRIBUTION_JOB_ADDRESSES`` is the host and port of the main process,
    ``KERAS_DISTRIBUTION_NUM_PROCESSES`` their number, and ``KERAS_DISTRIBUTION_PROCESS_ID`` counts
    them from 0, the main process. Only the main process prints. If one process ends early, the
    others report it and exit with status 1.

    Raises:
        SentimentError: with status 2 for variables that can't be used.
    """
    if not any(name in os.environ for name in VARIABLES):
        return function()
    address, processes, index = _read_variables()
    output, terminal = sys.stdout, os.dup(2)
    message, status = None, 0
    try:
        _join(address, processes, index, terminal)
        if not is_main_process():
            sys.stdout = open_null()
        result = function()
        barrier()
        return result
    except KeyboardInterrupt as interrupt:
        message, status = error_line(interrupt) if str(interrupt) else None, 130
    except SentimentError as error:
        message, status = error_line(error), error.status
    except Exception as error:
        is_lost = any(library in str(error) for library in ("Gloo", "NCCL"))
        message, status = error_line(LOST_PROCESS) if is_lost else traceback.format_exc(), 1
    with contextlib.suppress(OSError):  # nobody may read it any more
        output.flush()
    _exit_at_once(message, status, terminal)


def share_batches():
    """With JAX, have all devices share each batch, of this process and of all others."""
    if keras.backend.backend() == "jax" and jax.device_count() > 1:
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(auto_shard_dataset=False)
        )


def device_count() -> int:
    """Return the number of devices that share each batch, over all processes."""
    distribution = keras.distribution.distribution()
    return distribution.device_mesh.devices.size if distribution else 1


def process_count() -> int:
    return jax.process_count() if keras.backend.backend() == "jax" else 1


def process_index() -> int:
    """Return the index of this process; 0 is the main process."""
    return jax.process_index() if keras.backend.backend() == "jax" else 0


def is_main_process() -> bool:
    """Return whether this is the process that prints and writes."""
    return process_index() == 0


def local_rows(rows: int) -> slice:
    """Return which rows of a batch are for the devices of this process."""
    each = rows // process_count()
    return slice(each * process_index(), each * (process_index() + 1))


def broadcast(function: Callable[[], Result]) -> Result:
    """Call a function in the main process, and return its result in all processes.

    A `SentimentError` of the function is raised in all processes, too.
    """
    if process_count() == 1:
        return function()
    outcome: tuple = None, None
    if is_main_process():
        try:
            outcome = function(), None
        except SentimentError as error:
            outcome = None, (str(error), error.status)
    content = np.frombuffer(pickle.dumps(outcome), dtype=np.uint8)
    size = multihost_utils.broadcast_one_to_all(np.int32(len(content)))
    content = np.resize(content, int(size))  # in the other processes its values are not used
    result, failure = pickle.loads(multihost_utils.broadcast_one_to_all(content).tobytes())
    if failure is not None:
        raise SentimentError(*failure)
    return result


def barrier():
    """Wait until every process has reached this call."""
    broadcast(lambda: None)


@contextlib.contextmanager
def without_distribution() -> Iterator[None]:
    """Build networks in this process alone, without the other processes."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def describe_device() -> str:
    """Return the name of the device on which Keras computes, and the number of devices."""
    device = str(keras.ops.convert_to_tensor(0.0).device)
    if "cpu" in device.lower():
        name = next(_read_proc("model name", "cpuinfo"), platform.processor())
        device = f"CPU: {name or platform.machine()}, {os.cpu_count()} cores"
    else:
        models = set(_read_proc("Model", "driver/nvidia/gpus/*/information"))
        device = ", ".join(sorted(models)) or device
    if device_count() > 1:
        device = f"{device_count()} devices, {device}"
    return f"{device}, {process_count()} processes" if process_count() > 1 else device


def _read_proc(key, pattern):
    """Yield the values of a key in files under /proc."""
    for path in Path("/proc").glob(pattern):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                yield value.strip()


def _read_variables():
    """Return the address of the main process, the number of processes, and this one's index."""
    address, processes, index = (os.environ.get(name, "") for name in VARIABLES)
    address = address.partition(",")[0]
    if keras.backend.backend() != "jax":
        problem = "several processes need KERAS_BACKEND=jax"
    elif not address.rpartition(":")[2].isdecimal() or ":" not in address:
        problem = f"{VARIABLES[0]} must be the host:port of the main process, not {address!r}"
    elif not (processes.isdecimal() and int(processes) > 0):
        problem = f"{VARIABLES[1]} must be the number of processes, not {processes!r}"
    elif not (index.isdecimal() and int(index) < int(processes)):
        problem = f"{VARIABLES[2]} must be from 0 to {int(processes) - 1}, not {index!r}"
    elif os.name == "nt":
        problem = "several processes need Linux or macOS"
    else:
        return address, int(processes), int(index)
    raise SentimentError(problem, status=2)


def _join(address, processes, index, terminal):
    host, _, port = address.rpartition(":")
    own_host = host if host == "localhost" else ""  # other machines can't reach localhost
    if index == 0:
        _check_port(address, own_host, port)
    # JAX aborts the process if another one is lost or doesn't start, after a long stack trace.
    message = (
        f"not all {processes} processes started within {START_TIMEOUT} seconds; start each of "
        f"them with {VARIABLES[0]}={address}, a free port of the machine of the main process"
    )

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def abort(_):
        _exit_at_once(error_line(message), 1, terminal)

    _join.handler = abort  # C code calls it, so it must not be garbage-collected
    ctypes.CDLL(None).signal(signal.SIGABRT, abort)
    with quiet_libraries():
        jax.config.update("jax_enable_preemption_service", False)  # it would ignore SIGTERM
        jax.distributed.initialize(
            address,
            processes,
            index,
            initialization_timeout=START_TIMEOUT,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
            coordinator_bind_address=f"{own_host}:{port}" if own_host else None,
        )
        if jax.device_count() != processes * jax.local_device_count():
            raise SentimentError(
                f"all processes need the same number of devices; this one has "
                f"{jax.local_device_count()}, all together have {jax.device_count()}"
            )
        barrier()  # connects the processes now: later one of them may be much slower than others
    message = LOST_PROCESS


def _check_port(address, own_host, port):
    """Raise an error if the port can't be used: JAX would crash."""
    try:
        socket.create_server((own_host, int(port))).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SentimentError(
            f"the port of {VARIABLES[0]}={address} can't be used: {reason}"
        ) from None


def _exit_at_once(message, status, terminal) -> NoReturn:
    """End this process without waiting for the others, for which JAX would wait.

    The message, if any, comes last: the threads of JAX, which may report the same loss, can't write
    to stderr any more.
    """
    if message:
        redirect_to_null(2)
        with contextlib.suppress(OSError):
            os.write(terminal, f"\n{message}\n".encode())
    os._exit(status)
