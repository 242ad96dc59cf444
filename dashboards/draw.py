#!/usr/bin/env python3
"""Draws dashboards as Prometheus answers them, where there is no Grafana: one PNG for each.

    python3 -m venv target/draw && target/draw/bin/pip install matplotlib
    target/draw/bin/python dashboards/draw.py --prometheus http://127.0.0.1:9090 --minutes 10 --out docs/dashboards

It reads the same files as Grafana and knows of Grafana what these need: panels of the types stat, timeseries and
state-timeline, their units, legends, thresholds and mappings.
"""

import argparse
import json
import math
import pathlib
import re
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request

FOLDER = pathlib.Path(__file__).parent / "grafana"
PIXELS_A_ROW, PIXELS_WIDE, DPI = 34, 1500, 100
PALETTE = ["#3274d9", "#e0752d", "#56a64b", "#c4162a", "#8f3bb8", "#f2cc0c", "#37872d", "#1f60c4", "#ff780a", "#705da0",
           "#6ed0e0", "#ba43a9", "#967302", "#447ebc", "#890f02", "#0a437c"]
COLORS = {"green": "#56a64b", "red": "#e02f44", "orange": "#ff780a", "yellow": "#f2cc0c", "blue": "#3274d9",
          "light-blue": "#8ab8ff", "purple": "#8f3bb8", "text": "#444444", "transparent": "#ffffff00"}


class Source:
    """A Prometheus, and the time that is looked at."""

    def __init__(self, url, end, minutes, interval):
        self.url, self.end, self.seconds = url.rstrip("/"), end, minutes * 60
        self.step = max(interval, self.seconds / 240)
        # Grafana's own rule: four scrapes, so that two are always in it.
        self.rate = max(self.step + interval, 4 * interval)

    def ask(self, expr, instant):
        expr = expr.replace("$__rate_interval", f"{math.ceil(self.rate)}s").replace("$__range", f"{int(self.seconds)}s")
        expr = re.sub(r"\$(job|instance)\b", ".+", expr)
        asked = {"query": expr, "time": self.end} if instant else {
            "query": expr, "start": self.end - self.seconds, "end": self.end, "step": self.step}
        path = "/api/v1/query" if instant else "/api/v1/query_range"
        try:
            body = urllib.parse.urlencode(asked).encode()
            with urllib.request.urlopen(self.url + path, body, timeout=30) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{expr}\n{error.read().decode()}") from error
        except urllib.error.URLError as error:
            raise SystemExit(f"{self.url} does not answer: {error.reason}") from error


def legend(target, labels):
    words = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), target.get("legendFormat", "")).strip()
    return words or ", ".join(f"{key}={value}" for key, value in labels.items()) or "value"


def number(value, decimals=None):
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def amount(value, unit, decimals=None):
    """A value as Grafana writes it."""
    if value is None or math.isnan(value):
        return "no data"
    if math.isinf(value):
        return "∞"
    if unit == "percentunit":
        return number(value * 100, decimals) + " %"
    if unit.startswith("currency:"):
        return unit.removeprefix("currency:") + " " + number(value, 2 if decimals is None else decimals)
    if unit == "cps":
        return number(value, decimals) + " c/s"
    if unit in ("s", "dtdurations", "bytes"):
        steps = {"s": [(60, 1 / 60, "min"), (1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "µs")],
                 "dtdurations": [(3600, 1 / 3600, "h"), (60, 1 / 60, "min"), (0, 1, "s")],
                 "bytes": [(2**30, 2**-30, "GiB"), (2**20, 2**-20, "MiB"), (2**10, 2**-10, "KiB"), (0, 1, "B")]}[unit]
        if value == 0:
            return "0 " + ("B" if unit == "bytes" else "s")
        _, factor, word = next(step for step in steps if abs(value) >= step[0])
        return f"{number(value * factor, decimals)} {word}"
    return number(value, decimals)


def level(defaults, value):
    """The colour of the last threshold that a value reaches."""
    steps = defaults.get("thresholds", {}).get("steps", [])
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return COLORS[reached[-1]] if reached else COLORS["text"]


def series(source, panel):
    """The answers to all queries of a panel: (legend, samples)."""
    found = []
    for target in panel["targets"]:
        for one in source.ask(target["expr"], target.get("instant", False)):
            samples = one["values"] if "values" in one else [one["value"]]
            found.append((legend(target, one["metric"]), [(float(at), float(value)) for at, value in samples]))
    return found


def draw_stat(axes, panel, found, _):
    defaults = panel["fieldConfig"]["defaults"]
    axes.axis("off")
    by_name = panel["options"].get("textMode") == "name"
    values = [(name, samples[-1][1]) for name, samples in found] or [("", math.nan)]
    for place, (name, value) in enumerate(values):
        y = 0.45 - 0.3 * (place - (len(values) - 1) / 2)
        text = name if by_name else amount(value, defaults["unit"], defaults.get("decimals"))
        color = COLORS["text"] if math.isnan(value) else level(defaults, value)
        axes.text(0.5, y, text, ha="center", va="center", fontsize=19 if len(values) == 1 else 13, color=color, weight="bold")


def grid(source, samples):
    """Values at each step, so that series can be stacked and gaps are seen."""
    count = int(source.seconds / source.step) + 1
    values = [math.nan] * count
    for at, value in samples:
        place = round((at - (source.end - source.seconds)) / source.step)
        if 0 <= place < count:
            values[place] = value
    return values


def draw_lines(axes, panel, found, source):
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    bars, stacked = custom["drawStyle"] == "bars", custom["stacking"]["mode"] == "normal"
    count = int(source.seconds / source.step) + 1
    minutes = [(place * source.step - source.seconds) / 60 for place in range(count)]
    base = [0.0] * count
    for place, (name, samples) in enumerate(found):
        color, values = PALETTE[place % len(PALETTE)], grid(source, samples)
        if stacked:
            heights = [0 if math.isnan(value) else value for value in values]
            top = [low + height for low, height in zip(base, heights)]
            if bars:
                axes.bar(minutes, heights, source.step / 60 * 0.9, bottom=base, color=color, label=name)
            else:
                axes.fill_between(minutes, base, top, color=color, alpha=0.55, linewidth=0.8, label=name)
            base = top
        elif bars:
            axes.bar(minutes, values, source.step / 60 * 0.9, color=color, label=name)
        else:
            axes.plot(minutes, values, color=color, linewidth=1.2, label=name)
            # A value between two gaps is a line of no length.
            alone = [math.nan if at and not math.isnan(values[at - 1]) else value for at, value in enumerate(values)]
            axes.plot(minutes, alone, color=color, linestyle="none", marker=".", markersize=2)
    limits(axes, defaults)
    axes.yaxis.set_major_formatter(lambda value, _: amount(value, defaults["unit"], defaults.get("decimals")))
    axes.grid(color="#e4e4e4", linewidth=0.6)


def limits(axes, defaults):
    """The ends of the scale, and the thresholds that lie within it."""
    low, high = axes.get_ylim()
    low, high = defaults.get("min", low), defaults.get("max", high)
    high = high if high > low else low + 1
    # What lies on the upper end is to be seen.
    high += (high - low) * 0.04
    axes.set_ylim(low, high)
    if defaults["unit"] == "bytes":
        step = 2 ** math.ceil(math.log2((high - low) / 6))
        axes.set_yticks([step * place for place in range(math.ceil(low / step), math.floor(high / step) + 1)])
    if "thresholdsStyle" in defaults["custom"]:
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and low <= step["value"] <= high:
                axes.axhline(step["value"], color=COLORS[step["color"]], linewidth=0.9, linestyle="--")


def draw_states(axes, panel, found, source):
    mapping = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    seen = {}
    for place, (_, samples) in enumerate(found):
        for step, value in enumerate(grid(source, samples)):
            if math.isnan(value) or f"{value:.0f}" not in mapping:
                continue
            state = mapping[f"{value:.0f}"]
            left = (step * source.step - source.seconds) / 60
            axes.broken_barh([(left, source.step / 60)], (place + 0.1, 0.8), color=COLORS[state["color"]], linewidth=0)
            seen[state["text"]] = COLORS[state["color"]]
    axes.set_ylim(0, max(len(found), 1))
    axes.invert_yaxis()
    axes.set_yticks([place + 0.5 for place in range(len(found))], [name for name, _ in found], fontsize=7)
    for text, color in seen.items():
        axes.bar([math.nan], [math.nan], color=color, label=text)


KINDS = {"stat": draw_stat, "timeseries": draw_lines, "state-timeline": draw_states}


def draw_panel(axes, panel, source):
    """One panel; says whether there was anything to draw."""
    found = series(source, panel)
    title = axes.set_title(panel["title"], fontsize=8.5, loc="left", weight="bold", pad=4)
    KINDS[panel["type"]](axes, panel, found, source)
    if panel["type"] == "stat":
        title.set_position((0.04, 1))
    else:
        axes.set_xlim(-source.seconds / 60, 0)
        axes.locator_params(axis="x", nbins=min(panel["gridPos"]["w"] - 1, 12))
        axes.xaxis.set_major_formatter(lambda value, _: "now" if value == 0 else f"{value:g} min")
        axes.tick_params(labelsize=6.5, length=2)
        names = axes.get_legend_handles_labels()[1]
        if names:
            wide = PIXELS_WIDE * (panel["gridPos"]["w"] - 1.4) / 24
            columns = max(1, min(len(names), int(wide / (4.9 * max(map(len, names)) + 30))))
            axes.legend(fontsize=6, ncols=columns, loc="upper left", bbox_to_anchor=(-0.02, -0.1), frameon=False,
                        borderaxespad=0.1, columnspacing=1, handlelength=1, labelspacing=0.2)
        if not found:
            axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color="#999999", fontsize=9)
    for side in axes.spines.values():
        side.set_color("#cccccc")
    return bool(found)


def draw(board, source, pyplot):
    """The whole dashboard as a figure, and the titles of the panels without data."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + 2
    pixels = rows * PIXELS_A_ROW
    figure = pyplot.figure(figsize=(PIXELS_WIDE / DPI, pixels / DPI), dpi=DPI)
    up = lambda row: 1 - (row + 2) / rows
    figure.text(0.008, up(-1.1), board["title"], fontsize=14, weight="bold", va="center")
    figure.text(0.008 + 0.012 * len(board["title"]), up(-1.1), board["description"], fontsize=8.5, va="center", color="#555555")
    empty = []
    for panel in board["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.008, up(place["y"] + 0.5), "▾ " + panel["title"], fontsize=10.5, weight="bold", va="center", color="#333333")
            continue
        is_stat = panel["type"] == "stat"
        # Room for the scale to the left, for the title above, and for the legend below.
        left, right, above, below = (0.1, 0.1, 0.9, 0.2) if is_stat else (1.15, 0.25, 0.95, 1.75)
        box = ((place["x"] + left) / 24, up(place["y"] + place["h"] - below),
               (place["w"] - left - right) / 24, (place["h"] - above - below) / rows)
        if not draw_panel(figure.add_axes(box), panel, source):
            empty.append(panel["title"])
    return figure, empty


def save(figure, file, image, array):
    """A PNG of few colours, which is what it has."""
    figure.canvas.draw()
    picture = image.fromarray(array(figure.canvas.buffer_rgba())[..., :3])
    picture.quantize(200, dither=image.Dither.NONE).save(file, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=60, help="how long the time is that is shown")
    parser.add_argument("--interval", type=float, default=15, metavar="SECONDS", help="how far scrapes are apart")
    parser.add_argument("--end", type=float, metavar="SECONDS", help="its end, in seconds since 1970; now without it")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), metavar="DIR")
    arguments = parser.parse_args()
    try:
        import matplotlib
        matplotlib.use("agg")
        from matplotlib import pyplot
        from numpy import asarray
        from PIL import Image
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install matplotlib")
    source = Source(arguments.prometheus, arguments.end or time.time(), arguments.minutes, arguments.interval)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.json")):
        board = json.loads(path.read_text())
        figure, empty = draw(board, source, pyplot)
        file = arguments.out / (path.stem + ".png")
        save(figure, file, Image, asarray)
        pyplot.close(figure)
        print(f"{file}: {file.stat().st_size} bytes; without data: {', '.join(empty) or 'none'}")


if __name__ == "__main__":
    main()
