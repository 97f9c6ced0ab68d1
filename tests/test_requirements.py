"""The requirements are complete, pinned, as in pyproject.toml, and what is installed."""

import ast
import itertools
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
# The lists of pyproject.toml that are in each file beside the main one.
EXTRAS_OF_FILES = {
    "requirements.txt": ["tensorflow"],
    "requirements/jax.txt": ["jax"],
    "requirements/tensorboard.txt": ["tensorboard"],
    "requirements/torch.txt": ["torch"],
    "requirements/export.txt": ["export"],
    "requirements/evaluate.txt": ["evaluate"],
    "requirements/tune.txt": ["tune"],
    "requirements/page.txt": ["page"],
    "requirements/tutorial.txt": ["tutorial"],
    "requirements/bench.txt": ["bench"],
    "requirements/dev.txt": ["tensorflow", "evaluate", "tune", "dev"],
}
ENVIRONMENTS = [
    {
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}.1",
        "sys_platform": system,
        "platform_machine": machine,
    }
    for minor, (system, machine) in itertools.product(
        (11, 12, 13, 14), (("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64"))
    )
]


def read_pins(file, environment=None):
    """Return the version of each package that a file pins, by default for this environment."""
    lines = (PROJECT / file).read_text(encoding="utf-8").splitlines()
    pins = {}
    for pin in (Requirement(line) for line in lines if not line.startswith("#")):
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, pin
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in pins, f"{name} is pinned twice for {environment}"
            pins[name] = specifier.version
    return pins


def list_direct(extras):
    """Return the main dependencies of pyproject.toml and those of its extras and groups."""
    lists = {**PYPROJECT["project"]["optional-dependencies"], **PYPROJECT["dependency-groups"]}
    chosen = [PYPROJECT["project"]["dependencies"], *(lists[name] for name in extras)]
    requirements = [Requirement(line) for line in itertools.chain(*chosen)]
    for own in [one for one in requirements if one.name == PYPROJECT["project"]["name"]]:
        requirements += list_direct(own.extras)
    return [one for one in requirements if one.name != PYPROJECT["project"]["name"]]


def test_every_file_is_known():
    files = [path.relative_to(PROJECT).as_posix() for path in PROJECT.glob("requirements/*.txt")]
    assert sorted(EXTRAS_OF_FILES) == sorted(["requirements.txt", *files])


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: " ".join(e.values()))
def test_files_agree_with_pyproject_and_with_each_other(environment):
    versions = {}
    for file, extras in EXTRAS_OF_FILES.items():
        pins = read_pins(file, environment)
        for name, version in pins.items():
            assert versions.setdefault(name, version) == version, f"{name} in {file}"
        for direct in list_direct(extras):
            if direct.marker is None or direct.marker.evaluate(environment):
                pinned = pins[canonicalize_name(direct.name)]
                assert str(direct.specifier) == f"=={pinned}", f"{direct} in {file}"


@pytest.mark.parametrize("file", EXTRAS_OF_FILES)
def test_files_list_all_that_their_packages_need(file):
    pins = read_pins(file)
    wanted = [(name, "") for name in pins]
    for direct in list_direct(EXTRAS_OF_FILES[file]):
        wanted += [(direct.name, extra) for extra in direct.extras]
    seen, checked = set(), 0
    while wanted:
        name, extra = wanted.pop()
        name = canonicalize_name(name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # this file is not installed
            continue
        if Version(package.version).public != pins[name]:
            continue
        checked += 1
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                assert canonicalize_name(needed.name) in pins, f"{name} needs {needed}"
                assert needed.specifier.contains(pins[canonicalize_name(needed.name)]), needed
                wanted += [(needed.name, needed_extra) for needed_extra in needed.extras]
    assert checked > 20


def test_what_is_installed_is_what_is_pinned():
    pins = read_pins("requirements.txt")
    assert len(pins) > 20
    for name, version in pins.items():
        assert metadata.version(name) == version, name


def test_each_package_that_is_imported_is_a_direct_dependency():
    extras = PYPROJECT["project"]["optional-dependencies"]
    listed = {canonicalize_name(one.name) for one in list_direct(extras)}
    names_of = metadata.packages_distributions()
    own = {"sentiment", "benchmarks", *(path.stem for path in PROJECT.glob("*.py"))}
    sources = [*PROJECT.glob("*.py"), *PROJECT.glob("sentiment/**/*.py")]
    for path in [*sources, *PROJECT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            for module in {module.partition(".")[0] for module in modules} - own:
                packages = names_of.get(module, ())  # empty if it is not installed
                if packages and module not in sys.stdlib_module_names:
                    assert listed & set(map(canonicalize_name, packages)), f"{module} in {path}"
