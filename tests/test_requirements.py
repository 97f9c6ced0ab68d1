"""What is installed is what is pinned."""

from importlib import metadata

from tests.conftest import PROJECT

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def read_pins(name):
    """Return the version of each package that a file pins for this Python."""
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line[0] not in "#-"]
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


@pytest.mark.parametrize(
    "name", [f"requirements{kind}.txt" for kind in ("", "-keras", "-jax", "-export", "-dev")]
)
def test_constraints_hold_what_the_requirements_name(name):
    constraints = read_pins("constraints.txt")
    for package, version in read_pins(name).items():
        assert constraints[package] == version


def test_what_is_installed_is_what_is_pinned():
    constraints = read_pins("constraints.txt")
    files = ("requirements.txt", "requirements-keras.txt", "requirements-dev.txt")
    wanted, seen = [name for file in files for name in read_pins(file)], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        assert metadata.version(name) == constraints[name], name
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                wanted.append(canonicalize_name(needed.name))
    assert len(seen) > 30
