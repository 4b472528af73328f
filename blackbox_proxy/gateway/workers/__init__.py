"""Several processes behind one address: who starts and ends them, what each may take, and who takes a connection."""

MOST_WORKERS = 64
"""Most processes behind one address."""
