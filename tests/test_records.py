"""Text and JSON files of any origin: what is read alike, and which ones are refused by name."""
