"""Says whether steering makes a closed model better at a task, and at what price."""
