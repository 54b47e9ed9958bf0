"""A worker's patience: with a broker that goes away, and with a second stage that is behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pipelines import worker
from pipelines.errors import BrokerError
from pipelines.topologies.brokered.stages import Valve
from pipelines.worker import Loop

AWAY = BrokerError("it is away")
WAITING = "it: waiting for the broker: it is away"


def run(
    *, taken: list[Any], worked: list[Any], ready: Path | None = None
) -> tuple[Mock, Mock, list[bool]]:
    """Let a loop take and work, each time with the next result, until it has worked on "last".

    Also tells whether the file `ready` was there at each of these.
    """
    link, stage = Mock(), Mock(topic="topic", most=8)
    loop = Loop(link, stage, "it", ready)
    seen: list[bool] = []
    takes, works = iter(taken), iter(worked)

    def next_of(results: Iterator[Any]) -> Any:
        seen.append(ready is not None and ready.exists())
        if isinstance(result := next(results), BrokerError):
            raise result
        return result

    def work(messages: list[bytes], *, taken_ns: int) -> None:
        assert taken_ns > 0
        loop.stopping = b"last" in messages
        next_of(works)

    link.take.side_effect, stage.work.side_effect = lambda *_, **__: next_of(takes), work
    loop.run()
    return link, stage, seen


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_AGAIN_S", 0.0)


def test_what_could_not_be_put_is_done_again_and_not_acknowledged_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    link, stage, _ = run(taken=[[b"one", b"two"], [b"last"]], worked=[AWAY, AWAY, None, None])
    done = [call.args[0] for call in stage.work.call_args_list]
    assert done == [[b"one", b"two"]] * 3 + [[b"last"]]
    assert link.take.call_count == 2
    assert capsys.readouterr().err.splitlines() == ["it: ready", WAITING, "it: ready"]


def test_a_broker_that_is_away_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    run(taken=[AWAY, AWAY, AWAY, [], AWAY, [b"last"]], worked=[None, None])
    assert capsys.readouterr().err.splitlines() == [WAITING, "it: ready"] * 2


def gate(*depths: int) -> tuple[Valve, Mock]:
    """A gate that lets 64 through, and its broker with these depths one after the other."""
    link = Mock()
    link.depth.side_effect = depths
    return Valve(link, "topic", limit=64), link


def test_a_gate_asks_only_when_what_it_let_through_could_be_too_much() -> None:
    made, link = gate(10)
    for _ in range(16):
        made.wait(4)
    assert link.depth.call_count == 0
    made.wait(4)
    assert link.depth.call_count == 1


def test_a_gate_waits_until_there_is_room() -> None:
    made, link = gate(64, 63, 61, 60, 0)
    made.wait(64)
    made.wait(4)
    assert link.depth.call_count == 4


def test_the_ready_file_is_there_while_the_broker_is(tmp_path: Path) -> None:
    taken = [[b"one"], AWAY, AWAY, [b"last"]]
    *_, seen = run(taken=taken, worked=[None, None], ready=tmp_path / "ready")
    assert seen == [False, True, True, False, False, True]


def test_what_is_more_than_the_limit_passes_when_nothing_else_is_there() -> None:
    made, link = gate(3, 0, 7)
    made.wait(65)
    assert link.depth.call_count == 2
