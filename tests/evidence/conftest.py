"""The committed rows are read once; `tests/evidence/test_reference_rows.py` reads them as they are."""

from committed import committed_rows_read_once as committed_rows_read_once
