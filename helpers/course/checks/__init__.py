"""Definitions of the build tasks: references, cases and known mistakes. No student's copy contains this package."""
