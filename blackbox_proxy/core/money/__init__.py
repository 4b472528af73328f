"""What answers cost: amounts, counts, what was spent and what will be."""
