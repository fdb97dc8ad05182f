"""Makes the table of docs/faults.md from what the fault tests handed in.

    table.py tests SUITE                  the suite's tests that hand something in, a line each
    table.py make RECORDS SERVERS         writes their rows; the others stay as they are

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


def make(records, servers):
    runs = {}
    for line in pathlib.Path(records).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        runs.setdefault(record["test"], []).append(record)
    if not runs:
        sys.exit("no test handed in a record")
    doc = DOC.read_text(encoding="utf-8")
    before, rest = doc.split(BEGIN)
    made, after = rest.split(" -->\n", 1)[1].split(END)
    present = [f"{suite}::{test}" for suite in suites() for test in tests(suite)]
    rows = {key(line): f"{line}\n" for line in made.splitlines() if key(line)}
    rows = {test: rows[test] for test in present if test in rows}
    if not servers == made.strip().split("\n")[0] and set(rows) - set(runs):
        sys.exit(f"the table is not of {servers}: make all of it")
    rows |= {test: row(test, of) for test, of in runs.items()}
    table = f"\n{servers}\n\n{HEAD}{''.join(rows[test] for test in present if test in rows)}\n"
    digest = hashlib.sha256(table.encode()).hexdigest()
    DOC.write_text(f"{before}{BEGIN}{digest} -->\n{table}{END}{after}", encoding="utf-8")


def suites():
    return ("faults", "payment", "inventory", "order")


if __name__ == "__main__":
    if sys.argv[1] == "tests":
        print("\n".join(tests(sys.argv[2])))
    else:
        make(sys.argv[2], sys.argv[3])
