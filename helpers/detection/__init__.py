"""The detection wing: shapes of every size found by a multi-scale single-shot detector (lessons 1-4)."""
