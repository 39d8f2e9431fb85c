"""Puts the tables and charts of a run into a document: each between the two comments that name its scenario."""

import shutil

from .processes import Failed
from .results import markdown


def marks(name):
    return f"<!-- benches/run: {name} -->\n", f"<!-- end of {name} -->\n"


def source(run):
    """Where the figures are from, as one more note."""
    machine, repeats = run["machine"], run["repeats"]
    times = {1: "once", 2: "twice"}.get(repeats, f"{repeats} times")
    return (f"- Measured {times} on {machine['at'][:10]}, at commit {machine['commit'][:7]}, on {machine['cores']} cores of an "
            f"{machine['processor']}.\n")


def fill(document, output, result, run):
    """Replaces the table of this scenario, if the document has a place for it, and the charts that it shows."""
    text = document.read_text()
    begin, end = marks(result.name)
    if begin in text and not result.failure:
        head, rest = text.split(begin)
        if end not in rest:
            raise Failed(f"{document} has no {end.strip()}")
        document.write_text(f"{head}{begin}\n{markdown(result)}{source(run)}\n{end}{rest.split(end)[1]}")
    charts = document.parent / document.stem.lower()
    for name in [result.name, *(chart.name for chart in result.curves)]:
        if f"{charts.name}/{name}.svg" in text and (output / f"{name}.svg").exists():
            shutil.copy(output / f"{name}.svg", charts)
