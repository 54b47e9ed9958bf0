"""`bench paper`: the paper's claims, and what is said to each here."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_up import MadeUp
from summaries import summary

from bench.ledger.grid.claims import CLAIMS, NOT_HERE, REPRODUCED, UNTESTED, Answer
from bench.ledger.grid.kept import Kept
from bench.ledger.grid.study import known
from bench.ledger.quantiles import Quantile
from bench.ledger.summary import Latency, Summary
from bench.record.scenario import Settings
from bench.runs import studying
from pipelines.errors import ServerError


class Effects:
    """What the runs are made to show."""

    tax, kept, gain, limit = 0.7, 0.1, 3.0, 4.0

    def ran(self, chosen: Settings, folder: str) -> Summary:
        """A run; what a large image keeps of the throughput of inference alone, and what the server
        gains on the naive client.
        """
        per_s = 100.0
        if chosen.images == "large" and chosen.preprocess == "dali":
            per_s *= self.kept
        elif chosen.images == "large" and chosen.local:
            per_s *= self.limit
        elif chosen.images == "large" and chosen.place == "server":
            per_s *= self.gain
        told = {"p99": Quantile(30.0, 20.0, 40.0, 500)}
        names = ("pipeline", "images", "preprocess", "place", "transport", "users")
        said: dict[str, Any] = {name: getattr(chosen, name) for name in names}
        latency = Latency(10.0, 40.0, told)
        return summary(
            run=folder,
            latency_ms=latency,
            throughput_per_s=per_s,
            non_inference_share=self.tax,
            **said,
        )


@pytest.fixture
def effects() -> Effects:
    return Effects()


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, effects: Effects) -> MadeUp:
    monkeypatch.setattr(studying.device, "present", list)
    return MadeUp(monkeypatch, tmp_path / "results", effects.ran)


def answers(text: str) -> list[Answer]:
    return msgspec.json.decode(text, type=list[Answer])


def test_only_the_figures_that_the_paper_is_known_for_are_said_to_be_its() -> None:
    assert [claim.figure for claim in CLAIMS] == ["up to 56 %", "about 80 %", "2.25 times"]


def test_each_claim_is_answered_with_its_cell_and_its_interval(made_up: MadeUp) -> None:
    found = made_up.invoke("paper", "--format", "json")
    assert found.return_value == 0, found.exception
    told = answers(found.stdout)
    assert [one.outcome for one in told] == [REPRODUCED] * 3
    values = [one.ours.value for one in told if one.ours]
    assert values == pytest.approx([70, 90, 3])
    assert "images=large" in told[1].cell
    assert "rung=served" in told[2].cell, "and not the limit, which is no server"
    assert "4.00 times the naive client" in told[2].why
    assert "75 % of that" in told[2].why
    assert {name for one in made_up.folder.glob("*-study-*") for name in [one.name[16:]]} == {
        *("study-zero-load", "study-overhead", "study-ladder"),
    }
    assert answers((made_up.folder / "paper.json").read_text()) == told


@pytest.mark.parametrize("format", ["text", "md"])
def test_it_is_said_in_words_too(made_up: MadeUp, format: str) -> None:
    text = made_up.invoke("paper", "--quick", "--format", format).stdout
    assert text.count(f": {REPRODUCED};") == 3
    assert "3 of 3 claims reproduced here" in text
    assert "up to 56 %" in text.replace("\\", "")
    assert "70.0 (70.0 to 70.0) %" in text.replace("\n  ", "")
    if format == "text":
        assert max(map(len, text.splitlines())) <= 100


def test_what_is_smaller_here_is_not_reproduced(made_up: MadeUp, effects: Effects) -> None:
    effects.tax, effects.kept, effects.gain = 0.4, 0.5, 1.1
    told = answers(made_up.invoke("paper", "--format", "json").stdout)
    assert [one.outcome for one in told] == [NOT_HERE] * 3
    assert [one.ours.value for one in told if one.ours] == pytest.approx([40, 50, 1.1])


def test_what_cannot_be_trusted_is_not_tested(made_up: MadeUp) -> None:
    made_up.invalid = frozenset({"client"})
    told = answers(made_up.invoke("paper", "--format", "json").stdout)
    assert told[0].outcome == REPRODUCED
    assert (told[2].outcome, told[2].why) == (UNTESTED, "no run can be trusted")


def test_what_no_cell_can_show_here_says_why(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studying, "lacking", lambda _: ServerError("nothing runs here"))
    found = made_up.invoke("paper", "--format", "json")
    assert {(one.outcome, one.why) for one in answers(found.stdout)} == {
        (UNTESTED, "nothing runs here")
    }


def test_it_is_gone_on_with_after_a_ctrl_c(made_up: MadeUp) -> None:
    made_up.fails = {30: KeyboardInterrupt()}
    found = made_up.invoke("paper")
    assert found.exception is not None
    assert f"--resume {made_up.folder}" in found.stderr
    before = len(made_up.plans)
    again = made_up.invoke("paper", "--resume", made_up.folder, "--format", "json")
    assert again.return_value == 0
    once = made_up.invoke("paper", "--resume", made_up.folder, "--format", "json")
    assert answers(again.stdout) == answers(once.stdout)
    assert before == 31
    made = [
        (folder, one.cell, one.round)
        for folder in made_up.folder.glob("*-study-*")
        for one in Kept.read(folder).done
    ]
    assert len(made) == len(set(made)) == len(made_up.plans) - 1


def test_no_other_figures_are_said_to_be_the_paper_s() -> None:
    assert [(one.number, one.unit) for one in CLAIMS] == [(56, "%"), (80, "%"), (2.25, "times")]
    for one in CLAIMS:
        assert f"{one.number:g} {one.unit}" in one.figure
        assert one.study in known()
