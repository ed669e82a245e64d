"""Access control as part of the state: policies, tokens, and the rights that they give."""
