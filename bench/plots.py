#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""plots.py RESULTS FOLDER: what gnuplot shall do, to plot the results into FOLDER.

RESULTS is what bench/run.sh wrote of a run with -x.
"""

import json
import sys

# Nothing has no place on an axis of powers: it gets one left of the least.
NOTHING_AT = 32

COLOURS = {
    "rust_ipc": "#d55e00",
    "C Binder": "#0072b2",
    "SEQPACKET": "#009e73",
    "pipes": "#999999",
}


def points(rows, plot, way):
    """What rows of a plot say of a way, as (x, y)."""
    return [
        (row["at"] or NOTHING_AT, row["cost"][way])
        for row in rows
        if row.get("plot") == plot and way in row["cost"]
    ]


def size_name(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def size_marks(rows, plot):
    sizes = sorted({row["at"] for row in rows if row.get("plot") == plot})
    return ", ".join(f'"{size_name(int(at))}" {at or NOTHING_AT}' for at in sizes)


def draw(name, title, curves, settings):
    """One plot. CURVES are (title, way, dash, points)."""
    print("reset")
    print("set terminal svg noenhanced size 800,500 dynamic background rgb 'white' font 'sans-serif,13'")
    print(f"set output '{name}.svg'")
    print(f"set title '{title}'")
    print("set key left top Left reverse")
    print("set grid\nset border 3\nset tics nomirror\nset logscale x")
    print("set format y '%.0f'")
    places = [x for _, _, _, values in curves for x, _ in values]
    print(f"set xrange [{min(places) / 1.5}:{max(places) * 1.5}]")
    print("\n".join(settings))
    for number, (_, _, _, values) in enumerate(curves):
        print(f"$curve{number} << END")
        for x, y in values:
            print(x, y)
        print("END")
    print(
        "plot "
        + ", ".join(
            f"$curve{number} with linespoints pointtype 7 pointsize 0.5 linewidth 2 "
            f"dashtype {dash} linecolor rgb '{COLOURS[way]}' title '{text}'"
            for number, (text, way, dash, _) in enumerate(curves)
        )
    )


def main():
    path, folder = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    rows = data["rows"]
    unit = next(row["unit"] for row in rows if row["unit"] != "bytes")
    where = f"Linux {data['kernel']}"
    drivers = ("rust_ipc", "C Binder")

    print(f"cd '{folder}'")
    draw(
        "size",
        f"A call and its reply of 8 bytes, {where}",
        [(way, way, 1, points(rows, "size", way)) for way in COLOURS],
        [
            "set logscale y",
            f"set xtics ({size_marks(rows, 'size')})",
            "set xlabel 'payload'",
            f"set ylabel '{unit}, both ends'",
        ],
    )
    sizes = {row["at"] for row in rows if row.get("plot") == "touch"}
    draw(
        "touch",
        f"First touch and warm: a call whose pages are absent or there, {where}",
        [(f"{way}, absent", way, 1, points(rows, "touch", way)) for way in drivers]
        + [
            (f"{way}, warm", way, 2, [at for at in points(rows, "size", way) if at[0] in sizes])
            for way in drivers
        ],
        [
            "set logscale y",
            f"set xtics ({size_marks(rows, 'touch')})",
            "set xlabel 'payload'",
            f"set ylabel '{unit}, both ends'",
        ],
    )
    for plot, text in (("handles", "handles held"), ("buffers", "live buffers")):
        draw(
            plot,
            f"A call of 128 bytes beside {text}, {where}",
            [(way, way, 1, points(rows, plot, way)) for way in drivers],
            [
                "set key left bottom",
                "set yrange [0:*]",
                "set format x '%.0f'",
                f"set xlabel '{text}'",
                f"set ylabel '{unit}, both ends'",
            ],
        )


main()
