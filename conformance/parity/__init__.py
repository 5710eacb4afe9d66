"""The same requests to one application through every door: equal answers."""
