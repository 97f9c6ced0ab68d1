"""What ``--like`` takes: a recipe, which is a file of constants, or a run to repeat."""

import tomllib
from pathlib import Path

from sentiment.data.imdb import SOURCE_NAMES
from sentiment.errors import SentimentError
from sentiment.paths import PROJECT
from sentiment.runs.folder import exists
from sentiment.runs.record import find_finished
from sentiment.runs.schema import Recipe, check, check_depth, read_text


def read_like(name: str, script: str) -> tuple[Path | None, dict]:
    """Return the folder, if there is one, and the constants of a recipe or of a finished run.

    Args:
        name: the path of a recipe, with or without ``.toml``, the name of a run in ``models/``, or
            the path of its folder.
        script: the file name of the script that is to be trained.

    ``DATA`` is the source that the run read.

    Raises:
        SentimentError: if there is none, if it can't be read, or if it is for another script.
    """
    for path in (Path(name), Path(f"{name}.toml"), PROJECT / name, PROJECT / f"{name}.toml"):
        if path.suffix == ".toml" and exists(path):
            folder, made_by, constants = None, *_read_recipe(path)
            break
    else:
        if Path(name).parent.name == "recipes":
            recipes = ", ".join(sorted(path.stem for path in PROJECT.glob("recipes/*.toml")))
            raise SentimentError(f"there is no recipe {name}; the recipes are {recipes}")
        folder, metadata = find_finished(name)
        made_by, constants = metadata["script"], metadata["constants"]
        short_names = {long: short for short, long in SOURCE_NAMES.items()}
        if source := short_names.get(metadata["data"]["source"]):
            constants = {**constants, "DATA": source}
    if made_by != script:
        raise SentimentError(f"{name} is for {made_by}, not for {script}")
    return folder, constants


def _read_recipe(path: Path) -> tuple[str, dict]:
    """Return the script and the constants of a recipe.

    Raises:
        SentimentError: if it can't be read.
    """
    try:
        recipe = tomllib.loads(read_text(path))
        check(recipe, Recipe)
        check_depth(recipe)
        return recipe["script"], recipe["constants"]
    except OSError as error:
        reason = error.strerror or str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise SentimentError(f"the recipe {path} can't be read: {reason}")
