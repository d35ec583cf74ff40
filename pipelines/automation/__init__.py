"""The schedule, the sensors and the alerts: when a session is made, and who is told.

What is made and how belongs to `assets`; commands of a person to `operations`. Dagster's concepts:
schedules, sensors.
"""
