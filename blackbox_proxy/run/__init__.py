"""One run of the product: the public calls that drive the core against an API and a pair."""
