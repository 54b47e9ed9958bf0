"""`bench tune`: it finds the setting that is best, and none where there is only noise."""

import random
from pathlib import Path

import msgspec
import pytest
from made_up import MadeUp
from processes import BENCH, run
from summaries import summary

from bench.commands.show import EXIT_INVALID
from bench.ledger.grid.study import read
from bench.ledger.summary import Latency, Summary
from bench.predict.tuning import Tuned
from bench.record.scenario import Settings
from bench.runs import studying

BEST = {"preprocess": "pillow", "transport": "shm", "inference-instances": "1"}
"""What the made-up machine is fastest with; each brings a fifth."""

NOISE = 0.02


class Machine:
    """How fast runs are made to be."""

    def __init__(self) -> None:
        self.chance = random.Random(3)
        self.gain, self.noise = 1.2, NOISE

    def ran(self, chosen: Settings, folder: str) -> Summary:
        per_s = 100.0 * (1 + self.noise * self.chance.uniform(-1, 1))
        per_s *= self.gain ** sum(
            str(getattr(chosen, key.replace("-", "_"))) == value for key, value in BEST.items()
        )
        latency = Latency(1000 * chosen.users / per_s, 100.0, {})
        return summary(run=folder, latency_ms=latency, throughput_per_s=per_s)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: Machine) -> MadeUp:
    monkeypatch.setattr(studying.device, "present", list)
    return MadeUp(monkeypatch, tmp_path / "results", machine.ran)


def tuned(made_up: MadeUp) -> Tuned:
    return msgspec.json.decode((made_up.folder / "tune.json").read_bytes(), type=Tuned)


def test_it_finds_what_is_best_and_leaves_it_as_a_study(made_up: MadeUp) -> None:
    found = made_up.invoke("tune", "classification", "--quick")
    assert found.return_value == 0, found.exception
    told = tuned(made_up)
    assert told.changes == BEST
    assert told.ratio
    assert told.ratio.low
    assert told.ratio.low <= 1.2**3 <= (told.ratio.high or 0)
    assert "preprocess=pillow transport=shm inference-instances=1: 1.7" in found.stdout
    again = read(made_up.folder / "tuned.toml")
    assert again.axes["setting"] == {"default": {}, "tuned": BEST}
    assert again.settings["pipeline"] == "classification"
    assert made_up.invoke("study", made_up.folder / "tuned.toml", "--plan").return_value == 0


def test_noise_is_no_gain(made_up: MadeUp, machine: Machine) -> None:
    machine.gain, machine.noise = 1.0, 0.1
    found = made_up.invoke("tune", "classification", "--format", "json")
    assert found.return_value == 0, found.exception
    told = tuned(made_up)
    assert told.changes == {}
    assert not (made_up.folder / "tuned.toml").exists()
    assert msgspec.json.decode(found.stdout, type=Tuned) == told


def test_what_is_given_is_not_walked(made_up: MadeUp) -> None:
    made_up.invoke("tune", "classification", "--preprocess", "opencv", "--inference-instances", 2)
    changes = tuned(made_up).changes
    assert changes["transport"] == "shm"
    assert not changes.keys() & {"preprocess", "inference-instances"}
    assert {plan.settings.preprocess for plan in made_up.plans} == {"opencv"}
    assert {plan.settings.inference_instances for plan in made_up.plans} == {2}


def test_what_cannot_be_trusted_does_not_win(made_up: MadeUp) -> None:
    made_up.invalid = frozenset({"server"})
    found = made_up.invoke("tune", "classification", "--walk", "preprocess")
    assert found.return_value == 4
    assert tuned(made_up).changes == {}


def test_it_is_gone_on_with_after_a_ctrl_c(made_up: MadeUp) -> None:
    made_up.fails = {9: KeyboardInterrupt()}
    found = made_up.invoke("tune", "classification", "--walk", "preprocess", "--walk", "transport")
    assert found.exception is not None
    assert f"bench tune --resume {made_up.folder}" in found.stderr
    assert "The search was cut off" in found.stdout
    before = len(made_up.plans)
    made_up.fails = {}
    found = made_up.invoke("tune", "--resume", made_up.folder)
    assert found.return_value == 0, found.exception
    assert tuned(made_up).changes == {"preprocess": "pillow", "transport": "shm"}
    runs = [path for one in made_up.folder.glob("*-study-*") for path in one.glob("cells.jsonl")]
    lines = sum(len(path.read_text().splitlines()) for path in runs)
    assert lines == len(made_up.plans) - 1, "the one that was cut off, and no other, is made again"
    assert before < len(made_up.plans)


def test_an_unknown_axis_is_named(made_up: MadeUp) -> None:
    found = made_up.invoke("tune", "classification", "--walk", "colour")
    assert "no axis 'colour'" in str(found.exception)


@pytest.mark.triton
@pytest.mark.usefixtures("triton_parts")
def test_it_walks_a_real_server(tmp_path: Path) -> None:
    done = run(
        BENCH,
        *("tune", "classification", "--walk", "dnn-batch", "--users", "2"),
        *("--images", "small", "--duration", "1s", "--warmup", "200ms", "--results", tmp_path),
        *("--threads", "1"),
    )
    # Where other programs keep the cores its runs are INVALID, and it says so.
    assert done.returncode in (0, EXIT_INVALID), done.stderr
    assert "dnn-batch=4" in done.stdout
    assert [*tmp_path.glob("*-tune-*/*-study-dnn-batch-screen/*/manifest.json")]
