"""How good held-out samples are: velocity error, the six skills of scenes, the digit classifier."""
