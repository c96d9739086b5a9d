"""Statuses and conditions of the objects that users make."""
