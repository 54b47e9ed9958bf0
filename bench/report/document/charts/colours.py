"""The colours of pictures: those of `page.css`, as a page in daylight has them.

A page has some of them by a name, so that it can be dark; `NAMED` are those.
"""

from pipelines.spans import OTHER

INK, SOFT, LINE, CARD, BAD = "#1b2230", "#5c6473", "#dedbd3", "#ffffff", "#b3261e"
DNN = "#1f2d4a"
GREEN, BLUE, AMBER, RED, PURPLE, GREY = (
    *("#0a7d5a", "#1668b8", "#b66a00"),
    *("#c2281e", "#8a3d8f", "#6b7280"),
)

NAMED = {
    INK: "ink",
    SOFT: "soft",
    LINE: "line",
    CARD: "card",
    BAD: "bad",
    DNN: "dnn",
    GREEN: "through",
    BLUE: "p50",
    AMBER: "p95",
    RED: "p99",
    PURPLE: "fifth",
    GREY: "sixth",
}

LINES = (DNN, BLUE, RED, AMBER, GREEN, GREY, PURPLE, SOFT)
"""Of lines beside each other, the first first."""

ROLES = {
    "machine": GREY,
    "server": BLUE,
    "generator": AMBER,
    "worker": GREEN,
    "broker": RED,
    "stolen": PURPLE,
}

STAGES = {
    "inference": DNN,
    "schedule": "#dfb3cf",
    "encode": "#0072b2",
    "send": "#56b4e9",
    "publish": "#f2a0a0",
    "broker": "#c62828",
    "consume": "#e57373",
    "queue": "#b0508f",
    "input": "#009e73",
    "preprocess": "#e07b1f",
    "decode": "#c45200",
    "resize": "#f0a830",
    "normalize": "#f5dc5a",
    "output": "#7fd1b4",
    "postprocess": "#93500f",
    "gather": "#6a3d9a",
    "server": "#4b6f8f",
    "receive": "#a5d6f3",
    "parse": "#3a8fc4",
    OTHER: "#9aa0a6",
}
"""In the order in which bars and keys have them: Okabe and Ito's by family, preprocessing warm,
waiting purple, copies green, transfer blue.
"""
UNKNOWN = "#6b7075"


def stage(name: str) -> str:
    """Return the colour of a stage; a word that the ledger does not know has one of its own."""
    return STAGES.get(name, UNKNOWN)


def on(name: str) -> str:
    """Return the colour of words on that of a stage: the one of more contrast."""
    red, green, blue = (int(stage(name)[at : at + 2], 16) for at in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else CARD
