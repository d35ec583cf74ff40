"""The schedule, the sensors and the alerts: when a session is made, and who is told.

`assets` decides how a session is made; commands of a person belong to `operations`. Dagster's
concepts: schedules, sensors.
"""
