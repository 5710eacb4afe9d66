//! Spikard.
