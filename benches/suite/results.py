"""The results of a scenario, and whether they meet the targets."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """One figure of the product, alone or beside a rival's, with one value per repeat."""

    what: str
    unit: str
    ours: list
    rival: list = None
    rival_name: str = None
    target: str = None
    """`>= 0.9` or `<= 20`: for the ratio if there is a rival, otherwise for the figure itself."""

    @property
    def ratio(self):
        if not self.rival or not statistics.median(self.rival):
            return None
        return statistics.median(self.ours) / statistics.median(self.rival)

    @property
    def met(self):
        """None without a target."""
        if self.target is None:
            return None
        comparison, wanted = self.target.split()
        value = self.ratio if self.rival else statistics.median(self.ours)
        if value is None:
            return None
        return value >= float(wanted) if comparison == ">=" else value <= float(wanted)

    def as_json(self):
        summed = {name: {"median": statistics.median(values), "min": min(values), "max": max(values), "all": values}
                  for name, values in (("ours", self.ours), ("rival", self.rival)) if values}
        return {"what": self.what, "unit": self.unit, "rivalName": self.rival_name, "ratio": self.ratio,
                "target": self.target, "met": self.met, **summed}


@dataclass
class Line:
    """A line of a chart over time or load."""

    name: str
    points: list


@dataclass
class Curve:
    """A chart of lines."""

    name: str
    title: str
    x_label: str
    y_label: str
    lines: list
    logarithmic: bool = False


@dataclass
class Result:
    """The results of one scenario."""

    name: str
    title: str
    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    curves: list = field(default_factory=list)
    raw: list = field(default_factory=list)
    """The clients' own reports, to check the sums."""
    failure: str = None

    def as_json(self):
        return {"name": self.name, "title": self.title, "rows": [row.as_json() for row in self.rows],
                "notes": self.notes, "failure": self.failure, "raw": self.raw}


def number(value):
    """Rounded to the digits that mean something."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values):
    """The median, with the extremes if there are several values."""
    if not values:
        return "–"
    middle = number(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values))} – {number(max(values))})"


def markdown(result):
    """The scenario as a table."""
    lines = [f"### {result.title}", ""]
    if result.rows:
        lines += ["| | flash-sale | compared with | ratio | target | |", "|---|---:|---:|---:|---:|---|"]
    for row in result.rows:
        rival = f"{spread(row.rival)} {row.rival_name}" if row.rival else "–"
        target = (row.target or "–").replace(">=", "≥").replace("<=", "≤")
        verdict = {True: "met", False: "**missed**", None: ""}[row.met]
        lines.append(f"| {row.what} | {spread(row.ours)} {row.unit} | {rival} | {number(row.ratio)} | {target} | {verdict} |")
    lines += [""] + [f"- {note}" for note in result.notes]
    if result.failure:
        lines += [f"**Not measured:** {result.failure}"]
    return "\n".join(lines).rstrip() + "\n"
