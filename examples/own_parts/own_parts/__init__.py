"""Parts that stay outside of the project: docs/extending.md says what they must keep to."""
