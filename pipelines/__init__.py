"""Dagster code location: raw bars to evaluated RNN signals, one partition a trading session."""
