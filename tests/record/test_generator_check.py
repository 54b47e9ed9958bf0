"""What a machine's generator was found able to do is kept, and says how near a run came to it."""

from pathlib import Path

import pytest
from experiments import CHECK

from bench.record.generator_check import doubt, stored, write
from pipelines.errors import ResultsError

MACHINE = CHECK.machine


def test_only_the_same_machine_has_it(tmp_path: Path) -> None:
    path = tmp_path / "build" / "generator.json"
    assert stored(MACHINE, path) is None
    write(CHECK, path)
    assert stored(MACHINE | {"kernel": "Linux 7"}, path) == CHECK
    assert stored(MACHINE | {"cores": 4}, path) is None


@pytest.mark.parametrize("text", ["", "[", "{}", '{"schema": 9}', '{"schema": 1, "one_per_s": 0}'])
def test_a_damaged_one_is_one_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "generator.json").write_text(text)
    for path in (tmp_path / "generator.json", tmp_path):
        with pytest.raises(ResultsError, match=str(path)):
            stored(MACHINE, path)


@pytest.mark.parametrize(
    ("offered", "processes", "words"),
    [
        (79, 1, None),
        (81, 1, ("81 requests/s were offered: 81% of the 100 ", False)),
        (101, 1, ("101% of the 100 ", True)),
        (174, 2, ("99% of the 175 ", False)),
        (199, 3, None),
        (255, 3, ("102% of the 250 ", True)),
    ],
)
def test_a_rate_near_the_highest_is_said_and_one_above_it_is_too_much(
    offered: float, processes: int, words: tuple[str, bool] | None
) -> None:
    found = doubt(CHECK, offered_per_s=offered, processes=processes)
    assert (found is None) == (words is None)
    if found and words:
        assert words[0] in found[0]
        assert found[1] == words[1]
