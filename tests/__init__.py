"""Tests, in the same order as the house."""
