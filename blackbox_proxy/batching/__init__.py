"""Many rows of a file, answered: resumed where it was stopped, in this process or by actors of a Ray cluster."""
