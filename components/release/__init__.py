"""From a trained policy to a served one: gate, bundle, registry and channels, Triton repository, server and client."""
