"""Other frameworks' meaning on Spikard's server; each module is opt-in and imports none of them."""
