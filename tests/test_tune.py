"""tune.py: what it accepts, that it continues, and that several processes share a study."""

import csv
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest

import tune
from sentiment.data import load_data
from sentiment.errors import SentimentError
from sentiment.runs.record import read_record
from sentiment.tuning import queue
from sentiment.tuning.training import select_fold
from tests.conftest import PROGRAMS, PROJECT, assert_one_line, run_script, start_script

SCRIPT = PROGRAMS / "train_average.py"
SPACE = [str(SCRIPT), "--embedding-size", "4,8", "--learning-rate", "0.001..0.1"]
GRID = [str(SCRIPT), "--embedding-size", "4,8,16", "--is-linear", "true,false", "--grid"]
STUDY = Path("models/tune_average")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current directory with a few hundred reviews."""
    monkeypatch.chdir(tmp_path)
    generator = random.Random(0)
    words = {0: ["awful", "dull", "poor"], 1: ["fine", "great", "superb"]}
    with Path("reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(400):
            text = generator.choices(["a", "film", "with", "music", "I", "saw"], k=6)
            # Every fifth review is not what its words say, so that values differ in accuracy.
            text.append(generator.choice(words[(i + (i % 10 < 2)) % 2]))
            writer.writerow([f"{' '.join(text)} {i}", i % 2])
    return tmp_path


def run_tune(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tune.py", *map(str, arguments)])
    tune.main()


def read_trials(storage="", name="tune_average"):
    """Return the finished trials by place."""
    study = optuna.load_study(study_name=name, storage=queue.open_storage(storage, STUDY))
    trials = study.get_trials(states=queue.FINISHED)
    assert len({trial.user_attrs[queue.PLACE] for trial in trials}) == len(trials)
    return {trial.user_attrs[queue.PLACE]: trial for trial in trials}


def read_histories(study=STUDY):
    """Return the history of each run of a study, without its seconds."""
    return {run.name: read_record(run).history for run in study.glob("trial-*")}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--embedding-size", "x"],
        ["--embedding-size", "4,0"],
        ["--embedding-size", "8..4"],
        ["--embedding-size", "4.5..8"],
        ["--embedding-size", "4..8", "--grid"],
        ["--embedding-size", "4"],
        ["--embedding", "4,8"],
        ["--learning-rate", "0..1"],
        ["--is-linear", "true,perhaps"],
        ["--embedding-size", "4,8", "--trials", "0"],
        ["--embedding-size", "4,8", "--trials", "3", "--grid"],
        ["--embedding-size", "4,8", "--minutes", "nan"],
        ["--embedding-size", "4,8", "--name", "../x"],
        ["--name", "x"],
    ],
)
def test_bad_usage_is_refused(folder, monkeypatch, arguments):
    with pytest.raises(SentimentError) as refused:
        run_tune(monkeypatch, SCRIPT, *arguments)
    assert refused.value.status == 2
    assert_one_line(refused.value)
    assert not Path("models").exists()


def test_what_is_no_training_script_is_refused(folder, monkeypatch):
    for script in ("missing.py", PROJECT / "predict.py", "train_lstm"):
        with pytest.raises(SentimentError, match="training script") as refused:
            run_tune(monkeypatch, script, "--embedding-size", "4,8")
        assert refused.value.status == 2


@pytest.mark.slow
def test_a_study_finds_runs_and_says_what_it_found(folder, monkeypatch, capsys):
    run_tune(monkeypatch, *SPACE, "--trials", 5, "--seeds", 2, "--epochs", 3)
    trials = read_trials()
    assert sorted(trials) == list(range(5))
    # Trial 0 is the baseline: the script's own values.
    assert trials[0].user_attrs["constants"] == {"EMBEDDING_SIZE": 4, "LEARNING_RATE": 0.01}
    for place, trial in trials.items():
        record = read_record(STUDY / f"trial-{place}").metadata
        assert record["test"] is None
        varied = trial.user_attrs["constants"]
        assert varied["EMBEDDING_SIZE"] in (4, 8)
        assert 0.001 <= varied["LEARNING_RATE"] <= 0.1
        assert {**record["constants"], **varied, "EPOCHS": 3} == record["constants"]
        if trial.state == optuna.trial.TrialState.COMPLETE:
            assert trial.value == record["validation"]["accuracy"]
    repeated = [int(run.name.split("-")[1]) for run in STUDY.glob("trial-*-seed-2")]
    assert 0 in repeated and 1 <= len({*repeated} - {0}) <= 2  # a third of the completed trials
    output = capsys.readouterr().out
    rates = [trials[place].user_attrs["constants"]["LEARNING_RATE"] for place in repeated]
    assert any(f"--learning-rate={rate}" in output for rate in rates)
    names = {path.name for path in STUDY.iterdir()}
    assert {"study.md", "history.png", "importances.png", "slices.png"} <= names
    assert not any(name.startswith(".worker") for name in names)

    # More trials continue the study, and the winner is evaluated only now, and only once.
    run_tune(monkeypatch, *SPACE, "--trials", 6, "--seeds", 2, "--epochs", 3, "--test")
    assert sorted(read_trials()) == list(range(6))
    winner = read_record(next(STUDY.glob("winner-*"))).metadata
    assert f"{winner['test']['accuracy']:.2%}" in capsys.readouterr().out
    # Another study may not go on in its place.
    with pytest.raises(SentimentError, match="--name"):
        run_tune(monkeypatch, *SPACE, "--trials", 7, "--epochs", 4)


@pytest.mark.extended
def test_folds_share_no_validation_review(folder, monkeypatch):
    data = load_data("reviews.csv", 200, 20)
    folds = [select_fold(data, fold) for fold in (1, 2, 3)]
    hashes = []
    for fold in folds:
        assert len(fold.x_validation) == len(folds[0].x_validation) == len(fold.y_validation)
        assert len(fold.x_train) == len(folds[0].x_train) == len(fold.y_train)
        parts = [fold.x_train, fold.x_validation, fold.x_test]
        known = [{sequence.tobytes() for sequence in part} for part in parts]
        assert not known[0] & known[1] and not known[2] & (known[0] | known[1])
        hashes.append(known[1])
    assert not hashes[0] & hashes[1] and not hashes[1] & hashes[2]
    with pytest.raises(SentimentError, match="folds"):
        select_fold(data, 20)

    run_tune(monkeypatch, *SPACE, "--trials", 2, "--folds", 2, "--no-pruning")
    for place, trial in read_trials().items():
        runs = [STUDY / f"trial-{place}", STUDY / f"trial-{place}-fold-2"]
        values = [read_record(run).metadata["validation"]["accuracy"] for run in runs]
        assert trial.value == pytest.approx(sum(values) / 2)


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_study(folder, monkeypatch, capsys):
    text = SCRIPT.read_text().replace(
        "    model = keras.Sequential(",
        "    1 / (EMBEDDING_SIZE - 8)\n    model = keras.Sequential(",
    )
    Path("train_failing.py").write_text(text)
    arguments = ["train_failing.py", "--grid", "--name", "study", "--embedding-size"]
    with pytest.raises(SentimentError, match="ZeroDivisionError"):
        run_tune(monkeypatch, *arguments, "8,4")
    run_tune(monkeypatch, *arguments, "4,8,16", "--name", "study-2")
    assert "ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.slow
def test_a_trial_that_falls_behind_is_pruned_unless_it_has_the_values_of_the_script(
    folder, monkeypatch
):
    script = folder / SCRIPT.name
    for own, state in (("0.01", "PRUNED"), ("1.0", "COMPLETE")):
        script.write_text(SCRIPT.read_text().replace("RATE = 0.01", f"RATE = {own}"))
        options = ["--metric", "loss", "--epochs", 2]
        run_tune(monkeypatch, script, "--learning-rate", "0.000001,1", *options)
        trials = read_trials()
        assert [trials[0].state.name, trials[1].state.name] == ["COMPLETE", state]
        shutil.rmtree(STUDY)


@pytest.mark.slow
def test_the_script_may_have_a_whole_number_for_a_float(folder, monkeypatch):
    script = folder / SCRIPT.name
    script.write_text(SCRIPT.read_text().replace("LEARNING_RATE = 0.01", "LEARNING_RATE = 1"))
    run_tune(monkeypatch, script, "--learning-rate", "0.5..2", "--trials", 1, "--epochs", 1)
    assert read_trials()[0].user_attrs["constants"] == {"LEARNING_RATE": 1.0}


@pytest.mark.extended
def test_a_study_that_is_killed_continues_as_if_it_had_not_been(folder):
    for name in ("broken", "unbroken"):
        Path(name).mkdir()
        shutil.copy("reviews.csv", name)
    arguments = [*SPACE, "--epochs", 3, "--trials", 12]
    assert run_script("tune.py", *arguments, folder=folder / "unbroken").returncode == 0
    generator = random.Random()
    for _ in range(3):
        process = start_script("tune.py", *arguments, folder=folder / "broken")
        started = len(list((folder / "broken" / STUDY).glob("trial-*")))
        wait_for(lambda: len(list((folder / "broken" / STUDY).glob("trial-*"))) > started)  # noqa: B023
        time.sleep(generator.uniform(0, 5))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    result = run_script("tune.py", *arguments, folder=folder / "broken")
    assert result.returncode == 0, result.stderr
    broken, unbroken = (read_histories(folder / name / STUDY) for name in ("broken", "unbroken"))
    assert len(unbroken) == 12
    assert broken == unbroken


@pytest.mark.slow
def test_a_journal_that_was_cut_off_is_repaired(folder, monkeypatch):
    run_tune(monkeypatch, *GRID[:3], "--grid")
    journal = STUDY / queue.JOURNAL
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    run_tune(monkeypatch, *GRID[:3], "--grid", "--seeds", 2)
    assert len(read_trials()) == 3


def test_the_trial_of_a_worker_without_heartbeat_is_repeated(folder, monkeypatch):
    monkeypatch.setattr(queue, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(queue, "GRACE_SECONDS", 2)
    STUDY.mkdir(parents=True)
    storage = queue.open_storage("sqlite:///study.db", STUDY)
    study = optuna.create_study(storage=storage)
    plan = queue.Plan(range(2), {0: {"x": 1.0}, 1: {"x": 2.0}})
    queue.fill_queue(study, plan)
    dead = study.ask()
    dead.set_user_attr(queue.WORKER, "elsewhere.lock")
    storage.record_heartbeat(dead._trial_id)
    with queue.Worker(STUDY) as worker:
        worker.work(study, plan, lambda trial, place: trial.suggest_float("x", 0, 9) + place)
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    assert sorted(trial.value for trial in complete) == [1.0, 3.0]
    assert study.trials[dead.number].state == optuna.trial.TrialState.FAIL


def test_places_that_were_queued_twice_are_taken_once(folder):
    STUDY.mkdir(parents=True)
    study = optuna.create_study()
    for _ in range(2):
        study.enqueue_trial({}, user_attrs={queue.PLACE: 0})
    with queue.Worker(STUDY) as worker:
        worker.work(study, queue.Plan(range(1)), lambda trial, place: 1.0)
    assert len(study.get_trials(states=queue.FINISHED)) == 1


def test_pruning_ignores_trials_that_failed():
    pruner = queue.SuccessiveHalvingPruner(min_resource=1)
    study = optuna.create_study(direction="maximize", pruner=pruner)

    def is_pruned(value, state):
        trial = study.ask()
        trial.report(value, 1)
        result = trial.should_prune()
        study.tell(trial, value if state == optuna.trial.TrialState.COMPLETE else None, state=state)
        return result

    assert not is_pruned(0.9, optuna.trial.TrialState.FAIL)
    assert not is_pruned(0.8, optuna.trial.TrialState.COMPLETE)
    assert is_pruned(0.7, optuna.trial.TrialState.PRUNED)
    assert not is_pruned(0.85, optuna.trial.TrialState.COMPLETE)


@pytest.fixture
def postgresql():
    """The address of an empty database, on a PostgreSQL server of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs Debian's postgresql")
    options = {}
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            options = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def call(program, *arguments):
            command = [found[-1].with_name(program), "-D", f"{folder}/data", *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **options)

        call("initdb", "-A", "trust", "-U", "postgres")
        server = f"-p {port} -h 127.0.0.1 -k {folder}"
        call("pg_ctl", "-w", "-l", f"{folder}/log", "-o", server, "start")
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        call("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.mark.extended
def test_two_processes_share_a_study_and_one_is_killed(folder, postgresql):
    arguments = [*GRID, "--epochs", 3, "--storage", postgresql]
    outputs = [folder / "first.txt", folder / "second.txt"]
    first, second = (
        start_script("tune.py", *arguments, folder=folder, stdout=path, stderr=path)
        for path in outputs
    )
    wait_for(lambda: all(path.exists() and "Trial" in path.read_text() for path in outputs))
    time.sleep(random.uniform(0, 2))
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    second.join(timeout=300)
    assert second.exitcode == 0, outputs[1].read_text()
    trials = read_trials(postgresql)
    tried = [tuple(trial.params.values()) for trial in trials.values()]
    assert len(tried) == len(set(tried)) == 6
    assert len(read_histories()) == 6
    for output in outputs:
        assert "done" in output.read_text()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
