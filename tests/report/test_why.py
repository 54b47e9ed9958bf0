"""`Why is it slow?` ends each run's report, in every format, with numbers and a command."""

import html
import re
import shlex

import msgspec
import pytest
from causes import PLANTED, run
from summaries import failed

from bench.ledger.causes.findings import CODES, findings
from bench.report import why
from bench.report.document.written import FORMATS
from bench.report.run import render

READ = ("text", "md", "html")
HOSTILE = "<b>\x1b[31m`|@all photos"


def flat(page: str) -> str:
    """The page's text as one line, whatever it is marked with."""
    plain = html.unescape(re.sub(r"\\\n|<[^>]*>", " ", page))
    return re.sub(r"\s+", " ", plain.replace("\\", ""))


def test_every_code_has_its_sentence() -> None:
    assert tuple(why.SAID) == CODES


@pytest.mark.parametrize("format", READ)
@pytest.mark.parametrize("code", CODES)
def test_a_finding_is_told_with_its_evidence_and_command(code: str, format: str) -> None:
    page = render([PLANTED[code]], format=format)
    (told,) = why.why(PLANTED[code])
    last = flat(page).partition(why.TITLE)[2]
    for part in (code, told.said, told.evidence, told.command):
        assert part in last, part
    assert "{" not in told.said + told.evidence


def test_numbers_are_told_with_their_units() -> None:
    (told,) = why.why(PLANTED["TRANSPORT"])
    assert "sent 602,112 bytes, received 4,000 bytes, encode 0.200 ms, " in told.evidence
    assert told.said.startswith("The way of a tensor to the server")
    (told,) = why.why(PLANTED["IDLE_CORES"])
    assert "busy cores 4.00, server cpu 350.0 %, cores 8, users 4" in told.evidence
    assert "too few instances for inference" in told.said


def test_preprocessing_says_which_step_and_of_what_size() -> None:
    (told,) = why.why(PLANTED["PREPROCESSING"])
    assert "most of it decode, of images of 3564x2880" in told.said
    assert "--a images=large --b images=medium" in told.command


@pytest.mark.parametrize("format", READ)
def test_without_a_finding_one_sentence_says_so(format: str) -> None:
    assert "no other cause explains 25 % of it." in flat(render([run()], format=format))
    assert "so no cause is named" in flat(render([failed()], format=format))
    assert "No cause explains 25 %" in why.nothing(msgspec.structs.replace(run(), stages={}))


@pytest.mark.parametrize("format", FORMATS)
def test_each_of_several_runs_says_why(format: str) -> None:
    runs = [PLANTED["QUEUE"], PLANTED["BROKER"], run()]
    page = render(runs, format=format)
    said = {"json": '"findings"', "html": f'-why">{why.TITLE}'}.get(format, why.TITLE)
    assert page.count(said) == len(runs)
    assert page.count("QUEUE") == page.count("BROKER") == 1


def test_json_has_the_numbers_and_the_sentence() -> None:
    summary = PLANTED["PREPROCESSING"]
    (told,) = msgspec.json.decode(render([summary], format="json"))["findings"]
    (found,) = findings(summary)
    assert (told["code"], told["share"]) == (found.code, found.share)
    assert told["evidence"] == found.evidence
    assert told["said"] == why.why(summary)[0].said
    assert shlex.split(told["command"]) == found.command


def test_a_command_that_is_wrapped_can_be_pasted() -> None:
    summary = msgspec.structs.replace(PLANTED["BROKER"], images="a" * 60)
    lines = render([summary], format="text").splitlines()
    assert max(map(len, lines)) <= 100
    last = "\n".join(lines).rpartition("next: ")[2].partition("\n\n")[0]
    assert last.count(" \\\n") == last.count("\n") > 0
    assert shlex.split(last.replace("\\\n", " ")) == findings(summary)[0].command


def test_hostile_names_are_no_markup() -> None:
    summary = msgspec.structs.replace(PLANTED["PREPROCESSING"], images=HOSTILE, image_px=None)
    for format in READ:
        page = render([summary], format=format)
        assert "\x1b" not in page
        assert "<b>" not in page or format == "text"
        assert "@all" not in page or format != "md"
