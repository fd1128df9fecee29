"""The stages of Orrery and what they are built on. A folder's place says what it may import: see the README."""
