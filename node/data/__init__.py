"""The data layer of a node: what is made from records and kept up with them."""

"""The data layer of a node: what is made from records, and what is said of them."""
