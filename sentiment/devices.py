"""The devices that a training runs on: what they are called, and how several of them share it.

Several devices, in one process or in many, need the JAX backend: `keras.distribution` then gives
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
from pathlib import Path

from sentiment.terminal import lead_nowhere, open_nowhere, quiet_libraries

import keras
import numpy as np

if keras.backend.backend() == "jax":
    import jax
    from jax.experimental import multihost_utils

VARIABLES = tuple(
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)
# A process that doesn't come, or that is lost, is waited for so long.
START_SECONDS, LOST_SECONDS = 45, 30
LOST = (
    "Another process of this training has ended. Start all of them again: with --resume they go on "
    "after the last finished epoch"
)


def on_all_devices(main):
    """Call a script's ``main``, each of whose batches is shared among all devices there are.

    Several processes, on one machine or on many, train one network where Keras' own environment
    variables say so: ``KERAS_DISTRIBUTION_JOB_ADDRESSES`` is the host and port of the first one,
    ``KERAS_DISTRIBUTION_NUM_PROCESSES`` their number, and ``KERAS_DISTRIBUTION_PROCESS_ID`` counts
    them from 0. Only the first one prints. Where one of them ends before its time, the others end
    with a line and status 1.

    Raises:
        SystemExit: as ``main``, and with status 2 after one line for variables that can't be used.
    """
    if not any(name in os.environ for name in VARIABLES):
        _share_batches()
        main()
        return
    variables = _read_variables()
    output, terminal = sys.stdout, os.dup(2)
    try:
        _join_processes(*variables, terminal)
        _share_batches()
        if not is_first():
            sys.stdout = open_nowhere()
        main()
        wait_for_all()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as stop:
        code = stop.code
    except Exception as error:
        is_lost = any(library in str(error) for library in ("Gloo", "NCCL"))
        code = f"\n{LOST}" if is_lost else traceback.format_exc()
    else:
        return
    with contextlib.suppress(OSError):  # nobody may read it any more
        output.flush()
    _leave(code, terminal)


def count_devices() -> int:
    """Return the number of devices that share each batch, in all processes together."""
    distribution = keras.distribution.distribution()
    return distribution.device_mesh.devices.size if distribution else 1


def count_processes() -> int:
    return jax.process_count() if keras.backend.backend() == "jax" else 1


def number_process() -> int:
    """Return the number of this process, from 0."""
    return jax.process_index() if keras.backend.backend() == "jax" else 0


def find_own_rows(rows: int) -> slice:
    """Return which of a batch's rows are for the devices of this process."""
    each = rows // count_processes()
    return slice(each * number_process(), each * (number_process() + 1))


def is_first() -> bool:
    """Say whether this is the process that prints and writes."""
    return number_process() == 0


def from_first(function):
    """Call a function in the first process; return its result, or raise its SystemExit, in all."""
    if count_processes() == 1:
        return function()
    outcome = None, None
    if is_first():
        try:
            outcome = function(), None
        except SystemExit as stop:
            outcome = None, stop.code
    content = np.frombuffer(pickle.dumps(outcome), dtype=np.uint8)
    size = multihost_utils.broadcast_one_to_all(np.int32(len(content)))
    content = np.resize(content, int(size))  # the others' has another size, and is not read
    result, code = pickle.loads(multihost_utils.broadcast_one_to_all(content).tobytes())
    if code is not None:
        raise SystemExit(code)
    return result


@contextlib.contextmanager
def alone():
    """Have this process build networks of its own, without the others."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def wait_for_all():
    """Return when every process has come here."""
    from_first(lambda: None)


def describe_device() -> str:
    """Name the device on which Keras computes, a GPU or the processor, and how many there are."""
    device = str(keras.ops.convert_to_tensor(0.0).device)
    if "cpu" in device.lower():
        name = next(_read_information("model name", "cpuinfo"), platform.processor())
        device = f"CPU: {name or platform.machine()}, {os.cpu_count()} cores"
    else:
        models = set(_read_information("Model", "driver/nvidia/gpus/*/information"))
        device = ", ".join(sorted(models)) or device
    if count_devices() > 1:
        device = f"{count_devices()} devices, {device}"
    return f"{device}, {count_processes()} processes" if count_processes() > 1 else device


def _read_information(key, pattern):
    """Yield the values of a key in files of Linux' /proc."""
    for path in Path("/proc").glob(pattern):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                yield value.strip()


def _read_variables():
    """Return the first process' address, the number of processes, and the number of this one."""
    address, processes, process = (os.environ.get(name, "") for name in VARIABLES)
    address = address.partition(",")[0]
    if keras.backend.backend() != "jax":
        problem = "several processes need KERAS_BACKEND=jax"
    elif sys.version_info < (3, 11):
        problem = "several processes need Python 3.11 or newer, whose JAX notices lost ones in time"
    elif not address.rpartition(":")[2].isdecimal() or ":" not in address:
        problem = f"{VARIABLES[0]} must be the first process' host:port, not {address!r}"
    elif not (processes.isdecimal() and int(processes) > 0):
        problem = f"{VARIABLES[1]} must be the number of processes, not {processes!r}"
    elif not (process.isdecimal() and int(process) < int(processes)):
        problem = f"{VARIABLES[2]} must be from 0 to {int(processes) - 1}, not {process!r}"
    else:
        return address, int(processes), int(process)
    print(f"{Path(sys.argv[0]).name}: {problem}", file=sys.stderr)
    raise SystemExit(2)


def _share_batches():
    if keras.backend.backend() == "jax" and jax.device_count() > 1:
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(auto_shard_dataset=False)
        )


def _join_processes(address, processes, process, terminal):
    host, _, port = address.rpartition(":")
    own_host = host if host == "localhost" else ""  # otherwise other machines could reach it too
    if process == 0:
        _check_port(address, own_host, port)
    # JAX aborts the process where another one is lost or doesn't come, after a page of addresses.
    message = (
        f"Not all {processes} processes came within {START_SECONDS} seconds. Start each of them, "
        f"all with {VARIABLES[0]}={address}, a free port of the first one's machine"
    )

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def abort(_):
        _leave(f"\n{message}", terminal)

    _join_processes.handler = abort  # C calls it, so it must stay
    ctypes.CDLL(None).signal(signal.SIGABRT, abort)
    with quiet_libraries():
        jax.config.update("jax_enable_preemption_service", False)  # it would ignore SIGTERM
        jax.distributed.initialize(
            address,
            processes,
            process,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=LOST_SECONDS,
            coordinator_bind_address=f"{own_host}:{port}" if own_host else None,
        )
        if jax.device_count() != processes * jax.local_device_count():
            raise SystemExit(
                f"All processes need as many devices: this one has {jax.local_device_count()}, all "
                f"together have {jax.device_count()}"
            )
        wait_for_all()  # this connects them: later on, one may well be slower than others
    message = LOST


def _check_port(address, own_host, port):
    """Raise SystemExit if the port can't be used: JAX would crash."""
    try:
        socket.create_server((own_host, int(port))).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SystemExit(f"The port of {VARIABLES[0]}={address} can't be used: {reason}") from None


def _leave(code, terminal):
    """End this process at once: JAX would wait for the others, who wait for this one.

    Where the code is a message it comes last: JAX's threads, which may report the same loss, can
    write to stderr no more.
    """
    if isinstance(code, str):
        lead_nowhere(2)
        with contextlib.suppress(OSError):
            os.write(terminal, f"{code}\n".encode())
        code = 1
    os._exit(code or 0)
