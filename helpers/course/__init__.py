"""Commands that run the course: lessons, student copies, grading, reports and grids; no lesson imports them."""
