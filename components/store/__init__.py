"""Objects in MinIO or a folder: immutable, hashed, streamed, conditionally written; and how stages run over them."""
