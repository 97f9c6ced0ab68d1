"""Checks of the tables of results, for `benchmarks.check_docs`."""

import ast
import re
import statistics


def check_tables_of_results(files):
    """Yield rows of README.md and docs/recipes.md that are missing or state other accuracies."""
    rows = {
        "README.md": {name_of(script): f"`{script}`" for script in files.scripts},
        "docs/recipes.md": {name: f"`{name}`" for name in files.records},
    }
    for file, labels in rows.items():
        table = files.rows(file)
        for name, label in labels.items():
            source = f"the mean of benchmarks/recipes/{name}*"
            cells = next((row for row in table if label in row[0] and "±" in "".join(row)), None)
            expected = _describe_accuracies(files.records[name])
            if cells is None:
                yield f"{file}: no row for {label}: add one with {' and '.join(expected)}"
                continue
            stated = [*(cell for cell in cells if "±" in cell), "missing"][:2]
            for split, one, other in zip(("validation", "test"), stated, expected, strict=True):
                yield from compare(file, f"{split} accuracy of {label}", one, other, source)
            if file == "README.md":
                source = source.replace("mean", "median")
                what = f"number of seconds of {label}"
                seconds = _median_seconds(files.records[name], is_epoch=False)
                yield from compare(file, what, cells[-1], seconds, source)


def check_docstrings(files):
    """Yield docstrings of scripts that state another accuracy or other seconds per epoch."""
    for script, tree in files.scripts.items():
        docstring = ast.get_docstring(tree) or ""
        name = name_of(script)
        accuracy = _describe_accuracies(files.records[name])[1].split()[0]
        seconds = _median_seconds(files.records[name], is_epoch=True)
        source = f"benchmarks/recipes/{name}*"
        for what, pattern, expected in (
            ("accuracy", r"([\d.]+) ?%", accuracy),
            ("seconds per epoch", r"(\d+) (?:s|seconds) per epoch", seconds),
        ):
            stated = re.findall(pattern, docstring) or ["missing"]
            yield from compare(script, f"{what} in the docstring", stated[0], expected, source)


def check_models(files):
    """Yield what models/README.md states that differs from the models' records."""
    file = "models/README.md"
    table, text = files.rows(file), files.read(file)
    for name, record in files.models.items():
        source = f"models/{name}/run.json"
        cells = next((row for row in table if row[0] == f"`{name}`"), [])
        results = {
            "validation accuracy": record["validation"],
            "test accuracy": record["test"],
            "accuracy on sentences": record["sentences"]["test"],
        }
        stated = [*(cell for cell in cells if cell.endswith("%")), *["missing"] * 3][:3]
        for (what, result), one in zip(results.items(), stated, strict=True):
            expected = f"{100 * result['accuracy']:.1f} %"
            yield from compare(file, f"{what} of {name}", one, expected, source)
        for split in ("training", "validation", "test"):
            if f"{record['data'][split]:,}" not in text:
                yield f"{file}: {source} says {record['data'][split]:,} {split} reviews: state it"
        python = record["versions"]["python"].rpartition(".")[0]
        for version in re.findall(r"with Python (\d\.\d+)", " ".join(text.split())):
            yield from compare(file, "Python of the training", version, python, source)


def check_refit(files):
    """Yield rows of the results in docs/accuracy.md that differ from their records."""
    file = "docs/accuracy.md"
    rows = {row[0].lower(): row[1:] for row in files.rows(file) if len(row) == 3}
    expected = {
        f"`train_{name}.py`": [
            _describe_accuracies(records[name])[1] for records in (files.records, files.refit)
        ]
        for name in map(name_of, files.scripts)
    }
    for name, record in files.baselines.items():
        results = (record["test"], record["refit"]["test"])
        label = name.replace("_", " ").replace("nb ", "nb-")
        expected[label] = [f"{100 * result['accuracy']:.1f} %" for result in results]
    for label, accuracies in expected.items():
        stated = " | ".join(next((row for key, row in rows.items() if key.startswith(label)), []))
        source = "the records in benchmarks"
        yield from compare(file, f"the row of {label}", stated, " | ".join(accuracies), source)


def check_sentences(files):
    """Yield figures of the training on sentences that differ from the recorded runs."""
    file = "models/README.md"
    for name, records in files.sentences.items():
        cells = next((row for row in files.rows(file) if row[0] == f"`train_{name}.py`"), [])
        expected = _describe_accuracies([record["sentences"] for record in records])
        expected = " | ".join([*_describe_accuracies(records), *expected])
        source = f"benchmarks/sentences/{name}*"
        yield from compare(file, f"the row of {name}", " | ".join(cells[1:]), expected, source)


def check_short_texts(files):
    """Yield figures of sentences and negations in models/README.md that differ from the record."""
    file, source = "models/README.md", "benchmarks/evaluation/short_texts.json"
    before, after = files.short_texts["without sentences"], files.short_texts["with sentences"]
    for kind in after["lstm"]["negations"]:
        expected = [str(after["lstm"]["negations"][kind]["pairs"])]
        for name in after:
            both = [results[name]["negations"][kind] for results in (before, after)]
            shares = [50 * (shares["positive"] + shares["negative"]) for shares in both]
            expected.append("{:.0f} → {:.0f} %".format(*shares))
        row = next((row for row in files.rows(file) if row[0] == kind), [])
        what = f"the row of {kind}"
        yield from compare(file, what, " | ".join(row[1:]), " | ".join(expected), source)
    rows = {row[0]: row for row in files.rows(file) if len(row) == 5 and "→" in row[1]}
    for name, results in after.items():
        sentences = results["sentences"]
        figures = [before[name]["sentences"]["accuracy"], sentences["accuracy"]]
        expected = ["{:.1f} → {:.1f} %".format(*(100 * figure for figure in figures))]
        for key in ("unsure", "accuracy of the others"):
            expected.append(f"{100 * sentences[key]:.1f} %")
        stated = " | ".join(rows.get(f"`{name}`", [])[1:4])
        what = f"the row of {name} on sentences"
        yield from compare(file, what, stated, " | ".join(expected), source)


def check_baselines(files):
    """Yield rows of linear models in README.md that are missing or differ from their records."""
    file = "README.md"
    rows = [row for row in files.rows(file) if row[0].startswith("[baseline]")]
    if len(rows) != len(files.baselines):
        yield f"{file}: {len(rows)} rows of baselines: there are {len(files.baselines)} records"
    for name, record in files.baselines.items():
        label = name.replace("_", " ").replace("nb ", "nb-")
        accuracies = (
            f"{100 * record[split]['accuracy']:.1f} %" for split in ("validation", "test")
        )
        expected = " | ".join([*accuracies, f"{record['seconds']:.0f}"])
        row = next((row for row in rows if row[1].lower().startswith(label)), [])
        stated = " | ".join(row[2:])
        source = f"benchmarks/baselines/{name}.json"
        yield from compare(file, f"the row of {label}", stated, expected, source)
        for network in files.records["lstm"]:
            if network["sha256"]["data"] != record["sha256"]["data"]:
                yield f"{source}: benchmarks/recipes/lstm* has other data: train both on the same"


def check_calibration(files):
    """Yield figures of the models' calibration that differ from the record."""
    file, source = "models/README.md", "benchmarks/evaluation/test.json"
    rows = files.rows(file)
    header = next((row for row in rows if "calibration error" in " ".join(row)), None)
    if header is None:
        yield f"{file}: the table of the calibration error is missing: restore it"
        return
    rows = rows[rows.index(header) :]
    for run in files.evaluations["test"]["runs"]:
        name = run["run"]
        expected = [f"`{name}`", f"{100 * run['expected_calibration_error']:.1f} %"]
        for column in header[2:]:
            lowest = float(re.findall(r"^(\d+)", column)[0]) / 100
            (part,) = (part for part in run["calibration"] if part["lowest"] == lowest)
            shares = part["mean_probability"], part["positive_share"]
            expected.append("{:.1f} → {:.1f} %".format(*(100 * share for share in shares)))
        stated = next((row for row in rows if row[0] == expected[0]), [])
        what = f"the calibration of {name}"
        yield from compare(file, what, " | ".join(stated), " | ".join(expected), source)


def check_evaluations(files):
    """Yield metrics of the trained models that docs or records state differently."""
    for split, evaluation in files.evaluations.items():
        for run in evaluation["runs"]:
            name = run["run"]
            expected = f"{100 * files.models[name][split]['accuracy']:.1f} %"
            stated = f"{100 * run['accuracy']:.1f} %"
            file = f"benchmarks/evaluation/{split}.json"
            what = f"{split} accuracy of {name}"
            yield from compare(file, what, stated, expected, f"models/{name}/run.json")
    file, source = "docs/evaluation.md", "benchmarks/evaluation/validation.json"
    text, evaluation = " ".join(files.read(file).split()), files.evaluations["validation"]
    (pair,), runs = evaluation["comparisons"], evaluation["runs"]
    first, second = pair["runs"]
    for expected in (
        " ".join(f"{run['accuracy_low']:.2%} to {run['accuracy_high']:.2%}" for run in runs),
        f"p = {pair['p_value']:.2g}): {pair['only_first_correct']} reviews classified correctly by "
        f"{first} only, {pair['only_second_correct']} by {second} only",
    ):
        if expected not in text:
            yield f"{file}: it doesn't state {expected!r}, as {source} does: write that"
    for title, key, form in (
        ("Accuracy", "accuracy", ".2%"),
        ("Precision", "precision", ".2%"),
        ("Recall", "recall", ".2%"),
        ("F1", "f1", ".2%"),
        ("ROC AUC", "roc_auc", ".4f"),
        ("Log loss", "log_loss", ".4f"),
        ("Brier score", "brier_score", ".4f"),
        ("Expected calibration error", "expected_calibration_error", ".2%"),
        ("Positive, predicted positive", "true_positives", ","),
        ("Positive, predicted negative", "false_negatives", ","),
        ("Negative, predicted positive", "false_positives", ","),
        ("Negative, predicted negative", "true_negatives", ","),
    ):
        expected = " ".join(f"{run[key]:{form}}" for run in runs)
        line = re.findall(rf"^{title}  +(.*)$", files.read(file), re.M)
        stated = " ".join(line[0].split()) if line else "missing"
        yield from compare(file, title, stated, expected, source)


def compare(file, what, stated, expected, source):
    """Yield a line if a file states something else than a record says."""
    if stated != expected:
        yield f"{file}: {what} is {stated}, but {source} says {expected}: write {expected}"


def name_of(script):
    """Return the name of a script's own runs, such as lstm for train_lstm.py."""
    return script.removeprefix("train_").removesuffix(".py")


def _describe_accuracies(records):
    """Return the validation and the test accuracy of a recipe as the docs write them."""
    figures = []
    for split in ("validation", "test"):
        values = [100 * record[split]["accuracy"] for record in records]
        figures.append(f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f} %")
    return figures


def _median_seconds(records, is_epoch):
    """Return the median of the seconds per epoch, or of all epochs, as the docs write it."""
    seconds = [
        record["seconds_per_epoch"] * (1 if is_epoch else record["epochs"]) for record in records
    ]
    return f"{statistics.median(seconds):.0f}"
