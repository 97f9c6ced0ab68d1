"""Which runs differ only in their seed, and in what the others differ."""

import difflib
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sentiment.console import strip_control_characters
from sentiment.runs.record import RunRecord

# Constants that don't change the network or its training. The data is compared by what was read.
NOT_COMPARED = ("NAME", "SEED", "DATA", "TENSORBOARD")
# Values that switch something off: such a constant equals one that an older script doesn't have.
OFF = (None, False, 0, "none", "constant")
SHOWN_CHARACTERS = 200  # of a name or value from a record


@dataclass
class Group:
    """Runs that differ only in their seed.

    Attributes:
        runs: the runs.
        differences: in what they differ from other groups, the rarest difference first.
        is_comparable: whether they used the same data as most runs.
    """

    runs: list[RunRecord]
    differences: list[str] = field(default_factory=list)
    is_comparable: bool = True

    @property
    def metadata(self) -> dict:
        return self.runs[0].metadata

    @property
    def name(self) -> str:
        return _shorten(self.runs[0].name)

    @property
    def title(self) -> str:
        seeds = f" ({len(self.runs)} seeds)" if len(self.runs) > 1 else ""
        return self.name + seeds

    @property
    def constants(self) -> dict:
        """The constants that are compared."""
        constants: dict = {}
        for record in self.runs:
            constants |= record.metadata.get("constants", {})
        return {name: value for name, value in constants.items() if name not in NOT_COMPARED}

    @property
    def settings(self) -> dict:
        """The constants without those that are switched off."""
        return {name: value for name, value in self.constants.items() if value not in OFF}

    @property
    def network(self) -> str:
        """The kind of network: the name of its script."""
        script = _shorten(Path(self.metadata.get("script", "")).stem)
        return script.removeprefix("train_").replace("_", "-").upper() or "unknown"

    @property
    def layers(self) -> list[str]:
        """The layers as recorded, such as ``LSTM(100)``; empty in older records."""
        return [_shorten(layer) for layer in self.metadata.get("network", [])]

    @property
    def data(self) -> str:
        data = self.metadata.get("data")
        if not data:
            return "unknown"
        counts = "{training:,} training, {validation:,} validation, {test:,} test".format(**data)
        return f"{_shorten(data['source'])} ({counts})"

    @property
    def validation_accuracies(self) -> list[float]:
        if self.metadata:
            return [record.metadata["validation"]["accuracy"] for record in self.runs]
        accuracies = self.runs[0].history.get("val_accuracy", [])
        return [x for x in accuracies[self.best_epochs[0] - 1 :][:1] if not math.isnan(x)]

    @property
    def test_accuracies(self) -> list[float]:
        return [
            record.metadata["test"]["accuracy"]
            for record in self.runs
            if record.metadata.get("test")
        ]

    def sentence_accuracies(self, split: str) -> list[float]:
        """The accuracies on one-sentence reviews, ``"validation"`` or ``"test"``."""
        results = [record.metadata.get("sentences", {}).get(split) for record in self.runs]
        return [result["accuracy"] for result in results if result]

    @property
    def best_epochs(self) -> list[int]:
        return [
            record.metadata["best_epoch"] if record.metadata else _find_best_epoch(record.history)
            for record in self.runs
        ]

    @property
    def seconds(self) -> float | None:
        seconds = [record.metadata["seconds_per_epoch"] for record in self.runs if record.metadata]
        return statistics.median(seconds) if seconds else None


def group_runs(runs: list[RunRecord]) -> tuple[list[Group], list[str]]:
    """Group the runs that differ only in their seed.

    Returns:
        The groups, and a line for each run that is left out because it repeats another one.
    """
    groups: dict = {}
    repetitions = []
    for record in runs:
        group = Group([record])
        parameters = record.metadata.get("parameters")
        same = (group.network, group.settings, group.layers, group.data, parameters)
        # The constants of a history alone are not known, so it is a group of its own.
        key = json.dumps(same, sort_keys=True) if record.metadata else id(record)
        group = groups.setdefault(key, Group([]))
        seed = record.metadata.get("constants", {}).get("SEED")
        twins = [twin for twin in group.runs if twin.metadata["constants"].get("SEED") == seed]
        if any(twin.history == record.history for twin in twins):
            repetitions.append(f"Skipped {record.name}: it repeats {twins[0].name}")
        elif twins:  # another history with the same seed: something else was changed
            groups[id(record)] = Group([record])
        else:
            group.runs.append(record)
    return list(groups.values()), repetitions


def mark_incomparable(groups: list[Group]) -> str:
    """Mark the groups whose data differs from that of most runs, and return a note on them."""
    known = Counter(group.data for group in groups if group.metadata for _ in group.runs)
    if not known:
        return ""
    usual, _ = known.most_common(1)[0]
    for group in groups:
        group.is_comparable = group.data == usual
    if all(group.is_comparable for group in groups):
        return ""
    return f"* not comparable: other data than that of the other runs, {usual}"


def note_refits(groups: list[Group]) -> str:
    """Return a note on the groups whose saved weights are not those that were validated."""
    names = [group.name for group in groups if "refit" in group.metadata]
    return f"Validation accuracy before the refit: {', '.join(names)}" if names else ""


def describe_differences(groups: list[Group]):
    """Describe in which constants and layers each group differs from most groups."""
    found: dict[int, list[tuple[int, str]]] = {id(group): [] for group in groups}
    settings = {id(group): group.settings for group in groups}
    for name in dict.fromkeys(name for group in groups for name in group.constants):
        # Neither a constant that only one kind of network has nor one that older runs don't have
        # distinguishes the runs that have it from the others.
        having = [group for group in groups if name in group.constants]
        networks = {group.network for group in having}
        values = {
            id(group): json.dumps(settings[id(group)].get(name))
            for group in groups
            if group.network in networks
        }
        counts = Counter(values.values())
        usual, times = counts.most_common(1)[0]
        if len({values[id(group)] for group in having}) > 1:
            for group in having:
                value = values[id(group)]
                if value != usual or times <= len(values) / 2:
                    found[id(group)].append((counts[value], _describe(name, group)))
    for group in groups:
        if difference := _compare_layers(group, groups):
            found[id(group)].append((0, difference))
        group.differences = [text for _, text in sorted(found[id(group)], key=lambda item: item[0])]
    _tell_apart(groups)


def _count_differences(layers: Iterable[str], networks: Counter) -> int:
    """Return in how many layers all networks differ from one of them."""
    return sum(times * len({*layers} ^ {*other}) for other, times in networks.items())


def _describe(name: str, group: Group) -> str:
    return _shorten(f"{name}={group.constants[name]}")


def _compare_layers(group: Group, groups: list[Group]) -> str:
    """Say which layers differ from those of most groups of the same script."""
    others = [other for other in groups if other.network == group.network and other.layers]
    if not group.layers:
        return ""
    twins = [other for other in others if other.settings == group.settings]
    has_twins = len({tuple(other.layers) for other in twins}) > 1
    usual = Counter(tuple(other.layers) for other in (twins if has_twins else others))
    old = list(min(usual, key=lambda layers: _count_differences(layers, usual)))
    # Other constants explain other numbers in the layers, but not another kind of layer.
    before, after = (
        layers if has_twins else [tuple(re.findall(r"\w+(?=\()", layer)) for layer in layers]
        for layers in (old, group.layers)
    )
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    changes, without, added = [], [], []
    for kind, old_start, old_end, start, end in matcher.get_opcodes():
        if kind == "replace":
            new = " + ".join(group.layers[start:end])
            changes.append(f"{new} instead of {' + '.join(old[old_start:old_end])}")
        elif kind != "equal":
            without += old[old_start:old_end]
            added += group.layers[start:end]
    changes += [f"with {' + '.join(added)}"] if added else []
    changes += [f"without {' + '.join(without)}"] if without else []
    return ", ".join(changes)


def _tell_apart(groups: list[Group]):
    """Say what else distinguishes groups of the same script that would otherwise look the same."""
    alike: dict[tuple, list[Group]] = {}
    for group in groups:
        if group.metadata:
            key = (group.network, group.data, *group.differences)
            alike.setdefault(key, []).append(group)
    for similar in alike.values():
        names = [set(group.settings) for group in similar]
        partly = set.union(*names) - set.intersection(*names)
        has_one_size = len({group.metadata["parameters"] for group in similar}) == 1
        has_layers = any(group.layers for group in similar)
        seen: dict[tuple, str] = {}
        for group in similar:
            group.differences += [
                _describe(name, group) for name in group.settings if name in partly
            ]
            if not has_one_size:
                group.differences.append(f"{group.metadata['parameters']:,} parameters")
            if has_layers and not group.layers:
                group.differences.append("layers not recorded")
            first = seen.setdefault(tuple(group.differences), group.name)
            if first != group.name:
                group.differences.append(f"same constants as {first}, other result")


def _find_best_epoch(history: dict[str, list[float]]) -> int:
    """Return the best epoch of a history, counted from 1."""
    for key, best in (("val_loss", min), ("val_accuracy", max), ("loss", min), ("accuracy", max)):
        if numbers := [value for value in history.get(key, []) if not math.isnan(value)]:
            return history[key].index(best(numbers)) + 1
    raise AssertionError("read_record returns no history without a number")


def _shorten(text: str) -> str:
    """Return a text from a record in a form that can be shown."""
    text = strip_control_characters(text[: SHOWN_CHARACTERS + 1])
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
