#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""report.py STEPS SYMBOLS FEW MANY: instructions a step, by function.

FEW and MANY are what insn_profile.so wrote of two runs, of which the second did STEPS steps more;
SYMBOLS is the machine's /proc/kallsyms.
"""

import bisect
import collections
import re
import sys

KERNEL = 0xFFFF_8000_0000_0000


def read_blocks(path):
    counts = collections.Counter()
    with open(path, encoding="ascii") as lines:
        for line in lines:
            address, instructions, executions = line.split()
            counts[int(address, 16)] += int(instructions) * int(executions)
    return counts


def read_symbols(path):
    """Addresses and names of functions, in order. Rust's names are made readable."""
    symbols = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            address, kind, name, *module = line.split()
            if kind in "tTwW":
                symbols.setdefault(int(address, 16), f"{readable(name)} {' '.join(module)}")
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


def main():
    steps, symbols, few, many = int(sys.argv[1]), *sys.argv[2:]
    starts, names = read_symbols(symbols)
    before = read_blocks(few)
    total = collections.Counter()
    for address, executed in read_blocks(many).items():
        spent = executed - before[address]
        if address < KERNEL:
            total["(userspace)"] += spent
        else:
            total[names[bisect.bisect_right(starts, address) - 1]] += spent
    everything = sum(total.values())
    module = sum(spent for name, spent in total.items() if "[" in name)
    print(f"{everything / steps:10.1f}         instructions a step")
    print(f"{module / steps:10.1f} {100 * module / everything:5.1f} %  of them in modules")
    for name, spent in total.most_common():
        if spent / steps >= 10:
            print(f"{spent / steps:10.1f} {100 * spent / everything:5.1f} %  {name}")


main()
