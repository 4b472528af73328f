"""Record and replay: what a hosted API answered, kept in a file, and given again without a network."""
