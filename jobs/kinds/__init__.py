"""One file here is one kind of job. Copy sleep.py, the smallest."""
