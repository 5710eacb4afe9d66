"""An application that cannot be imported."""

raise RuntimeError("this module never imports")
