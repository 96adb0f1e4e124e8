"""The process that lives for months, and jobctl. Never imports torch, numpy or llama_cpp."""
