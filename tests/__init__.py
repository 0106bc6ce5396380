"""Tests of collectord; `tests/run` runs them all."""
