"""The measured applications: one file per raw application, one per framework."""
