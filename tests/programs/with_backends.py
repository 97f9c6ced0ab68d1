"""Run a program as if only these backends were installed; arguments: backends, program, its own."""

import runpy
import sys
from importlib.machinery import PathFinder

_, backends, *sys.argv = sys.argv
missing = {"tensorflow", "jax", "torch"} - set(backends.split(","))


class Finder(PathFinder):
    """Finds no other backends. SciPy fails if they are None in ``sys.modules``."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname in missing else super().find_spec(fullname, path, target)


sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
runpy.run_path(sys.argv[0], run_name="__main__")
