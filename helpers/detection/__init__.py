"""Detection of shapes of every size with a multi-scale single-shot detector (lessons 1-4)."""
