"""Several processes behind one address: who starts and ends them, what each may take, and who takes a connection."""
