#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""budget.py RESULTS BUDGET [--update]: no row costs more than it did.

RESULTS is what bench/run.sh wrote. BUDGET has a line a row: what this driver costs, and the C driver
of the same boot. A row may exceed its line by 3 %; one of memory by what it cannot be told more
exactly than, too. Where the kernel is another release than that of BUDGET, the C driver tells what the
kernel has to do with it: what that costs more or less than it did is added, and 10 % are allowed.

Prints a line a row, and at the end "N passed, N failed". --update writes BUDGET anew, whatever was in
it.
"""

import json
import sys

ALLOWED, ALLOWED_ELSEWHERE = 1.03, 1.10

HEAD = """\
# SPDX-License-Identifier: GPL-2.0
#
# What the rows of "make bench ARGS=-g" may cost: instructions of both ends, or
# bytes. This driver's figure, and the C driver's of the same boot.
# "make bench-budget" writes this file from a run. Do that to raise a ceiling on
# purpose, and say in the commit what it buys; do it when a ceiling was lowered.
"""


def read_budget(path):
    """The release of its kernel, and by name the two figures."""
    kernel, rows = None, {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("kernel "):
                kernel = line.split()[1]
            elif line.strip() and not line.startswith("#"):
                name, ours, theirs = line.rsplit(maxsplit=2)
                rows[name] = float(ours), float(theirs)
    return kernel, rows


def write_budget(path, kernel, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{HEAD}\nkernel {kernel}\n\n")
        for name, (ours, theirs) in rows.items():
            file.write(f"{name:<44} {ours:9.0f} {theirs:9.0f}\n")


def check(kernel, rows, resolutions, budget_kernel, budget):
    """How many rows are within the budget, and how many are not."""
    passed = failed = 0
    for name in {**budget, **rows}:
        if name not in rows:
            word, text = "FAIL", "was not measured"
        elif name not in budget:
            word, text = "FAIL", f"{rows[name][0]:.0f}, has no ceiling"
        else:
            (ours, theirs), (then, theirs_then) = rows[name], budget[name]
            if kernel == budget_kernel:
                ceiling = then * ALLOWED
            else:
                ceiling = (then + theirs - theirs_then) * ALLOWED_ELSEWHERE
            ceiling += resolutions[name]
            word = "ok" if ours <= ceiling else "FAIL"
            text = f"{ours:.0f}, {100 * (ours / then - 1):+.1f} %"
            if word == "FAIL":
                text += f", exceeds {ceiling:.0f}"
        passed += word == "ok"
        failed += word != "ok"
        print(f"{word:<4} {name:<44} {text}")
    return passed, failed


def main():
    results, path, *update = sys.argv[1:]
    with open(results, encoding="utf-8") as file:
        data = json.load(file)
    kernel = data["kernel"]
    rows = {
        row["name"]: (row["cost"]["rust_ipc"], row["cost"]["C Binder"])
        for row in data["rows"]
    }
    resolutions = {row["name"]: row.get("resolution", 0) for row in data["rows"]}
    budget_kernel, budget = read_budget(path)
    passed, failed = check(kernel, rows, resolutions, budget_kernel, budget)
    if update:
        write_budget(path, kernel, rows)
        return 0
    if failed:
        print(
            "These rows cost more than the budget has for them. 'make profile' says what for. "
            "If it is worth it, 'make bench-budget' raises the ceilings: say why in the commit."
        )
        if kernel != budget_kernel:
            print(f"The kernel is {kernel}, the budget was made with {budget_kernel}.")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
