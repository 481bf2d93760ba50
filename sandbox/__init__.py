"""The embedded local stack: it imports nothing of the product, so that it cannot share the product's mistakes."""
