"""Run a program as if only these backends were installed; arguments: backends, program, its own."""

import runpy
import sys

_, backends, *sys.argv = sys.argv
for name in {"tensorflow", "jax", "torch"} - set(backends.split(",")):
    sys.modules[name] = None
runpy.run_path(sys.argv[0], run_name="__main__")
