"""What people are told, as values: from decisions, states and days to notices. Pure."""
