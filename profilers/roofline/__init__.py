"""What a block would take on a chip nobody here can touch: its operations, a formula, and what that was fitted on."""
