"""Studies as files: what they say, which cells they come to, and what their runs come to."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from summaries import failed, summary

from bench.ledger.grid import study as studies
from bench.ledger.grid.cells import Cell, cells_of, groups_of
from bench.ledger.grid.fit import line
from bench.ledger.grid.found import Found, found_of
from bench.ledger.grid.measures import KNOWN, measure
from bench.ledger.grid.study import Study, expanded, find, known, quickened, with_values
from bench.ledger.quantiles import Quantile
from bench.ledger.sources.energy import Energy
from bench.ledger.summary import Latency
from pipelines.errors import VisiontaxError

LINE: dict[str, Any] = {"of": ["mean"], "against": "megapixels", "over": {"images": ["small"]}}
AXES: dict[str, Any] = {"images": ["small", "large"], "place": ["client", "server"]}


def study(**changes: Any) -> Study:
    said: dict[str, Any] = {"title": "T", "question": "Q?", "axes": AXES} | changes
    return msgspec.convert(said, Study)


def names(asked: Study) -> list[str]:
    return [cell.name for cell in cells_of(asked)]


# Files


def test_every_study_that_comes_along_can_be_planned_and_asks_a_question() -> None:
    assert {"zero-load", "overhead", "broker", "concurrency", "demo"} <= known().keys()
    assert {"placement", "payload", "scaling", "energy"} <= known().keys()
    for asked in known().values():
        assert asked.question.endswith("?")
        assert 1 < len(cells_of(quickened(asked))) <= len(cells_of(asked))
        assert all(map(measure, asked.measures))


def test_a_file_of_ones_own_is_a_study(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "T"\nquestion = "Q?"\n[axes]\nusers = [1, 4]\n')
    name, asked = find(str(path))
    assert name == "mine"
    assert names(asked) == ["users=1", "users=4"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = 3", "Expected `str`"),
        ('title = "T"', "missing required field `question`"),
        ('title = "T"\nquestion = "Q"\naxis = 1\n[axes]', "unknown field `axis`"),
        ('title = "T"\nquestion = "Q"\n[axes]\nusers = 4', "got `int`"),
        ("title = ", "Invalid value"),
        ("\x00", "line 1"),
    ],
)
def test_a_wrong_key_is_named_with_those_that_there_are(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(VisiontaxError) as found:
        find(str(path))
    assert words in str(found.value)
    assert "leave-out" in found.value.hint


def test_an_unknown_study_names_those_that_there_are() -> None:
    with pytest.raises(VisiontaxError, match="there is no study 'nix'") as found:
        find("nix")
    assert "zero-load" in found.value.hint


# Cells


def test_cells_are_every_combination_in_the_order_of_the_axes() -> None:
    assert names(study()) == [
        "images=small place=client",
        "images=small place=server",
        "images=large place=client",
        "images=large place=server",
    ]


def test_variants_have_settings_of_their_own_and_a_free_name_is_filled_in() -> None:
    rungs = {"naive": {"place": "client", "preprocess": "pillow"}, "served": {"users": 4}}
    (naive, served) = cells_of(study(axes={"rung": rungs}))
    assert (naive.at, naive.settings.place, naive.settings.preprocess) == (
        {"rung": "naive"},
        "client",
        "pillow",
    )
    assert (served.settings.place, served.settings.users) == ("server", 4)
    asked = study(
        axes={"fanout": ["0..2"]}, settings={"pipeline": "text", "images": "{pipeline}-{fanout}"}
    )
    assert [cell.settings.images for cell in cells_of(asked)] == ["text-0", "text-1", "text-2"]


def test_each_cell_is_beside_the_one_that_it_is_compared_with() -> None:
    found = cells_of(study(beside={"images": "tensor"}))
    assert [cell.at for cell in found if cell.settings.alone] == [
        {"images": "tensor", "place": "none"}
    ]
    assert {cell.beside for cell in found} == {"images=tensor place=none"}
    assert len(found) == 5
    by_place = cells_of(study(beside={"place": "server"}))
    assert {cell.name: cell.beside for cell in by_place}["images=large place=client"] == (
        "images=large place=server"
    )
    assert [len(group) for group in groups_of(by_place)] == [2, 2]


WORK: dict[str, Any] = {
    "work": {
        "inference": {"images": "tensor"},
        "preprocessing": {"only": "preprocess"},
        "both": {},
    },
    "place": ["client", "server"],
}


def test_each_part_alone_is_beside_both() -> None:
    asked = study(
        axes=WORK,
        beside={"work": "inference"},
        alone={"stage.inference": {"work": "inference"}, "stage.decode": {"work": "preprocessing"}},
    )
    cells = {cell.name: cell for cell in cells_of(asked)}
    assert len(cells) == 5
    both = cells["work=both place=client"]
    assert both.beside == "work=inference place=none"
    assert both.alone == {
        "stage.inference": "work=inference place=none",
        "stage.decode": "work=preprocessing place=client",
    }
    client = cells["work=preprocessing place=client"].settings
    assert (client.only, client.transport, client.service_s) == ("preprocess", "fake", 0)
    server = cells["work=preprocessing place=server"].settings
    assert (server.only, server.transport) == ("preprocess", "http")
    assert len(groups_of([*cells.values()])) == 1


def test_what_a_cell_is_compared_with_is_run_too() -> None:
    (small, large) = cells_of(
        study(axes={"images": ["small"]}, alone={"mean": {"images": "large"}})
    )
    assert (small.alone, large.name) == ({"mean": "images=large"}, "images=large")
    assert groups_of([small, large])


def test_a_mix_on_the_command_line_is_one_value() -> None:
    changed = with_values(study(), {"images": "small:1,large:3", "place": "client,server"})
    assert names(changed) == [
        "images=small:1,large:3 place=client",
        "images=small:1,large:3 place=server",
    ]


def test_what_is_left_out_is_no_cell() -> None:
    rules = [{"place": "client", "images": ["small", "medium"]}]
    assert len(names(study(**{"leave-out": rules}))) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": {"nix": [1]}}, "the axis nix is no setting, and no setting has {nix} in it"),
        ({"settings": {"nix": 1}}, "there is no setting 'nix'"),
        ({"settings": {"users": "many"}}, "users: 'many' is not a valid integer"),
        ({"settings": {"images": "{nix}"}, "axes": {"users": [1]}}, "{nix} is neither an axis"),
        ({"settings": {"topology": "direct"}}, "has one DNN, so it has no topology"),
        ({"axes": {"users": []}}, "the axis users has no value"),
        ({"axes": {"users": ["4..2"]}}, "the range 4..2 descends"),
        ({"axes": {"users": ["1..900"], "seed": ["1..900"]}}, "810,000 cells are too many"),
        ({"beside": {"users": 1}}, "there is no axis 'users'"),
        ({"across": "users"}, "there is no axis 'users'"),
        ({"measures": ["nix"]}, "there is no measure 'nix'"),
        ({"leave-out": [{"users": 1}]}, "there is no axis 'users'"),
        ({"leave-out": [{"place": ["client", "server"]}]}, "the study has no cell"),
        ({"axes": {"rung": {"a": {"nix": 1}}}}, "there is no setting 'nix'"),
        ({"alone": {"nix": {"images": "small"}}}, "there is no measure 'nix'"),
        ({"alone": {"mean": {"users": 1}}}, "there is no axis 'users'"),
        ({"line": LINE | {"of": ["nix"]}}, "there is no measure 'nix'"),
        ({"line": LINE | {"over": {"users": [1]}}}, "there is no axis 'users'"),
        ({"duration": "soon"}, "not a duration: 'soon'"),
        ({"axes": WORK, "settings": {"transport": "plain"}}, "no preprocessing alone"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name(changes: Any, words: str) -> None:
    with pytest.raises(VisiontaxError) as found:
        cells_of(study(**changes))
    assert words in str(found.value)


def test_an_impossible_combination_names_its_cell() -> None:
    asked = study(axes={"topology": ["fused"], "place": ["client"]}, settings={"pipeline": "faces"})
    with pytest.raises(VisiontaxError, match="topology=fused place=client: the topology fused"):
        cells_of(asked)


def test_values_of_axes_and_of_settings_can_be_changed() -> None:
    changed = with_values(study(), {"images": "medium", "users": "7"})
    assert names(changed) == ["images=medium place=client", "images=medium place=server"]
    assert {cell.settings.users for cell in cells_of(changed)} == {7}
    rungs = study(axes={"rung": {"a": {"users": 1}, "b": {"users": 2}}})
    assert names(with_values(rungs, {"rung": "b"})) == ["rung=b"]
    with pytest.raises(VisiontaxError, match="no rung: 'c'"):
        with_values(rungs, {"rung": "c"})


def test_ranges_are_numbers_and_each_value_comes_once() -> None:
    assert expanded(["0..3", 2, "12", "small"]) == ["0", "1", "2", "3", "12", "small"]


def test_a_study_is_kept_as_it_was_asked() -> None:
    for asked in known().values():
        assert msgspec.json.decode(msgspec.json.encode(asked), type=Study) == asked


def test_the_settings_of_a_study_are_called_as_on_a_command_line() -> None:
    assert studies.field_of("warmup") == "warmup_s"
    assert studies.field_of("broker-url") == "broker"
    assert studies.field_of("warmup_s") is None
    assert studies.value_of("warmup_s", "500ms") == 0.5


# What was found


def found(runs: dict[str, list[Any]], **changes: Any) -> Found:
    asked = study(**changes)
    return found_of("mine", asked, cells_of(asked), runs)


def run(ms: float, **changes: Any) -> Any:
    latency = Latency(ms, 4 * ms, {})
    latency = msgspec.structs.replace(latency, quantiles={"p99": Quantile(3 * ms, ms, 4 * ms, 500)})
    return summary(**({"latency_ms": latency, "throughput_per_s": 1000 / ms} | changes))


CELL = "images=small place=client"


def test_numbers_are_medians_over_the_rounds_with_their_ends() -> None:
    (point,) = found({CELL: [run(10), run(20, run="mid"), run(80)]}).points
    assert point.values["mean"] is not None
    assert msgspec.structs.astuple(point.values["mean"]) == (20, 10, 80, 1)
    assert msgspec.structs.astuple(point.values["p99"] or point.values["mean"]) == (60, 30, 240, 1)
    assert (point.shown, len(point.runs), point.valid) == ("mid", 3, True)


def test_a_quantile_of_one_run_has_its_own_interval() -> None:
    (point,) = found({CELL: [run(10)]}).points
    assert point.values["p99"] is not None
    assert msgspec.structs.astuple(point.values["p99"]) == (30, 10, 40, 500)


def test_throughput_is_a_share_of_that_of_the_cell_beside() -> None:
    runs = {CELL: [run(10)], "images=tensor place=none": [run(4)]}
    tensor, client = found(runs, beside={"images": "tensor"}).points
    assert (client.of_beside, tensor.of_beside) == (0.4, 1)
    (lone,) = found({CELL: [run(10)]}, beside={"images": "tensor"}).points
    assert lone.of_beside is None


def test_a_stage_is_so_many_times_what_it_is_alone() -> None:
    alone = {"stage.decode": {"place": "server"}}
    runs = {CELL: [run(9)], "images=small place=server": [run(9)], "images=large place=client": []}
    quick = {"decode": msgspec.structs.replace(run(9).stages["decode"], mean_ms=0.25)}
    runs["images=small place=server"] = [run(9, stages=quick)]
    client, server = found(runs, alone=alone).points
    assert client.of_alone == {
        "stage.decode": pytest.approx(run(9).stages["decode"].mean_ms / 0.25)
    }
    assert server.of_alone == {"stage.decode": 1}
    lone = {CELL: [run(9)], "images=small place=server": [failed()]}
    assert found(lone, alone=alone).points[0].of_alone == {}


def test_a_line_goes_through_the_points_that_can_be_trusted() -> None:
    axes = {"images": ["small", "1mp", "2mp", "4mp", "large"], "place": ["client", "server"]}
    sizes = dict(zip(axes["images"], (0.5, 1, 2, 4, 10), strict=True))
    runs = {
        f"images={name} place={place}": [run(ms * size + 3, megapixels=size)]
        for name, size in sizes.items()
        for place, ms in (("client", 2), ("server", 5))
    }
    runs["images=4mp place=server"] = [run(999, megapixels=4.0, valid=False)]
    over = {"images": ["small", "1mp", "2mp", "4mp"]}
    client, server = found(runs, axes=axes, line=LINE | {"over": over}).fits
    assert (client.at, client.slope, client.intercept) == (
        {"place": "client"},
        pytest.approx(2),
        pytest.approx(3),
    )
    assert client.r2 == pytest.approx(1)
    assert [len(client.cells), len(server.cells)] == [4, 3]
    assert (server.slope, server.measure, server.against) == (
        *(pytest.approx(5), "mean", "megapixels"),
    )
    few = LINE | {"over": {"images": ["small", "1mp"]}}
    assert found(runs, axes=axes, line=few).fits == []


def test_the_formulas_of_a_line() -> None:
    x, y = [0.0, 1.0, 2.0, 4.0], [1.0, 2.0, 2.0, 6.0]
    assert line(x, y) == pytest.approx((43 / 35, 3 / 5, 10.75**2 / (8.75 * 14.75)))
    assert line(x, [3.0] * 4) == (0, 3, 0)
    assert line([1.0] * 4, y) is line(x[:2], y[:2]) is None


def test_a_cell_in_which_every_request_failed_has_no_latency() -> None:
    (point,) = found({CELL: [failed()]}).points
    assert not point.valid
    assert point.values["mean"] is point.values["p99"] is point.values["not-inference"] is None
    assert point.values["throughput"] is not None


def test_an_axis_on_which_all_are_alike_is_a_setting_that_they_share() -> None:
    one = found({CELL: [run(1)]}, axes={"images": ["small"], "place": ["client", "server"]})
    assert one.axes == ["place"]


def test_what_only_some_runs_are_asked_for_is_no_setting_that_they_share() -> None:
    other = "images=large place=client"
    shared = found({CELL: [run(1, only="preprocess")], other: [run(1)]}).settings
    assert "only" not in shared
    lone = found({CELL: [run(1, only="preprocess")], other: [run(1, only="preprocess")]})
    assert lone.settings["only"] == "preprocess"


def test_every_measure_has_a_number_of_a_run_and_none_of_one_that_failed() -> None:
    joules = Energy(joules_per_image=2.5, watts={"package-0": 20.0, "gpu-0": 30.0}, lacking={})
    one = run(5.0, energy=joules, megapixels=0.2)
    for name in [*KNOWN, "stage.decode"]:
        assert measure(name).of(failed()) is None or name == "throughput"
        assert measure(name).of(one) is not None or name in (*("broker", "p50", "p95", "p99.9"),)
    assert (measure("energy").of(one), measure("power").of(one)) == (2.5, 50)
    with pytest.raises(VisiontaxError, match="no measure 'nix'"):
        measure("nix")
    with pytest.raises(VisiontaxError, match=r"no measure 'stage\.nix'"):
        measure("stage.nix")


def test_cells_are_called_by_what_tells_them_apart() -> None:
    (cell,) = cells_of(study(axes={"images": ["small"]}))
    assert isinstance(cell, Cell)
    assert cell.name == "images=small"
