"""How far two answers agree: by hand, and by the command on real images and DNNs."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from bench.commands.selfcheck import decoding
from bench.compare.agreement import boxes, mask, overlaps, top_class, words
from pipelines import tasks
from pipelines.tasks import Readings


def test_the_likeliest_class_counts() -> None:
    assert top_class([(7, 0.5), (3, 0.4)], [(7, 0.9), (1, 0.1)]) == 1
    assert top_class([(7, 0.5), (3, 0.4)], [(3, 0.5), (7, 0.4)]) == 0


def test_masks_agree_by_what_both_mark() -> None:
    one, other = np.zeros((2, 4, 4), np.uint8)
    one[:2], other[1:3] = 255, 255
    assert mask(one, other) == pytest.approx(1 / 3)
    assert mask(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)) == 1


def test_boxes_have_a_partner_each_at_most() -> None:
    here = np.array([[0, 0, 10, 10, 0.9], [20, 20, 30, 30, 0.8]], np.float32)
    twice = np.array([[0, 0, 10, 10, 0.9], [1, 0, 11, 10, 0.7]], np.float32)
    assert overlaps(here[:, :4], twice[:, :4])[0] == pytest.approx([1, 9 / 11])
    assert boxes(here, here) == 1
    assert boxes(here, twice) == 0.5
    assert boxes(here, here[:0]) == 0
    assert boxes(here[:0], here[:0]) == 1


def test_lines_agree_where_they_read_alike() -> None:
    def read(*lines: bytes) -> Readings:
        return Readings(tasks.chain("text"), np.zeros((len(lines), 9), np.float32), lines)

    assert words(read(b"one", b"two"), read(b"two", b"one")) == 1
    assert words(read(b"one", b"two"), read(b"one")) == pytest.approx(2 / 3)
    assert words(read(), read()) == 1


def test_the_command_says_what_a_scaled_decode_saves_and_changes() -> None:
    asked = ["--images", "large", "--count", "5", "--preprocess", "opencv", "--format", "json"]
    done = CliRunner().invoke(decoding.command, asked, catch_exceptions=False)
    full, careful, scaled = json.loads(done.stdout)
    assert [one["decode"] for one in (full, careful, scaled)] == ["full", "careful", "scaled"]
    assert [one["divisor"] for one in (full, careful, scaled)] == [1, 2, 8]
    assert scaled["ms"] < full["ms"] == full["full_ms"]
    assert all(0 <= one["low"] <= one["agreement"] <= one["high"] <= 1 for one in (full, careful))


def test_a_chain_is_asked_too() -> None:
    asked = ["--images", "text-4", "--count", "1", "--pipelines", "text", "--preprocess", "opencv"]
    done = CliRunner().invoke(decoding.command, asked, catch_exceptions=False)
    assert done.stdout.count("1.000 full") == 2
    assert "agree, of text: lines, word by word" in done.stdout
