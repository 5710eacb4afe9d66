"""Groups S, R, J, K, L, O, Z, P, V: the policies of the native API, on a running server."""
