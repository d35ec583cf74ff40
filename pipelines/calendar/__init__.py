"""Trading sessions: their order, the windows over them, and the moments at which they open.

Arithmetic on dates and session keys belongs here; reading a calendar from files or bars does not
(`market/calendars.py`). Dagster's concept: partition keys, without Dagster.
"""
