"""Faults: processes that are killed, files that are damaged, disks that are full.

`make test-faults` runs the short form, `make test-faults LONG=1` the long one; the default suite
leaves both out. Commands run in forks of a server that has imported everything (`commands.py`), on
one tiny market (`market.py`), and every test ends with a comparison of all bytes with those of an
undisturbed market.

`test_kills.py`   kills at points and at random times, over all stages, reports and the record
`test_damage.py`  damaged files, mended by the commands that the messages name
`test_stops.py`   signals, several runs at once, readers beside a writer
`test_disk.py`    full disks, lost permissions, clocks

The default suite has the rest: sources that fail (`tests/pipelines/sources`), locks and killed
holders (`instance/test_locks.py`), orphaned runs (`instance/test_orphaned_runs.py`), killed workers
(`training/test_units.py`), the UI's signals (`instance/test_ui_process.py`).
"""
