"""The pure core: decides, and does nothing else. No I/O, clock, thread, environment or logging in here."""
