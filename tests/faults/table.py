"""Makes the table of docs/faults.md from what the fault tests handed in.

    table.py tests SUITE                  the suite's tests that hand something in, a line each
    table.py make RECORDS SERVERS         writes their rows; the others stay as they are
    table.py join FILE                    adds the rows of another branch's docs/faults.md

RECORDS holds a line of JSON for each run of a test (tests/support/record.rs). SERVERS says what
they ran on; rows of other servers do not stand in the same table.
"""

import hashlib
import json
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOC = ROOT / "docs" / "faults.md"
BEGIN = "<!-- made by tests/run --faults-table; sha256 "
END = "<!-- end of what is made -->"
HEAD = (
    "| Fault | Accepted | Lost | Run twice | Again, outcome unknown | Attempts burned "
    "| Recovery, median | worst | Runs | Test |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
)


def tests(suite):
    """In the order of the files and of what is in them."""
    for file in sorted((ROOT / "tests" / suite).glob("*.rs")):
        name = None
        for line in file.read_text(encoding="utf-8").splitlines():
            name = (re.match(r"async fn (\w+)", line) or [None, name])[1]
            if "fault!(" in line and name:
                yield f"{file.stem}::{name}"


def seconds(ms):
    return f"{ms / 1000:.1f} s"


def row(test, runs):
    suite, module, name = test.split("::")
    accepted = [run["accepted"] for run in runs]
    least, most = min(accepted), max(accepted)
    recovery = [run["recovery_ms"] for run in runs if run["recovery_ms"] is not None]
    cells = [
        runs[-1]["fault"],
        f"{least:,}" if least == most else f"{least:,} to {most:,}",
        *(str(sum(run[cost] for run in runs)) for cost in ("lost", "twice", "unknown", "burned")),
        seconds(statistics.median(recovery)) if recovery else "–",
        seconds(max(recovery)) if recovery else "–",
        str(len(runs)),
        f"[`{name}`](../tests/{suite}/{module}.rs)",
    ]
    return f"| {' | '.join(cells)} |\n"


def key(line):
    """suite::module::name of a row."""
    found = re.search(r"\[`(\w+)`\]\(\.\./tests/(\w+)/(\w+)\.rs\)", line)
    return found and f"{found[2]}::{found[3]}::{found[1]}"


def parts(doc):
    """What is before the table, the table, and what is after it; refuses what was changed by hand."""
    before, rest = doc.split(BEGIN)
    digest, rest = rest.split(" -->\n", 1)
    made, after = rest.split(END)
    if digest != "none" and digest != signature(made):
        sys.exit("the table was changed by hand")
    return before, made, after


def signature(table):
    return hashlib.sha256(table.encode()).hexdigest()


def rows_of(table):
    return {key(line): f"{line}\n" for line in table.splitlines() if key(line)}


def write(before, servers, rows, after):
    present = [f"{suite}::{test}" for suite in suites() for test in tests(suite)]
    body = "".join(rows[test] for test in present if test in rows)
    table = f"\n{servers}\n\n{HEAD}{body}\n"
    DOC.write_text(f"{before}{BEGIN}{signature(table)} -->\n{table}{END}{after}", encoding="utf-8")


def make(records, servers):
    runs = {}
    for line in pathlib.Path(records).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        runs.setdefault(record["test"], []).append(record)
    if not runs:
        sys.exit("no test handed in a record")
    before, made, after = parts(DOC.read_text(encoding="utf-8"))
    rows = rows_of(made)
    if servers != made.strip().split("\n")[0] and set(rows) - set(runs):
        sys.exit(f"the table is not of {servers}: make all of it")
    rows |= {test: row(test, of) for test, of in runs.items()}
    write(before, servers, rows, after)


def join(file):
    """What is in both stays as it is here."""
    before, made, after = parts(DOC.read_text(encoding="utf-8"))
    _, other, _ = parts(pathlib.Path(file).read_text(encoding="utf-8"))
    servers = made.strip().split("\n")[0]
    if other.strip().split("\n")[0] != servers:
        sys.exit(f"that table is not of {servers}")
    write(before, servers, rows_of(other) | rows_of(made), after)


def suites():
    return ("faults", "payment", "inventory", "order")


if __name__ == "__main__":
    if sys.argv[1] == "tests":
        print("\n".join(tests(sys.argv[2])))
    elif sys.argv[1] == "join":
        join(sys.argv[2])
    else:
        make(sys.argv[2], sys.argv[3])
