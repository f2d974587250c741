"""Masks and truth to tables: overlap, distances, agreement, tests."""
