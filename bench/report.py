#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""report.py STEPS SYMBOLS FEW MANY: instructions a step, by function; and locks.

FEW and MANY are what insn_profile.so wrote of two runs, of which the second did STEPS steps more;
SYMBOLS is the machine's /proc/kallsyms.
"""

import bisect
import collections
import re
import sys

KERNEL = 0xFFFF_8000_0000_0000


# What takes a lock when it is entered. Rust has helpers for what C has inline.
LOCKS = re.compile(
    r"(rust_helper_)?(_raw_(spin|read|write)_(try)?lock|spin_lock|mutex_(try)?lock|down_(read|write))"
)


class Run:
    """What insn_profile.so wrote: by address, instructions, locked ones among them, and executions;
    and how often one address came after another."""

    def __init__(self, path):
        self.spent = collections.Counter()
        self.locked = collections.Counter()
        self.after = collections.Counter()
        with open(path, encoding="ascii") as lines:
            for line in lines:
                if line.startswith("> "):
                    _, address, before, count = line.split()
                    self.after[int(before, 16), int(address, 16)] += int(count)
                    continue
                address, instructions, locked, executions = line.split()
                self.spent[int(address, 16)] += int(instructions) * int(executions)
                self.locked[int(address, 16)] += int(locked) * int(executions)

    def less(self, other):
        """This one without what the other did."""
        for mine, others in (
            (self.spent, other.spent),
            (self.locked, other.locked),
            (self.after, other.after),
        ):
            mine.subtract(others)
        return self


def read_symbols(path):
    """Addresses and names of functions, in order. Rust's names are made readable."""
    symbols = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            address, kind, name, *module = line.split()
            if kind in "tTwW":
                symbols.setdefault(int(address, 16), " ".join([readable(name), *module]))
    return zip(*sorted(symbols.items()))


def readable(name):
    """Of a mangled name, the identifiers in their order."""
    if not name.startswith("_R"):
        return name
    parts = []
    rest = name[2:]
    while match := re.search(r"(?<![0-9])([1-9][0-9]*)_?", rest):
        length = int(match[1])
        rest = rest[match.end():]
        word, rest = rest[:length], rest[length:]
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word) and len(word) == length:
            parts.append(word)
    return "::".join(parts)


def in_driver(name):
    """Is the function a module's, or one of the driver that is built into a kernel?"""
    return "[" in name or "rust_binder" in name


class Report:
    """Counts by function, for each step."""

    def __init__(self, run, steps, symbols):
        self.run, self.steps = run, steps
        self.starts, self.names = (list(column) for column in read_symbols(symbols))

    def function(self, address):
        if address < KERNEL:
            return "(userspace)"
        return self.names[bisect.bisect_right(self.starts, address) - 1]

    def by_function(self, counts):
        total = collections.Counter()
        for address, count in counts.items():
            total[self.function(address)] += count
        return total

    def locked_instructions(self):
        """Locked instructions by function. Those of a helper are its callers'."""
        total = self.by_function(self.run.locked)
        entries = self.entries(lambda caller, name: name.startswith("rust_helper_") and total[name])
        helped = collections.Counter()
        for (_, name), count in entries.items():
            helped[name] += count
        for (caller, name), count in entries.items():
            total[f"{caller} {name}"] = total[name] * count / helped[name]
        for name in helped:
            del total[name]
        return total

    def locks(self):
        """Who enters what takes a lock. A helper's caller is who enters it."""
        entries = self.entries(lambda caller, name: LOCKS.match(name) and not LOCKS.match(caller))
        return collections.Counter({f"{caller} {name}": n for (caller, name), n in entries.items()})

    def entries(self, wanted):
        """How often functions were entered, by (caller, name), as far as these are WANTED."""
        starts = set(self.starts)
        total = collections.Counter()
        for (before, address), count in self.run.after.items():
            if count > 0 and address in starts and address >= KERNEL:
                pair = self.function(before), self.function(address)
                if wanted(*pair):
                    total[pair] += count
        return total

    def print(self, counts, what, least):
        everything = sum(counts.values())
        if not everything:
            print(f"{0:10.1f}         {what}")
            return
        driver = sum(count for name, count in counts.items() if in_driver(name))
        print(f"{everything / self.steps:10.1f}         {what}")
        print(f"{driver / self.steps:10.1f} {100 * driver / everything:5.1f} %  of them by drivers")
        for name, count in counts.most_common():
            if count / self.steps >= least:
                print(f"{count / self.steps:10.1f} {100 * count / everything:5.1f} %  {name}")


def main():
    steps, symbols, few, many = int(sys.argv[1]), *sys.argv[2:]
    report = Report(Run(many).less(Run(few)), steps, symbols)
    report.print(report.by_function(report.run.spent), "instructions a step", 10)
    print()
    report.print(report.locks(), "locks taken a step", 0.1)
    print()
    report.print(report.locked_instructions(), "locked instructions a step", 0.1)


main()
